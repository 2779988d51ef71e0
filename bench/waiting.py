"""Measures of workers that wait: how soon they have a job, and what they cost until then."""

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from options import IDLE, PUSHING
from workers import APPLICATION, Team

WORKERS = "workers"
P50, P99 = "p50 ms", "p99 ms"
P50_SENT, P99_SENT = "p50 ms from sending", "p99 ms from sending"
WOKEN = "sessions woken per job"

CPU = "CPU %"
WAKES = "process wake-ups per second"
STATEMENTS = "sessions that ran a statement"
SNAPSHOTS = "sessions with a snapshot"
HELD_BACK = "transactions not to be vacuumed"

EVERY = 0.02  # s between two pushes
PATIENCE = 20  # s until a job that nobody took is an error


def percentile(values, percent):
    values = sorted(values)
    return values[max(0, -(-len(values) * percent // 100) - 1)]


# ---------------------------------------------------------------------------
# Latency
# ---------------------------------------------------------------------------

async def work(worker, taken):
    while True:
        job = await worker.take()
        taken[job] = worker.session.seen
        await worker.complete(job)


async def push_steadily(pusher):
    """When each job was sent, and when its commit was known."""
    pushed = {}
    start = time.monotonic()
    for number in range(max(1, round(PUSHING / EVERY))):
        await asyncio.sleep(start + number * EVERY - time.monotonic())
        sent = time.monotonic()
        job = await pusher.push()
        pushed[job] = sent, pusher.session.seen
    return pushed


async def wait_for_the_last(pushed, taken, team):
    end = time.monotonic() + PATIENCE
    while pushed.keys() - taken.keys():
        team.check()
        if time.monotonic() > end:
            sys.exit(f"{len(pushed.keys() - taken.keys())} jobs were not taken")
        await asyncio.sleep(0.01)


def times_woken(db):
    """How often the server called a waiting session to look."""
    row = db.execute("SELECT woken FROM pictrepo.queue_stats WHERE queue = 'q'").fetchone()
    return row[0] if row else 0


async def deliver(bench, kind, size):
    """The times of each job: sent, known to be committed, taken. And how many sessions were woken."""
    team = Team(kind, size)
    pusher = kind(team, 0)
    await team.prepare(pusher)
    await team.warm_up(pusher)
    taken = {}
    team.run(lambda worker: work(worker, taken))
    await asyncio.sleep(0.3)  # until they all wait
    before = team.woken, times_woken(bench.db)
    pushed = await push_steadily(pusher)
    await wait_for_the_last(pushed, taken, team)
    woken = times_woken(bench.db) - before[1] if kind.counted else team.woken - before[0]
    pusher.session.close()
    await team.dismiss(bench)
    return [(*pushed[job], taken[job]) for job in pushed], woken


def summary(bench, size, times, woken=None):
    """times: of each job, ms from its commit and from its sending to when it was in hand."""
    from_commit, from_sending = zip(*times)
    bench.keep("latency.csv", ["ms from commit", "ms from sending"], times)
    measured = {WORKERS: size,
                P50: percentile(from_commit, 50), P99: percentile(from_commit, 99),
                P50_SENT: percentile(from_sending, 50), P99_SENT: percentile(from_sending, 99)}
    if woken is not None:
        measured[WOKEN] = woken / len(times)
    return measured


def latency(kind, size):
    """From a push's commit to the job in hand.

    The commit is somewhere between sending the push and hearing of it, so both
    are measured from. A worker may have the job before the other end knows that
    it is committed: that counts as nothing.
    """
    def measure(bench):
        kind.need(bench.db)
        jobs, woken = asyncio.run(deliver(bench, kind, size))
        times = [(1000 * max(0, taken - known), 1000 * (taken - sent)) for sent, known, taken in jobs]
        return summary(bench, size, times, woken)
    return measure


def library_latency(library, size):
    """The same by a library's own workers, in one process with who pushes."""
    def measure(bench):
        times = library.run("latency", size, PUSHING, every=EVERY)["latencies"]
        return summary(bench, size, times)
    return library.measure(measure)


# ---------------------------------------------------------------------------
# Idling
# ---------------------------------------------------------------------------

@dataclass
class Usage:
    """What the server's processes have used: s of CPU, and how often each was woken."""
    cpu: dict
    wakes: dict

    def since(self, start):
        """Of the processes that are there still, and of new ones."""
        return (sum(value - start.cpu.get(pid, 0) for pid, value in self.cpu.items()),
                sum(value - start.wakes.get(pid, 0) for pid, value in self.wakes.items()))


def parent(stat):
    # The command before it, in parentheses, may hold blanks.
    return int(stat.rpartition(")")[2].split()[1])


def usage(db):
    """Of the postmaster's children but for our own backend.

    schedstat counts nanoseconds, where stat has only ticks of 10 ms: too few
    of them for a process that hardly ever runs.
    """
    own = db.info.backend_pid
    postmaster = parent(Path(f"/proc/{own}/stat").read_text())
    result = Usage({}, {})
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) == own or parent((process / "stat").read_text()) != postmaster:
                continue
            result.cpu[process.name] = int((process / "schedstat").read_text().split()[0]) / 1e9
            result.wakes[process.name] = next(
                int(line.split()[1]) for line in (process / "status").read_text().splitlines()
                if line.startswith("voluntary_ctxt_switches"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return result


def now(db):
    return db.execute("SELECT clock_timestamp()").fetchone()[0]


def busy_since(db, time_then):
    """How many of the workers have begun a statement since then."""
    return db.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND query_start > %s",
                      [APPLICATION, time_then]).fetchone()[0]


def snapshots(db):
    """How many workers hold a snapshot, and of how many transactions it keeps the traces."""
    for _ in range(100):
        db.execute("SELECT pg_current_xact_id()")
    return db.execute("SELECT count(backend_xmin), coalesce(max(age(backend_xmin)), 0)"
                      " FROM pg_stat_activity WHERE application_name = %s", [APPLICATION]).fetchone()


async def idle_for(bench, kind, size):
    team = Team(kind, size)
    await team.prepare()
    team.run(lambda worker: worker.take())
    await asyncio.sleep(1)  # until they all wait, with the pauses of a long wait
    before, start, started = usage(bench.db), now(bench.db), time.monotonic()
    await asyncio.sleep(IDLE)
    after, seconds = usage(bench.db), time.monotonic() - started
    busy = busy_since(bench.db, start)
    team.check()
    held, age = snapshots(bench.db)
    await team.dismiss(bench)
    cpu, wakes = after.since(before)
    return {CPU: 100 * cpu / seconds, WAKES: wakes / seconds,
            STATEMENTS: busy, SNAPSHOTS: held, HELD_BACK: age}


def idle(kind, size):
    """What workers cost that wait and wait."""
    def measure(bench):
        kind.need(bench.db)
        return asyncio.run(idle_for(bench, kind, size))
    return measure

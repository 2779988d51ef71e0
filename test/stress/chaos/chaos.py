"""Chaos: a queue under load while its server is killed, and books that must balance.

    chaos.py [--seconds N] [--round N] [--clients N] [--seed N] [--clock] DATA LOG

Runs rounds on the cluster in DATA, which PGHOST and the like reach: some time of
load and disasters, then peace, in which every job is taken out, and the audit.
A seed makes the same clients and the same killer; what meets what is up to chance.
With --clock, the server's clock is set time and again, and all of it stands still.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from threading import Event

from audit import TIMEOUT, Audit
from books import ACKED, DOUBT, Books, Period
from client import KEYS, Client, Witness
from clocks import ShiftedClock, Watch
from killer import Killer
from server import Server
from transactions import BACKOFF, CONFIGURED, QUEUES, Configuration

# XX is the class of internal errors: a bug, or corruption.
# What the server itself says when a backend is told to stop at once while it
# is stopping already, its socket closed, is not odd.
ODD_IN_LOG = re.compile(
    r"PANIC:|TRAP:|was terminated by signal (?!9\b)|deadlock detected"
    r"| XX\d\d\d (?!LOG:  could not send data to client: Bad file descriptor)"
    r"|shared memory .*still in use by .*forced")


MOST_RUNNING = 10  # of the queue with a limit

# So many seconds at most it takes the killer to have done all that he can.
DEALING = 120


def said(count):
    """In words how many of what."""
    return ", ".join(f"{number} {kind}" for kind, number in count.items())


class Round:
    def __init__(self, server, number, seed, clients, killer):
        self.server = server
        self.stop = killer.stop
        self.killer = killer
        self.clients = [Client(f"r{number} c{n}", server, seed, self.stop) for n in range(clients)]
        self.clients.append(Witness(f"r{number} witness", server, seed, self.stop))
        # The one that cleans up, when all others are gone.
        self.last = Client(f"r{number} last", server, seed, Event())
        self.last.of_session = self.last.cuts = False
        self.configuration = Configuration()
        for client in self.clients:
            client.configuration = self.configuration
        self.books = Books()
        self.watch = Watch()
        self.wrong = []

    def run(self, seconds):
        self.watch.start()
        threads = [self.killer, *self.clients]
        for thread in threads:
            thread.start()
        self.load(seconds)
        self.stop.set()
        for thread in threads:
            thread.join(120)
            if thread.is_alive():
                self.wrong.append(f"{thread.name} hangs")
        self.settle()

    def load(self, seconds):
        """Until the time is up, and there was a disaster of each kind."""
        self.stop.wait(seconds)
        self.killer.dealt.wait(DEALING)
        self.wrong += [f"there were no {kind}" for kind in self.killer.missing()]

    def settle(self):
        """Peace. One crash more shows that counts survive it; nobody writes meanwhile."""
        if self.server.clock:
            self.server.clock.let_all_come_due()
        self.end_what_is_prepared()
        self.check_counts("after the load")
        self.crash_at_rest()
        self.check_counts("after a crash at rest")
        self.take_stock()
        self.server.stop("fast")
        self.server.start()
        self.check_counts("after a restart")
        self.audit()

    def end_what_is_prepared(self):
        """Of clients that had no connection any more to do it."""
        self.last.connect()
        for client in self.clients:
            self.last.two_phases, client.two_phases = client.two_phases, None
            self.last.end_two_phases()
        self.last.disconnect()
        self.wrong += [f"{name} is prepared" for name, in self.query("SELECT gid FROM pg_prepared_xacts")]

    def take_stock(self):
        self.check_table()
        self.drain()
        self.check_counts("after the drain")
        self.check_empty()

    def query(self, sql, *args):
        with self.server.connect("chaos check") as db:
            return db.execute(sql, args).fetchall()

    def crash_at_rest(self):
        """The killer's own session shows when the crash is there, so the victim is another."""
        self.killer.db = self.server.wait_until_up()
        victim = self.server.connect("chaos victim")
        pid = victim.info.backend_pid
        self.killer.disaster("clients killed -9", lambda: self.server.kill(pid))
        victim.close()
        self.killer.db.close()

    # ----- what the server says -----

    def check_counts(self, when, patience=5):
        """The last sessions may still be on their way out."""
        end = time.monotonic() + patience
        while (wrong := self.wrong_counts()) and time.monotonic() < end:
            time.sleep(0.1)
        self.wrong += [f"{when}: {line}" for line in wrong]

    def wrong_counts(self):
        counts = self.query("""
            SELECT 'queue_length()', pictrepo.queue_length(), (SELECT count(*) FROM pictrepo.job_queue)
            UNION ALL SELECT 'size()', pictrepo.size(), (SELECT count(*) FROM pictrepo.hashes)
            UNION ALL SELECT format('queue_length(%%L)', q), pictrepo.queue_length(q),
                (SELECT count(*) FROM pictrepo.job_queue j WHERE j.queue = q)
            FROM unnest(%s::text[]) q""", QUEUES)
        return [f"{what} is {said}, and there are {there}" for what, said, there in counts if said != there]

    def check_table(self):
        """Each attempt costs a retry, and there are none but by claims."""
        for id, attempt, retry in self.query("""
                SELECT id, attempt, retry FROM pictrepo.job_queue
                WHERE attempt + retry <> (job->>'retry')::int + (status = 'running')::int"""):
            self.wrong.append(f"job {id} has attempt {attempt} and {retry} retries left")
        self.books.count["jobs left in the queue"] = self.query(
            "SELECT count(*) FROM pictrepo.job_queue")[0][0]

    def drain(self, patience=60):
        """Take out all there is, also what comes back from silent workers or is due later."""
        self.configuration.periods[-1].end = time.monotonic()
        self.query("DELETE FROM pictrepo.queues WHERE queue = %s RETURNING queue", CONFIGURED)
        for queue in QUEUES:
            self.query("SELECT pictrepo.resume_queue(%s)", queue)
        self.last.connect()
        end = time.monotonic() + patience
        while self.query("SELECT FROM pictrepo.job_queue LIMIT 1"):
            if time.monotonic() > end:
                self.wrong.append("some jobs do not come out")
                break
            for queue in QUEUES:
                self.empty(queue)
            time.sleep(0.05)
        self.last.disconnect()

    def empty(self, queue):
        """Success alone, so that it comes to an end."""
        while True:
            start = time.monotonic()
            rows = self.last.ask("SELECT * FROM pictrepo.pop(%s, %s, 100)", queue, self.last.worker)
            if not rows:
                return
            claims = self.last.take(queue, rows, start)
            self.last.held = []
            self.last.end(claims, "success", lambda: self.last.ask(
                "SELECT pictrepo.complete_many(%s, %s, %s::uuid[])",
                queue, self.last.worker, [claim.id for claim in claims])[0][0])

    def check_empty(self):
        if running := self.query("SELECT id FROM pictrepo.jobs"):
            self.wrong.append(f"still there after the drain: {running[:5]}")
        if silent := self.query("""SELECT d.id FROM pictrepo.dead_jobs d
                JOIN pictrepo.uploads u ON u.id = d.upload WHERE u.result IS NULL"""):
            self.wrong.append(f"dead jobs whose upload was not told: {silent[:5]}")
        for key in KEYS:
            with self.server.connect("chaos check") as db, db.transaction(force_rollback=True):
                if db.execute("SELECT pictrepo.push('mail', '1', %s)", (key,)).fetchone()[0] is None:
                    self.wrong.append(f"nobody has the unique key {key}, and it is taken")

    # ----- the books -----

    def audit(self):
        self.watch.end()
        for client in [*self.clients, self.last]:
            self.books.add(client.books)
        self.books.odd += self.killer.odd
        dead = {str(id): job for id, job in self.query("SELECT id, job FROM pictrepo.dead_jobs")}
        periods = {"limited": [Period(0, limit=MOST_RUNNING)], CONFIGURED: self.configuration.periods}
        audit = Audit(self.books, self.killer.disasters, dead, periods, self.watch)
        self.wrong += list(audit.wrong())
        self.wrong += self.check_hashes()
        self.summarize(audit)

    def check_hashes(self):
        there = {bytes(hash).decode() for hash, in self.query("SELECT hash FROM pictrepo.hashes")}
        for name, known in self.books.hashes.items():
            if known is not None and known != (name in there):
                yield f"hash {name} should {'' if known else 'not '}be there"

    def summarize(self, audit):
        count, books = self.books.count, self.books
        count.update(self.killer.count)
        count["pushes acknowledged"] = sum(push.state == ACKED for push in books.pushes)
        count["pushes in doubt"] = sum(push.state == DOUBT for push in books.pushes)
        count["pushes in doubt that were there"] = sum(
            push.state == DOUBT and push.tag in audit.seen for push in books.pushes)
        count["claims acknowledged"] = len(books.claims)
        count["pops in doubt"] = len(books.pops_in_doubt)
        count["claims taken from silent workers"] = audit.taken_away
        count["claims repeated after a crash"] = audit.repeated
        count["steps of this machine's clock"] = self.watch.steps()
        count["claims not judged for these"] = audit.not_judged
        for outcome in ("completed", "retrying", "dead", "lost"):
            count[f"ends acknowledged: {outcome}"] = len(audit.outcomes(outcome))
        count["ends in doubt"] = len(audit.outcomes(None)) + len(books.completed_in_doubt)
        count["jobs dead"] = len(audit.dead)


def prepare(server):
    """Short pauses, so that retries come round in time. One queue has no configuration at first."""
    with server.connect("chaos check") as db:
        db.execute("SET client_min_messages = warning")
        db.execute("CREATE EXTENSION IF NOT EXISTS pictrepo")
        if server.clock:
            # a step forward looks to the server as if its own timeouts had passed
            db.execute("ALTER SYSTEM SET statement_timeout = 0")
            db.execute("SELECT pg_reload_conf()")
        for queue in QUEUES:
            if queue != CONFIGURED:
                db.execute("""SELECT pictrepo.configure_queue(%s, backoff => %s * interval '1 s',
                    backoff_max => '1 s', max_running => %s)""",
                           (queue, BACKOFF, MOST_RUNNING if queue == "limited" else -1))
        timeout = db.execute("SHOW pictrepo.heartbeat_timeout").fetchone()[0]
        if timeout != f"{TIMEOUT:g}s":
            sys.exit(f"pictrepo.heartbeat_timeout must be {TIMEOUT:g}s, not {timeout}; see server.conf")


def forget(server):
    """What a round leaves once it was audited."""
    with server.connect("chaos check") as db:
        db.execute("DELETE FROM pictrepo.dead_jobs; DELETE FROM pictrepo.uploads;"
                   " DELETE FROM pictrepo.hashes")


def check_log(server):
    with open(server.log, encoding="utf-8", errors="replace") as log:
        return [f"log: {line.rstrip()}" for line in log if ODD_IN_LOG.search(line)]


def show(count):
    width = max(map(len, count), default=0)
    for name in sorted(count):
        print(f"  {name:{width}} {count[name]:9,}")


def add_clock(parser):
    parser.add_argument("--clock", action=argparse.BooleanOptionalAction, default=False,
                        help="set the server's clock, and let all of it stand still")


def shifted_clock(options):
    """None: the server has the machine's."""
    clock = ShiftedClock(tempfile.mkdtemp()) if options.clock else None
    if clock and not clock.build():
        print("There is no C compiler, so the clock is not set.")
        return None
    return clock


def one_round(server, number, options, seconds):
    killer = Killer(server, f"{options.seed} {number}", Event())
    round = Round(server, number, options.seed, options.clients, killer)
    round.run(seconds)
    wrong = round.wrong + check_log(server)
    print(f"round {number}: {seconds:.0f} s of load, {len(round.books.pushes):,} pushes,"
          f" {said(killer.count)}: "
          + ("the books balance" if not wrong else f"{len(wrong)} THINGS ARE WRONG"), flush=True)
    for line in wrong[:50]:
        print(f"  {line}", flush=True)
    if not wrong:
        forget(server)
    return round.books.count, wrong


def all_rounds(server, options):
    """Until one goes wrong; whether one did."""
    total, left, number, failed = Counter(), options.seconds, 0, False
    while left > 0 and not failed:
        number += 1
        seconds = min(left, options.round)
        left -= seconds
        count, wrong = one_round(server, number, options, seconds)
        total.update(count)
        failed = bool(wrong)
    show(total)
    return failed


def begin(server):
    """A server that has another clock than it is to have starts again."""
    if server.clock and server.postmaster() is not None:
        server.stop("fast")
    if server.postmaster() is None:
        server.start()


def main(options):
    print(f"seed {options.seed}", flush=True)
    server = Server(options.data, options.log, clock=shifted_clock(options))
    try:
        begin(server)
        prepare(server)
        return all_rounds(server, options)
    except KeyboardInterrupt:
        return 130
    finally:
        if server.postmaster() is not None:
            server.stop("fast")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--round", type=float, default=60)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    add_clock(parser)
    parser.add_argument("data")
    parser.add_argument("log")
    sys.exit(main(parser.parse_args()))

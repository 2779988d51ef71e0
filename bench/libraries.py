"""Queues that are driven by their own libraries: graphile-worker and pg-boss on Node.js, and pgq.

A queue of these is prepared once; when that fails the reason is kept, and the
report names who was left out and why.
"""

import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import psycopg

from measure import PER_SECOND, Failed, LeftOut, left_behind, pgbench, script, traces
from options import BACKLOG, BETWEEN, CLIENTS, QUEUES, SECONDS, WARM_UP
from peers import PGQ_PUSH

PROGRAMS = Path(__file__).resolve().parents[1] / "build" / "peers"


class Library:
    """A queue of somebody else's.

    version, and missing, why it can't take part, are known once it is prepared.
    """
    name = ""
    tables = ()
    version = None
    missing = None

    def __init__(self):
        self.prepared = False

    def need(self, bench):
        if not self.prepared:
            self.prepared = True
            try:
                self.prepare(bench)
            except LeftOut as reason:  # a Failed too: its set-up may want another Node.js, say
                self.missing = str(reason)
        if self.missing:
            raise LeftOut(self.missing)

    def prepare(self, bench):
        raise NotImplementedError

    def empty(self, bench):
        for table in self.tables:
            bench.db.execute(f"TRUNCATE {table}")

    def measure(self, work):
        """A measure: its own empty queue, then what work(bench) says."""
        def measure(bench):
            self.need(bench)
            self.empty(bench)
            result = work(bench)
            self.empty(bench)
            return result
        return measure


# ---------------------------------------------------------------------------
# Node.js
# ---------------------------------------------------------------------------

class NodeLibrary(Library):
    program = ""

    def prepare(self, bench):
        if not shutil.which("node"):
            raise LeftOut("Node.js is not installed")
        package = PROGRAMS / "node_modules" / self.name / "package.json"
        if not package.exists():
            raise LeftOut("npm could not install it")
        self.version = json.loads(package.read_text(encoding="utf-8"))["version"]
        self.run("setup")

    def run(self, work, clients=1, seconds=SECONDS, **order):
        order = {"work": work, "clients": clients, "seconds": seconds, "warm_up": WARM_UP,
                 "batch": 1, "queues": 1, **order}
        result = subprocess.run(["node", PROGRAMS / self.program, json.dumps(order)],
                                capture_output=True, text=True)
        if result.returncode != 0:
            errors = [line for line in result.stderr.splitlines() if "Error" in line]
            raise Failed((errors or ["it failed"])[0].strip())
        return json.loads(result.stdout)

    def rate(self, work, clients=CLIENTS, before=None, **order):
        """Jobs per second from end to end, and what each leaves behind."""
        def measure(bench):
            if before:
                before(bench)
            start = traces(bench)
            run = self.run(work, clients, **order)
            return {PER_SECOND: run["rate"], **left_behind(bench, start, max(1, run["done"]))}
        return self.measure(measure)

    def seconds_of(self):
        """Its rate in each second, for at_the_end."""
        def rates(bench, seconds):
            self.need(bench)
            self.empty(bench)
            return self.run("cycle", CLIENTS, seconds)["rates"]
        return rates


class Graphile(NodeLibrary):
    name = "graphile-worker"
    program = "graphile.js"
    tables = ("graphile_worker._private_jobs", "graphile_worker._private_job_queues")

    def empty(self, bench):
        bench.db.execute("TRUNCATE " + ", ".join(self.tables))

    @staticmethod
    def fill(bench):
        """A backlog; its own call takes many jobs at once."""
        for _ in range(0, BACKLOG, 10_000):
            bench.db.execute("""SELECT count(*) FROM graphile_worker.add_jobs(array_fill(
                ROW('job', '{}'::json, NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec,
                ARRAY[10000]))""")
        bench.db.execute("VACUUM ANALYZE graphile_worker._private_jobs")


class PgBoss(NodeLibrary):
    name = "pg-boss"
    program = "pgboss.js"
    tables = ("pgboss.job",)
    has_queues = False

    @staticmethod
    def fill(bench):
        bench.db.execute("INSERT INTO pgboss.job (name, data)"
                         f" SELECT 'q', '{{}}' FROM generate_series(1, {BACKLOG})")
        bench.db.execute("VACUUM ANALYZE pgboss.job")

    def make_queues(self, bench):
        """Each queue is a table of its own, so making them takes a while."""
        if not BETWEEN:
            raise LeftOut("making so many tables takes too long for the short form")
        if not self.has_queues:
            self.has_queues = True
            self.run("queues", queues=QUEUES)


# ---------------------------------------------------------------------------
# pgq
# ---------------------------------------------------------------------------

TICK = 0.05  # s between two ticks: a batch is what came between them


class Consumer(threading.Thread):
    """Takes batches as they come, one after the other, as a consumer of pgq does."""

    def __init__(self):
        super().__init__(daemon=True)
        self.done = 0
        self.ended = False
        self.db = psycopg.connect(autocommit=True)

    def run(self):
        while not self.ended:
            batch = self.db.execute("SELECT pgq.next_batch('q', 'c')").fetchone()[0]
            if batch is None:
                time.sleep(TICK / 2)
                continue
            self.done += len(self.db.execute("SELECT ev_id, ev_type, ev_data FROM pgq.get_batch_events(%s)",
                                             [batch]).fetchall())
            self.db.execute("SELECT pgq.finish_batch(%s)", [batch])
        self.db.close()


class Ticker(threading.Thread):
    """Cuts batches, and rotates the tables that are read: what the daemon pgqd does."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = False

    def run(self):
        with psycopg.connect(autocommit=True) as db:
            while not self.ended:
                db.execute("SELECT pgq.ticker('q')")
                time.sleep(TICK)


class Pgq(Library):
    name = "pgq"

    def prepare(self, bench):
        try:
            bench.db.execute("CREATE EXTENSION pgq")
        except psycopg.Error:
            raise LeftOut("its package for this server is not installed") from None
        self.version = bench.db.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'pgq'").fetchone()[0]

    def empty(self, bench):
        """A new queue: what was in the old one goes with it."""
        if bench.db.execute("SELECT FROM pgq.get_queue_info('q')").rowcount > 0:
            bench.db.execute("SELECT pgq.drop_queue('q', true)")
        bench.db.execute("SELECT pgq.create_queue('q')")
        for name in ("ticker_max_lag", "ticker_idle_period"):
            bench.db.execute("SELECT pgq.set_queue_config('q', %s, %s)", [name, f"{TICK} s"])
        bench.db.execute("SELECT pgq.register_consumer('q', 'c')")

    def consumed(self, bench, text, clients, seconds):
        """How many events one consumer has taken in each second, while clients insert them."""
        consumer, ticker = Consumer(), Ticker()
        consumer.start()
        ticker.start()
        inserting = threading.Thread(target=pgbench, args=(bench, text, clients, seconds))
        inserting.start()
        rates = []
        time.sleep(WARM_UP)
        for _ in range(max(1, round(seconds))):
            done, began = consumer.done, time.monotonic()
            time.sleep(1)
            rates.append((consumer.done - done) / (time.monotonic() - began))
        inserting.join()
        ticker.ended = consumer.ended = True
        ticker.join()
        consumer.join()
        return rates, consumer.done

    def cycle(self, clients=CLIENTS, batch=1):
        text = script(PGQ_PUSH if batch == 1 else
                      PGQ_PUSH.replace("SELECT", "SELECT count(") + f") FROM generate_series(1, {batch})")

        def measure(bench):
            start = traces(bench)
            rates, done = self.consumed(bench, text, clients, SECONDS)
            return {PER_SECOND: sum(rates) / len(rates), **left_behind(bench, start, max(1, done))}
        return self.measure(measure)

    def seconds_of(self):
        def rates(bench, seconds):
            self.need(bench)
            self.empty(bench)
            return self.consumed(bench, script(PGQ_PUSH), CLIENTS, seconds)[0]
        return rates


GRAPHILE = Graphile()
PG_BOSS = PgBoss()
PGQ = Pgq()
LIBRARIES = (PGQ, GRAPHILE, PG_BOSS)

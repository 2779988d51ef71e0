"""Failover: a queue under load whose leader is killed, and books that must balance.

    failover.py [--rounds N] [--clients N] [--seed N] [--clock] HOME BINDIR SOCKETS CONFIGURATION

In each round the clients of test/stress/chaos push, take and end jobs through whichever node
is the leader; it fails, another is promoted, the old one comes back, all under load.
Then peace: the counts of the new leader, every job taken out, and the audit of chaos.
With --clock, there are rounds in which all of the leader's node stands still for a while,
and goes on as the leader.
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event, Thread

import psycopg

sys.path.append(str(Path(__file__).resolve().parent.parent / "chaos"))

import client  # noqa: E402
from audit import TIMEOUT, TOLERANCE  # noqa: E402
from books import Disaster  # noqa: E402
from chaos import ODD_IN_LOG, Round, add_clock, forget, prepare, show  # noqa: E402
from cluster import PATIENCE, Cluster, Trouble, wait_for  # noqa: E402

client.PATIENCE = PATIENCE
# A client may reach another leader while the one that it asked is at it still.
client.Client.prepares = False

# Load before and after, in seconds.
BEFORE, AFTER = 4, 6

WATCHED = "watched"  # the queue of two jobs whose claims the round watches
SILENT, LIVING = "0" * 31 + "1", "0" * 31 + "2"

# The server's own time of the promotion: what starts with it and with nothing else.
PROMOTED = """SELECT min(backend_start) FROM pg_stat_activity
    WHERE backend_type IN ('autovacuum launcher', 'logical replication launcher')"""


class Usurper(Thread):
    """Sees to it that there is another leader, in the middle of the load."""

    def __init__(self, cluster, kind, stop):
        super().__init__(name="usurper", daemon=True)
        self.cluster = cluster
        self.kind = kind
        self.stop = stop
        self.disasters = []
        self.count = Counter()
        self.figures = {}
        self.odd = []

    def run(self):
        try:
            self.stop.wait(BEFORE)
            self.claims = self.claim_two()
            self.disturb()
            self.check_worker()
            self.check_claims()
            self.rejoin()
            self.stop.wait(AFTER)
        except Exception as error:  # without a leader there is no round
            self.odd.append(f"{self.kind}: {error!r}")
        finally:
            self.stop.set()

    def claim_two(self):
        """One of a worker that is silent from now on, and one of a worker that lives."""
        with self.cluster.connect("failover watch") as db:
            db.execute("SET pictrepo.synchronous_claims = on")
            return [self.claim(db, worker) for worker in (SILENT, LIVING)]

    def claim(self, db, worker):
        db.execute("SELECT pictrepo.push(%s, '1')", (WATCHED,))
        return db.execute("SELECT id FROM pictrepo.pop(%s, %s)", (WATCHED, worker)).fetchone()[0]

    def disturb(self):
        self.old = self.cluster.leader()
        if self.kind == STILL:
            self.stand_still()
        else:
            self.fail_over()
        self.count[self.kind] += 1

    def stand_still(self):
        start = time.monotonic()
        went_on = self.old.stand_still(STILL_FOR)
        self.disasters.append(Disaster(start, went_on, crash=False, still=True))
        self.db = self.cluster.connect("failover watch")
        self.grace = lambda: time.monotonic() - went_on

    # ----- the old leader goes -----

    def fail_over(self):
        start = time.monotonic()
        KINDS[self.kind](self)
        self.db = wait_for("another leader", self.connect_to_another, pause=0.02)
        end = time.monotonic()
        self.figures["seconds without a leader"] = end - start
        self.disasters.append(Disaster(start, end, True))
        promoted = self.value(PROMOTED)
        self.grace = lambda: self.value("SELECT extract(epoch FROM clock_timestamp() - %s)::float8", promoted)

    def kill_node(self):
        self.old.kill_all()

    def kill_server(self):
        self.old.kill_server()

    def switch_over(self):
        self.cluster.switch_over()

    def connect_to_another(self):
        try:
            db = self.cluster.connect("failover watch")
        except psycopg.OperationalError:
            return None
        if db.info.port == self.old.port:
            db.close()
            return None
        return db

    def value(self, sql, *args):
        return self.db.execute(sql, args).fetchone()[0]

    # ----- the new one -----

    def check_worker(self):
        wait_for("a pictrepo worker on the new leader", lambda: self.value(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'"), pause=0.02)

    def check_claims(self):
        """Both are kept for a full timeout; then the silent worker has lost its job, and nobody else."""
        silent, living = self.claims
        patience = time.monotonic() + PATIENCE
        while True:
            if not self.value("SELECT pictrepo.heartbeat(%s, %s, %s)", WATCHED, LIVING, living):
                raise Trouble("a living worker lost its job by the failover")
            if not self.value("SELECT status = 'running' FROM pictrepo.job_queue WHERE id = %s", silent):
                break
            if time.monotonic() > patience:
                raise Trouble("a claim outlives its timeout")
            time.sleep(0.02)
        grace = self.grace()
        self.figures["seconds of grace"] = grace
        if grace < TIMEOUT - TOLERANCE:
            raise Trouble(f"a job was taken away {grace:.1f} s after the {self.kind}")
        self.end_both(silent, living)

    def end_both(self, silent, living):
        outcomes = [self.value("SELECT pictrepo.complete_job(%s, %s, %s)", WATCHED, worker, id)
                    for worker, id in ((SILENT, silent), (LIVING, living))]
        if outcomes != ["lost", "completed"]:
            raise Trouble(f"the ends of a lost job and of a kept one are {outcomes}")
        # No client takes it, and the books know nothing of it.
        self.db.execute("DELETE FROM pictrepo.job_queue WHERE id = %s", (silent,))

    def rejoin(self):
        """The old leader follows the new one, by pg_rewind or as a new copy."""
        self.db.close()
        start = time.monotonic()
        if self.old.process.poll() is not None:
            self.old.start()
        self.cluster.wait_until_whole()
        self.figures["seconds until the old leader follows"] = time.monotonic() - start


KINDS = {
    "nodes killed -9": Usurper.kill_node,
    "postmasters killed -9": Usurper.kill_server,
    "switchovers": Usurper.switch_over,
}
# Most of them in the hardest way.
ORDER = ["nodes killed -9", "postmasters killed -9", "nodes killed -9", "switchovers"]

# For longer than a heartbeat timeout, and not so long that there is another leader.
STILL, STILL_FOR = "nodes that stood still", 5


class FailoverRound(Round):
    """The load of chaos, and no crash of the server after it: that has been."""

    def run(self):
        super().run(4 * PATIENCE)

    def load(self, seconds):
        """Until the new leader was found to be good."""
        self.stop.wait(seconds)

    def settle(self):
        self.check_counts("on the new leader")
        self.check_table()
        self.drain()
        self.check_counts("after the drain")
        self.check_empty()
        self.check_standbys()
        self.audit()

    def check_standbys(self):
        """The others have what the leader has, and count the same."""
        sums = """SELECT pictrepo.queue_length(), pictrepo.size(), count(*),
            md5(string_agg(hash::text, ' ' ORDER BY hash)) FROM pictrepo.hashes"""
        leader = self.query(sums)
        for node in self.server.nodes.values():
            with psycopg.connect(host=self.server.socket, port=node.port, user="postgres",
                                 dbname="postgres", autocommit=True) as db:
                try:
                    wait_for(node.name, lambda: db.execute(sums).fetchall() == leader, 10)
                except Trouble:
                    self.wrong.append(f"{node.name} has {db.execute(sums).fetchall()}, the leader {leader}")


def check_logs(cluster):
    """Of Patroni and PostgreSQL, which write to one."""
    return [f"{node.name}: {line.rstrip()}" for node in cluster.nodes.values()
            for line in node.log.read_text(errors="replace").splitlines() if ODD_IN_LOG.search(line)]


def one_round(cluster, number, options, total, figures):
    order = [STILL, *ORDER] if options.clock else ORDER
    kind = order[(number - 1) % len(order)]
    start = time.monotonic()
    stop = Event()
    usurper = Usurper(cluster, kind, stop)
    round = FailoverRound(cluster, number, options.seed, options.clients, usurper)
    round.run()
    wrong = round.wrong + check_logs(cluster)
    seen = ", ".join(f"{value:.1f} {name}" for name, value in usurper.figures.items())
    print(f"round {number}, {kind}: {time.monotonic() - start:.0f} s, {len(round.books.pushes):,} pushes, {seen}; "
          + ("the books balance" if not wrong else f"{len(wrong)} THINGS ARE WRONG"), flush=True)
    for line in wrong[:50]:
        print(f"  {line}", flush=True)
    total.update(round.books.count)
    for name, value in usurper.figures.items():
        figures.setdefault(name, []).append(value)
    if not wrong:
        forget(cluster)
    return not wrong


def count_rewinds(cluster):
    return sum(node.log.read_text(errors="replace").count("pg_rewind exit code=0")
               for node in cluster.nodes.values())


def main(options):
    cluster = Cluster(Path(options.home).resolve(), options.bindir, options.sockets, options.configuration)
    total, figures = Counter(), {}
    print(f"seed {options.seed}", flush=True)
    try:
        cluster.start()
        prepare(cluster)
        balanced = all(one_round(cluster, number, options, total, figures)
                       for number in range(1, options.rounds + 1))
        total["nodes rewound"] = count_rewinds(cluster)
        show(total)
        for name, values in figures.items():
            print(f"  {name}: {min(values):.1f} to {max(values):.1f}")
        return not balanced
    finally:
        cluster.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    add_clock(parser)
    for name in ("home", "bindir", "sockets", "configuration"):
        parser.add_argument(name)
    # Whatever ends it, nothing stays behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    sys.exit(main(parser.parse_args()))

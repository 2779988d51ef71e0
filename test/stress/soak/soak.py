"""The long run: everything at once on one server, and nobody is killed.

    soak.py [--seconds N] [--seed N] [--clock] DATA LOG OUTPUT

Three databases of the cluster in DATA, which PGHOST and the like reach: in
`images` random operations on few things, in `jobs` producers and workers on the
books, in `traffic` a steady mix of calls at a fixed rate, with sessions that
wait and a schedule. Beside them the chores: dumps, exports, vacuum, reindexing, and
in each database somebody who holds a snapshot for some time. With --clock, the server's
clock is set time and again, and all of it stands still.
The connections last as long as the run. In the end everything must fit together,
and after a minute or more memory must not have grown, after ten neither tables nor
the time that calls take. OUTPUT has what was seen meanwhile.
"""

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event, Thread

STRESS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(STRESS / name) for name in ("chaos", "operations", "../../dashboard")]

import chaos  # noqa: E402
import operations  # noqa: E402
from host import Books, Cleaner, Host  # noqa: E402
from server import Server  # noqa: E402

from traffic import Traffic  # noqa: E402
from watch import Watch  # noqa: E402

# A tenth of the run, at most so many seconds, is between two chores.
CHORES_EVERY = 60

# So many seconds are between two steps of the clock.
DISTURBED_EVERY = 5

# Where workers are slower than producers these wait: so tables are as large as they have to be.
ENOUGH = 1000


class Images:
    """Operations at random, as in test/stress/operations; some transactions have several calls, which may deadlock."""

    def __init__(self, server, seed):
        self.server, self.books = server, Books()
        self.stop, self.end = Event(), Event()
        operations.prepare(server)
        self.hosts = [Host(f"h{n}", server, seed, self.stop, self.books) for n in range(4)]
        for host in self.hosts:
            host.several = True
        self.cleaner = Cleaner("cleaner", server, seed, self.end, self.books)

    def begin(self):
        for thread in (*self.hosts, self.cleaner):
            thread.start()

    def finish(self):
        self.stop.set()
        for host in self.hosts:
            host.join(120)
            if host.is_alive():
                yield f"{host.name} hangs"
        time.sleep(1)
        self.end.set()
        self.cleaner.join(120)
        yield from operations.audit(self.server, self.books)

    def count(self):
        return self.books.count


class Jobs:
    """Producers and workers of test/stress/chaos, without a disaster."""

    def __init__(self, server, seed):
        chaos.prepare(server)
        # who is not let loose, but on the clock
        killer = chaos.Killer(server, str(seed), Event())
        self.round = chaos.Round(server, 1, seed, 6, killer)
        for client in self.round.clients:
            client.cuts, client.enough = False, ENOUGH
        self.disturbances = Thread(target=killer.disturb, args=[DISTURBED_EVERY], daemon=True)

    def begin(self):
        self.round.watch.start()
        for client in self.round.clients:
            client.start()
        if self.round.server.clock:
            self.disturbances.start()

    def calm(self):
        """Nothing is done to the clock any more, and it is as late as it has ever been."""
        self.round.stop.set()
        if self.round.server.clock:
            self.disturbances.join(120)
            self.round.server.clock.let_all_come_due()

    def finish(self):
        round = self.round
        for client in round.clients:
            client.join(120)
            if client.is_alive():
                yield f"{client.name} hangs"
        round.end_what_is_prepared()
        round.check_counts("after the load")
        round.take_stock()
        round.audit()
        yield from round.wrong

    def count(self):
        return self.round.books.count


class Witnesses:
    """Old snapshots in those databases where the jobs' own round has none."""

    def __init__(self, servers, seed):
        self.stop = Event()
        self.all = [chaos.Witness(f"witness of {server.database}", server, seed, self.stop) for server in servers]

    def begin(self):
        for witness in self.all:
            witness.start()

    def finish(self):
        self.stop.set()
        for witness in self.all:
            witness.join(120)
            yield from witness.books.odd
            if witness.is_alive():
                yield f"{witness.name} hangs"


class Chores(Thread):
    """What goes on beside the work on a server, one after the other."""

    def __init__(self, servers, pause):
        super().__init__(name="chores", daemon=True)
        self.servers, self.pause = servers, pause
        self.stop, self.odd, self.done = Event(), [], 0

    def run(self):
        while not self.stop.wait(self.pause):
            for server in self.servers:
                for chore in (self.dump, self.export, self.vacuum, self.reindex):
                    try:
                        chore(server)
                        self.done += 1
                    except Exception as error:  # each has to work
                        self.odd.append(f"{chore.__name__} of {server.database}: {error!r}")

    def dump(self, server):
        subprocess.run(["pg_dump", "--file=/dev/null", server.database], check=True)

    def export(self, server):
        with server.connect("soak chores") as db:
            db.execute("SELECT count(*) FROM pictrepo.export()")

    def vacuum(self, server):
        with server.connect("soak chores") as db:
            db.execute("VACUUM (ANALYZE)")

    def reindex(self, server):
        with server.connect("soak chores") as db:
            for table in ("job_queue", "aliases", "hashes"):
                db.execute(f"REINDEX TABLE CONCURRENTLY pictrepo.{table}")


def databases(options):
    """A server for each of three databases, with pictrepo in it."""
    first = Server(options.data, options.log, clock=chaos.shifted_clock(options))
    chaos.begin(first)
    servers = []
    for name in ("images", "jobs", "traffic"):
        with first.connect("soak") as db:
            db.execute(f"CREATE DATABASE {name}")
        server = Server(options.data, options.log, name, first.clock)
        with server.connect("soak") as db:
            db.execute("CREATE EXTENSION pictrepo")
        servers.append(server)
    return servers


def show(title, count):
    print(title)
    count = {name: number for name, number in count.items() if number}
    width = max(map(len, count), default=0)
    for name in sorted(count):
        print(f"  {name:{width}} {count[name]:11,}")


def main(options):
    print(f"seed {options.seed}", flush=True)
    servers = databases(options)
    try:
        images, jobs = Images(servers[0], options.seed), Jobs(servers[1], options.seed)
        # Memory is to be compared from when all connections are there until the watch ends.
        lead = min(5, options.seconds / 10)
        traffic = Traffic(servers[2], lead + options.seconds + 1, options.output)
        chores = Chores(servers, min(CHORES_EVERY, options.seconds / 10))
        watch = Watch(servers, options.output, options.seconds)
        witnesses = Witnesses([servers[0], servers[2]], options.seed)
        for part in (images, jobs, traffic, witnesses):
            part.begin()
        time.sleep(lead)
        watch.start()
        chores.start()
        time.sleep(options.seconds)
        watch.end()
        chores.stop.set()
        chores.join(120)
        jobs.calm()
        wrong = [line for part in (witnesses, traffic, images, jobs) for line in part.finish()]
        latencies = traffic.latencies()
        wrong += [*chores.odd, *watch.wrong(latencies), *operations.check_log(servers[0])]
    finally:
        servers[0].stop("fast")
    show("operations", images.count())
    show("jobs", jobs.count())
    show("traffic", traffic.count())
    show("in images and traffic", sum((witness.books.count for witness in witnesses.all), Counter()))
    print(f"chores done: {chores.done}")
    watch.report(latencies)
    for line in wrong[:50]:
        print(line)
    print(f"{len(wrong)} things are wrong" if wrong else "all fits together", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chaos.add_clock(parser)
    parser.add_argument("data")
    parser.add_argument("log")
    parser.add_argument("output", type=Path)
    sys.exit(main(parser.parse_args()))

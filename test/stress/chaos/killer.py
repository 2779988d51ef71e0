"""The killer: one disaster after the other, at random once each kind has been."""

import time
from collections import Counter
from random import Random
from threading import Event, Thread

import psycopg

from books import Disaster

# What is left of a heartbeat timeout after each of them must sometimes pass, too.
PAUSES = [0.2, 0.5, 1, 2, 3.5]

# How far the clock is set, and how long all stands still, beside a heartbeat timeout of 2 s; in seconds.
STEPS = [1.5, 3, 60, 600]
STILL = [1.5, 2.5, 4]

WORKER = "backend_type = 'pictrepo worker'"
LAUNCHER = "backend_type = 'pictrepo launcher'"

# Background workers come back by themselves, but not at once.
PATIENCE = 20


def of_workers(kind):
    """There are none where the server does not preload the library."""
    return kind.startswith(("workers", "launchers"))


class Killer(Thread):
    """Of the clients who go by that application name, and of the server they are at."""

    def __init__(self, server, seed, stop, clients="chaos client", pauses=PAUSES):
        super().__init__(name="killer", daemon=True)
        self.server = server
        self.random = Random(f"{seed} killer")
        self.stop = stop
        self.clients = f"application_name = '{clients}'"
        self.pauses = pauses
        self.disasters = []
        self.odd = []
        self.dealt = Event()  # when each kind has been
        self.began = 0  # the disaster under way
        self.db = server.wait_until_up()
        preload = self.db.execute("SHOW shared_preload_libraries").fetchone()[0]
        # without shared memory, sessions know little of what happened to the clock
        soft = {**SOFT, **(CLOCK if server.clock and preload else {})}
        self.soft, self.hard = ({kind: act for kind, act in kinds.items() if preload or not of_workers(kind)}
                                for kinds in (soft, HARD))
        self.count = Counter(dict.fromkeys([*self.soft, *self.hard], 0))

    def run(self):
        soft, hard = self.deal(self.soft), self.deal(self.hard)
        try:
            while not self.stop.wait(self.random.choice(self.pauses)):
                for _ in range(self.random.randint(2, 5)):
                    self.annoy(next(soft))
                self.strike(next(hard))
                if not self.missing():
                    self.dealt.set()
        except Exception as error:  # without a server that comes back there is no round
            self.odd.append(f"killer: {error!r}")
            self.stop.set()
            raise
        finally:
            self.dealt.set()
            self.db.close()

    def deal(self, kinds):
        """One of each, in any order, before the next ones are left to chance."""
        yield from self.random.sample(list(kinds), len(kinds))
        while True:
            yield self.random.choices(list(kinds), [often for _, often in kinds.values()])[0]

    def missing(self):
        """What there was none of, though it can be had: then little was proved."""
        return [kind for kind, times in self.count.items() if times == 0]

    def one(self, which):
        """A process of this kind, which comes if it is not there yet."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not self.stop.is_set():
            found = self.db.execute(
                f"SELECT pid FROM pg_stat_activity WHERE {which or self.clients} ORDER BY pid").fetchall()
            if found:
                return self.random.choice(found)[0]
            time.sleep(0.05)
        return None

    # ----- what a server survives -----

    def annoy(self, kind):
        act, _ = self.soft[kind]
        if act(self):
            self.count[kind] += 1
        time.sleep(self.random.uniform(0, 0.2))

    def signal(self, function, which):
        pid = self.one(which)
        return pid is not None and self.db.execute(f"SELECT {function}(%s)", (pid,)).fetchone()[0]

    def step(self, sign):
        self.server.clock.step(sign * self.random.choice(STEPS))
        return True

    def stand_still(self):
        start = time.monotonic()
        went_on = self.server.stand_still(self.random.choice(STILL))
        self.disasters.append(Disaster(start, went_on, crash=False, still=True))
        return True

    def disturb(self, pause):
        """Nobody is hurt, but for the clock."""
        for kind in self.deal(CLOCK):
            if self.stop.wait(pause):
                return
            self.annoy(kind)

    # ----- what it does not -----

    def strike(self, kind):
        act, _ = self.hard[kind]
        self.disaster(kind, lambda: act(self), kind != "restarts")

    def disaster(self, name, act, crash=True):
        """Note when it began and when the server was back; act says whether it came to be."""
        self.began = time.monotonic()
        if act():
            self.count[name] += 1
            self.wait_until_broken()
            self.db = self.server.wait_until_up()
            self.disasters.append(Disaster(self.began, time.monotonic(), crash))

    def wait_until_broken(self, patience=30):
        """Until the crash reached our own session the old server may still answer."""
        end = time.monotonic() + patience
        try:
            while time.monotonic() < end:
                self.db.execute("SELECT")
                time.sleep(0.01)
        except psycopg.Error:
            self.db.close()
            return
        raise RuntimeError("the server lives on after a disaster")

    def kill(self, which):
        pid = self.one(which)
        self.began = time.monotonic()  # who is to be killed may have been long in coming
        return pid is not None and self.server.kill(pid)

    def kill_postmaster(self):
        killed = self.server.kill(self.server.postmaster())
        self.server.start()
        return killed

    def stop_server(self, mode):
        self.server.stop(mode)
        self.server.start()
        return True


def signalling(function, which):
    return lambda killer: killer.signal(function, which)


# What is done, to whom, None being the clients; and how often beside the others.
SOFT = {
    "statements cancelled": (signalling("pg_cancel_backend", None), 6),
    "clients terminated": (signalling("pg_terminate_backend", None), 4),
    "workers terminated": (signalling("pg_terminate_backend", WORKER), 1),
    "workers cancelled": (signalling("pg_cancel_backend", WORKER), 1),
    "launchers terminated": (signalling("pg_terminate_backend", LAUNCHER), 0.3)}
CLOCK = {
    "steps of the clock forward": (lambda killer: killer.step(1), 1),
    "steps of the clock back": (lambda killer: killer.step(-1), 1),
    "times that all stood still": (Killer.stand_still, 0.5)}
HARD = {
    "clients killed -9": (lambda killer: killer.kill(None), 3),
    "workers killed -9": (lambda killer: killer.kill(WORKER), 2),
    "launchers killed -9": (lambda killer: killer.kill(LAUNCHER), 1),
    "postmasters killed -9": (Killer.kill_postmaster, 2),
    "immediate shutdowns": (lambda killer: killer.stop_server("immediate"), 1),
    "restarts": (lambda killer: killer.stop_server("fast"), 1)}

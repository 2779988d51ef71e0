"""The killer: at random, one disaster after the other."""

import time
from collections import Counter
from random import Random
from threading import Thread

import psycopg

from books import Disaster

# What is left of a heartbeat timeout after each of them must sometimes pass, too.
PAUSES = [0.2, 0.5, 1, 2, 3.5]

KINDS = [
    "statements cancelled", "clients terminated", "clients killed -9", "background workers cancelled",
    "background workers terminated", "background workers killed -9", "postmasters killed -9",
    "immediate shutdowns", "restarts"]

CLIENTS = "application_name = 'chaos client'"
WORKERS = "backend_type LIKE 'pictrepo%'"


class Killer(Thread):
    def __init__(self, server, seed, stop):
        super().__init__(name="killer", daemon=True)
        self.server = server
        self.random = Random(f"{seed} killer")
        self.stop = stop
        self.disasters = []
        self.count = Counter(dict.fromkeys(KINDS, 0))
        self.odd = []
        self.db = server.wait_until_up()

    def run(self):
        try:
            while not self.stop.wait(self.random.choice(PAUSES)):
                for _ in range(self.random.randint(1, 5)):
                    self.unkind()
                self.random.choices(HARD, [3, 3, 2, 1, 1])[0](self)
        except Exception as error:  # without a server that comes back there is no round
            self.odd.append(f"killer: {error!r}")
            self.stop.set()
            raise
        finally:
            self.db.close()

    def processes(self, which):
        return [row[0] for row in self.db.execute(
            f"SELECT pid FROM pg_stat_activity WHERE {which} ORDER BY pid").fetchall()]

    def one(self, which):
        processes = self.processes(which)
        return self.random.choice(processes) if processes else None

    # ----- what a server survives -----

    def unkind(self):
        function, which, name = self.random.choices([
            ("pg_cancel_backend", CLIENTS, "statements cancelled"),
            ("pg_terminate_backend", CLIENTS, "clients terminated"),
            ("pg_terminate_backend", WORKERS, "background workers terminated"),
            ("pg_cancel_backend", WORKERS, "background workers cancelled")], [6, 4, 1, 1])[0]
        pid = self.one(which)
        if pid is not None and self.db.execute(f"SELECT {function}(%s)", (pid,)).fetchone()[0]:
            self.count[name] += 1
        time.sleep(self.random.uniform(0, 0.2))

    # ----- what it does not -----

    def disaster(self, name, act, crash=True):
        """Note when it began and when the server was back; act says whether it came to be."""
        start = time.monotonic()
        if act():
            self.count[name] += 1
            self.wait_until_broken()
            self.db = self.server.wait_until_up()
            self.disasters.append(Disaster(start, time.monotonic(), crash))

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

    def kill_client(self):
        pid = self.one(CLIENTS)
        self.disaster("clients killed -9", lambda: pid is not None and self.server.kill(pid))

    def kill_worker(self):
        pid = self.one(WORKERS)
        if pid is None:
            self.kill_client()
        else:
            self.disaster("background workers killed -9", lambda: self.server.kill(pid))

    def kill_postmaster(self):
        def act():
            killed = self.server.kill(self.server.postmaster())
            self.server.start()
            return killed
        self.disaster("postmasters killed -9", act)

    def stop_server(self, name, mode, crash):
        def act():
            self.server.stop(mode)
            self.server.start()
            return True
        self.disaster(name, act, crash)

    def shut_down_immediately(self):
        self.stop_server("immediate shutdowns", "immediate", True)

    def restart(self):
        self.stop_server("restarts", "fast", False)


HARD = [Killer.kill_client, Killer.kill_worker, Killer.kill_postmaster,
        Killer.shut_down_immediately, Killer.restart]

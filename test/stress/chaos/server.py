"""The server that is to crash: starting, stopping, killing and asking it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg


def postmaster_of(data):
    """Its process, if there is one that works in this directory."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        return pid if os.readlink(f"/proc/{pid}/cwd") == str(data.resolve()) else None
    except (OSError, IndexError, ValueError):
        return None


def parent_of(pid):
    """None when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def signal_all(number, postmaster):
    """To all processes of a server, first to the one that starts others."""
    os.kill(postmaster, number)
    for path in Path("/proc").glob("[0-9]*"):
        if parent_of(path.name) == postmaster:
            try:
                os.kill(int(path.name), number)
            except ProcessLookupError:
                pass  # it has ended


class Server:
    """The cluster in a data directory; where to connect says the environment, but for another database.

    clock: the wall clock that it is started with, if it is not the machine's.
    """

    def __init__(self, data, log, database=None, clock=None):
        self.data = Path(data)
        self.log = Path(log)
        self.database = database
        self.clock = clock

    def connect(self, name):
        return psycopg.connect(dbname=self.database, autocommit=True, application_name=name, connect_timeout=30)

    def postmaster(self):
        return postmaster_of(self.data)

    def control(self, *command):
        return subprocess.run(
            ["pg_ctl", *command, "--silent", "--wait", f"--pgdata={self.data}", f"--log={self.log}"],
            env={**os.environ, **(self.clock.environment() if self.clock else {})},
            capture_output=True, text=True, check=False)

    def start(self, patience=60):
        """As long as processes of a killed postmaster live, a new one does not start."""
        end = time.monotonic() + patience
        while self.control("start").returncode != 0:
            if time.monotonic() > end:
                raise RuntimeError(f"the server does not start; its log is {self.log}")
            time.sleep(0.1)

    def stop(self, mode):
        result = self.control("stop", f"--mode={mode}")
        if result.returncode != 0:
            raise RuntimeError(f"pg_ctl stop --mode={mode}: {result.stderr}")

    def kill(self, pid):
        """SIGKILL to one of this server's own processes; whether it was there to be killed."""
        try:
            postmaster = self.postmaster()
            if postmaster is None or postmaster not in (pid, parent_of(pid)):
                return False
            os.kill(pid, signal.SIGKILL)
            return True
        except OSError:
            return False

    def stand_still(self, seconds):
        """All of it at once, as on a machine that sleeps; when it went on."""
        postmaster = self.postmaster()
        signal_all(signal.SIGSTOP, postmaster)
        time.sleep(seconds)
        went_on = time.monotonic()
        signal_all(signal.SIGCONT, postmaster)
        return went_on

    def wait_until_up(self, patience=60):
        end = time.monotonic() + patience
        while True:
            try:
                return self.connect("chaos killer")
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

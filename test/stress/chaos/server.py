"""The server that is to crash: starting, stopping, killing and asking it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg


class Server:
    """The cluster in a data directory; where to connect says the environment, but for another database."""

    def __init__(self, data, log, database=None):
        self.data = Path(data)
        self.log = Path(log)
        self.database = database

    def connect(self, name):
        return psycopg.connect(dbname=self.database, autocommit=True, application_name=name, connect_timeout=5)

    def postmaster(self):
        """Its process, if there is one that works in this directory."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            return pid if os.readlink(f"/proc/{pid}/cwd") == str(self.data.resolve()) else None
        except (OSError, IndexError, ValueError):
            return None

    def control(self, *command):
        return subprocess.run(
            ["pg_ctl", *command, "--silent", "--wait", f"--pgdata={self.data}", f"--log={self.log}"],
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
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if pid != self.postmaster() and int(status[1]) != self.postmaster():
                return False
            os.kill(pid, signal.SIGKILL)
            return True
        except OSError:
            return False

    def wait_until_up(self, patience=60):
        end = time.monotonic() + patience
        while True:
            try:
                return self.connect("chaos killer")
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

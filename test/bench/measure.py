"""What pgbench can measure.

Each measure is made for one contestant, rate(script) for example, and called
with the bench once a round; it gives what it measured by name.
"""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean

import psycopg

from options import CLIENTS, HELD, READING, ROWS, SECONDS

PER_SECOND = "per second"
WAL = "WAL bytes per call"
VERSIONS = "row versions per call"

# Variables that a script may use; have: whether the client has a job's id yet.
VARIABLES = {"rows": ROWS, "at": "2020-01-01 00:20:30", "clients": CLIENTS, "have": 0, "id": "none"}


def script(*commands):
    """A pgbench script of statements and meta-commands."""
    return "".join(command + ("\n" if "\\" in command else ";\n") for command in commands)


@dataclass
class Run:
    """What a run of pgbench came to: transactions in all, per second, and in each second."""
    transactions: int
    rate: float
    rates: list


def pgbench(bench, text, clients=CLIENTS, seconds=SECONDS):
    path = bench.directory / "script.sql"
    path.write_text(text, encoding="utf-8")
    result = subprocess.run(
        ["pgbench", "--no-vacuum", "--protocol=prepared", f"--client={clients}",
         f"--jobs={min(2, clients)}", f"--time={max(1, round(seconds))}", "--progress=1",
         *(f"--define={name}={value}" for name, value in VARIABLES.items()), f"--file={path}"],
        env={**os.environ, "PGOPTIONS": "-c timezone=UTC"}, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"pgbench failed:\n{text}\n{result.stderr}")
    return Run(int(re.search(r"actually processed: (\d+)", result.stdout)[1]),
               float(re.search(r"tps = ([\d.]+)", result.stdout)[1]),
               [float(rate) for rate in re.findall(r"^progress: .*?([\d.]+) tps", result.stderr, re.M)])


def rate(text, clients=CLIENTS, seconds=SECONDS, units=1):
    """How often a script runs per second, or with so many units of work in each run of it."""
    def measure(bench):
        return {PER_SECOND: units * pgbench(bench, text, clients, seconds).rate}
    return measure


def reading(*commands):
    return rate(script(*commands), seconds=READING)


def updates_of(bench, table):
    # Else what the preparations did would be counted late.
    bench.db.execute("SELECT pg_stat_force_next_flush()")
    return bench.db.execute(
        "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = %s::regclass", [table]).fetchone()[0]


def writes(text, table):
    """A rate, and what each call leaves behind in the log and in a table."""
    def measure(bench):
        position = bench.db.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
        updates = updates_of(bench, table)
        run = pgbench(bench, text)
        # A session's counts are there when it has ended.
        bench.wait_for_sessions_to_end("pgbench")
        written = bench.db.execute(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", [position]).fetchone()[0]
        return {PER_SECOND: run.rate, WAL: float(written) / run.transactions,
                VERSIONS: (updates_of(bench, table) - updates) / run.transactions}
    return measure


@contextmanager
def old_snapshot():
    """What a backup or a long report does to everybody else: nothing dead can be removed."""
    with psycopg.connect() as db:
        db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        db.execute("SELECT 1 FROM bare.jobs LIMIT 1")
        yield
        db.rollback()


@contextmanager
def no_snapshot():
    yield


def at_the_end(text, beside=no_snapshot):
    """The rate in the last quarter of a long run."""
    def measure(bench):
        with beside():
            rates = pgbench(bench, text, seconds=HELD).rates
        bench.keep("held.csv", ["second", PER_SECOND], enumerate(rates, 1))
        return {PER_SECOND: mean(rates[len(rates) * 3 // 4:])}
    return measure

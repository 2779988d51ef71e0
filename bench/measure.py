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

from options import CLIENTS, HELD, SECONDS, WARM_UP

PER_SECOND = "per second"
WAL = "WAL bytes"
DEAD = "dead rows"


class LeftOut(Exception):
    """A contestant that can't take part, and why."""


class Failed(LeftOut):
    """What should have worked."""


def script(*commands):
    """A pgbench script of statements and meta-commands."""
    return "".join(command + ("\n" if "\\" in command else ";\n") for command in commands)


@dataclass
class Run:
    """What a run of pgbench came to: transactions in all, per second, and in each second."""
    transactions: int
    rate: float
    rates: list


def variables(bench, clients):
    """What a script may use. have: whether the client has a job's id yet; turn: how often it was its turn."""
    return {"rows": bench.rows, "clients": clients, "have": 0, "id": "none", "turn": 0}


def pgbench(bench, text, clients=CLIENTS, seconds=SECONDS, times=None):
    """Run a script for so many seconds after the warm-up, or so many times for each client."""
    path = bench.directory / "script.sql"
    path.write_text(text, encoding="utf-8")
    length = f"--transactions={times}" if times else f"--time={WARM_UP + max(1, round(seconds))}"
    result = subprocess.run(
        ["pgbench", "--no-vacuum", "--protocol=prepared", f"--client={clients}",
         f"--jobs={min(2, clients)}", length, "--progress=1",
         *(f"--define={name}={value}" for name, value in variables(bench, clients).items()),
         f"--file={path}"],
        env={**os.environ, "PGOPTIONS": "-c timezone=UTC"}, capture_output=True, text=True)
    path.unlink()
    if result.returncode != 0 or "aborted" in result.stderr:
        print(f"pgbench failed:\n{text}\n{result.stderr}", file=sys.stderr)
        raise Failed(f"pgbench: {result.stderr.strip().splitlines()[-2:][0]}")
    rates = [float(rate) for rate in re.findall(r"^progress: .*?([\d.]+) tps", result.stderr, re.M)]
    rate = float(re.search(r"tps = ([\d.]+)", result.stdout)[1])
    if not times and len(rates) > WARM_UP and sum(rates[WARM_UP:]) > 0:
        rates = rates[WARM_UP:]
        rate = mean(rates)
    return Run(int(re.search(r"actually processed: (\d+)", result.stdout)[1]), rate, rates)


def rate(text, clients=CLIENTS, units=1, times=None):
    """How often a script runs per second, or with so many units of work in each run of it.

    And what each unit leaves behind: bytes of the log, and dead rows.
    """
    def measure(bench):
        before = traces(bench)
        run = pgbench(bench, text, clients, times=times)
        return {PER_SECOND: units * run.rate,
                **left_behind(bench, before, units * run.transactions)}
    return measure


def traces(bench):
    """How far the log has come, and how many row versions have died."""
    # A session's counts are there when it has ended.
    bench.wait_for_sessions_to_end()
    # Else what the preparations did would be counted late.
    bench.db.execute("SELECT pg_stat_force_next_flush()")
    return [float(value) for value in bench.db.execute(
        "SELECT pg_current_wal_insert_lsn() - '0/0', sum(n_tup_upd + n_tup_del)"
        " FROM pg_stat_user_tables").fetchone()]


def left_behind(bench, before, units):
    return {name: (after - start) / units
            for name, start, after in zip((WAL, DEAD), before, traces(bench))}


def reading(*commands):
    """A rate alone: what only reads leaves nothing behind."""
    def measure(bench):
        return {PER_SECOND: pgbench(bench, script(*commands)).rate}
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


def at_the_end(rates_of, beside=no_snapshot):
    """The rate in the last quarter of a long run; rates_of(bench, seconds) gives it for each second."""
    def measure(bench):
        with beside():
            rates = rates_of(bench, HELD)
        bench.keep("held.csv", ["second", PER_SECOND], enumerate(rates, 1))
        return {PER_SECOND: mean(rates[len(rates) * 3 // 4:])}
    return measure


def seconds_of(text):
    """A script's rate in each second, for at_the_end."""
    return lambda bench, seconds: pgbench(bench, text, seconds=seconds).rates

"""What pgbench can measure.

Each measure is made for one contestant, rate(script) for example, and called
with the bench once a round; it gives what it measured by name.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass

from options import CLIENTS, ROWS, SECONDS

PER_SECOND = "per second"

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


def rate(text, clients=CLIENTS, units=1):
    """How often a script runs per second, or with so many units of work in each run of it."""
    def measure(bench):
        return {PER_SECOND: units * pgbench(bench, text, clients).rate}
    return measure

"""What came of it: Markdown tables for people, raw.csv for everything else."""

import csv
import os
import platform
from datetime import date
from statistics import median

from measure import PER_SECOND, VERSIONS, WAL
from options import CLIENTS, FEW_ROUNDS, HELD, IDLE, READING, ROUNDS, ROWS, SECONDS
from waiting import (CPU, HELD_BACK, P50, P50_SENT, P99, P99_SENT, SNAPSHOTS, TRANSACTIONS, WAKES,
                     WOKEN, WORKERS)


class Results:
    """What each round measured, by work and contestant."""

    def __init__(self):
        self.rounds = {}

    def add(self, work, contestant, measured):
        self.rounds.setdefault((work, contestant), []).append(measured)

    def of(self, name):
        """Works and contestants of which that was measured: (work, contestant, its rounds)."""
        return [(work, contestant, rounds) for (work, contestant), rounds in self.rounds.items()
                if name in rounds[0]]


def middle(rounds, name):
    return median(measured[name] for measured in rounds)


def write_raw(results, path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["workload", "work", "contestant", "round", "measure", "value"])
        for (work, contestant), rounds in results.rounds.items():
            for number, measured in enumerate(rounds, 1):
                for name, value in measured.items():
                    rows.writerow([work.name, work.title, contestant, number, name, value])


def table(header, rows):
    """Its lines; none where there is nothing to show."""
    if not rows:
        return []
    lines = ["| " + " | ".join(row) + " |" for row in [header, *rows]]
    lines.insert(1, "|" + "---|" * len(header))
    return [line.replace("|  |", "| |").replace("|  |", "| |") for line in lines] + [""]


def circumstances(db):
    version = db.execute("SHOW server_version").fetchone()[0]
    return (f"{date.today()}, PostgreSQL {version}, {os.cpu_count()} cores {platform.machine()},"
            f" {CLIENTS} clients on the same machine, {ROWS:,} images, {ROUNDS} rounds of {SECONDS:g} s,"
            f" {READING:g} s for what only reads; {FEW_ROUNDS} of {HELD:g} s beside an old snapshot"
            f" and of {IDLE:g} s of waiting;"
            " fsync and synchronous_commit on.")


def ratio(value):
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def spread(values):
    return f"{ratio(min(values))} to {ratio(max(values))}"


def rates(results):
    measured = results.of(PER_SECOND)
    own = {work: rounds for work, contestant, rounds in measured if contestant == "pictrepo"}
    rows = []
    for work, contestant, rounds in measured:
        row = [work.title, contestant, f"{middle(rounds, PER_SECOND):,.0f}", "", ""]
        if contestant != "pictrepo":
            row[3:] = [ratio(middle(own[work], PER_SECOND) / middle(rounds, PER_SECOND)),
                       spread([a[PER_SECOND] / b[PER_SECOND] for a, b in zip(own[work], rounds)])]
        rows.append(row)
    return table(["work", "contestant", "per second", "pictrepo's ratio", "worst to best round"], rows)


def writes(results):
    rows = [[work.title, contestant, f"{middle(rounds, WAL):,.1f}", f"{middle(rounds, VERSIONS):.2f}"]
            for work, contestant, rounds in results.of(WAL)]
    return table(["work", "contestant", WAL, VERSIONS], rows)


def latencies(results):
    measured = results.of(P99)
    own = {work: rounds for work, contestant, rounds in measured if contestant == "pictrepo"}
    rows = [[f"{middle(rounds, WORKERS):.0f}", contestant,
             *(f"{middle(rounds, name):.2f}" for name in (P50, P99)),
             spread([measured[P99] for measured in rounds]),
             "" if contestant == "pictrepo" else ratio(middle(rounds, P99) / middle(own[work], P99)),
             *(f"{middle(rounds, name):.2f}" for name in (P50_SENT, P99_SENT)),
             f"{middle(rounds, WOKEN):.2f}" if WOKEN in rounds[0] else ""]
            for work, contestant, rounds in measured]
    return table(["idle workers", "push's commit to job in hand", P50, P99, "p99 of the rounds",
                  "pictrepo's ratio of p99", P50_SENT, P99_SENT, WOKEN], rows)


def idling(results):
    rows = [[contestant, f"{middle(rounds, CPU):.2f}",
             *(f"{middle(rounds, name):,.1f}" for name in (WAKES, TRANSACTIONS)),
             *(f"{middle(rounds, name):,.0f}" for name in (SNAPSHOTS, HELD_BACK))]
            for _, contestant, rounds in results.of(CPU)]
    return table(["64 workers that wait", CPU, WAKES, TRANSACTIONS, SNAPSHOTS, HELD_BACK], rows)


def report(db, results):
    return "\n".join([circumstances(db), "", *rates(results), *writes(results),
                      *latencies(results), *idling(results)])

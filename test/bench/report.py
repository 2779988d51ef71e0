"""What came of it: Markdown tables for people, raw.csv for everything else."""

import csv
import os
import platform
from datetime import date
from statistics import median

from measure import PER_SECOND, VERSIONS, WAL
from options import CLIENTS, ROUNDS, ROWS, SECONDS


class Results:
    """What each round measured, by work and contestant."""

    def __init__(self):
        self.rounds = {}

    def add(self, work, contestant, measured):
        self.rounds.setdefault((work, contestant), []).append(measured)

    def of(self, name):
        """Works and contestants that were measured so: (work, contestant, its rounds)."""
        for (work, contestant), rounds in self.rounds.items():
            if name in rounds[0]:
                yield work, contestant, [measured[name] for measured in rounds]


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
            " fsync and synchronous_commit on.")


def ratio(value):
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def spread(values):
    return f"{ratio(min(values))} to {ratio(max(values))}"


def rates(results):
    own = {work.title: values for work, contestant, values in results.of(PER_SECOND)
           if contestant == "pictrepo"}
    rows = []
    for work, contestant, values in results.of(PER_SECOND):
        row = [work.title, contestant, f"{median(values):,.0f}", "", ""]
        if contestant != "pictrepo":
            row[3:] = [ratio(median(own[work.title]) / median(values)),
                       spread([a / b for a, b in zip(own[work.title], values)])]
        rows.append(row)
    return table(["work", "contestant", "per second", "pictrepo's ratio", "worst to best round"], rows)


def writes(results):
    versions = {(work, contestant): values for work, contestant, values in results.of(VERSIONS)}
    rows = [[work.title, contestant, f"{median(values):,.1f}", f"{median(versions[work, contestant]):.2f}"]
            for work, contestant, values in results.of(WAL)]
    return table(["work", "contestant", WAL, VERSIONS], rows)


def report(db, results):
    return "\n".join([circumstances(db), "", *rates(results), *writes(results)])

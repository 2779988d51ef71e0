"""What was measured, in memory and as raw.csv."""

import csv
from dataclasses import dataclass
from statistics import median

HEADER = ["workload", "work", "at", "images", "contestant", "round", "measure", "value"]


@dataclass(frozen=True)
class Case:
    """A work at a size of the repo."""
    work: object
    rows: int


class Results:
    """What each round measured, by case and contestant; and who was left out, and why."""

    def __init__(self, libraries):
        self.libraries = libraries
        self.cases = {}
        self.left_out = {}
        self.failed = False

    def add(self, work, rows, contestant, measured):
        self.cases.setdefault(Case(work, rows), {}).setdefault(contestant, []).append(measured)

    def leave_out(self, work, contestant, reason):
        """A library that is not there is left out as a whole, others of one work."""
        library = self.libraries.get(contestant)
        self.left_out[contestant if library and library.missing else f"{contestant} ({work.title})"] = reason

    def of(self, measure, rows=None):
        """Cases and contestants of which that was measured: (case, contestant, its rounds)."""
        return [(case, contestant, rounds) for case, contestants in self.cases.items()
                for contestant, rounds in contestants.items()
                if measure in rounds[0] and rows in (None, case.rows)]

    def write(self, path):
        with open(path, "w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(HEADER)
            for case, contestants in self.cases.items():
                for contestant, rounds in contestants.items():
                    for number, measured in enumerate(rounds, 1):
                        for name, value in measured.items():
                            out.writerow([case.work.name, case.work.title, case.work.at, case.rows,
                                          contestant, number, name, value])


def middle(rounds, name):
    return median(measured[name] for measured in rounds)

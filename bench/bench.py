"""The bench: the same work done by pictrepo, by its peers and by the least that it takes.

    bench.py DIRECTORY
    bench.py list

Each round runs every contestant of every work once, in turn, so that what
disturbs the machine disturbs all alike. What counts is the median over the
rounds; the ratio is that of the medians, its spread that of the rounds.
"""

import csv
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from libraries import LIBRARIES
from measure import PER_SECOND, Failed, LeftOut
from options import BACKLOG, CLIENTS, ONLY, PROXIES, ROWS, SIZES
from plots import draw
from queue_works import QUEUE_WORKS
from repo_works import REPO_WORKS
from report import report
from results import Results

HERE = Path(__file__).parent
WORKS = [*QUEUE_WORKS, *REPO_WORKS]


def statements(text):
    without_comments = re.sub(r"^--.*$", "", text, flags=re.M)
    return [statement.strip() for statement in without_comments.split(";\n") if statement.strip()]


@dataclass
class Bench:
    """What a measure works with."""
    db: psycopg.Connection
    directory: Path
    rows: int = 0
    measuring: tuple = ()
    kept: set = field(default_factory=set)

    def prepare(self):
        self.db.execute("SET TimeZone = 'UTC'")
        self.db.execute("CREATE EXTENSION pictrepo")
        self.db.execute((HERE / "peers.sql").read_text(encoding="utf-8"))

    def grow(self, rows):
        """More images, until there are so many."""
        if rows <= self.rows:
            return
        print(f"Filling tables for {rows:,} images", flush=True)
        first, self.rows = self.rows + 1, rows
        self.run_sql(statements((HERE / "fill.sql").read_text(encoding="utf-8")), first=first, last=rows)

    # Each statement is a transaction of its own, as VACUUM wants it.
    def run_sql(self, statements, **variables):
        variables |= {"rows": self.rows, "clients": CLIENTS, "jobs": BACKLOG, "proxies": PROXIES}
        for statement in statements:
            self.db.execute(re.sub(rf"(?<!:):({'|'.join(variables)})\b",
                                   lambda name: str(variables[name[1]]), statement))

    def keep(self, name, header, rows):
        """Add raw numbers of the measure under way to a file."""
        new = name not in self.kept
        self.kept.add(name)
        with open(self.directory / name, "w" if new else "a", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            if new:
                out.writerow(["work", "contestant", "round", *header])
            out.writerows([*self.measuring, *row] for row in rows)

    def wait_for_sessions_to_end(self):
        """Until no client is there but us: only then are all counts in. Who looks on is not waited for."""
        for _ in range(500):
            if self.db.execute("SELECT FROM pg_stat_activity WHERE backend_type = 'client backend'"
                               " AND pid <> pg_backend_pid()").rowcount == 0:
                return
            time.sleep(0.01)


def chosen_works():
    names = list(dict.fromkeys(work.name for work in WORKS))
    for name in ONLY:
        if name not in names:
            sys.exit(f"no workload {name}; there are {', '.join(names)}")
    return [work for work in WORKS if work.name in (ONLY or names)]


def show(round, work, contestant, measured):
    what = [f"{value:,.0f}/s" if name == PER_SECOND else f"{name} {value:,.3g}"
            for name, value in measured.items()]
    print(f"round {round}: {work.title}, {contestant}: {', '.join(what)}", flush=True)


def measure_once(bench, results, work, contestant, round):
    """What a contestant comes to in a round; one that can't take part is remembered."""
    bench.run_sql(work.before_each)
    bench.measuring = (work.title, contestant, round)
    try:
        measured = work.contestants[contestant](bench)
    except LeftOut as reason:
        results.leave_out(work, contestant, str(reason))
        results.failed |= isinstance(reason, Failed)
        print(f"round {round}: {work.title}, {contestant} is left out: {reason}", flush=True)
        return
    results.add(work, bench.rows, contestant, measured)
    show(round, work, contestant, measured)


def run_rounds(bench, results, works):
    for round in range(1, max((work.rounds for work in works), default=0) + 1):
        for work in works:
            if round > work.rounds:
                continue
            bench.run_sql(work.before_round)
            for contestant in work.contestants:
                measure_once(bench, results, work, contestant, round)


def run(bench, results, works):
    """All works at the one size, and before and after it what shows how they grow."""
    growing = [work for work in works if work.grows]
    for size in sorted({*(SIZES if growing else ()), ROWS}):
        bench.grow(size)
        run_rounds(bench, results, works if size == ROWS else growing)


def main(directory):
    works = chosen_works()
    with psycopg.connect(autocommit=True) as db:
        bench = Bench(db, directory)
        bench.prepare()
        results = Results({library.name: library for library in LIBRARIES})
        run(bench, results, works)
        results.write(directory / "raw.csv")
        text = report(db, results, draw(directory))
    (directory / "report.md").write_text(text, encoding="utf-8")
    print("\n" + text)
    if results.failed:
        sys.exit("Something failed that should have worked.")


if __name__ == "__main__":
    if sys.argv[1] == "list":
        print("\n".join(dict.fromkeys(f"{work.name:12}{work.title}" for work in WORKS)))
    else:
        main(Path(sys.argv[1]))

"""The bench: the same work done by pictrepo, by pict-rs's statements and by bare tables.

    bench.py DIRECTORY

Each round runs every contestant of every work once, in turn, so that what
disturbs the machine disturbs all alike. What counts is the median over the
rounds; the ratio is that of the medians, its spread that of the rounds.
"""

import csv
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from measure import PER_SECOND
from options import ONLY, ROWS
from report import Results, report, write_raw
from workloads import WORKS

HERE = Path(__file__).parent

FILL = """
INSERT INTO pictrepo.hashes (hash, identifier, created_at)
    SELECT sha256(int8send(n)), 'f' || n, '2020-01-01'::timestamptz + n * interval '1 minute'
    FROM generate_series(1, {rows}) n;
INSERT INTO pictrepo.aliases (alias, hash, delete_token)
    SELECT 'a' || n, sha256(int8send(n)), 't' FROM generate_series(1, {rows}) n;
INSERT INTO pictrepo.variants (hash, variant, identifier, accessed)
    SELECT hash, 'v', 'v' || identifier, created_at FROM pictrepo.hashes;
INSERT INTO pictrepo.details SELECT identifier, '{{"width": 640, "height": 480}}' FROM pictrepo.hashes;
INSERT INTO pictrs.hashes (hash, identifier, created_at)
    SELECT encode(hash, 'base64'), identifier, created_at FROM pictrepo.hashes;
INSERT INTO pictrs.aliases (alias, hash, token)
    SELECT alias, encode(hash, 'base64'), delete_token FROM pictrepo.aliases;
INSERT INTO pictrs.variants (hash, variant, identifier, accessed)
    SELECT encode(hash, 'base64'), variant, identifier, accessed FROM pictrepo.variants;
INSERT INTO pictrs.details SELECT identifier, details FROM pictrepo.details;
"""


@dataclass
class Bench:
    """What a measure works with."""
    db: psycopg.Connection
    directory: Path
    measuring: tuple = ()
    kept: set = field(default_factory=set)

    def prepare(self):
        print(f"Filling tables for {ROWS} images", flush=True)
        self.db.execute("SET TimeZone = 'UTC'")
        self.db.execute("CREATE EXTENSION pictrepo")
        self.db.execute((HERE / "peers.sql").read_text(encoding="utf-8"))
        self.db.execute(FILL.format(rows=ROWS))
        self.db.execute("VACUUM ANALYZE")

    # Each statement is a transaction of its own, as VACUUM wants it.
    def run_sql(self, statements):
        for statement in statements:
            self.db.execute(statement)

    def keep(self, name, header, rows):
        """Add raw numbers of the measure under way to a file."""
        new = name not in self.kept
        self.kept.add(name)
        with open(self.directory / name, "w" if new else "a", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            if new:
                out.writerow(["work", "contestant", "round", *header])
            out.writerows([*self.measuring, *row] for row in rows)

    def wait_for_sessions_to_end(self, application):
        while self.db.execute("SELECT FROM pg_stat_activity WHERE application_name = %s",
                              [application]).rowcount > 0:
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


def run_rounds(bench, works):
    results = Results()
    for round in range(1, max(work.rounds for work in works) + 1):
        for work in works:
            if round > work.rounds:
                continue
            bench.run_sql(work.before_round)
            for contestant, measure in work.contestants.items():
                bench.run_sql(work.before_each)
                bench.measuring = (work.title, contestant, round)
                measured = measure(bench)
                if measured is not None:  # else this server does not have it
                    results.add(work, contestant, measured)
                    show(round, work, contestant, measured)
    return results


def main(directory):
    works = chosen_works()
    with psycopg.connect(autocommit=True) as db:
        bench = Bench(db, directory)
        bench.prepare()
        results = run_rounds(bench, works)
        write_raw(results, directory / "raw.csv")
        text = report(db, results)
    (directory / "report.md").write_text(text, encoding="utf-8")
    print("\n" + text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The bench: the same work done by pictrepo, by pict-rs's statements and by bare tables.

    bench.py DIRECTORY

Each round runs every contestant of every workload once, in turn, so that what
disturbs the machine disturbs all alike. What counts is the median over the
rounds; the ratio is that of the medians, its spread that of the rounds.
"""

import csv
import os
import platform
import re
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

import psycopg

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("SECONDS_EACH", 3))
ROUNDS = int(os.environ.get("ROUNDS", 3))
CLIENTS = int(os.environ.get("CLIENTS", 8))
ROWS = int(os.environ.get("ROWS", 100000))
ONLY = os.environ.get("ONLY", "").split()

RESET = """
UPDATE pictrs.job_queue SET status = 'new', heartbeat = NULL
	WHERE heartbeat IS NOT NULL AND heartbeat < now() - interval '2 minutes' AND queue = 'q';
"""
CLAIM = """
UPDATE pictrs.job_queue SET status = 'running', heartbeat = now(), worker = '11111111-1111-4111-8111-111111111111'
	WHERE id = (SELECT id FROM pictrs.job_queue WHERE status = 'new' AND queue = 'q'
		ORDER BY queue_time LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id \\gset
"""
PICTRS_PUSH = """INSERT INTO pictrs.job_queue (queue, job) VALUES ('q', '{"Ingest": 1}');\n"""
ALIAS = r"\set n random(1, :rows)" + "\n"

# workload: what it measures, and each contestant's pgbench script. The first is pictrepo.
WORKLOADS = {
    "push": ("push a job", {
        "pictrepo": """SELECT pictrepo.push('q', '{"Ingest": 1}');""",
        "pict-rs": PICTRS_PUSH,
        "bare": """INSERT INTO bare.jobs (job) VALUES ('{"Ingest": 1}');"""}),
    "cycle": ("push, pop and complete a job", {
        "pictrepo": """SELECT pictrepo.push('q', '{"Ingest": 1}');
            SELECT id FROM pictrepo.pop('q') \\gset
            SELECT pictrepo.complete_job('q', NULL, :id);""",
        "pict-rs": "LISTEN queue_status_channel;" + PICTRS_PUSH + RESET + CLAIM +
            "DELETE FROM pictrs.job_queue WHERE id = :id;",
        "bare": """INSERT INTO bare.jobs (job) VALUES ('{"Ingest": 1}');
            UPDATE bare.jobs SET taken = true WHERE id = (SELECT id FROM bare.jobs WHERE NOT taken
                ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id \\gset
            DELETE FROM bare.jobs WHERE id = :id;"""}),
    "serve": ("from an alias to identifier and details", {
        "pictrepo": ALIAS + """SELECT pictrepo.details(pictrepo.identifier_from_alias('a' || :n));""",
        "pict-rs": ALIAS + """SELECT hash FROM pictrs.aliases WHERE alias = 'a' || :n \\gset
            SELECT identifier FROM pictrs.hashes WHERE hash = :hash \\gset
            SELECT json FROM pictrs.details WHERE identifier = :identifier;"""}),
    "page": ("the last page of 20 hashes", {
        "pictrepo": "SELECT pictrepo.hash_page_by_date(:at, 20);",
        "pict-rs": """SELECT hash FROM pictrs.hashes WHERE created_at < :at
                OR (created_at = :at AND hash <= '~')
                ORDER BY created_at DESC, hash DESC LIMIT 21;
            SELECT hash FROM pictrs.hashes WHERE created_at > :at
                OR (created_at = :at AND hash > '~')
                ORDER BY created_at, hash OFFSET 19 LIMIT 1;"""}),
    "outdated": ("the 100 variants served longest ago", {
        "pictrepo": "SELECT count(*) FROM pictrepo.older_variants('2030-01-01', 100);",
        "pict-rs": """SELECT count(*) FROM (SELECT hash, variant FROM pictrs.variants
            WHERE accessed < '2030-01-01' ORDER BY accessed LIMIT 100) v;"""}),
}

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


def prepare(db):
    print(f"Filling tables for {ROWS} images", flush=True)
    db.execute("SET TimeZone = 'UTC'")
    db.execute("CREATE EXTENSION pictrepo")
    db.execute((HERE / "peers.sql").read_text())
    db.execute(FILL.format(rows=ROWS))
    db.execute("VACUUM ANALYZE")


# Some jobs lie ahead, so that a client finds one while others have theirs locked.
START = """
TRUNCATE pictrepo.job_queue, pictrs.job_queue, bare.jobs;
SELECT pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[100]));
INSERT INTO pictrs.job_queue (queue, job) SELECT 'q', '1' FROM generate_series(1, 100);
INSERT INTO bare.jobs (job) SELECT '1' FROM generate_series(1, 100);
"""


def measure(db, directory, script):
    """Transactions per second of one script."""
    db.execute(START)
    path = directory / "script.sql"
    path.write_text(script)
    result = subprocess.run(
        ["pgbench", "--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}", "--jobs=2",
         f"--time={max(1, round(SECONDS))}", f"--define=rows={ROWS}",
         "--define=at=2020-01-01 00:20:30", f"--file={path}"],
        env={**os.environ, "PGOPTIONS": "-c timezone=UTC"}, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"pgbench failed:\n{script}\n{result.stderr}")
    return float(re.search(r"tps = ([\d.]+)", result.stdout)[1])


def run_rounds(db, directory, workloads):
    results = {}
    for round in range(ROUNDS):
        for workload in workloads:
            for contestant, script in WORKLOADS[workload][1].items():
                rate = measure(db, directory, script)
                results.setdefault((workload, contestant), []).append(rate)
                print(f"round {round + 1}: {workload}, {contestant}: {rate:,.0f}/s", flush=True)
    return results


def report(db, results):
    version = db.execute("SHOW server_version").fetchone()[0]
    lines = [
        f"{date.today()}, PostgreSQL {version}, {os.cpu_count()} cores {platform.machine()},"
        f" {CLIENTS} clients on the same machine, {ROWS:,} images, {ROUNDS} rounds of {SECONDS:g} s,"
        " fsync and synchronous_commit on.", "",
        "| work | contestant | per second | pictrepo's ratio | worst to best round |",
        "|---|---|---|---|---|"]
    for (workload, contestant), rates in results.items():
        own = results[workload, "pictrepo"]
        ratios = [a / b for a, b in zip(own, rates)]
        lines.append(
            f"| {WORKLOADS[workload][0]} | {contestant} | {statistics.median(rates):,.0f} |"
            + (" | |" if contestant == "pictrepo" else
               f" {statistics.median(own) / statistics.median(rates):.2f} |"
               f" {min(ratios):.2f} to {max(ratios):.2f} |"))
    return "\n".join(lines) + "\n"


def main(directory):
    workloads = ONLY or list(WORKLOADS)
    for workload in workloads:
        if workload not in WORKLOADS:
            sys.exit(f"no workload {workload}; there are {', '.join(WORKLOADS)}")
    with psycopg.connect(autocommit=True) as db:
        prepare(db)
        results = run_rounds(db, directory, workloads)
        with open(directory / "raw.csv", "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["workload", "contestant", "round", "per second"])
            for (workload, contestant), rates in results.items():
                rows.writerows([workload, contestant, n + 1, rate] for n, rate in enumerate(rates))
        text = report(db, results)
        (directory / "report.md").write_text(text, encoding="utf-8")
        print("\n" + text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

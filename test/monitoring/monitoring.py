"""The exporter scrapes the server that PGHOST and its like name; its figures are the database's."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import psycopg

import catalog

EXPORTER = "prometheus-postgres-exporter"
JOBS = 20_000  # enough that a look at all of them shows
number = 0
failed = False


def ok(fine, what, *remarks):
    global number, failed
    number += 1
    failed |= not fine
    print(f"{'ok' if fine else 'not ok'} {number} - {what}", *(() if fine else remarks), flush=True)


def connect(**options):
    return psycopg.connect(autocommit=True, **options)


def value(db, query, *arguments):
    return db.execute(query, arguments).fetchone()[0]


def wait_for(db, query):
    for _ in range(300):
        if value(db, query):
            return
        time.sleep(0.1)
    sys.exit(f"This did not come: {query}")


# ----- what there is to see -----

def content(db):
    """Each figure another one, so that none can be taken for its neighbour."""
    for count, size, format_ in ((3, 1000, "png"), (5, 70, "jpeg")):
        db.execute("SELECT pictrepo.create_hash(pictrepo.make_hash(sha256((%s || n)::bytea), %s + n, %s), %s || n)"
                   " FROM generate_series(1, %s) n", (format_, size, format_, format_, count))
    db.execute("SELECT pictrepo.create_hash('other', 'other')")
    db.execute("SELECT pictrepo.push_many('process', array_agg(to_jsonb(n))) FROM generate_series(1, 40) n")
    db.execute("SELECT pictrepo.push_many('process', '{1,2}', priority => -3, run_at => now() - interval '1 hour')")
    db.execute("SELECT pictrepo.push_many('process', '{1,2,3}', run_at => now() + interval '1 day')")
    jobs = db.execute("SELECT id FROM pictrepo.pop('process', max_jobs => 12)").fetchall()
    for index, (job,) in enumerate(jobs[:9]):
        result = "success" if index < 5 else "failure" if index < 7 else "aborted"
        db.execute("SELECT pictrepo.complete_job('process', NULL, %s, %s, 'broken')", (job, result))
    with connect() as other:
        other.execute("SELECT pictrepo.pop('process', bind => true)")
    wait_for(db, "SELECT reaped = 1 FROM pictrepo.queue_stats WHERE queue = 'process'")
    db.execute("SELECT pictrepo.pause_queue('mail'), pictrepo.push('mail', '1')")


def load(seconds):
    """Jobs that come and go, on a queue of their own."""
    def work():
        with connect() as db:
            while time.monotonic() < end:
                db.execute("SELECT pictrepo.push_many('load', array_agg(to_jsonb(n))) FROM generate_series(1, 10) n")
                db.execute("SELECT pictrepo.complete_many('load', NULL, array_agg(id))"
                           " FROM pictrepo.pop('load', max_jobs => 9)")

    end = time.monotonic() + seconds
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    return threads


def sleepers(db, count):
    """Sessions that wait for a job."""
    def sleep():
        with connect() as own:
            own.execute("SELECT pictrepo.pop('idle', wait => '10 min')")

    threads = [threading.Thread(target=sleep) for _ in range(count)]
    for thread in threads:
        thread.start()
    wait_for(db, f"SELECT sum(waiting) = {count} FROM pictrepo.queue_counters() WHERE queue = 'idle'")
    return threads


# ----- the exporter -----

class Exporter:
    def __init__(self, log):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        source = (f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user=pictrepo_monitor"
                  f" dbname={os.environ['PGDATABASE']} sslmode=disable")
        self.process = subprocess.Popen(
            [EXPORTER, f"--web.listen-address={self.address}", f"--extend.query-path={catalog.QUERIES}"],
            env={"PATH": os.environ["PATH"], "DATA_SOURCE_NAME": source}, stdout=log, stderr=log)

    def scrape(self):
        """All samples: the metric and its labels, and the figure."""
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=30) as answer:
                    return dict(self.samples(answer.read().decode()))
            except OSError:
                if self.process.poll() is not None:
                    sys.exit("The exporter ended.")
                time.sleep(0.1)
        sys.exit("The exporter does not answer.")

    @staticmethod
    def samples(text):
        for line in text.splitlines():
            if match := re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line):
                labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
                kept = tuple(sorted(told for told in labels if told[0] != "server"))
                yield (match[1], kept), float(match[3])

    def stop(self):
        self.process.terminate()
        self.process.wait()


# ----- what the figures must be, by other ways than the exporter's queries -----

def expected(db):
    datname = ("datname", db.info.dbname)
    figures = {("pictrepo_stored_images", (datname,)): value(db, "SELECT count(*) FROM pictrepo.hashes"),
               ("pictrepo_worker_running", (datname,)): 1}
    rows = db.execute("SELECT queue, ready, scheduled, running, dead, paused, pushed, popped, completed, failed, died,"
                      " reaped, woken, extract(epoch FROM wait_time), extract(epoch FROM run_time), waiting"
                      " FROM pictrepo.queue_stats").fetchall()
    for queue, ready, scheduled, running, dead, paused, *counts in rows:
        labels = (datname, ("queue", queue))
        figures |= {(f"pictrepo_jobs_{name}", labels): figure for name, figure in
                    (("ready", ready), ("scheduled", scheduled), ("running", running), ("dead", dead),
                     ("paused", int(paused)))}
        names = ("pushed", "popped", "completed", "failed", "died", "reaped", "woken", "wait_seconds", "run_seconds")
        figures |= {(f"pictrepo_queue_{name}_total", labels): float(count) for name, count in zip(names, counts)}
        figures["pictrepo_queue_waiting", labels] = counts[-1]
        figures["pictrepo_queue_length", labels] = ready + scheduled + running
    for format_, images, size in db.execute(
            "SELECT coalesce(pictrepo.hash_format(hash), 'unknown'), count(*), coalesce(sum(pictrepo.hash_size(hash)), 0)"
            " FROM pictrepo.hashes GROUP BY 1"):
        labels = (datname, ("format", format_))
        figures["pictrepo_usage_images", labels] = images
        figures["pictrepo_usage_bytes", labels] = float(size)
    return figures


def moving(db):
    """Figures that grow while one looks."""
    datname = ("datname", db.info.dbname)
    figures = {}
    for queue, age in db.execute("SELECT queue, coalesce(extract(epoch FROM oldest_age), 0) FROM pictrepo.queue_stats"):
        figures["pictrepo_queue_oldest_age_seconds", (datname, ("queue", queue))] = float(age)
    for duty, *counts in db.execute("SELECT duty, runs, errors, rows, extract(epoch FROM last_run)"
                                    " FROM pictrepo.maintenance"):
        names = ("runs_total", "errors_total", "rows_total", "last_run_timestamp_seconds")
        figures |= {(f"pictrepo_maintenance_{name}", (datname, ("duty", duty))): float(count)
                    for name, count in zip(names, counts)}
    return figures


def check_figures(db, exporter):
    fixed, before = expected(db), moving(db)
    seen = exporter.scrape()
    after = moving(db)
    ours = {key: figure for key, figure in seen.items() if key[0].startswith("pictrepo_")}

    ok(seen["pg_up", ()] == 1, "the exporter reaches the server")
    ok(seen["pg_exporter_last_scrape_error", ()] == 0, "no query failed")
    ok(not any(figure for (name, _), figure in seen.items() if name == "pg_exporter_user_queries_load_error"),
       "the queries were read")
    for name in sorted({name for name, _ in fixed}):
        wanted = {key: figure for key, figure in fixed.items() if key[0] == name}
        given = {key: figure for key, figure in ours.items() if key[0] == name}
        ok(given == wanted, f"{name} is what the database says, {len(wanted)} times", given, wanted)
    for name in sorted({name for name, _ in before}):
        keys = {key for key in before if key[0] == name}
        wrong = {key: (before[key], ours.get(key), after[key]) for key in keys
                 if not before[key] <= ours.get(key, -1) * (1 + 1e-9) + 1e-3
                 or ours[key] > after[key] * (1 + 1e-9) + 1e-3}
        ok(not wrong, f"{name} is between what the database says before and after, {len(keys)} times", wrong)
    durations = {key for key in ours if key[0] == "pictrepo_maintenance_duration_seconds"}
    ok(len(durations) == value(db, "SELECT count(*) FROM pictrepo.maintenance")
       and all(ours[key] >= 0 for key in durations), "pictrepo_maintenance_duration_seconds is there for each duty")
    ok(set(ours) == set(fixed) | set(before) | durations, "and no figure is there that was not compared",
       set(ours) ^ (set(fixed) | set(before) | durations))
    names = {name for name, _ in ours}
    ok(names == catalog.declared_metrics(), "every metric that the queries declare is exported",
       names ^ catalog.declared_metrics())
    missing = catalog.dashboard_metrics() - names
    ok(len(list(catalog.expressions())) > 20 and not missing, "the dashboard names no other metric", missing)


# ----- what a scrape costs -----

def pages(db, query):
    """Pages that a query touches, once it has been run."""
    db.execute(query)
    plan = value(db, "EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) " + query)
    plan = plan if isinstance(plan, list) else json.loads(plan)
    return sum(plan[0]["Plan"].get(f"Shared {kind} Blocks", 0) for kind in ("Hit", "Read")), plan[0]["Execution Time"]


def check_cost(db):
    """Queries without cache_seconds touch as many pages with many rows as with few."""
    queries = catalog.queries()
    frequent = [name for name in queries if "cache_seconds" not in queries[name]]
    few = {name: pages(db, queries[name]["query"]) for name in queries}
    db.execute("SELECT pictrepo.push_many('process', array_agg(to_jsonb(n))) FROM generate_series(1, %s) n", (JOBS,))
    db.execute("SELECT count(pictrepo.create_hash(pictrepo.make_hash(sha256(n::text::bytea), n, 'webp'), n::text))"
               " FROM generate_series(1, %s) n", (JOBS,))
    db.execute("VACUUM ANALYZE pictrepo.job_queue, pictrepo.hashes")
    many = {name: pages(db, queries[name]["query"]) for name in queries}
    for name in queries:
        told = (f"{few[name][0]} pages, {few[name][1]:.2f} ms before, {many[name][0]} pages, {many[name][1]:.2f} ms"
                f" with {JOBS:,} more jobs and pictures")
        if name in frequent:
            ok(many[name][0] <= few[name][0] + 20, f"{name} costs the same: {told}")
        else:
            print(f"# {name}, every {queries[name]['cache_seconds']} s: {told}")
    ok(many["pictrepo_jobs"][0] > few["pictrepo_jobs"][0] + 20, "where the queue is gone through, this sees it")


def main():
    with connect() as db, open("build/exporter.log", "w", encoding="utf-8") as log:
        for line in catalog.RIGHTS.strip().splitlines():
            db.execute(line)
        content(db)
        workers = load(3)
        exporter = Exporter(log)
        try:
            while any(worker.is_alive() for worker in workers):
                seen = exporter.scrape()
            ok(seen["pg_exporter_last_scrape_error", ()] == 0, "no query failed under load")
            for worker in workers:
                worker.join()
            exporter.stop()
            # A new one has nothing cached.
            waiting = sleepers(db, 3)
            exporter = Exporter(log)
            check_figures(db, exporter)
        finally:
            exporter.stop()
            db.execute("SELECT pictrepo.push_many('idle', '{1,2,3}')")
        for sleeper in waiting:
            sleeper.join()
        check_cost(db)


main()
sys.exit(failed)

"""The exporter scrapes the server that PGHOST and its like name: its figures are the database's, and
Prometheus can make of them what the dashboard and the alerts ask for."""

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request

import psycopg

import catalog
from prometheus import Prometheus, free_address

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
    def __init__(self, address, log):
        self.address = address
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


# ----- what Prometheus makes of them -----

def healthy(db):
    """Jobs that are done at once. A counter grows for Prometheus only where it was seen before."""
    db.execute("SELECT pictrepo.push(queue, '1') FROM unnest('{process,late}'::text[]) queue")
    db.execute("SELECT pictrepo.complete_job(queue, NULL, (SELECT id FROM pictrepo.pop(queue)))"
               " FROM unnest('{process,late}'::text[]) queue")


def trouble(db):
    """What the alerts are for, as far as content() does not have it: jobs that waited, upkeep that fails, no worker."""
    db.execute("INSERT INTO pictrepo.job_queue (id, queue, job, queue_time, run_at)"
               " VALUES (gen_random_uuid(), 'late', '1', now() - interval '1 hour', now() - interval '1 hour')")
    db.execute("SELECT pictrepo.pop('late')")
    db.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;"
               " CREATE TRIGGER refuse BEFORE DELETE ON pictrepo.dead_jobs FOR EACH STATEMENT EXECUTE FUNCTION refuse()")
    db.execute("ALTER SYSTEM SET pictrepo.dead_job_retention = '1s'")
    db.execute("SELECT pg_reload_conf()")
    wait_for(db, "SELECT errors > 0 FROM pictrepo.maintenance WHERE duty = 'dead jobs'")
    # The worker leaves what is not of its version.
    db.execute("UPDATE pg_extension SET extversion = 'other' WHERE extname = 'pictrepo'")
    db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'")
    wait_for(db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'")


def mend(db):
    db.execute("UPDATE pg_extension SET extversion = (SELECT default_version FROM pg_available_extensions"
               " WHERE name = 'pictrepo') WHERE extname = 'pictrepo'")
    db.execute("ALTER SYSTEM RESET ALL")
    db.execute("SELECT pg_reload_conf()")
    db.execute("DROP FUNCTION refuse CASCADE")


def check_panels(prometheus):
    """Each line of the dashboard is there, is a number, and has the labels that it is named by."""
    for title, expression, legend in catalog.panels():
        asked = expression.replace("$datname", ".*").replace("$__rate_interval", "10s")
        series = prometheus.query(asked)
        fine = (isinstance(series, list) and series and "$" not in asked
                and all(math.isfinite(figure) and figure >= 0 for _, figure in series)
                and all(label in labels for labels, _ in series for label in re.findall(r"{{(\w+)}}", legend)))
        ok(fine, f"{title} ({legend or 'one figure'}): {len(series)} times", asked, series)
    for metric, label in catalog.variables():
        values = prometheus.get(f"label/{label}/values", **{"match[]": metric})
        ok(values == [os.environ["PGDATABASE"]], f"{label} can be chosen", values)


def check_alerts(prometheus, firing):
    # Also when nothing was scraped for a while, since the upkeep may be late by then.
    for alert in catalog.alerts():
        series = prometheus.query(alert, ahead=120 if firing and "time()" in alert else 0)
        ok(isinstance(series, list) and bool(series) == firing,
           f"{'there is an alert' if firing else 'no alert without a reason'}: {alert}", series)


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
    db.execute("VACUUM (FULL, ANALYZE) pictrepo.job_queue, pictrepo.hashes")
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


def load_and_look(db, exporter, prometheus):
    """While jobs come and go no query fails, and the dashboard has its lines."""
    workers = load(8)
    prometheus.wait_for('rate(pictrepo_queue_completed_total{queue="load"}[10s]) > 0')
    prometheus.wait_for("pictrepo_usage_bytes > 0")
    check_panels(prometheus)
    while any(worker.is_alive() for worker in workers):
        seen = exporter.scrape()
    ok(seen["pg_exporter_last_scrape_error", ()] == 0, "no query failed under load")
    for worker in workers:
        worker.join()


def look_at_known(db, exporter):
    """With sessions that wait, and nothing that moves."""
    waiting = sleepers(db, 3)
    try:
        check_figures(db, exporter)
    finally:
        db.execute("SELECT pictrepo.push_many('idle', '{1,2,3}')")
    for sleeper in waiting:
        sleeper.join()


def main():
    with (connect() as db, open("build/exporter.log", "w", encoding="utf-8") as log,
          open("build/prometheus.log", "w", encoding="utf-8") as prometheus_log):
        for line in catalog.RIGHTS.strip().splitlines():
            db.execute(line)
        # An exporter that begins has nothing cached, so there are several, one after the other.
        address = free_address()
        prometheus = Prometheus(address, prometheus_log)
        exporter = Exporter(address, log)
        try:
            healthy(db)
            prometheus.wait_for('count_over_time(pictrepo_queue_completed_total{queue="late"}[1m]) > 2')
            check_alerts(prometheus, firing=False)
            exporter.stop()
            content(db)
            exporter = Exporter(address, log)
            load_and_look(db, exporter, prometheus)
            exporter.stop()
            exporter = Exporter(address, log)
            look_at_known(db, exporter)
            trouble(db)
            prometheus.wait_for("pictrepo_worker_running < 1")
            check_alerts(prometheus, firing=True)
            mend(db)
        finally:
            exporter.stop()
            prometheus.stop()
        check_cost(db)


main()
sys.exit(failed)

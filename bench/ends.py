"""Measures of the end of a job while transactions that have popped stay open."""

import threading
from contextlib import contextmanager

import psycopg

from measure import PER_SECOND, pgbench

LONGEST = "longest end, ms"

OPEN_POPS = 4
STAYS_OPEN = 1  # s

# pgbench tells how long a transaction took, and not how long one call in it did.
TIMED = (
    "DROP TABLE IF EXISTS bare.ends",
    "CREATE UNLOGGED TABLE bare.ends (ms float8)",
    """CREATE OR REPLACE FUNCTION bare.timed_end(job uuid) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE began timestamptz = clock_timestamp();
    BEGIN
        PERFORM pictrepo.complete_job('q', NULL, job);
        INSERT INTO bare.ends VALUES (1000 * extract(epoch FROM clock_timestamp() - began));
    END $$""",
)


def stay_open(stop):
    """Pop, and take it back after a while, again and again."""
    with psycopg.connect() as db:
        while not stop.is_set():
            db.execute("SELECT * FROM pictrepo.pop('q')")
            stop.wait(STAYS_OPEN)
            db.rollback()


@contextmanager
def open_pops():
    stop = threading.Event()
    threads = [threading.Thread(target=stay_open, args=(stop,)) for _ in range(OPEN_POPS)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


def ends(text, beside):
    """How often a script that ends jobs by bare.timed_end runs, and the longest that an end took."""
    def measure(bench):
        with beside():
            run = pgbench(bench, text)
        return {PER_SECOND: run.rate, LONGEST: bench.db.execute("SELECT max(ms) FROM bare.ends").fetchone()[0]}
    return measure

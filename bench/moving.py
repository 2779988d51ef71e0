"""Out of a repo and into another: how many images per second.

The pictrs.* tables beside are a repo of pict-rs 0.5, so import_pictrs and
export_pictrs can be measured here as well.
"""

import time

import psycopg

from measure import PER_SECOND, LeftOut

OTHER = "bench_import"


def need(db, function):
    if db.execute("SELECT FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace"
                  " AND proname = %s", [function]).rowcount == 0:
        raise LeftOut(f"there is no {function}() yet")


def timed(bench, db, statement, *arguments):
    """Images per second, where a statement moves all of them."""
    start = time.monotonic()
    db.execute(statement, arguments)
    return {PER_SECOND: bench.rows / (time.monotonic() - start)}


def export_rate(bench):
    need(bench.db, "export")
    return timed(bench, bench.db, "SELECT count(*) FROM pictrepo.export()")


def import_rate(bench):
    """What export gives, into another database."""
    need(bench.db, "import")
    bench.db.execute(f"DROP DATABASE IF EXISTS {OTHER} WITH (FORCE)")
    bench.db.execute(f"CREATE DATABASE {OTHER}")
    with psycopg.connect(dbname=OTHER, autocommit=True) as other:
        other.execute("CREATE EXTENSION pictrepo")
        other.execute("CREATE TEMP TABLE lines (line text)")
        with (bench.db.cursor().copy("COPY (SELECT pictrepo.export()) TO STDOUT") as lines,
              other.cursor().copy("COPY lines FROM STDIN") as copies):
            for line in lines:
                copies.write(line)
        measured = timed(bench, other, "SELECT count(pictrepo.import(line)) FROM lines")
    bench.db.execute(f"DROP DATABASE {OTHER} WITH (FORCE)")
    return measured

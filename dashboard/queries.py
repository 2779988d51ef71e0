"""What the dashboard asks the database."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import psycopg

POINTS = 240  # of a line, at most

SPAN = "SELECT min(at), max(at), greatest((max(at) - min(at)) / %s, '1 ms') FROM pictrepo.queue_samples"

# Each bucket has its fullest moment.
LOOKS = """
SELECT date_bin(%(step)s, at, %(first)s) AS bucket, queue, max(ready + running),
    extract(epoch FROM coalesce(max(oldest_age), '0'))
FROM pictrepo.queue_samples GROUP BY 1, 2 ORDER BY 1, 2
"""
STORED = """
SELECT date_bin(%(step)s, at, %(first)s) AS bucket, max(images), max(uploads)
FROM pictrepo.samples WHERE at BETWEEN %(first)s AND %(last)s GROUP BY 1 ORDER BY 1
"""

# Counts begin anew with the server.
FLOW = """
WITH grown AS (
    SELECT at, queue, extract(epoch FROM at - lag(at) OVER w) AS seconds, {grown}
    FROM pictrepo.queue_samples WHERE pushed IS NOT NULL
    WINDOW w AS (PARTITION BY queue ORDER BY at)),
looks AS (
    SELECT at, max(seconds) AS seconds, {sums} FROM grown WHERE seconds > 0 GROUP BY at)
SELECT date_bin(%(step)s, at, %(first)s) AS bucket, {rates},
    extract(epoch FROM sum(wait_time) / nullif(sum(popped), 0)) AS waited,
    extract(epoch FROM sum(run_time) / nullif(sum(completed + failed + reaped), 0)) AS ran
FROM looks GROUP BY 1 ORDER BY 1
"""
COUNTS = ("pushed", "completed", "failed", "reaped")
AVERAGES = ("waited", "ran")
GROWING = (*COUNTS, "popped", "wait_time", "run_time")

USAGE = "SELECT coalesce(format, 'unknown'), day, images, coalesce(bytes, 0) FROM pictrepo.usage ORDER BY 2, 1"
QUEUES = """
SELECT queue, ready, scheduled, running, dead, oldest_age, wait_time / nullif(popped, 0),
    run_time / nullif(completed + failed + reaped, 0), waiting, paused
FROM pictrepo.queue_stats ORDER BY queue
"""
MAINTENANCE = "SELECT duty, every, last_run, duration, rows, runs, errors, last_error FROM pictrepo.maintenance"
DEAD = """
SELECT queue, died_at, attempt, job::text, error FROM pictrepo.dead_jobs ORDER BY died_at DESC, id LIMIT %s
"""
STATUS = "SELECT item, value, advice FROM pictrepo.status()"


def flow_query():
    return FLOW.format(
        grown=", ".join(f"CASE WHEN {c} >= lag({c}) OVER w THEN {c} - lag({c}) OVER w ELSE {c} END AS {c}"
                        for c in GROWING),
        sums=", ".join(f"sum({c}) AS {c}" for c in GROWING),
        rates=", ".join(f"sum({c}) / sum(seconds)" for c in COUNTS))


@dataclass
class Samples:
    """What there was over time: series are lists of (time, figure) by name, of a queue or of what is counted."""
    first: datetime
    last: datetime
    depth: dict
    age: dict
    rates: dict
    averages: dict
    images: list
    uploads: list


def series(rows, names):
    """Columns after the time, each under its name; NULL is no point."""
    return {name: [(row[0], float(row[1 + n])) for row in rows if row[1 + n] is not None]
            for n, name in enumerate(names)}


class Repo:
    """Answers of one moment; None for what the role may not see."""

    def __init__(self, connection):
        self.connection = connection
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SET TimeZone = 'UTC'")
        connection.commit()

    def ask(self, query, arguments=()):
        try:
            with self.connection.transaction():
                return self.connection.execute(query, arguments).fetchall()
        except psycopg.errors.InsufficientPrivilege:
            return None

    def samples(self):
        """None where nothing was sampled."""
        span = self.ask(SPAN, (POINTS,))
        if not span or span[0][0] is None:
            return None
        first, last, step = span[0]
        arguments = {"first": first, "last": last, "step": step}
        depth, age = defaultdict(list), defaultdict(list)
        for at, queue, jobs, seconds in self.ask(LOOKS, arguments):
            depth[queue].append((at, jobs))
            age[queue].append((at, float(seconds)))
        flow = self.ask(flow_query(), arguments)
        stored = series(self.ask(STORED, arguments), ("images", "uploads"))
        return Samples(first, last, depth, age, series(flow, COUNTS),
                       series([(row[0], *row[1 + len(COUNTS):]) for row in flow], AVERAGES), **stored)

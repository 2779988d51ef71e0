"""What the dashboard asks the database."""

import psycopg

POINTS = 240  # of a line, at most

SPAN = "SELECT min(at), max(at), greatest((max(at) - min(at)) / %s, '1 ms') FROM pictrepo.queue_samples"

# Each bucket has its fullest moment.
DEPTH = """
SELECT date_bin(%(step)s, at, %(first)s) AS bucket, queue, max(ready + running)
FROM pictrepo.queue_samples GROUP BY 1, 2 ORDER BY 1, 2
"""

# Counts begin anew with the server.
RATES = """
WITH grown AS (
    SELECT at, queue, extract(epoch FROM at - lag(at) OVER w) AS seconds, {grown}
    FROM pictrepo.queue_samples WHERE pushed IS NOT NULL
    WINDOW w AS (PARTITION BY queue ORDER BY at)),
looks AS (
    SELECT at, max(seconds) AS seconds, {sums} FROM grown WHERE seconds > 0 GROUP BY at)
SELECT date_bin(%(step)s, at, %(first)s) AS bucket, {rates}
FROM looks GROUP BY 1 ORDER BY 1
"""
COUNTS = ("pushed", "completed", "failed", "reaped")

USAGE = "SELECT coalesce(format, 'unknown'), day, images, coalesce(bytes, 0) FROM pictrepo.usage ORDER BY 2, 1"
QUEUES = """
SELECT queue, ready, scheduled, running, dead, oldest_age, waiting, paused FROM pictrepo.queue_stats ORDER BY queue
"""
MAINTENANCE = "SELECT duty, every, last_run, duration, rows, runs, errors, last_error FROM pictrepo.maintenance"
DEAD = """
SELECT queue, died_at, attempt, job::text, error FROM pictrepo.dead_jobs ORDER BY died_at DESC, id LIMIT %s
"""
STATUS = "SELECT item, value, advice FROM pictrepo.status()"


def rates_query():
    return RATES.format(
        grown=", ".join(f"CASE WHEN {c} >= lag({c}) OVER w THEN {c} - lag({c}) OVER w ELSE {c} END AS {c}"
                        for c in COUNTS),
        sums=", ".join(f"sum({c}) AS {c}" for c in COUNTS),
        rates=", ".join(f"sum({c}) / sum(seconds)" for c in COUNTS))


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
        """First and last time, depth of each queue over time, rates of all; None where nothing was sampled."""
        span = self.ask(SPAN, (POINTS,))
        if not span or span[0][0] is None:
            return None
        first, last, step = span[0]
        arguments = {"first": first, "step": step}
        depth = {}
        for at, queue, jobs in self.ask(DEPTH, arguments):
            depth.setdefault(queue, []).append((at, jobs))
        rates = {count: [] for count in COUNTS}
        for at, *values in self.ask(rates_query(), arguments):
            for count, value in zip(COUNTS, values):
                rates[count].append((at, float(value)))
        return first, last, depth, rates

"""What the picture of the dashboard shows: an image host's afternoon, the same each time.

The pictures, the jobs and what was counted of them are the repo's own. What went before, in the
samples, is made up: four queues with workers that sometimes have too little time.
"""

import random
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from math import cos, pi

import psycopg

NOW = datetime.now(timezone.utc).replace(microsecond=0)
HOURS, STEP = 6, timedelta(seconds=20)
random.seed(20)

# How many a day, how big in kB, and from which day on
FORMATS = {"jpeg": (150, 900, 0), "webp": (70, 180, 0), "png": (55, 1400, 0), "mp4": (9, 8200, 3), "avif": (40, 120, 12)}
DAYS = 28

# Jobs that come in a second, seconds that one takes, and its workers
QUEUES = {"process": (1.15, 3.1, 4), "thumbnails": (3.4, 0.8, 3), "cleanup": (0.5, 0.2, 1), "mail": (0.05, 0.3, 1)}
DEAD = (("process", '{"Ingest": {"identifier": "7c/1e/half.mp4"}}', "the file ends in the middle of a frame"),
        ("process", '{"Ingest": {"identifier": "02/9b/scan.png"}}', "40,000 by 40,000 pixels are too many"),
        ("mail", '{"to": "nobody@example.org"}', "550 no such user"))


def pictures(db):
    with db.cursor().copy("COPY pictrepo.hashes (hash, identifier, created_at) FROM STDIN") as copy:
        copy.set_types(("bytea", "text", "timestamptz"))
        for day in range(DAYS):
            weekend = 1.5 if (NOW - timedelta(days=day)).weekday() >= 5 else 1
            for name, (number, kilobytes, oldest) in FORMATS.items():
                share = 1 if day else (NOW.hour + 1) / 24
                for _ in range(int(number * weekend * share * random.uniform(0.8, 1.2)) if day < DAYS - oldest else 0):
                    copy.write_row(picture(name, kilobytes, day))


def picture(name, kilobytes, day):
    codes = {"jpeg": 5, "webp": 8, "png": 7, "mp4": 9, "avif": 4}
    size = int(random.lognormvariate(0, 0.7) * kilobytes * 1000)
    digest = random.randbytes(32)
    hash_ = digest + size.to_bytes(6, "big") + bytes([codes[name]])
    before = timedelta(days=day, hours=random.uniform(0, 24 if day else NOW.hour + 1))
    return hash_, f"{digest.hex()[:12]}.{name}", NOW - before


class Queue:
    """A queue with its workers, step by step."""

    def __init__(self, rate, takes, workers):
        self.rate, self.takes, self.workers = rate, takes, workers
        self.jobs, self.counts = [], dict.fromkeys(("pushed", "popped", "completed", "failed", "died", "reaped"), 0)
        self.waited = self.ran = timedelta()
        self.room = 0.0

    def step(self, at, share, paused):
        coming = self.rate * share * STEP.total_seconds() * random.uniform(0.6, 1.4)
        number = int(coming) + (random.random() < coming % 1)
        self.jobs += [at] * number
        self.counts["pushed"] += number
        self.room = min(self.room, 0) + self.workers * STEP.total_seconds()
        while self.jobs and self.room > 0 and not paused:
            self.run(at)

    def run(self, at):
        took = self.takes * random.lognormvariate(-0.1, 0.5)
        self.room -= took
        self.waited += at - self.jobs.pop(0) + timedelta(milliseconds=random.uniform(1, 4))
        self.ran += timedelta(seconds=took)
        self.counts["popped"] += 1
        failed = random.random() < 0.02
        self.counts["failed" if failed else "completed"] += 1

    def row(self, at, name, dead):
        running = min(self.workers, round(self.rate * self.takes * random.uniform(0.5, 1.2)))
        age = at - self.jobs[0] + STEP if self.jobs else None
        return (at, name, len(self.jobs), 0, running, dead, age, *self.counts.values(), self.waited, self.ran,
                max(self.workers - running, 0))


def samples(db):
    """Six hours with two rushes; in the second one mail is paused, and is ever since."""
    stored = db.execute("SELECT count(*) FROM pictrepo.hashes").fetchone()[0]
    queues = {name: Queue(*told) for name, told in QUEUES.items()}
    looks, rows = [], []
    steps = int(timedelta(hours=HOURS) / STEP)
    for number in range(steps + 1):
        at, passed = NOW - (steps - number) * STEP, number / steps
        share = 0.45 + 0.55 * max(0, -cos(4 * pi * passed)) ** 1.5 + (0.5 if 0.62 < passed < 0.66 else 0)
        for name, queue in queues.items():
            queue.step(at, share, paused=name == "mail" and passed > 0.94)
            rows.append(queue.row(at, name, sum(told[0] == name for told in DEAD)))
        looks.append((at, stored - int(110 * (1 - passed) * random.uniform(0.98, 1.02)),
                      int(share * 9 * random.uniform(0.4, 1.3))))
    with db.cursor().copy("COPY pictrepo.samples (at, images, uploads) FROM STDIN") as copy:
        for row in looks:
            copy.write_row(row)
    with db.cursor().copy("COPY pictrepo.queue_samples (at, queue, ready, scheduled, running, dead, oldest_age, pushed,"
                          " popped, completed, failed, died, reaped, wait_time, run_time, waiting) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def run_jobs(db, queue, number, waited, ran):
    """Jobs from push to end, which seem to have taken so many seconds."""
    db.execute("INSERT INTO pictrepo.job_queue (id, queue, job, run_at, queue_time)"
               " SELECT gen_random_uuid(), %(queue)s, '1', at, at FROM generate_series(1, %(number)s),"
               " LATERAL (SELECT clock_timestamp() - %(waited)s * interval '1 second') t (at)",
               {"queue": queue, "number": number, "waited": waited})
    db.execute("SELECT count(*) FROM pictrepo.pop(%s, max_jobs => %s)", (queue, number))
    db.execute("UPDATE pictrepo.job_queue SET heartbeat = heartbeat - %s * interval '1 second'"
               " WHERE queue = %s AND status = 'running'", (ran, queue))
    db.execute("SELECT pictrepo.complete_many(queue, worker, array_agg(id)) FROM pictrepo.jobs"
               " WHERE queue = %s AND state = 'running' GROUP BY queue, worker", (queue,))


def jobs(db):
    """What is in the queues now."""
    for queue, job, error in DEAD:
        db.execute("SELECT pictrepo.push(%s, %s, retry => 0)", (queue, job))
        db.execute("SELECT pictrepo.complete_job(%s, NULL, id, 'failure', %s) FROM pictrepo.pop(%s)",
                   (queue, error, queue))
    times = {"process": (6.2, 3.1), "thumbnails": (0.9, 0.78), "cleanup": (0.02, 0.21), "mail": (0.05, 0.31)}
    for queue, (waited, ran) in times.items():
        run_jobs(db, queue, 200, waited, ran)
    db.execute("SELECT pictrepo.pause_queue('mail')")
    db.execute("INSERT INTO pictrepo.job_queue (id, queue, job, run_at, queue_time)"
               " SELECT gen_random_uuid(), 'mail', '1', at, at FROM generate_series(1, 26) n,"
               " LATERAL (SELECT now() - n * interval '48 seconds') t (at)")
    db.execute("SELECT pictrepo.push_many('process', array_agg(to_jsonb(n))) FROM generate_series(1, 11) n")
    db.execute("SELECT count(*) FROM pictrepo.pop('process', max_jobs => 4)")
    db.execute("SELECT pictrepo.push('cleanup', '\"OutdatedVariants\"', run_at => now() + interval '40 minutes')")
    db.execute("SELECT pictrepo.schedule_job('outdated variants', 'cleanup', '\"OutdatedVariants\"',"
               " cron => '30 4 * * *')")
    for _ in range(3):
        db.execute("SELECT pictrepo.create_upload()")


def sleep_in_queue(queue):
    """A worker with nothing to do, until this script's server is stopped."""
    def sleep():
        try:
            with psycopg.connect(autocommit=True) as db:
                db.execute("SELECT pictrepo.pop(%s, wait => '1 hour')", (queue,))
        except psycopg.OperationalError:
            pass

    threading.Thread(target=sleep, daemon=True).start()


def main():
    with psycopg.connect(autocommit=True) as db:
        db.execute("CREATE EXTENSION pictrepo")
        pictures(db)
        db.execute("DELETE FROM pictrepo.samples")
        samples(db)
        jobs(db)
        for queue in ("thumbnails", "thumbnails", "cleanup"):
            sleep_in_queue(queue)
        while db.execute("SELECT sum(waiting) < 3 OR (SELECT bool_or(runs = 0) FROM pictrepo.maintenance)"
                         " FROM pictrepo.queue_counters()").fetchone()[0]:
            time.sleep(0.1)
    print("ready", flush=True)
    sys.stdin.read()


main()

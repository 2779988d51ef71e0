"""pictrepo from Python with psycopg 3.

work() is a worker to copy. The rest is the scenario that all clients run.
"""

import hashlib
import logging
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from threading import Event, Thread, Timer
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

# ---------------------------------------------------------------------------
# The worker
# ---------------------------------------------------------------------------


def work(queue, handler, stop, beat=30):
    """Hand the jobs of a queue to handler(job) until the event stop is set.

    A handler that raises lets its job fail. One whose connection is cut may
    see the same job again, from any worker.
    """
    worker = uuid4()
    while not stop.is_set():
        try:
            # pop_wait commits by itself, so there is no transaction around it
            with psycopg.connect(autocommit=True, application_name="worker") as db:
                while not stop.is_set():
                    job_id, job = db.execute(
                        "CALL pictrepo.pop_wait(%s, %s, '10 s', NULL, NULL, NULL, NULL)",
                        (queue, worker)).fetchone()[:2]
                    if job_id is not None:
                        do_job(db, (queue, worker, job_id), job, handler, beat)
        except psycopg.OperationalError as error:
            logging.warning("connecting again: %s", error)
            stop.wait(1)


def do_job(db, claim, job, handler, beat):
    result, reason = "success", None
    with beating(db, claim, beat):
        try:
            handler(job)
        except Exception as error:
            result, reason = "failure", str(error)
    outcome = db.execute("SELECT pictrepo.complete_job(%s, %s, %s, %s, %s)",
                         (*claim, result, reason)).fetchone()[0]
    if outcome != "completed":
        # retrying, dead, or lost: another worker has it by now
        logging.warning("job %s is %s: %s", claim[2], outcome, reason)


@contextmanager
def beating(db, claim, every):
    """Send heartbeats meanwhile, on the worker's connection, which is idle."""
    done = Event()

    def run():
        try:
            while not done.wait(every):
                db.execute("SELECT pictrepo.heartbeat(%s, %s, %s)", claim)
        except psycopg.Error:
            pass  # complete_job will hear of it, too

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# ---------------------------------------------------------------------------
# The scenario
# ---------------------------------------------------------------------------

DETAILS = {"width": 640, "height": 480, "format": {"Image": "png"}}


def check(step, got, wanted):
    print(f"ok - {step}" if got == wanted else f"not ok - {step}: {got!r}", flush=True)


def connect():
    return psycopg.connect(autocommit=True)


def rows(db, sql, *args):
    return db.execute(sql, args).fetchall()


def row(db, sql, *args):
    return db.execute(sql, args).fetchone()


def value(db, sql, *args):
    return row(db, sql, *args)[0]


def make_hash(db, content):
    return value(db, "SELECT pictrepo.make_hash(%s, %s, 'png')",
                 hashlib.sha256(content).digest(), len(content))


def ingest(db, hash, identifier, alias, created_at=None):
    return value(db, "SELECT outcome FROM pictrepo.ingest(%s, %s, %s, %s, %s, %s)",
                 hash, identifier, Jsonb(DETAILS), alias, "token", created_at)


def pictures(db, hash):
    check("ingest: created", ingest(db, hash, "cat.png", "cat-1.png"), "created")
    check("ingest: duplicate", ingest(db, hash, "again.png", "cat-2.png"), "duplicate")
    check("serve: the file and its details",
          row(db, "SELECT hash, identifier, details, fallback FROM pictrepo.serve(%s)", "cat-2.png"),
          (hash, "cat.png", DETAILS, False))

    every_byte = bytes(range(256))
    db.execute("SELECT pictrepo.set(%s, %s)", ("bytes", every_byte))
    check("set, get: any bytes", value(db, "SELECT pictrepo.get(%s)", "bytes"), every_byte)

    noon = datetime(2020, 1, 1, 12, tzinfo=timezone.utc)
    db.execute("SELECT pictrepo.set_accessed_alias(%s, %s)", ("cat-1.png", noon))
    check("set_accessed_alias, alias_accessed_at: the same time",
          value(db, "SELECT pictrepo.alias_accessed_at(%s)", "cat-1.png"), noon)


def pages(db, newest):
    noon = datetime(2020, 1, 1, 12, tzinfo=timezone.utc)
    wanted = [newest]
    for number in range(5):
        hash = make_hash(db, b"page %d" % number)
        ingest(db, hash, f"page-{number}.png", f"page-{number}.png", noon + timedelta(minutes=number))
        wanted.insert(1, hash)

    def page(slug):
        return row(db, "SELECT prev, next, hashes FROM pictrepo.hash_page(%s, %s)", slug, 2)

    prev, slug, first = page(None)
    got = list(first)
    while slug is not None:
        prev, slug, hashes = page(slug)
        got += hashes
    check("hash_page: all hashes by its slugs, newest first", got, wanted)
    while prev is not None:
        prev, slug, hashes = page(prev)
    check("hash_page: prev leads back", hashes, first)


def jobs(db):
    worker = uuid4()

    def push(job, queue="jobs"):
        return value(db, "SELECT pictrepo.push(%s, %s)", queue, Jsonb(job))

    def complete(job_id):
        return value(db, "SELECT pictrepo.complete_job(%s, %s, %s)", "jobs", worker, job_id)

    pushed = push({"number": 1})
    job_id, job, attempt, since = row(db, "SELECT * FROM pictrepo.pop(%s, %s)", "jobs", worker)
    age = datetime.now(timezone.utc) - since
    check("push, pop: the job, its attempt and its time",
          (job_id, job, attempt, abs(age) < timedelta(minutes=1)), (pushed, {"number": 1}, 1, True))
    complete(job_id)

    with connect() as other:
        Timer(0.5, lambda: value(other, "SELECT pictrepo.push(%s, %s)",
                                 "jobs", Jsonb({"number": 2}))).start()
        job_id, job = row(db, "SELECT id, job FROM pictrepo.pop(%s, %s, wait => %s)",
                          "jobs", worker, timedelta(seconds=10))
    check("pop with wait: what another connection pushes meanwhile", job, {"number": 2})

    check("heartbeat: held",
          value(db, "SELECT pictrepo.heartbeat(%s, %s, %s)", "jobs", worker, job_id), True)
    push({"number": 3})
    outcome, job_id, job = row(
        db, "SELECT outcome, id, job FROM pictrepo.complete_and_pop(%s, %s, %s)", "jobs", worker, job_id)
    check("complete_and_pop: completed, and the next job", (outcome, job), ("completed", {"number": 3}))
    check("complete_job: completed", complete(job_id), "completed")
    check("complete_job: lost the second time", complete(job_id), "lost")

    ids = value(db, "SELECT pictrepo.push_many(%s, %s, %s)", "jobs",
                [Jsonb({"number": 4}), Jsonb({"number": 5}), Jsonb({"number": 6})], ["a", None, "a"])
    check("push_many: ids, and NULL where the key is held",
          [id is not None for id in ids], [True, True, False])
    popped = [id for id, in rows(db, "SELECT id FROM pictrepo.pop(%s, %s, %s)", "jobs", worker, 10)]
    check("complete_many: completed, and lost",
          value(db, "SELECT pictrepo.complete_many(%s, %s, %s)", "jobs", worker, [*popped, uuid4()]),
          ["completed", "completed", "lost"])

    def pop_wait(timeout):
        return row(db, "CALL pictrepo.pop_wait(%s, %s, %s, NULL, NULL, NULL, NULL)",
                   "jobs", worker, timeout)

    check("pop_wait: NULLs when the time is up", pop_wait(timedelta(milliseconds=50)), (None,) * 4)
    push({"number": 7})
    check("pop_wait: a job", pop_wait(timedelta(seconds=10))[1], {"number": 7})

    with connect() as listener:
        listener.execute("LISTEN queue_status_channel")
        push({"number": 8}, "heard")
        heard = next(notify.payload.split(" ")[1] for notify in listener.notifies()
                     if notify.payload.endswith(" heard"))
        check("LISTEN: the push is heard with its queue", heard, "heard")


def worker_loop(db):
    stop = Event()

    def handler(job):
        if "fail" in job:
            raise ValueError(job["fail"])
        time.sleep(job["nap"])
        if job["last"]:
            stop.set()
        with connect() as own:
            own.execute("SELECT pictrepo.push(%s, %s)", ("done", Jsonb(job)))

    def push(job, retry=None, upload=None):
        value(db, "SELECT pictrepo.push(%s, %s, retry => %s, upload => %s)", "work", Jsonb(job), retry, upload)

    def done():
        return value(db, "SELECT job FROM pictrepo.pop(%s, wait => %s)", "done", timedelta(seconds=20))

    long, last = {"nap": 4, "last": False}, {"nap": 0, "last": True}
    upload = value(db, "SELECT pictrepo.create_upload()")
    thread = Thread(target=work, args=("work", handler, stop, 1))
    thread.start()
    push(long)
    check("work: a job longer than the heartbeat timeout", done(), long)

    push({"fail": "the picture is broken"}, 0, upload)
    check("work: the upload of a job that fails hears why",
          value(db, "SELECT pictrepo.wait(%s, %s)", upload, timedelta(seconds=20)),
          {"Failure": {"message": "the picture is broken", "code": "job-failed"}})

    db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
               " WHERE datname = current_database() AND application_name = 'worker'")
    push(last)
    check("work: connects again", done(), last)
    thread.join()
    check("work: ends when told, each job done once",
          [value(db, "SELECT pictrepo.queue_length(%s)", queue) for queue in ("work", "done")], [0, 2])


def variants(db, hash):
    ours, theirs = uuid4(), uuid4()

    def claim(worker):
        return value(db, "SELECT pictrepo.claim_variant_processing_rights(%s, %s, %s)",
                     hash, "thumbnail", worker)

    check("claim_variant_processing_rights: claimed, busy for another",
          (claim(ours), claim(theirs)), ("claimed", "busy"))
    check("finish_variant: stored",
          value(db, "SELECT pictrepo.finish_variant(%s, %s, %s, %s, %s)",
                hash, "thumbnail", ours, "cat-128.webp", Jsonb({"width": 128})), "stored")
    check("variant_waiter: its file",
          value(db, "SELECT pictrepo.variant_waiter(%s, %s, %s)", hash, "thumbnail", timedelta(seconds=10)),
          "cat-128.webp")
    check("serve_variant: its file",
          row(db, "SELECT identifier, details, original_identifier FROM pictrepo.serve_variant(%s, %s)",
              "cat-1.png", "thumbnail"),
          ("cat-128.webp", {"width": 128}, "cat.png"))


def upload_and_delete(db):
    worker = uuid4()
    upload = value(db, "SELECT pictrepo.create_upload()")
    value(db, "SELECT pictrepo.push(%s, %s, upload => %s)",
          "process", Jsonb({"Ingest": {"identifier": "dog.png"}}), upload)
    job_id = value(db, "SELECT id FROM pictrepo.pop(%s, %s)", "process", worker)
    row(db, "SELECT * FROM pictrepo.finish_ingest(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        "process", worker, job_id, upload,
        make_hash(db, b"dog"), "dog.png", Jsonb(DETAILS), "dog.png", "token")
    check("wait: what finish_ingest left",
          value(db, "SELECT pictrepo.wait(%s, %s)", upload, timedelta(seconds=10)),
          {"Success": {"alias": "dog.png", "token": "token"}})
    check("claim: once",
          [value(db, "SELECT pictrepo.claim(%s)", upload) for _ in range(2)], [True, False])

    def delete(token):
        return value(db, "SELECT pictrepo.delete_alias(%s, %s)", "dog.png", token)

    check("delete_alias: forbidden with another token", delete("wrong"), "forbidden")
    check("delete_alias: deleted", delete("token"), "deleted")
    check("cleanup: the files that nothing needs any more",
          [job["Identifier"]["identifier"] for job, in rows(
              db, "SELECT job FROM pictrepo.pop(%s, max_jobs => %s)", "cleanup", 10)],
          ["again.png", "dog.png"])


def errors(db, hash):
    def fails(step, error, sql, *args):
        try:
            check(step, value(db, sql, *args), error)
        except psycopg.Error as got:
            check(step, type(got), error)

    create_alias = "SELECT pictrepo.create_alias(%s, %s, %s)"
    fails("22004: a hash that is NULL", psycopg.errors.NullValueNotAllowed,
          create_alias, "new.png", "token", None)
    fails("22023: a bad slug", psycopg.errors.InvalidParameterValue,
          "SELECT pictrepo.hash_page(%s)", "no slug")
    fails("22001: an alias that is too long", psycopg.errors.StringDataRightTruncation,
          create_alias, "a" * 300, "token", hash)
    fails("23503: an alias of an unknown hash", psycopg.errors.ForeignKeyViolation,
          create_alias, "new.png", "token", make_hash(db, b"unknown"))
    fails("22P02: malformed JSON", psycopg.errors.InvalidTextRepresentation,
          "SELECT pictrepo.push(%s, %s)", "jobs", "{")
    fails("42501: what takes an admin", psycopg.errors.InsufficientPrivilege,
          "SELECT pictrepo.pause_queue(%s)", "jobs")
    check("after errors: the connection goes on",
          value(db, "SELECT pictrepo.identifier(%s)", hash), "cat.png")


def main():
    with connect() as db:
        hash = make_hash(db, b"cat")
        pictures(db, hash)
        pages(db, hash)
        jobs(db)
        worker_loop(db)
        variants(db, hash)
        upload_and_delete(db)
        errors(db, hash)


if __name__ == "__main__":
    main()

"""pictrepo from Python with psycopg 3: the scenario that all clients run. A worker is in worker.py."""

import hashlib
from base64 import b64encode
from datetime import datetime, timedelta, timezone
from threading import Timer
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

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
        return value(db, "SELECT pictrepo.complete_job(%s, %s, %s, attempt => %s)", "jobs", worker, job_id, 1)

    pushed = push({"number": 1})
    job_id, job, attempt, since = row(db, "SELECT * FROM pictrepo.pop(%s, %s)", "jobs", worker)
    age = datetime.now(timezone.utc) - since
    check("push, pop: the job, its attempt and its time",
          (job_id, job, attempt, abs(age) < timedelta(minutes=1)), (pushed, {"number": 1}, 1, True))
    complete(job_id)

    meanwhile("SELECT pictrepo.push(%s, %s)", "jobs", Jsonb({"number": 2}))
    job_id, job = row(db, "SELECT id, job FROM pictrepo.pop(%s, %s, wait => %s)",
                      "jobs", worker, timedelta(seconds=10))
    check("pop with wait: what another connection pushes meanwhile", job, {"number": 2})

    check("heartbeat: held",
          value(db, "SELECT pictrepo.heartbeat(%s, %s, %s, %s)", "jobs", worker, job_id, 1), True)
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
        return row(db, "CALL pictrepo.pop_wait(%s, %s, %s)",
                   "jobs", worker, timeout)

    check("pop_wait: NULLs when the time is up", pop_wait(timedelta(milliseconds=50)), (None,) * 4)
    push({"number": 7})
    check("pop_wait: a job", pop_wait(timedelta(seconds=10))[1], {"number": 7})

    with listening("queue_status_channel") as listener:
        push({"number": 8}, "heard")
        check("LISTEN: the push is heard with its queue", hears(listener, " heard"), True)


def listening(channel):
    listener = connect()
    listener.execute(f"LISTEN {channel}")
    return listener


def hears(listener, ending):
    return any(notify.payload.endswith(ending) for notify in listener.notifies())


def meanwhile(sql, *args):
    """Another connection makes this call when this one has begun to wait."""
    def call():
        with connect() as other:
            value(other, sql, *args)

    Timer(0.5, call).start()


def variants(db, hash):
    ours, theirs = uuid4(), uuid4()

    def claim(worker):
        return value(db, "SELECT pictrepo.claim_variant_processing_rights(%s, %s, %s)",
                     hash, "thumbnail", worker)

    check("claim_variant_processing_rights: claimed, busy for another",
          (claim(ours), claim(theirs)), ("claimed", "busy"))
    with listening("keyed_notification_channel") as listener:
        meanwhile("SELECT pictrepo.finish_variant(%s, %s, %s, %s, %s)",
                  hash, "thumbnail", ours, "cat-128.webp", Jsonb({"width": 128}))
        check("finish_variant, variant_waiter: what one connection waits for while the other stores it",
              value(db, "SELECT pictrepo.variant_waiter(%s, %s, %s)", hash, "thumbnail", timedelta(seconds=10)),
              "cat-128.webp")
        check("LISTEN: the variant is heard with its hash",
              hears(listener, b64encode(hash).decode() + "thumbnail"), True)
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
    with listening("upload_completion_channel") as listener:
        meanwhile("SELECT outcome FROM pictrepo.finish_ingest(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                  "process", worker, job_id, upload,
                  make_hash(db, b"dog"), "dog.png", Jsonb(DETAILS), "dog.png", "token")
        check("finish_ingest, wait: what one connection waits for while the other brings it",
              value(db, "SELECT pictrepo.wait(%s, %s)", upload, timedelta(seconds=10)),
              {"Success": {"alias": "dog.png", "token": "token"}})
        check("LISTEN: the upload is heard", hears(listener, str(upload)), True)
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

    db.execute("SET default_transaction_read_only = on")
    fails("25006: a write while transactions are read-only", psycopg.errors.ReadOnlySqlTransaction,
          "SELECT pictrepo.push(%s, %s)", "jobs", "1")
    db.execute("SET default_transaction_read_only = off")
    upload = value(db, "SELECT pictrepo.create_upload()")
    db.execute("SELECT pictrepo.claim(%s)", (upload,))
    fails("P0002: an upload that was claimed", psycopg.errors.NoDataFound,
          "SELECT pictrepo.wait(%s, '10 s')", upload)
    db.execute("BEGIN")
    fails("2D000: pop_wait in a transaction", psycopg.errors.InvalidTransactionTermination,
          "CALL pictrepo.pop_wait('empty')")
    db.execute("ROLLBACK")
    db.execute("SET statement_timeout = '100ms'")
    fails("57014: a pop that waits for longer than statement_timeout", psycopg.errors.QueryCanceled,
          "SELECT pictrepo.pop('empty', wait => '10 s')")
    db.execute("SET statement_timeout = 0")
    db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    db.execute("SELECT pictrepo.get('bytes')")
    with connect() as other:
        other.execute("SELECT pictrepo.create_hash('later', 'later.png')")
    fails("40001: an alias of a hash that is newer than the snapshot", psycopg.errors.SerializationFailure,
          "SELECT pictrepo.create_alias('later.png', 'token', 'later')")
    db.execute("ROLLBACK")
    check("after errors: the connection goes on",
          value(db, "SELECT pictrepo.identifier(%s)", hash), "cat.png")


def main():
    with connect() as db:
        hash = make_hash(db, b"cat")
        pictures(db, hash)
        pages(db, hash)
        jobs(db)
        variants(db, hash)
        upload_and_delete(db)
        errors(db, hash)


if __name__ == "__main__":
    main()

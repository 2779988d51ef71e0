"""Random calls of all functions of the repo, compared with the model.

The answer of each call is compared, and after those that may write all rows of
all tables. Some calls are made in a transaction, or a subtransaction, that is rolled back.
Now and then the repo is exported, emptied and imported again.

    check.py [--seed=N] [--steps=N] [--seconds=N]

Where to connect says the environment. The database must have the extension, and
nothing in it.
"""

import argparse
import copy
import inspect
import sys
import time
import uuid
from collections import Counter, deque
from datetime import datetime, timedelta, timezone
from functools import partial, reduce
from random import Random

import psycopg
from psycopg.types.json import Jsonb

from model import Fresh, Model, Now, Page, Refused, normal_alias

PICTRS = bytes(range(32)) + (1234).to_bytes(6, "big") + bytes([7])  # the last byte: png
HASHES = [b"a", b"b", b"b\x00", b"\xff", PICTRS, bytes(128)]
FILES = [f"file {n}" for n in range(8)] + ["Ünïcode \U0001f600"]
VARIANTS = ["icon", "thumb", "Thumb"]
STEM = "0b1e8f6c-7d1a-4c3e-9f2b-5a6d7c8e9f00"
ALIASES = ["one.png", "One.png", "two", "drei.tar.gz", ".png", STEM + ".png", STEM.upper() + ".png",
           STEM.replace("-", "") + ".png", "{" + STEM + "}.png", "urn:uuid:" + STEM + ".PNG", STEM, STEM + "x"]
TOKENS = ["token", "Token", STEM, "{" + STEM.upper() + "}"]
URLS = [f"https://example.org/{n}" for n in range(3)] + ["x" * 5000]
KEYS = ["key", "Key", "404-alias"]
VALUES = [b"", b"\x00\xff", b"one.png", uuid.UUID(STEM).bytes + b".png", STEM.upper().encode() + b".png"]
DETAILS = [{}, {"width": 1, "height": 2}, {"format": {"Image": "png"}, "more": [None, "\u00fc"]},
           {"large": "\x01".join(str(n * n) for n in range(2000))}, {"deep": reduce(lambda inner, _: [inner], range(200), [])}]
RESULTS = [{"Success": {"alias": "a.png", "token": "t"}}, {"Failure": {"message": "", "code": ""}}, [1], "x"]
ERRORS = ["why", "", "\U0001f600" * 20000]
TIMES = [datetime(2001, 1, day, 12, 0, 0, micro, timezone.utc) for day, micro in [(1, 0), (1, 1), (2, 0), (3, 999999)]]
LATER = datetime(2100, 1, 1, tzinfo=timezone.utc)
QUEUES = ["q", "r", "cleanup"]
UNIQUE = ["k", "l"]
JOBS = [{"n": 1}, [], "x", None, 1.5]
WORKERS = [uuid.UUID(int=1), uuid.UUID(int=2), None]
PAUSES = [timedelta(0), timedelta(0), timedelta(hours=1), None]
NOBODY = uuid.UUID(int=0)

# Functions whose names the model has given to its tables
RENAMED = {"hashes": "hashes_", "variants": "variants_"}

# Functions that the model says nothing of: every other one of the catalog is called.
LEFT_OUT = {
    # values are made and taken apart by sql/values.sql
    "make_hash", "hash_sha256", "hash_size", "hash_format", "hash_to_slug", "hash_from_slug", "url_digest", "id_node",
    "id_time", "session_worker",
    # what the server does and how it is doing
    "health_check", "status", "server_state", "start_worker", "run_maintenance", "maintenance_status", "queue_counters", "counting",
    "waiting_sessions", "pulse", "recount", "pre_restore", "post_restore", "upkeep_held_by",
    "grant_access", "lock_row",
    # what is no call in a transaction: test/t/015_waiting.pl
    "pop_wait",
    # what goes by the calendar: test/t/012_schedules.pl
    "schedule_job", "unschedule_job", "run_schedules", "next_run",
    # what is moved from one repo to another: method move_out_and_in, test/t/017_pictrs.pl, test/t/018_lines.pl
    "export", "import", "import_lines", "import_pictrs", "export_pictrs",
}

# Tables, and how many columns are the key. What is left out is the server's own:
# heartbeats, which are elsewhere with preload, digests and pict-rs's ids.
TABLES = {
    "hashes": (["hash"], ["identifier", "motion_identifier", "blurhash", "created_at"]),
    "variants": (["hash", "variant"], ["identifier", "accessed"]),
    "variant_claims": (["hash", "variant"], ["worker"]),
    "aliases": (["alias"], ["hash", "delete_token", "accessed", "created_at"]),
    "proxies": (["url"], ["alias", "accessed"]),
    "details": (["identifier"], ["details"]),
    "settings": (["key"], ["value"]),
    "store_migrations": (["old_identifier"], ["new_identifier"]),
    "blocked": (["hash"], ["blocked_at"]),
    "uploads": (["id"], ["result"]),
    "queues": (["queue"], ["retries", "backoff", "backoff_max", "max_running", "paused"]),
    "job_queue": (["id"], ["queue", "job", "status", "priority", "run_at", "queue_time", "attempt", "retry",
                           "failures", "worker", "unique_key", "upload", "error", "session"]),
    "dead_jobs": (["id"], ["queue", "job", "priority", "queue_time", "died_at", "attempt", "unique_key",
                           "upload", "error"]),
}


class Difference(Exception):
    pass


class Calls:
    """Random arguments for each function: from the method call_NAME, or else by the names of its parameters in the model."""

    def __init__(self, random, model, names):
        self.random, self.model = random, model
        self.slugs = {}  # what the server called positions
        self.functions = {name[5:]: getattr(self, name) for name in dir(self) if name.startswith("call_")}
        for name in sorted(names - self.functions.keys()):
            if function := getattr(model, name, None):
                self.functions[name] = partial(self.by_name, inspect.signature(function).parameters)

    def by_name(self, parameters):
        return tuple(getattr(self, name.removeprefix("new_"))() for name in parameters)

    def one(self, values):
        return self.random.choice(list(values))

    def maybe(self, values):
        return self.one([None, *values])

    def hash(self):
        return self.one(HASHES)

    def alias(self):
        return self.one(ALIASES)

    def token(self):
        return self.one(TOKENS)

    def file(self):
        return self.one(FILES)

    def limit(self):
        return self.random.randint(1, 4)

    def before(self):
        return self.one([*TIMES, LATER])

    def slug(self):
        """A slug for the server, and its position for the model."""
        kind = self.random.random()
        if kind < 0.2 or not self.slugs:
            return None, None
        if kind < 0.4:
            return PICTRS_SLUG, PICTRS
        return self.one(self.slugs.items())

    def upload(self):
        return self.one([*self.model.uploads, NOBODY])

    def job(self):
        """A worker and, more often than not, a job of its own."""
        jobs = [(row["queue"], row["worker"] or NOBODY, id) for id, row in self.model.job_queue.items()
                if row["status"] == "running"]
        if jobs and self.random.random() < 0.8:
            return self.one(jobs)
        return self.one(QUEUES), self.one(WORKERS), self.one([*self.model.job_queue, NOBODY])

    def attempt(self, id):
        """The number of the job's last claim, or of the one before it."""
        last = self.model.job_queue.get(id, {"attempt": 1})["attempt"]
        return self.one([None, last, last, max(last - 1, 0)])

    def ending(self):
        return self.one(["success", "failure", "failure", "aborted"]), self.maybe(ERRORS)

    def schedule(self):
        return (self.maybe([*TIMES, LATER]), self.random.randint(-1, 2), self.maybe([0, 1, 3]))

    def variant(self):
        return self.hash(), self.one(VARIANTS)

    def call_size(self):
        return ()

    call_hashes = call_is_continuing_migration = call_blocked_hashes = call_create_upload = call_size

    def call_bound(self):
        return (self.hash(),)

    call_identifier = call_blurhash = call_motion_identifier = call_bound
    call_cleanup_hash = call_variants = call_aliases_for_hash = call_bound
    call_unblock_hash = call_unblock_hash_too = call_bound

    def call_block_hash(self):
        return (self.one(HASHES[:2]),)

    def call_hash_page(self):
        return self.slug(), self.limit()

    call_prune_page = call_page = call_hash_page

    def call_hash_page_by_date(self):
        return self.before(), self.limit()

    call_page_by_date = call_hash_page_by_date

    def call_hashes_ordered(self):
        return (*self.one([(None, None), (self.before(), self.hash())]), self.limit())

    def call_create_hash(self):
        return self.hash(), self.file()

    call_update_identifier = call_relate_motion_identifier = call_create_hash

    def call_create_hash_with_timestamp(self):
        return self.hash(), self.file(), self.one(TIMES)

    def call_relate_blurhash(self):
        return self.hash(), self.one(["LEHV6nWB2yk8", "x"])

    def call_relate_variant_identifier(self):
        return *self.variant(), self.file()

    def call_variant_identifier(self):
        return self.variant()

    call_remove_variant = call_accessed_variant = call_variant_accessed_at = call_variant_identifier
    call_remove_variant_access = call_variant_identifier

    def call_variant_heartbeat(self):
        return *self.variant(), self.one(WORKERS)

    call_claim_variant_processing_rights = call_notify_variant = call_variant_heartbeat

    def call_variant_waiter(self):
        return *self.variant(), timedelta(0)

    def call_aliases_created(self):
        return self.before(), self.before(), self.maybe(map(normal_alias, ALIASES)), self.limit()

    def call_set(self):
        return self.one(KEYS), self.one(VALUES)

    def call_get(self):
        return (self.one(KEYS),)

    call_remove = call_get

    def call_relate_details(self):
        return self.file(), self.one(DETAILS)

    def call_details(self):
        return (self.file(),)

    call_cleanup_details = call_is_migrated = call_forget_missing = call_details

    def call_mark_migrated(self):
        return self.file(), self.file()

    call_migrate_identifier = call_mark_migrated

    def call_clear(self):
        return ()

    def call_relate_url(self):
        return self.one(URLS), self.one(ALIASES)

    def call_related(self):
        return (self.one(URLS),)

    def call_set_accessed_alias(self):
        return self.one(ALIASES), self.before()

    def call_set_accessed_variant(self):
        return *self.variant(), self.before()

    def call_older_aliases(self):
        return self.before(), self.maybe([0, 1, 2])

    call_older_variants = call_older_aliases

    def call_expire_variants(self):
        return self.before(), self.limit()

    call_expire_proxies = call_expire_variants

    def call_complete_upload(self):
        return self.upload(), self.one(RESULTS)

    def call_wait(self):
        return self.upload(), timedelta(0)

    def call_claim(self):
        return (self.upload(),)

    def call_push(self):
        at, priority, retry = self.schedule()
        return self.one(QUEUES), self.one(JOBS), self.maybe(UNIQUE), at, priority, retry, self.maybe([self.upload()])

    call_push_again = call_push

    def call_push_many(self):
        jobs = self.random.choices(JOBS, k=self.random.randint(0, 3))
        keys = self.maybe([[self.maybe(UNIQUE) for _ in jobs]])
        return self.one(QUEUES), jobs, keys, *self.schedule()

    def call_pop(self):
        return self.one(QUEUES), self.one(WORKERS), self.limit()

    call_pop_again = call_pop

    def call_heartbeat(self):
        queue, worker, job = self.job()
        return queue, worker, job, self.attempt(job)

    def call_complete_job(self):
        queue, worker, job = self.job()
        return queue, worker, job, *self.ending(), self.attempt(job)

    call_complete_job_again = call_complete_and_pop = call_complete_job

    def call_complete_many(self):
        queue, worker, job = self.job()
        jobs = [job, *self.random.choices([*self.model.job_queue, NOBODY], k=2), job]
        attempts = [self.attempt(id) or 1 for id in jobs]
        return queue, worker, jobs, *self.ending(), self.maybe([attempts])

    def call_requeue_dead(self):
        return (self.one([*self.model.dead_jobs, NOBODY]),)

    def any_job(self):
        return self.one([*self.model.job_queue, NOBODY])

    def call_cancel_job(self):
        return (self.any_job(),)

    def call_cancel_jobs(self):
        return self.one(QUEUES), self.maybe(UNIQUE)

    def call_update_job(self):
        at, priority, _ = self.schedule()
        return self.any_job(), self.maybe(QUEUES), at, self.maybe([priority])

    def call_release_job(self):
        return *self.job(), self.maybe([*TIMES, LATER])

    def call_delete_dead(self):
        return self.one(QUEUES), self.one(["why", "%"])

    def call_drop_queue(self):
        return (self.one(QUEUES),)

    def call_queue_length(self):
        return (self.maybe(QUEUES),)

    def call_configure_queue(self):
        return (self.one(QUEUES), self.maybe([0, 2]), self.one(PAUSES), self.one(PAUSES),
                self.one([None, -1, -1, 0, 2]), self.one([None, False, True]))

    def call_pause_queue(self):
        return (self.one(QUEUES),)

    call_resume_queue = call_resume_queue_too = call_pause_queue

    def call_ingest(self):
        return (self.hash(), self.file(), self.one(DETAILS), self.one(ALIASES), self.one(TOKENS), self.maybe(TIMES))

    call_ingest_again = call_ingest

    def call_finish_ingest(self):
        queue, worker, job = self.job()
        return queue, worker, job, self.maybe([self.upload()]), *self.call_ingest(), self.attempt(job)

    def call_finish_variant(self):
        return *self.variant(), self.one(WORKERS), self.file(), self.one(DETAILS)

    def call_serve(self):
        return self.one(ALIASES), self.one([False, True])

    def call_serve_url(self):
        return self.one(URLS), self.one([False, True])

    def call_serve_variant(self):
        return self.one(ALIASES), self.one(VARIANTS), self.one([False, True])

    def call_purge(self):
        return self.one(ALIASES), self.random.random() < 0.1

    def some_call(self):
        name = self.one(self.functions)
        args = self.functions[name]()
        return plain_name(name), args


def plain_name(name):
    """What is called more often than others has several names."""
    return name.removesuffix("_again").removesuffix("_too")


# ----- what is compared -----

def same(expected, actual):
    """Rows, values and what is in JSON, where times are text."""
    if isinstance(expected, Now):
        return expected.fits(moment(actual))
    if isinstance(expected, datetime):
        return expected == moment(actual)
    if isinstance(expected, dict):
        return (isinstance(actual, dict) and expected.keys() == actual.keys()
                and all(same(value, actual[key]) for key, value in expected.items()))
    if isinstance(expected, (list, tuple)):
        return (isinstance(actual, (list, tuple)) and len(expected) == len(actual)
                and all(map(same, expected, actual)))
    return type(expected) is type(actual) and expected == actual


def moment(value):
    return datetime.fromisoformat(value) if isinstance(value, str) else value


class Check:
    def __init__(self, seed):
        self.db = psycopg.connect(autocommit=True, application_name="model")
        self.db.execute("SET TimeZone = 'UTC'")
        self.random = Random(seed)
        self.model = Model(self.ask("SELECT pictrepo.session_worker()")[0][0])
        self.there = {name for name, in self.ask(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace"
            " AND prorettype <> 'trigger'::regtype")}
        self.calls = Calls(self.random, self.model, self.there - LEFT_OUT)
        self.depth = []  # of each transaction and subtransaction the model before, and its savepoint
        self.since = None  # when the transaction began
        self.last_id = NOBODY
        self.readers = {name for name, in self.ask(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace AND provolatile = 's'")}
        self.recent = deque(maxlen=25)
        self.count = Counter()
        self.moves = 0

    def check_functions(self):
        called = {plain_name(name) for name in self.calls.functions}
        expected = self.there - LEFT_OUT
        self.rely(called == expected, "functions that are called", called - expected, expected - called)
        self.rely(LEFT_OUT <= self.there, "functions that are left out", LEFT_OUT - self.there, "not there")

    def ask(self, sql, args=()):
        return self.db.execute(sql, args).fetchall()

    def clock(self):
        return self.ask("SELECT clock_timestamp()")[0][0]

    def rely(self, agreed, what, expected, actual):
        if not agreed:
            raise Difference(f"{what}\n  the model:  {expected!r}\n  the server: {actual!r}")

    # ----- transactions -----

    def begin(self):
        name = f"level_{len(self.depth)}"
        self.note("SAVEPOINT " + name if self.depth else "BEGIN")
        if not self.depth:
            self.since = self.ask("SELECT now()")[0][0]
        self.depth.append((copy.deepcopy(self.model.__dict__), name))

    def end(self, how):
        before, name = self.depth.pop()
        if how == "ROLLBACK":
            self.model.__dict__.update(before)
        if not self.depth:
            self.note(how)
            self.since = None
        elif how == "ROLLBACK":
            self.note(f"ROLLBACK TO {name}")
        else:
            self.note(f"RELEASE {name}")

    def note(self, sql):
        self.recent.append(sql)
        self.db.execute(sql)

    # ----- calls -----

    def step(self):
        kind = self.random.random()
        if kind < 0.04 and len(self.depth) < 3:
            self.begin()
        elif kind < 0.10 and self.depth:
            self.end(self.random.choice(["COMMIT", "ROLLBACK"]))
            self.compare_tables()
        elif kind < 0.12 and not self.depth:
            self.move_out_and_in()
        else:
            self.call(*self.calls.some_call())

    def call(self, name, args):
        self.recent.append(f"{name}{args}")
        self.count[name] += 1
        self.model.called = self.clock()
        answer = self.ask_server(name, args)
        self.model.begin, self.model.end = self.since or self.model.called, self.clock()
        self.model.seen = set()
        if "pop" in name:
            self.model.seen = {value for row in answer for value in row if isinstance(value, uuid.UUID)}
        self.model.released = []
        before = copy.deepcopy(self.model.__dict__)
        try:
            expected = getattr(self.model, RENAMED.get(name, name))(
                *(arg[1] if isinstance(arg, tuple) else arg for arg in args))
        except Refused as refused:
            self.model.__dict__.update(before)
            expected = str(refused)
        self.compare_answer(expected, answer)
        if name not in self.readers or self.random.random() < 0.05:
            self.compare_tables()

    def ask_server(self, name, args):
        given = [self.to_sql(name, i, arg) for i, arg in enumerate(args)]
        sql = f"SELECT * FROM pictrepo.{name}({', '.join(['%s'] * len(given))})"
        if self.depth:
            self.db.execute("SAVEPOINT call")
        try:
            answer = self.ask(sql, given)
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            if self.depth:
                self.db.execute("ROLLBACK TO call")
            return error.sqlstate
        if self.depth:
            self.db.execute("RELEASE call")
        return answer

    def to_sql(self, name, i, arg):
        if isinstance(arg, tuple):  # a slug and its position
            return arg[0]
        if name == "push_many" and i == 1:
            return [Jsonb(job) for job in arg] or "{}"
        if (name, i) in JSON_ARGUMENTS:
            return Jsonb(arg)
        return arg

    def compare_answer(self, expected, answer):
        if isinstance(expected, Fresh):
            given = answer[0][0]
            ids = given if isinstance(given, list) else [given]
            for id in filter(None, ids):
                self.rely(isinstance(id, uuid.UUID) and id.version == 7 and id > self.last_id,
                          "a new id", f"a UUID version 7 after {self.last_id}", id)
                self.last_id = id
            try:
                expected.adopt(given)
            except (ValueError, TypeError, AttributeError) as error:
                self.rely(False, "new ids", error, answer)
        elif isinstance(expected, Page):
            before, content = len(expected.before), expected.content
            row = answer[0]
            self.rely(same(expected.before, row[:before]) and same(content, row[before + 3:]),
                      "a page", (expected.before, content), row)
            for slug, position in zip(row[before:], expected.slugs):
                self.rely((slug is None) == (position is None)
                          and self.calls.slugs.get(slug, position) == position,
                          f"the slug {slug}", position, self.calls.slugs.get(slug))
                if slug is not None:
                    self.calls.slugs[slug] = position
        else:
            self.rely(same(expected, answer), "the answer", expected, answer)

    # ----- export and import -----

    def move_out_and_in(self):
        """Every export comes back in as it was, whatever the repo has."""
        self.recent.append("export, import")
        self.moves += 1
        self.db.execute("BEGIN")
        lines = self.exported()
        self.db.execute("TRUNCATE " + ", ".join("pictrepo." + table for table in TABLES))
        outcomes = {outcome or f"{state} {error}" for outcome, state, error in self.ask(
            "SELECT outcome, sqlstate, error FROM pictrepo.import_lines(%s) OFFSET 1", [lines])}
        self.rely(outcomes <= {"stored"}, "outcomes of an import", "stored", outcomes)
        again = self.exported()
        self.rely(lines == again, "an export that was imported", set(lines) - set(again), set(again) - set(lines))
        self.db.execute("ROLLBACK")

    def exported(self):
        return [line for line, in self.ask("SELECT pictrepo.export()")]

    # ----- tables -----

    def compare_tables(self):
        model = vars(self.model)
        with self.db.pipeline():  # all questions, before any answer
            contents = [self.db.execute(f"SELECT {', '.join(key + columns)} FROM pictrepo.{table}")
                        for table, (key, columns) in TABLES.items()]
            counts = self.db.execute("SELECT pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('q')")
            orphans = self.db.execute("SELECT kind, name FROM pictrepo.orphans")
        for (table, (key, columns)), content in zip(TABLES.items(), contents):
            rows = model.get(table + "_", model.get(table))
            stored = {}
            for row in content.fetchall():
                stored[row[:len(key)] if len(key) > 1 else row[0]] = dict(zip(columns, row[len(key):]))
            if table == "job_queue":
                self.adopt_removals(stored)
            self.rely(rows.keys() == stored.keys(), f"what is in {table}", sorted(rows, key=repr),
                      sorted(stored, key=repr))
            for name, row in rows.items():
                self.rely(same(row, stored[name]), f"{name} in {table}", row, stored[name])
                row.update(stored[name])
        counts, orphans = counts.fetchall(), sorted(orphans.fetchall())
        expected = [(len(model["hashes"]), len(model["job_queue"]), self.model.queue_length("q")[0][0])]
        self.rely(counts == expected, "size, length of all queues and of one", expected, counts)
        self.rely(orphans == self.model.orphans(), "orphans", self.model.orphans(), orphans)

    def adopt_removals(self, stored):
        """Jobs that the call pushed for files that it released."""
        new = {id: row for id, row in stored.items() if id not in self.model.job_queue}
        for id, row in sorted(new.items()):
            file = isinstance(row["job"], dict) and row["job"].get("Identifier", {}).get("identifier")
            self.rely(file in self.model.released and id > self.last_id, "a new job for a released file",
                      self.model.released, row)
            self.model.released.remove(file)
            self.model.new_job(id, "cleanup", {"Identifier": {"identifier": file}}, None, None, 0, None, None)
            self.last_id = id
        self.rely(not self.model.released, "jobs for released files", self.model.released, "none")


JSON_ARGUMENTS = {("relate_details", 1), ("complete_upload", 1), ("push", 1), ("ingest", 2), ("finish_ingest", 6),
                  ("finish_variant", 4)}
PICTRS_SLUG = None


def main():
    global PICTRS_SLUG
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6))
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=10**9)
    options = parser.parse_args()

    check = Check(options.seed)
    PICTRS_SLUG = check.ask("SELECT pictrepo.hash_to_slug(%s)", [PICTRS])[0][0]
    end = time.monotonic() + options.seconds
    steps = 0
    try:
        check.check_functions()
        while steps < options.steps and time.monotonic() < end:
            steps += 1
            check.step()
    except Difference as difference:
        print("The last calls:", *check.recent, sep="\n  ")
        print(f"Seed {options.seed}, step {steps}: {difference}")
        sys.exit(1)
    called = len(check.count)
    print(f"seed {options.seed}: {sum(check.count.values())} calls of {called} functions and {check.moves} moves,"
          " no difference")


main()

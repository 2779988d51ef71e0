"""What every function of the repo promises, in as few lines as will say it.

A method has the name and the arguments of a SQL function, and returns the rows
that it must give. The tables are dictionaries of rows; a row has the columns of
the table. What the server alone can choose is a Now (a time) or a Fresh (an id),
until the tables have been looked at.
"""

import re
import uuid
from datetime import timedelta
from hashlib import sha256

HYPHENS = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
UUID = re.compile(rf"{HYPHENS}|[0-9a-f]{{32}}|\{{{HYPHENS}\}}|urn:uuid:{HYPHENS}", re.IGNORECASE)


class Refused(Exception):
    """The call fails with this SQLSTATE."""


class Now:
    """A time from one of the server's clock to another, or what was there before."""

    def __init__(self, first, last, *instead):
        self.first, self.last, self.instead = first, last, instead

    def fits(self, time):
        return time in self.instead or time is not None and self.first <= time <= self.last

    def __repr__(self):
        return f"between {self.first} and {self.last}" + "".join(f" or {time}" for time in self.instead)


class Fresh:
    """An id that the server mints, and what to do with it."""

    def __init__(self, adopt):
        self.adopt = adopt


class Page:
    """Positions, which the server tells as slugs, and what is on the page."""

    def __init__(self, current, previous, following, before, content):
        self.slugs = (current, previous, following)
        self.before, self.content = before, content


def normal_uuid(text):
    return str(uuid.UUID(text)) if UUID.fullmatch(text) else text


def texts_in(document):
    """Every text that is a value somewhere in JSON."""
    if isinstance(document, str):
        return [document]
    parts = document.values() if isinstance(document, dict) else document if isinstance(document, list) else []
    return [text for part in parts for text in texts_in(part)]


def normal_alias(alias):
    stem, dot, extension = alias.partition(".")
    return normal_uuid(stem) + dot + extension


class Model:
    def __init__(self, session):
        self.session = session  # session_worker()
        self.hashes, self.variants, self.aliases, self.proxies = {}, {}, {}, {}
        self.details_, self.settings, self.store_migrations, self.blocked = {}, {}, {}, {}
        self.variant_claims, self.uploads, self.queues = {}, {}, {}
        self.job_queue, self.dead_jobs = {}, {}
        self.released = []  # files that this call queues for removal
        self.begin, self.end = None, None  # of this call: its now() at the earliest, and when it was over
        self.called = None  # when it was made, which is later in a transaction
        self.seen = set()  # ids in the server's answer

    def now(self, pause=timedelta(0), *instead):
        return Now(self.begin + pause / 2, self.end + pause, *instead)

    # ----- hashes -----

    def size(self):
        return [(len(self.hashes),)]

    def ordered(self):
        return sorted(((row["created_at"], hash) for hash, row in self.hashes.items()), reverse=True)

    def hashes_(self):
        return [(hash,) for _, hash in self.ordered()]

    def bound(self, hash):
        row = self.hashes.get(hash)
        return [(row["created_at"], hash) if row else (None, None)]

    def page_from(self, start, limit):
        """The page from a position on; None: from the newest on."""
        places = self.ordered()
        rest = [place for place in places if start is None or place <= start]
        first = rest[0] if rest else start
        newer = [place for place in reversed(places) if first is not None and place > first][:limit]
        page = rest[:limit]
        return (page[0] if page else None, newer[-1] if newer else None,
                rest[limit] if len(rest) > limit else None, [hash for _, hash in page])

    def start_at(self, slug):
        """A position, or a hash as pict-rs's slug has it: unknown, it stands for the newest."""
        if isinstance(slug, bytes):
            return (self.hashes[slug]["created_at"], slug) if slug in self.hashes else None
        return slug

    def answer_hash_page(self, start, limit):
        current, previous, following, hashes = self.page_from(start, limit)
        return Page(current, previous, following, (limit,), (hashes,))

    def hash_page(self, slug, limit):
        return self.answer_hash_page(self.start_at(slug), limit)

    def hashes_ordered(self, created_at, hash, limit):
        return self.answer_hash_page(None if hash is None else (created_at, hash), limit)

    def hash_page_by_date(self, before, limit):
        return self.answer_hash_page((before, b""), limit)

    def create_hash_with_timestamp(self, hash, identifier, created_at):
        if hash in self.hashes:
            return [(False,)]
        self.hashes[hash] = {"identifier": identifier, "motion_identifier": None, "blurhash": None,
                             "created_at": created_at}
        return [(True,)]

    def create_hash(self, hash, identifier):
        return self.create_hash_with_timestamp(hash, identifier, self.now())

    def set_of_hash(self, hash, column, value):
        if hash in self.hashes:
            self.hashes[hash][column] = value
        return [(hash in self.hashes,)]

    def of_hash(self, hash, column):
        return [(self.hashes[hash][column] if hash in self.hashes else None,)]

    def update_identifier(self, hash, identifier):
        return self.set_of_hash(hash, "identifier", identifier)

    def relate_blurhash(self, hash, blurhash):
        return self.set_of_hash(hash, "blurhash", blurhash)

    def relate_motion_identifier(self, hash, identifier):
        return self.set_of_hash(hash, "motion_identifier", identifier)

    def identifier(self, hash):
        return self.of_hash(hash, "identifier")

    def blurhash(self, hash):
        return self.of_hash(hash, "blurhash")

    def motion_identifier(self, hash):
        return self.of_hash(hash, "motion_identifier")

    def cleanup_hash(self, hash):
        """All that belongs to it goes; details belong to files, and stay."""
        for alias in self.aliases_of(hash):
            self.cleanup_alias(alias)
        for table in (self.variants, self.variant_claims):
            for key in [key for key in table if key[0] == hash]:
                del table[key]
        return [(self.hashes.pop(hash, None) is not None,)]

    # ----- variants -----

    def must_know(self, table, key):
        if key not in table:
            raise Refused("23503")

    def relate_variant_identifier(self, hash, variant, identifier):
        self.must_know(self.hashes, hash)
        if (hash, variant) in self.variants:
            return [(False,)]
        self.variants[hash, variant] = {"identifier": identifier, "accessed": self.now()}
        return [(True,)]

    def variant_identifier(self, hash, variant):
        row = self.variants.get((hash, variant))
        return [(row and row["identifier"],)]

    def variants_of(self, hash):
        return sorted((variant, row["identifier"]) for (of, variant), row in self.variants.items() if of == hash)

    def variants_(self, hash):
        return self.variants_of(hash)

    def remove_variant(self, hash, variant):
        return [(self.variants.pop((hash, variant), None) is not None,)]

    def holds(self, key, worker):
        return key in self.variant_claims and self.variant_claims[key]["worker"] == (worker or self.session)

    def claim_variant_processing_rights(self, hash, variant, worker):
        self.must_know(self.hashes, hash)
        key = hash, variant
        if key in self.variants:
            return [("exists",)]
        if key in self.variant_claims and not self.holds(key, worker):
            return [("busy",)]
        self.variant_claims[key] = {"worker": worker or self.session}
        return [("claimed",)]

    def variant_heartbeat(self, hash, variant, worker):
        return [(self.holds((hash, variant), worker),)]

    def notify_variant(self, hash, variant, worker):
        held = self.holds((hash, variant), worker)
        if held:
            del self.variant_claims[hash, variant]
        return [(held,)]

    def variant_waiter(self, hash, variant, timeout):
        return self.variant_identifier(hash, variant)

    # ----- aliases -----

    def create_alias(self, alias, token, hash):
        alias = normal_alias(alias)
        self.must_know(self.hashes, hash)
        if alias in self.aliases:
            return [(False,)]
        self.aliases[alias] = {"hash": hash, "delete_token": normal_uuid(token), "accessed": None,
                               "created_at": self.now()}
        return [(True,)]

    def of_alias(self, alias, column):
        row = self.aliases.get(normal_alias(alias))
        return row and row[column]

    def delete_token(self, alias):
        return [(self.of_alias(alias, "delete_token"),)]

    def hash(self, alias):
        return [(self.of_alias(alias, "hash"),)]

    def check_delete_token(self, alias, token):
        own = self.of_alias(alias, "delete_token")
        return [(own and normal_uuid(own) == normal_uuid(token),)]

    def aliases_of(self, hash):
        return sorted(alias for alias, row in self.aliases.items() if row["hash"] == hash)

    def aliases_for_hash(self, hash):
        return [(alias,) for alias in self.aliases_of(hash)]

    def cleanup_alias(self, alias):
        alias = normal_alias(alias)
        self.remove_relation(alias)
        return [(self.aliases.pop(alias, None) is not None,)]

    def identifier_from_alias(self, alias):
        return self.of_hash(self.of_alias(alias, "hash"), "identifier")

    def aliases_from_alias(self, alias):
        return self.aliases_for_hash(self.of_alias(alias, "hash") or b"")

    # ----- settings, details, store migrations -----

    def set(self, key, value):
        self.settings[key] = {"value": value}
        return [("",)]

    def get(self, key):
        return [(self.settings[key]["value"] if key in self.settings else None,)]

    def remove(self, key):
        return [(self.settings.pop(key, None) is not None,)]

    def relate_details(self, identifier, details):
        known = identifier in self.details_
        self.details_.setdefault(identifier, {"details": details})
        return [(not known,)]

    def details_of(self, identifier):
        return self.details_[identifier]["details"] if identifier in self.details_ else None

    def details(self, identifier):
        return [(self.details_of(identifier),)]

    def cleanup_details(self, identifier):
        return [(self.details_.pop(identifier, None) is not None,)]

    def is_continuing_migration(self):
        return [(bool(self.store_migrations),)]

    def mark_migrated(self, old, new):
        known = old in self.store_migrations
        self.store_migrations.setdefault(old, {"new_identifier": new})
        return [(not known,)]

    def is_migrated(self, old):
        return [(old in self.store_migrations,)]

    def clear(self):
        count = len(self.store_migrations)
        self.store_migrations = {}
        return [(count,)]

    # ----- proxies and access -----

    def urls_of(self, alias):
        return [row for row in self.proxies.values() if row["alias"] == alias]

    def relate_url(self, url, alias):
        alias = normal_alias(alias)
        self.must_know(self.aliases, alias)
        if url in self.proxies:
            return [(False,)]
        self.proxies[url] = {"alias": alias, "accessed": self.now()}
        return [(True,)]

    def related(self, url):
        return [(self.proxies[url]["alias"] if url in self.proxies else None,)]

    def remove_relation(self, alias):
        urls = [url for url, row in self.proxies.items() if row["alias"] == normal_alias(alias)]
        if urls:
            self.aliases[normal_alias(alias)]["accessed"] = self.access_of(normal_alias(alias))
        for url in urls:
            del self.proxies[url]
        return [(len(urls),)]

    def access_of(self, alias):
        times = [row["accessed"] for row in self.urls_of(alias) if row["accessed"] is not None]
        return max(times) if times else self.of_alias(alias, "accessed")

    def note_access(self, rows, last):
        """Now, unless the last one was within a minute."""
        if last is not None and last + timedelta(minutes=1) > self.end:
            return
        near = last is not None and last + timedelta(minutes=1) > self.called
        for row in rows:
            row["accessed"] = self.now(timedelta(0), *([row["accessed"]] if near else []))

    def rows_of_access(self, alias):
        return self.urls_of(alias) or [self.aliases[alias]]

    def row_of_touch(self, alias):
        """Of several urls the one served last, and of those the one with the least digest."""
        urls = sorted((url for url, row in self.proxies.items() if row["alias"] == alias),
                      key=lambda url: sha256(url.encode()).digest())
        served = [url for url in urls if self.proxies[url]["accessed"] == self.access_of(alias)]
        return self.proxies[(served or urls)[0]] if urls else self.aliases[alias]

    def accessed_alias(self, alias):
        alias = normal_alias(alias)
        if alias in self.aliases:
            self.note_access([self.row_of_touch(alias)], self.access_of(alias))
        return [(alias in self.aliases,)]

    def set_accessed_alias(self, alias, at):
        alias = normal_alias(alias)
        if alias in self.aliases:
            for row in self.rows_of_access(alias):
                row["accessed"] = at
        return [(alias in self.aliases,)]

    def alias_accessed_at(self, alias):
        return [(self.access_of(normal_alias(alias)),)]

    def remove_alias_access(self, alias):
        alias = normal_alias(alias)
        known = False
        for row in self.urls_of(alias) + [self.aliases.get(alias, {"accessed": None})]:
            known = known or row["accessed"] is not None
            row["accessed"] = None
        return [(known,)]

    def older_aliases(self, before, most):
        aliases = {row["alias"] for row in self.proxies.values() if row["accessed"] is not None}
        older = sorted((self.access_of(alias), alias) for alias in aliases if self.access_of(alias) < before)
        return [(alias, accessed) for accessed, alias in older[:most]]

    def accessed_variant(self, hash, variant):
        row = self.variants.get((hash, variant))
        if row:
            self.note_access([row], row["accessed"])
        return [(row is not None,)]

    def set_accessed_variant(self, hash, variant, at):
        if (hash, variant) in self.variants:
            self.variants[hash, variant]["accessed"] = at
        return [((hash, variant) in self.variants,)]

    def variant_accessed_at(self, hash, variant):
        row = self.variants.get((hash, variant))
        return [(row and row["accessed"],)]

    def remove_variant_access(self, hash, variant):
        known = self.variant_accessed_at(hash, variant) != [(None,)]
        if known:
            self.variants[hash, variant]["accessed"] = None
        return [(known,)]

    def older_variants(self, before, most):
        older = sorted((row["accessed"], *key) for key, row in self.variants.items()
                       if row["accessed"] is not None and row["accessed"] < before)
        return [(hash, variant, accessed) for accessed, hash, variant in older[:most]]

    # ----- uploads -----

    def create_upload(self):
        def adopt(upload):
            self.uploads[upload] = {"result": None}
        return Fresh(adopt)

    def complete_upload(self, upload, result):
        if upload in self.uploads:
            self.uploads[upload]["result"] = result
        return [(upload in self.uploads,)]

    def wait(self, upload, timeout):
        if upload not in self.uploads:
            raise Refused("P0002")
        return [(self.uploads[upload]["result"],)]

    def claim(self, upload):
        return [(self.uploads.pop(upload, None) is not None,)]

    # ----- jobs -----

    def of_queue(self, queue, column, otherwise):
        value = self.queues.get(queue, {}).get(column)
        return otherwise if value is None else value

    def key_is_held(self, key):
        return key is not None and any(job["unique_key"] == key for job in self.job_queue.values())

    def new_job(self, id, queue, job, key, run_at, priority, retry, upload):
        self.job_queue[id] = {
            "queue": queue, "job": job, "status": "new", "priority": priority,
            "run_at": run_at or self.now(), "queue_time": self.now(), "attempt": 0,
            "retry": self.of_queue(queue, "retries", 5) if retry is None else retry,
            "failures": 0, "worker": None, "unique_key": key, "upload": upload, "error": None, "session": None}

    def push(self, queue, job, key, run_at, priority, retry, upload):
        if self.key_is_held(key):
            return [(None,)]
        return Fresh(lambda id: self.new_job(id, queue, job, key, run_at, priority, retry, upload))

    def push_many(self, queue, jobs, keys, run_at, priority, retry):
        keys = keys or [None] * len(jobs)
        taken = [not self.key_is_held(key) and (key is None or key not in keys[:i]) for i, key in enumerate(keys)]

        def adopt(ids):
            if [id is not None for id in ids] != taken:
                raise ValueError(f"jobs taken: {taken}")
            for id, job, key in zip(ids, jobs, keys):
                if id is not None:
                    self.new_job(id, queue, job, key, run_at, priority, retry, None)
        return Fresh(adopt)

    def running(self, queue):
        return sum(job["queue"] == queue and job["status"] == "running" for job in self.job_queue.values())

    def ready(self, queue):
        ready = []
        for id, job in self.job_queue.items():
            # What this very call has sent back is due at once where there is no pause.
            since = job["run_at"].first if isinstance(job["run_at"], Now) else job["run_at"]
            if isinstance(job["run_at"], Now):
                due = since <= self.end
            else:
                due = since <= self.called or since <= self.end and id in self.seen
            if job["queue"] == queue and job["status"] == "new" and due:
                ready.append((-job["priority"], since, id))
        return [id for *_, id in sorted(ready)]

    def pop(self, queue, worker, most):
        if self.of_queue(queue, "paused", False):
            return []
        room = self.of_queue(queue, "max_running", 10**9) - self.running(queue)
        popped = self.ready(queue)[:max(0, min(most, room))]
        for id in popped:
            job = self.job_queue[id]
            job.update(status="running", worker=worker or self.session, attempt=job["attempt"] + 1)
        return [(id, *(self.job_queue[id][column] for column in ("job", "attempt", "queue_time"))) for id in popped]

    def held(self, queue, worker, id, attempt):
        job = self.job_queue.get(id)
        return (job is not None and job["status"] == "running" and job["queue"] == queue
                and job["worker"] == (worker or self.session) and attempt in (None, job["attempt"]))

    def heartbeat(self, queue, worker, id, attempt):
        return [(self.held(queue, worker, id, attempt),)]

    def end_job(self, queue, worker, id, result, error, attempt):
        if not self.held(queue, worker, id, attempt):
            return "lost"
        error = error and error.encode()[:65536].decode(errors="ignore")
        job = self.job_queue[id]
        if result == "success":
            del self.job_queue[id]
            return "completed"
        if result == "failure" and job["retry"] > 0:
            longest = self.of_queue(queue, "backoff_max", timedelta(minutes=5))
            pause = self.of_queue(queue, "backoff", timedelta(seconds=1)) * 2 ** job["failures"]
            pause = min(longest, pause)
            # By the clock, and not by the beginning of the transaction.
            job.update(status="new", worker=None, retry=job["retry"] - 1, failures=job["failures"] + 1, error=error,
                       run_at=Now(self.called + pause / 2, self.end + pause))
            return "retrying"
        del self.job_queue[id]
        self.dead_jobs[id] = {column: job[column] for column in
                              ("queue", "job", "priority", "queue_time", "attempt", "unique_key", "upload")}
        self.dead_jobs[id].update(died_at=self.now(), error=error)
        self.fail_upload(job["upload"], error or "the job failed", "job-failed")
        return "dead"

    def complete_job(self, *args):
        return [(self.end_job(*args),)]

    def complete_many(self, queue, worker, ids, result, error, attempts):
        claims = list(zip(ids, attempts or [None] * len(ids)))
        outcomes = {claim: self.end_job(queue, worker, claim[0], result, error, claim[1])
                    for claim in dict.fromkeys(claims)}
        return [([outcomes[claim] for claim in claims],)]

    def complete_and_pop(self, queue, worker, id, result, error, attempt):
        outcome = self.end_job(queue, worker, id, result, error, attempt)
        return [(outcome, *(self.pop(queue, worker, 1) or [(None,) * 4])[0])]

    def requeue_dead(self, id):
        dead = self.dead_jobs.get(id)
        if dead is None or self.key_is_held(dead["unique_key"]):
            return [(False,)]
        self.new_job(id, dead["queue"], dead["job"], dead["unique_key"], None, dead["priority"], None, dead["upload"])
        self.job_queue[id].update(queue_time=dead["queue_time"], attempt=dead["attempt"], error=dead["error"])
        del self.dead_jobs[id]
        return [(True,)]

    def fail_upload(self, upload, message, code):
        row = self.uploads.get(upload)
        if row and row["result"] is None:
            row["result"] = {"Failure": {"message": message, "code": code}}

    def cancel_job(self, id):
        job = self.job_queue.pop(id, None)
        if job is None:
            return [("missing",)]
        self.fail_upload(job["upload"], "the job was cancelled", "job-cancelled")
        return [("cancelled",)]

    def cancel_jobs(self, queue, key):
        """With a limit that no queue reaches here."""
        ids = [id for id, job in self.job_queue.items() if job["queue"] == queue and key in (None, job["unique_key"])]
        for id in ids:
            self.cancel_job(id)
        return [(len(ids),)]

    def update_job(self, id, queue, run_at, priority):
        job = self.job_queue.get(id)
        waits = job is not None and job["status"] == "new"
        if waits:
            given = {"queue": queue, "run_at": run_at, "priority": priority}
            job.update({column: value for column, value in given.items() if value is not None})
        return [(waits,)]

    def release_job(self, queue, worker, id, run_at):
        held = self.held(queue, worker, id, None)
        if held:
            self.job_queue[id].update(status="new", worker=None, run_at=run_at or Now(self.called, self.end))
        return [(held,)]

    def delete_dead(self, queue, error_like):
        """With a limit that no queue reaches here; the pattern is an error, or %."""
        ids = [id for id, job in self.dead_jobs.items() if job["queue"] == queue and error_like in ("%", job["error"])]
        for id in ids:
            del self.dead_jobs[id]
        return [(len(ids),)]

    def drop_queue(self, queue):
        if any(job["queue"] == queue for job in [*self.job_queue.values(), *self.dead_jobs.values()]):
            return [("in_use",)]
        return [("missing" if self.queues.pop(queue, None) is None else "dropped",)]

    def queue_length(self, queue):
        return [(sum(queue in (None, job["queue"]) for job in self.job_queue.values()),)]

    def configure_queue(self, queue, retries, backoff, backoff_max, max_running, paused):
        row = self.queues.setdefault(queue, {"retries": None, "backoff": None, "backoff_max": None,
                                             "max_running": None, "paused": False})
        given = {"retries": retries, "backoff": backoff, "backoff_max": backoff_max,
                 "max_running": max_running, "paused": paused}
        row.update({column: value for column, value in given.items() if value is not None})
        if row["max_running"] == -1:
            row["max_running"] = None
        return [("",)]

    def pause_queue(self, queue):
        paused = self.of_queue(queue, "paused", False)
        self.configure_queue(queue, None, None, None, None, True)
        return [(not paused,)]

    def resume_queue(self, queue):
        paused = self.of_queue(queue, "paused", False)
        if paused:
            self.queues[queue]["paused"] = False
        return [(paused,)]

    # ----- operations -----

    def is_named(self, file):
        return (any(file in (row["identifier"], row["motion_identifier"]) for row in self.hashes.values())
                or any(row["identifier"] == file for row in self.variants.values()))

    def release(self, files):
        """What nothing names any more is queued for removal, and loses its details."""
        for file in set(files):
            if not self.is_named(file):
                self.details_.pop(file, None)
                self.released.append(file)

    def remove_image(self, hash):
        """It goes with its aliases and variants: the files that it had."""
        row = self.hashes[hash]
        files = [row["identifier"], row["motion_identifier"], *(file for _, file in self.variants_of(hash))]
        self.cleanup_hash(hash)
        return [file for file in files if file is not None]

    def ingest(self, hash, identifier, details, alias, token, created_at):
        known = hash in self.hashes
        refusal = None
        if hash in self.blocked:
            refusal = "blocked"
        elif normal_alias(alias) in self.aliases:
            refusal = "alias_exists"
        if refusal:
            self.release([identifier])
            return [(refusal, None, None)]
        if known:
            self.create_alias(alias, token, hash)
            stored = self.hashes[hash]["identifier"]
            answer = [("duplicate", stored, self.details_of(stored))]
            self.release([identifier])
            return answer
        self.create_hash_with_timestamp(hash, identifier, created_at or self.now())
        self.create_alias(alias, token, hash)
        self.relate_details(identifier, details)
        return [("created", identifier, self.details_of(identifier))]

    def finish_ingest(self, queue, worker, job, upload, hash, identifier, details, alias, token, created_at, attempt):
        if self.end_job(queue, worker, job, "success", None, attempt) == "lost":
            # A file that the job itself is about is the next worker's, whatever its queue.
            named = (self.job_queue.get(job) or self.dead_jobs.get(job) or {}).get("job")
            if identifier not in texts_in(named):
                self.release([identifier])
            return [("lost", None, None)]
        answer = self.ingest(hash, identifier, details, alias, token, created_at)
        outcome = answer[0][0]
        if outcome in ("created", "duplicate"):
            result = {"Success": {"alias": normal_alias(alias), "token": normal_uuid(token)}}
        else:
            message = "the content is blocked" if outcome == "blocked" else "the alias exists"
            result = {"Failure": {"message": message, "code": outcome.replace("_", "-")}}
        self.complete_upload(upload, result)
        return answer

    def finish_variant(self, hash, variant, worker, identifier, details):
        if hash not in self.hashes:
            outcome = "lost"
        elif not self.notify_variant(hash, variant, worker)[0][0]:
            outcome = "exists" if (hash, variant) in self.variants else "lost"
        elif not self.relate_variant_identifier(hash, variant, identifier)[0][0]:
            outcome = "exists"
        else:
            self.relate_details(identifier, details)
            return [("stored",)]
        self.release([identifier])
        return [(outcome,)]

    def fallback(self):
        value = self.settings.get("404-alias", {"value": None})["value"]
        if value is None:
            return None
        try:
            return normal_alias(value.decode())
        except UnicodeDecodeError:
            return str(uuid.UUID(bytes=value[:16])) + value[16:].decode() if len(value) >= 16 else None

    def look(self, alias):
        """The hash to serve, and whether it stands in for another one."""
        fallback = normal_alias(alias) not in self.aliases
        alias = self.fallback() if fallback else alias
        return alias and self.of_alias(alias, "hash"), fallback

    def image(self, hash, fallback):
        row = self.hashes[hash]
        return (hash, row["identifier"], self.details_of(row["identifier"]), row["motion_identifier"],
                row["blurhash"], fallback)

    def serve(self, alias, touch):
        hash, fallback = self.look(alias)
        if touch and not fallback:
            self.accessed_alias(alias)
        return [self.image(hash, fallback)] if hash else []

    def serve_url(self, url, touch):
        if url not in self.proxies:
            return []
        alias = self.proxies[url]["alias"]
        if touch:
            self.accessed_alias(alias)
        return [(*self.image(self.aliases[alias]["hash"], False), alias)]

    def serve_variant(self, alias, variant, touch):
        hash, fallback = self.look(alias)
        if not hash:
            return []
        if touch and not fallback:
            self.accessed_variant(hash, variant)
            self.accessed_alias(alias)
        file = self.variant_identifier(hash, variant)[0][0]
        of, original, details, *rest = self.image(hash, fallback)
        return [(of, file, self.details_of(file), *rest, original, details)]

    def remove_alias(self, alias):
        """With the last one goes the image: the files that it had."""
        hash = self.aliases[alias]["hash"]
        self.cleanup_alias(alias)
        return [] if self.aliases_of(hash) else self.remove_image(hash)

    def delete_alias(self, alias, token):
        fits = self.check_delete_token(alias, token)[0][0]
        if fits:
            self.release(self.remove_alias(normal_alias(alias)))
        return [({None: "missing", False: "forbidden", True: "deleted"}[fits],)]

    def purge(self, alias, block):
        hash = self.of_alias(alias, "hash")
        if hash is None:
            return []
        gone = self.aliases_for_hash(hash)
        if block:
            self.block_hash(hash)
        self.release(self.remove_image(hash))
        return gone

    def block_hash(self, hash):
        known = hash in self.blocked
        self.blocked.setdefault(hash, {"blocked_at": self.now()})
        return [(not known,)]

    def unblock_hash(self, hash):
        return [(self.blocked.pop(hash, None) is not None,)]

    def blocked_hashes(self):
        blocked = sorted(self.blocked.items(), key=lambda item: item[0])
        blocked.sort(key=lambda item: item[1]["blocked_at"], reverse=True)
        return [(hash, row["blocked_at"]) for hash, row in blocked]

    def expire_variants(self, before, most):
        old = self.older_variants(before, most)
        self.release([self.variants.pop((hash, variant))["identifier"] for hash, variant, _ in old])
        return [(len(old),)]

    def expire_proxies(self, before, most):
        old = self.older_aliases(before, most)
        self.release([file for alias, _ in old for file in self.remove_alias(alias)])
        return [(len(old),)]

    def migrate_identifier(self, old, new):
        if old == new:
            raise Refused("22023")
        if not self.is_named(old):
            self.release([new])
            return [(False,)]
        for row in [*self.hashes.values(), *self.variants.values()]:
            row.update({column: new for column in ("identifier", "motion_identifier") if row.get(column) == old})
        details = self.details_.pop(old, None)
        if details:
            self.details_.setdefault(new, details)
        self.mark_migrated(old, new)
        return [(True,)]

    def forget_missing(self, file):
        forgotten, files = False, []
        for hash in [hash for hash, row in self.hashes.items() if row["identifier"] == file]:
            files += self.remove_image(hash)
            forgotten = True
        for row in self.hashes.values():
            if row["motion_identifier"] == file:
                row["motion_identifier"], forgotten = None, True
        for key in [key for key, row in self.variants.items() if row["identifier"] == file]:
            del self.variants[key]
            forgotten = True
        self.release([other for other in files if other != file])
        return [(self.details_.pop(file, None) is not None or forgotten,)]

    def prune_page(self, slug, limit):
        current, previous, following, hashes = self.page_from(self.start_at(slug), limit)
        files = []
        for hash in hashes:
            row = self.hashes[hash]
            files += [row["identifier"]] + [row["motion_identifier"]] * (row["motion_identifier"] is not None)
            files += sorted(file for _, file in self.variants_of(hash))
        return Page(current, previous, following, (), (files,))

    def page(self, slug, limit):
        current, previous, following, hashes = self.page_from(self.start_at(slug), limit)
        return Page(current, previous, following, (), ([self.described(hash) for hash in hashes],))

    def page_by_date(self, before, limit):
        return self.page((before, b""), limit)

    def described(self, hash):
        row = self.hashes[hash]
        pictrs = len(hash) == 39
        return {
            "hash": hash.hex(), "identifier": row["identifier"], "created_at": row["created_at"],
            "format": "png" if pictrs else None, "size": int.from_bytes(hash[32:38], "big") if pictrs else None,
            "details": self.details_of(row["identifier"]), "blurhash": row["blurhash"],
            "motion_identifier": row["motion_identifier"],
            "aliases": [{"alias": alias, "accessed": self.access_of(alias),
                         "urls": sorted(url for url, proxy in self.proxies.items() if proxy["alias"] == alias)}
                        for alias in self.aliases_of(hash)],
            "variants": [{"variant": variant, "identifier": file, "details": self.details_of(file),
                          "accessed": self.variants[hash, variant]["accessed"]}
                         for variant, file in self.variants_of(hash)]}

    def aliases_created(self, since, before, after, limit):
        made = sorted((row["created_at"], alias, row["hash"]) for alias, row in self.aliases.items())
        return [(alias, hash, at) for at, alias, hash in made
                if (at, alias) > (since, after or "") and at < before][:limit]

    def orphans(self):
        rows = [("details", file) for file in self.details_ if not self.is_named(file)]
        rows += [("hash", hash.hex()) for hash in self.hashes if not self.aliases_of(hash)]
        rows += [("claim", f"{hash.hex()} {variant}") for hash, variant in self.variant_claims
                 if (hash, variant) in self.variants]
        return sorted(rows)

"""A client under chaos: all that a producer and a worker do, at random, on the books."""

import os
import socket
import time
import uuid
from random import Random
from threading import Thread, Timer

import psycopg
from psycopg.types.json import Jsonb

from answers import Lost, NothingToDo, Refused
from books import ACKED, NEVER, Books, Claim, Ending, Group, Push
from transactions import CONFIGURED, QUEUES, Configuration, Transactions

KEYS = [f"key {n}" for n in range(20)]
PATIENCE = 60  # seconds until the server must be back


def again(old, claims):
    """A worker that got a job back has it once, not twice."""
    return any(old.id == claim.id for claim in claims)


class Client(Transactions, Thread):
    prepares = True  # may transactions have two phases?
    enough = None  # when there are so many jobs it pushes no more

    def __init__(self, name, server, seed, stop):
        super().__init__(name=name, daemon=True)
        self.server = server
        self.random = Random(f"{seed} {name}")
        self.stop = stop
        self.books = Books()
        self.db = None
        # Some work under their session's id, and so are other workers after a
        # reconnect. The others stay who they are.
        self.of_session = self.random.randrange(3) == 0
        self.worker = str(uuid.UUID(int=self.random.getrandbits(128)))
        self.held = []
        self.stalled = []  # (until when, claim)
        self.configuration = Configuration()  # which all clients of a round have together
        self.two_phases = None  # the transaction that was prepared, or may have been
        self.tags = 0
        self.cuts = True
        self.generation = 0
        self.committing = False

    # ----- the connection -----

    def run(self):
        while not self.stop.is_set():
            try:
                if self.db is None:
                    self.connect()
                self.end_two_phases()
                self.remember()
                self.act()
            except Lost:
                self.books.count["connections lost"] += 1
                self.disconnect()
            except Refused:
                self.books.count["statements refused"] += 1
            except NothingToDo:
                pass
            except Exception as error:  # a fault of this program, which must not pass unseen
                self.books.odd.append(f"{self.name}: {error!r}")
                raise
            time.sleep(self.random.uniform(0, 0.02))
        self.disconnect()

    def act(self):
        action = self.random.choices(ACTIONS, WEIGHTS)[0]
        if action in PRODUCING and self.enough is not None \
                and self.ask("SELECT pictrepo.queue_length()")[0][0] >= self.enough:
            raise NothingToDo
        action(self)

    def connect(self):
        end = time.monotonic() + PATIENCE
        while self.db is None and not self.stop.is_set():
            try:
                self.db = self.server.connect("chaos client")
            except psycopg.OperationalError as error:
                if time.monotonic() > end:
                    self.books.odd.append(f"the server did not come back: {error}")
                    self.stop.set()
                time.sleep(0.05)
        if self.db is None:
            raise Lost
        if self.of_session:
            self.held, self.stalled = [], []
            try:
                self.worker = str(self.ask("SELECT pictrepo.session_worker()")[0][0])
            except Refused:
                raise Lost from None

    def disconnect(self):
        if self.db is not None:
            self.db.close()
            self.db = None

    def cut(self):
        """The connection ends in a moment, and the server works on without us."""
        line = socket.socket(fileno=os.dup(self.db.fileno()))

        def act():
            with line:
                try:
                    line.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the server was faster

        Timer(self.random.uniform(0, 0.004), act).start()
        self.books.count["connections cut"] += 1

    def ask(self, sql, *args):
        """The rows of an answer, if there is one."""
        try:
            if self.cuts and self.random.random() < 0.005:
                self.cut()
            cursor = self.db.execute(sql, args)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            state = error.sqlstate
            if self.db.closed or state is None or state.startswith(("57P", "08")):
                raise Lost from None
            if state != "57014" or "user request" not in str(error):
                self.books.odd.append(f"{state} {error} ({sql}, {args})")
            raise Refused from None

    def begin(self):
        self.committing = False
        self.ask("BEGIN")

    def commit(self):
        """A transaction is in doubt only from here on."""
        self.committing = True
        self.ask("COMMIT")

    def rollback(self):
        """A cancel may hit even this; then the end of the connection does it."""
        try:
            self.ask("ROLLBACK")
        except Refused:
            self.disconnect()

    # ----- producers -----

    def new_push(self, queue):
        """Its tag and its retries go with the job, for whoever finds it."""
        self.tags += 1
        push = Push(f"{self.name} {self.tags}", queue, self.random.choice([0, 1, 2, 5]))
        self.books.pushes.append(push)
        return push

    def job_of(self, push):
        return Jsonb({"tag": push.tag, "retry": push.retry})

    def key(self):
        return self.random.choice(KEYS) if self.random.random() < 0.2 else None

    def send_push(self, push, key):
        """Some are due later, some have an upload that waits for them."""
        delay = self.random.choice([0, 0, 0, 1, 3])
        upload = self.random.random() < 0.05
        return self.ask(
            "SELECT pictrepo.push(%s, %s, %s, now() + %s * interval '1 s', %s, %s"
            + (", pictrepo.create_upload())" if upload else ")"),
            push.queue, self.job_of(push), key, delay, self.random.randint(-1, 2), push.retry)[0][0]

    def push(self):
        push = self.new_push(self.random.choice(QUEUES))
        try:
            self.settle_push(push, self.send_push(push, self.key()))
        except Refused:
            push.state = NEVER
            raise

    def settle_push(self, push, id):
        push.state = NEVER if id is None else ACKED
        push.id = None if id is None else str(id)

    def push_many(self):
        number = self.random.randint(2, 8)
        keys = [self.key() for _ in range(number)] if self.random.random() < 0.5 else None
        self.send_many(self.random.choice(QUEUES), number, keys)

    def send_many(self, queue, number, keys=None):
        pushes = [self.new_push(queue) for _ in range(number)]
        for push in pushes:
            push.retry = pushes[0].retry
        # With keys it is not known which of them were taken, so a part may be there.
        group = Group(pushes)
        if keys is None:
            self.books.groups.append(group)
        try:
            ids = self.ask("SELECT pictrepo.push_many(%s, %s::jsonb[], %s::text[], retry => %s)",
                           queue, [self.job_of(push) for push in pushes], keys, pushes[0].retry)[0][0]
        except Refused:
            for push in pushes:
                push.state = NEVER
            group.state = NEVER
            raise
        for push, id in zip(pushes, ids, strict=True):
            self.settle_push(push, id)
        group.state = ACKED

    # ----- workers -----

    def worker_argument(self):
        return None if self.of_session else self.worker

    def take(self, queue, rows, start):
        """Jobs that came, into the books and the hand."""
        end = time.monotonic()
        claims = [Claim(str(id), job["tag"], queue, self.worker, attempt, start, end, start)
                  for id, job, attempt, _ in rows]
        self.books.claims += claims
        self.held = claims + [old for old in self.held if not again(old, claims)]
        self.stalled = [entry for entry in self.stalled if not again(entry[1], claims)]
        return claims

    def send_pop(self, queue, wait=0):
        return self.ask("SELECT * FROM pictrepo.pop(%s, %s, %s, %s * interval '1 s')",
                        queue, self.worker_argument(), self.random.choice([1, 1, 2, 5]), wait)

    def pop(self, wait=0):
        queue, start = self.random.choice(QUEUES), time.monotonic()
        try:
            self.take(queue, self.send_pop(queue, wait), start)
        except Lost:
            self.books.pops_in_doubt.append((queue, start))
            raise

    def pop_waiting(self):
        self.pop(self.random.choice([0.05, 0.2, 1]))

    def pop_wait(self):
        """It commits by itself, so that a cancel may come too late to undo the claim."""
        queue, start = self.random.choice(QUEUES), time.monotonic()
        try:
            row = self.ask(
                "CALL pictrepo.pop_wait(%s, %s, %s * interval '1 s', NULL, NULL, NULL, NULL)",
                queue, self.worker_argument(), self.random.choice([0, 0.2, 1]))[0]
        except (Lost, Refused):
            self.books.pops_in_doubt.append((queue, start))
            raise
        if row[0] is not None:
            self.take(queue, [row], start)

    def pop_all(self):
        """Of what there is, unless a cancel comes first."""
        queue = self.queue_without_limit()
        self.send_many(queue, 100)
        start = time.monotonic()
        cancel = Timer(self.random.uniform(0, 0.005), self.cancel, [self.db])
        cancel.start()
        try:
            claims = self.take(queue, self.ask("SELECT * FROM pictrepo.pop(%s, %s, 10000)", queue,
                                               self.worker_argument()), start)
        except Lost:
            self.books.pops_in_doubt.append((queue, start))
            raise
        except Refused:
            self.books.count["large pops cancelled"] += 1
            raise
        finally:
            cancel.join()
        self.complete_all(claims)

    def cancel(self, db):
        try:
            db.cancel()
        except psycopg.Error:
            pass  # the server was faster

    def pick(self):
        """One out of the hand."""
        if not self.held:
            self.pop()
        if not self.held:
            raise NothingToDo
        return self.held.pop(self.random.randrange(len(self.held)))

    def heartbeat(self):
        claim = self.pick()
        self.held.append(claim)
        self.beat(claim)

    def beat(self, claim):
        """Of a job in the hand, which it leaves if it is lost."""
        start = time.monotonic()
        held = self.ask("SELECT pictrepo.heartbeat(%s, %s, %s)",
                        claim.queue, self.worker_argument(), claim.id)[0][0]
        if held:
            claim.beat = start
            self.books.count["heartbeats"] += 1
        else:
            self.held.remove(claim)
            claim.endings.append(Ending("heartbeat", start, time.monotonic(), "lost"))
        return held

    def result(self, claim):
        """The queue whose configuration changes may have long pauses before a retry."""
        if claim.queue == CONFIGURED:
            return "success"
        return self.random.choices(["success", "failure", "aborted"], [8, 3, 1])[0]

    def end(self, claims, result, send):
        """Says what became of jobs: send gives the outcomes, in order."""
        endings = [Ending(result, time.monotonic()) for _ in claims]
        for claim, ending in zip(claims, endings):
            claim.endings.append(ending)
        try:
            outcomes = send()
        except Refused:
            for claim, ending in zip(claims, endings):
                claim.endings.remove(ending)
            self.held += claims
            raise
        except Lost:
            # Some say it again, as a worker does that wants to be sure.
            if self.random.random() < 0.5:
                self.held += claims
            raise
        for ending, outcome in zip(endings, outcomes, strict=True):
            ending.outcome, ending.end = outcome, time.monotonic()

    def complete(self):
        claim = self.pick()
        result = self.result(claim)
        self.end([claim], result, lambda: self.ask(
            "SELECT pictrepo.complete_job(%s, %s, %s, %s, 'chaos')",
            claim.queue, self.worker_argument(), claim.id, result)[0])

    def complete_many(self):
        first = self.pick()
        result = self.result(first)
        self.complete_all([first] + [claim for claim in self.held if claim.queue == first.queue], result)

    def complete_all(self, claims, result="success"):
        """Of one queue."""
        if not claims:
            raise NothingToDo
        self.held = [claim for claim in self.held if claim not in claims]
        self.end(claims, result, lambda: self.ask(
            "SELECT pictrepo.complete_many(%s, %s, %s::uuid[], %s, 'chaos')",
            claims[0].queue, self.worker_argument(), [claim.id for claim in claims], result)[0][0])

    def complete_and_pop(self):
        claim = self.pick()
        result, start = self.result(claim), time.monotonic()

        def send():
            outcome, *row = self.ask(
                "SELECT * FROM pictrepo.complete_and_pop(%s, %s, %s, %s, 'chaos')",
                claim.queue, self.worker_argument(), claim.id, result)[0]
            if row[0] is not None:
                self.take(claim.queue, [row], start)
            return [outcome]

        try:
            self.end([claim], result, send)
        except Lost:
            self.books.pops_in_doubt.append((claim.queue, start))
            raise

    def abandon(self):
        """A worker that forgets a job, for good or for some time."""
        claim = self.pick()
        if self.random.random() < 0.7:
            self.stalled.append((time.monotonic() + self.random.uniform(1, 8), claim))
        else:
            self.books.count["jobs abandoned"] += 1

    def remember(self):
        """It may or may not have the job still."""
        now = time.monotonic()
        self.held += [claim for until, claim in self.stalled if until <= now]
        self.stalled = [entry for entry in self.stalled if entry[0] > now]

    # ----- beside the queue -----

    def pause(self):
        """For a moment; the end of the round resumes what a disaster left paused."""
        queue = self.random.choice([queue for queue in QUEUES if queue != CONFIGURED])
        self.ask("SELECT pictrepo.pause_queue(%s)", queue)
        time.sleep(self.random.uniform(0, 0.1))
        self.ask("SELECT pictrepo.resume_queue(%s)", queue)

    def change_hash(self):
        """Create or remove one of a few hashes that nobody else touches.

        One in doubt is left alone: the server may be at it still.
        """
        name = f"{self.name} {self.generation} {self.random.randrange(30)}"
        there = self.books.hashes.get(name, False)
        create = self.random.random() < 0.6
        self.books.hashes[name] = None
        try:
            if create:
                changed = self.ask("SELECT pictrepo.create_hash(%s, 'file')", name.encode())[0][0]
            else:
                changed = self.ask("SELECT pictrepo.cleanup_hash(%s)", name.encode())[0][0]
        except Refused:
            self.books.hashes[name] = there
            raise
        except Lost:
            self.generation += 1
            raise
        if changed != (there != create):
            self.books.odd.append(f"hash {name}: {'create' if create else 'cleanup'} said {changed}")
        self.books.hashes[name] = create
        self.books.count["hashes changed"] += changed

    def look(self):
        """Counts during the load can only be sane; the exact ones come at the end."""
        if any(n < 0 for n in self.ask("SELECT pictrepo.queue_length(), pictrepo.size()")[0]):
            self.books.odd.append("a negative count")


WEIGHTED = {
    Client.push: 20, Client.push_many: 4, Client.pop: 10, Client.pop_waiting: 6, Client.pop_wait: 6,
    Client.heartbeat: 6, Client.complete: 14, Client.complete_many: 6, Client.complete_and_pop: 14,
    Client.pop_all: 0.5, Client.abandon: 3, Client.pop_rolled_back: 4, Client.end_and_claim_rolled_back: 3,
    Client.do_job: 5, Client.pop_and_complete: 5, Client.do_job_in_two_phases: 4,
    Client.end_and_claim_in_two_phases: 2, Client.configure_in_two_phases: 1,
    Client.pause: 0.3, Client.change_hash: 6, Client.look: 1}
PRODUCING = {Client.push, Client.push_many}
ACTIONS, WEIGHTS = list(WEIGHTED), list(WEIGHTED.values())


class Witness(Client):
    """Looks at one moment for some time. Nothing changes there, and vacuum has to wait."""

    LONGEST = 5  # seconds
    SEEN = """SELECT (SELECT ROW(count(*), sum(hashtext(id::text || status || attempt))) FROM pictrepo.job_queue)::text,
        (SELECT md5(string_agg(hash, '')) FROM pictrepo.hashes() AS hashes (hash)),
        (SELECT page::text FROM pictrepo.hash_page(page_limit => 5) AS page)"""

    def __init__(self, *args):
        super().__init__(*args)
        self.of_session = self.cuts = False

    def act(self):
        try:
            self.ask("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            seen, until = self.ask(self.SEEN), time.monotonic() + self.random.uniform(0, self.LONGEST)
            while time.monotonic() < until and not self.stop.wait(self.LONGEST / 10):
                if self.ask(self.SEEN) != seen:
                    self.books.odd.append(f"{self.name}: what it saw is not what it had seen")
            self.books.count["old snapshots"] += 1
        finally:
            if self.db is not None and not self.db.closed:
                self.rollback()
        self.stop.wait(self.random.uniform(0, self.LONGEST))

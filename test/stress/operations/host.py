"""An image host: one connection that calls the operations at random, and knows what came of it.

Files are written to a store before a call names them, as a server does it. Each
has a name of its own, and no name is used again. A client that knows that its
transaction came to nothing takes its files back; where it does not know, they
are in doubt.
"""

import time
import uuid
from collections import Counter
from random import Random
from threading import Thread

import psycopg

# Anything happens to what is of these contents; what others call a removal is none of the
# safe ones: there only who stored an alias deletes it.
WILD = [f"wild {n}" for n in range(7)]
SAFE = [f"safe {n}" for n in range(3)]
ALIASES = [f"alias {n}" for n in range(10)]
VARIANTS = ["icon", "thumb"]
PATIENCE = 60  # seconds until the server must be back

NAMED = """SELECT identifier FROM pictrepo.hashes
    UNION ALL SELECT motion_identifier FROM pictrepo.hashes WHERE motion_identifier IS NOT NULL
    UNION ALL SELECT identifier FROM pictrepo.variants"""


class Lost(Exception):
    """The connection is gone."""


class Refused(Exception):
    """The statement failed, and its transaction with it."""


class Books:
    """What all clients know together. The sets change by single steps, which no thread interrupts."""

    def __init__(self):
        self.store = set()  # the files that are there
        self.doubt = set()  # files of calls of which nobody knows what they did
        self.served = {}  # aliases that must be served, and their contents
        self.gone = set()  # aliases that must be gone, and never come again
        self.odd = []
        self.count = Counter()


class Host(Thread):
    def __init__(self, name, server, seed, stop, books):
        super().__init__(name=name, daemon=True)
        self.server, self.stop, self.books = server, stop, books
        self.random = Random(f"{seed} {name}")
        self.db = None
        self.numbers = 0
        self.several = False  # may a transaction have more than one call?
        self.worker = str(uuid.UUID(int=self.random.getrandbits(128)))
        self.held = []  # jobs
        self.mine = {}  # aliases that nobody else deletes
        self.ends = []  # what to do when the transaction is over: functions of "commit", "abort", "doubt"
        self.isolation = None  # of the transaction that is open
        self.committing = False

    # ----- transactions -----

    def run(self):
        while not self.stop.is_set():
            try:
                if self.db is None:
                    self.connect()
                self.transaction()
            except (Lost, Refused):
                pass
            except Exception as error:  # a fault of this program, which must not pass unseen
                self.books.odd.append(f"{self.name}: {error!r}")
                self.stop.set()
                raise
        if self.db is not None:
            self.db.close()

    def connect(self):
        end = time.monotonic() + PATIENCE
        while self.db is None:
            if self.stop.is_set():
                raise Lost
            try:
                self.db = self.server.connect("operations client")
            except psycopg.OperationalError as error:
                if time.monotonic() > end:
                    self.books.odd.append(f"the server did not come back: {error}")
                    self.stop.set()
                time.sleep(0.05)

    def transaction(self):
        """One call by itself, or some in a transaction with an isolation level, that may be rolled back."""
        self.ends, self.isolation, self.committing = [], None, True
        calls = self.random.randint(2, 3) if self.several and self.random.random() < 0.4 else 1
        action = self.random.choices(ACTIONS, WEIGHTS)[0]
        end = "abort"
        try:
            if calls > 1 or action in IN_TRANSACTION or self.random.random() < 0.3:
                self.isolation = self.random.choice(["READ COMMITTED", "READ COMMITTED", "REPEATABLE READ"])
                self.committing = False
                self.ask("BEGIN ISOLATION LEVEL " + self.isolation)
            action(self)
            for _ in range(calls - 1):
                self.random.choices(ACTIONS, WEIGHTS)[0](self)
            if self.isolation is None:
                end = "commit"
            elif self.random.random() < 0.2:
                self.ask("ROLLBACK")
            else:
                self.committing = True
                self.ask("COMMIT")
                end = "commit"
        except Lost:
            end = "doubt" if self.committing else "abort"
            raise
        except Refused:
            if self.isolation is not None:
                self.committing = False
                self.roll_back()
            raise
        finally:
            self.books.count["transactions: " + end] += 1
            for function in self.ends:
                function(end)

    def roll_back(self):
        """A cancel may hit even this; then the end of the connection does it."""
        try:
            self.ask("ROLLBACK")
        except Refused:
            self.db.close()
            self.db = None

    def ask(self, sql, *args):
        try:
            cursor = self.db.execute(sql, args)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            state = error.sqlstate
            if self.db.closed or state is None or state.startswith(("57P", "08")):
                self.db.close()
                self.db = None
                self.books.count["connections lost"] += 1
                raise Lost from None
            self.books.count[f"refused: {state}"] += 1
            unknown = state == "23503" and "claim_variant" in sql  # no such hash
            cancelled = state == "57014" and "user request" in str(error)
            if not unknown and not cancelled and not self.may_fail_with(state):
                self.books.odd.append(f"{state} {error} ({sql}, {args}, {self.isolation})")
            raise Refused from None

    def may_fail_with(self, state):
        """Calls that are their transactions alone never lock each other out."""
        return (state == "40001" and self.isolation == "REPEATABLE READ"
                or state == "40P01" and self.several)

    def call(self, function, *args):
        """The rows that it gives."""
        self.books.count[function] += 1
        return self.ask(f"SELECT * FROM pictrepo.{function}({', '.join(['%s'] * len(args))})", *args)

    def then(self, function):
        self.ends.append(function)

    def on_commit(self, function, *args):
        self.then(lambda end: end == "commit" and function(*args))

    # ----- files -----

    def write(self, kind):
        """A new file, that a call is to name or to release."""
        self.numbers += 1
        file = f"{self.name} {self.numbers} {kind}"
        self.books.store.add(file)

        def end(how):
            if how == "abort":
                self.books.store.discard(file)
            elif how == "doubt":
                self.books.doubt.add(file)

        self.then(end)
        return file

    def unlink(self, file, when):
        """Remove a file with the transaction, if so, as what nothing names any more.

        To be said before the call that takes its name away: that may be in doubt.
        """
        def end(how):
            if how == "commit" and when():
                self.books.store.discard(file)
            elif how == "doubt":
                self.books.doubt.add(file)
        self.then(end)

    def some_file(self):
        rows = self.ask(f"SELECT file FROM ({NAMED}) files (file) ORDER BY random() LIMIT 1")
        return rows[0][0] if rows else None

    # ----- taking in -----

    def content(self):
        return self.random.choice(WILD if self.random.random() < 0.7 else SAFE)

    def new_alias(self, content):
        """Of safe content nobody deletes an alias but us."""
        if content in WILD and self.random.random() < 0.9:
            return self.random.choice(ALIASES)
        return self.own_alias()

    def own_alias(self):
        self.numbers += 1
        return f"{self.name} {self.numbers}"

    def note_ingested(self, content, alias, outcome):
        self.books.count["ingested: " + outcome] += 1
        if alias in ALIASES:
            return
        if outcome == "alias_exists" or outcome == "blocked" and content in SAFE:
            self.books.odd.append(f"{alias} of {content}: {outcome}")
        if outcome in ("created", "duplicate") and content in SAFE:
            def remember():
                self.mine[alias] = content
                self.books.served[alias] = content
            self.on_commit(remember)

    def ingest_file(self, content, file, alias):
        outcome, stored, details = self.call("ingest", content.encode(), file, '{"width": 1}', alias, "token")[0]
        if outcome in ("created", "duplicate") and (stored is None or details is None):
            self.books.odd.append(f"{alias} of {content}: {outcome} with {stored}, {details}")
        self.note_ingested(content, alias, outcome)
        return outcome

    def ingest(self):
        content = self.content()
        self.ingest_file(content, self.write("ingested"), self.new_alias(content))

    def ingest_twins(self):
        """Two contents with one file, named by one transaction so that it stays."""
        file = self.write("twins")
        contents = sorted(self.random.sample(WILD + SAFE, 2))
        if self.ingest_file(contents[0], file, self.own_alias()) == "created":
            self.ingest_file(contents[1], file, self.own_alias())

    def push_job(self):
        file = self.write("uploaded")
        self.ask("SELECT pictrepo.push('process', jsonb_build_object('file', %s::text), retry => 2)", file)

    def pop_job(self):
        """Some of them are kept for too long, and others get them."""
        if len(self.held) < 5:
            rows = self.call("pop", "process", self.worker)
            self.on_commit(self.held.extend, [(id, job["file"]) for id, job, *_ in rows])

    def finish_job(self):
        if not self.held:
            return
        job = self.random.choice(self.held)
        content = self.content()
        alias = self.new_alias(content)
        outcome = self.call("finish_ingest", "process", self.worker, job[0], None,
                            content.encode(), job[1], '{"width": 1}', alias, "token")[0][0]
        if outcome == "lost":
            self.books.count["ingested: lost"] += 1
        else:
            self.note_ingested(content, alias, outcome)
        self.on_commit(lambda: job in self.held and self.held.remove(job))

    def make_variant(self):
        content, variant = self.content().encode(), self.random.choice(VARIANTS)
        claim = self.call("claim_variant_processing_rights", content, variant, self.worker)[0][0]
        if claim == "claimed" or self.random.random() < 0.1:
            self.finish_variant(content, variant)

    def finish_variant(self, content, variant):
        outcome = self.call("finish_variant", content, variant, self.worker, self.write(variant), '{}')[0][0]
        self.books.count["variants: " + outcome] += 1

    def add_motion(self):
        """What overwrites a motion file has to remove it; here none is overwritten."""
        content = self.content().encode()
        file = self.write("motion")
        related = False
        self.unlink(file, lambda: not related)
        rows = self.ask("SELECT motion_identifier FROM pictrepo.hashes WHERE hash = %s FOR NO KEY UPDATE", content)
        if rows and rows[0][0] is None:
            related = self.call("relate_motion_identifier", content, file)[0][0]

    # ----- serving -----

    def serve(self):
        self.call("serve", self.random.choice(ALIASES), True)

    def serve_url(self):
        self.call("serve_url", self.url(), True)

    def serve_variant(self):
        self.call("serve_variant", self.random.choice(ALIASES), self.random.choice(VARIANTS), True)

    def url(self):
        return f"https://example.org/{self.random.randrange(20)}"

    def relate_url(self):
        """To one of the aliases that all have: only these expire."""
        alias = self.random.choice(ALIASES)
        self.ask("SELECT pictrepo.relate_url(%s, alias) FROM (SELECT alias FROM pictrepo.aliases"
                 " WHERE alias = %s FOR KEY SHARE) AS aliases", self.url(), alias)

    # ----- removing -----

    def delete_alias(self):
        alias = self.random.choice(ALIASES)
        token = "token" if self.random.random() < 0.9 else "wrong"
        outcome = self.call("delete_alias", alias, token)[0][0]
        if outcome == "deleted" and token == "wrong":
            self.books.odd.append(f"{alias} was deleted with a wrong token")

    def delete_mine(self):
        if not self.mine:
            return
        alias = self.random.choice(sorted(self.mine))
        self.books.served.pop(alias, None)
        content = self.mine.pop(alias)
        outcome = self.call_mine("delete_alias", alias, content)
        if outcome != "deleted":
            self.books.odd.append(f"{alias} of {content} was {outcome} when its owner deleted it")

    def call_mine(self, function, alias, content):
        """What is rolled back is there still, what is in doubt nobody knows."""
        def end(how):
            if how == "commit":
                self.books.gone.add(alias)
            elif how == "abort":
                self.mine[alias] = content
                self.books.served[alias] = content
        self.then(end)
        return self.call(function, alias, "token")[0][0]

    def purge(self):
        alias = self.random.choice(ALIASES)
        rows = self.call("purge", alias, self.random.random() < 0.2)
        self.on_commit(self.books.gone.update, {row[0] for row in rows} - set(ALIASES))

    def block(self):
        self.call("block_hash", self.random.choice(WILD).encode())

    def unblock(self):
        self.call("unblock_hash", self.random.choice(WILD).encode())

    def before(self):
        return self.ask("SELECT clock_timestamp() - %s * interval '1 ms'", self.random.choice([0, 20, 200]))[0][0]

    def expire_variants(self):
        self.call("expire_variants", self.before(), self.random.choice([1, 5, 100]))

    def expire_proxies(self):
        self.call("expire_proxies", self.before(), self.random.choice([1, 5, 100]))

    # ----- files that move, or are lost -----

    def migrate(self):
        """Nobody but us moves the file; the old one goes with the step."""
        old = self.some_file()
        if old is None:
            return
        moved = False
        self.unlink(old, lambda: moved)
        moved = self.call("migrate_identifier", old, self.write("moved"))[0][0]

    def forget(self):
        """A file of wild content alone: others must not be lost."""
        rows = self.ask(f"""SELECT file FROM ({NAMED}) files (file) WHERE NOT EXISTS (
            SELECT FROM pictrepo.hashes h WHERE h.hash = ANY (%s) AND file = h.identifier)
            ORDER BY random() LIMIT 1""", [content.encode() for content in SAFE])
        if rows:
            forgotten = False
            self.unlink(rows[0][0], lambda: forgotten)
            forgotten = self.call("forget_missing", rows[0][0])[0][0]


class Cleaner(Host):
    """Takes files out of the store that are queued for removal. None of them is ever named again."""

    def transaction(self):
        self.ends, self.isolation, self.committing = [], None, True
        rows = self.ask("SELECT id, job -> 'Identifier' ->> 'identifier' FROM pictrepo.pop('cleanup', %s, 50, '0.1 s')",
                        self.worker)
        files = [file for _, file in rows]
        for file, in self.ask(f"SELECT file FROM ({NAMED}) files (file) WHERE file = ANY (%s)", files):
            self.books.odd.append(f"{file} is queued for removal, and something names it")
        self.books.store.difference_update(files)
        self.books.count["files removed"] += len(files)
        self.ask("SELECT pictrepo.complete_many('cleanup', %s, %s::uuid[])", self.worker, [id for id, _ in rows])


WEIGHTED = {
    Host.ingest: 20, Host.ingest_twins: 3, Host.push_job: 4, Host.pop_job: 4, Host.finish_job: 5,
    Host.make_variant: 10, Host.add_motion: 2, Host.serve: 3, Host.serve_url: 3, Host.serve_variant: 5,
    Host.relate_url: 6, Host.delete_alias: 16, Host.delete_mine: 8, Host.purge: 2, Host.block: 0.3,
    Host.unblock: 4, Host.expire_variants: 2, Host.expire_proxies: 2, Host.migrate: 5, Host.forget: 1}
ACTIONS, WEIGHTS = list(WEIGHTED), list(WEIGHTED.values())

# These are several statements. They take their locks in the order of the operations.
IN_TRANSACTION = {Host.ingest_twins, Host.add_motion}

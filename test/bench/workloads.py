"""What is measured: the works, and how each contestant does them."""

from collections.abc import Callable
from dataclasses import dataclass

from measure import at_the_end, old_snapshot, rate, reading, script, writes
from options import CLIENTS, FEW_ROUNDS, HELD, ROUNDS, ROWS
from peers import (BARE_CLAIM, BARE_COMPLETE, BARE_PUSH, EMPTY, PICTRS_CLAIM, PICTRS_COMPLETE,
                   PICTRS_HEARTBEAT, PICTRS_LISTEN_AS_ONE_OF_FEW, PICTRS_PUSH,
                   PICTRS_RESET, PICTRS_WORKER)
from waiting import idle, latency
from workers import IdleConnection, PictrsWorker, PollingWorker, PopWaitWorker, PopWorker

GSET = " \\gset"
ALIAS = r"\set n random(1, :rows)"


@dataclass(eq=False)
class Work:
    """Some work, and the measure of each contestant at it; the first one is pictrepo."""
    name: str
    title: str
    contestants: dict[str, Callable]
    before_round: tuple[str, ...] = ()
    before_each: tuple[str, ...] = ()
    rounds: int = ROUNDS


EMPTY_QUEUES = ("TRUNCATE pictrepo.job_queue, pictrs.job_queue, bare.jobs",)

# Some jobs lie ahead, so that a client finds one while others have theirs locked.
START = (
    *EMPTY_QUEUES,
    "SELECT pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[100]))",
    "INSERT INTO pictrs.job_queue (queue, job) SELECT 'q', '1' FROM generate_series(1, 100)",
    "INSERT INTO bare.jobs (job) SELECT '1' FROM generate_series(1, 100)",
)

PUSH = """SELECT pictrepo.push('q', '{"Ingest": 1}')"""
CYCLE = script(PUSH, "SELECT id FROM pictrepo.pop('q')" + GSET,
               "SELECT pictrepo.complete_job('q', NULL, :id)")
PICTRS_CYCLE = script(*PICTRS_LISTEN_AS_ONE_OF_FEW, PICTRS_PUSH, PICTRS_RESET, PICTRS_CLAIM + GSET,
                      PICTRS_COMPLETE + ":id")
# The next job comes with the end of the last one, but for a client's first.
NEXT = script(
    PUSH,
    "\\if :have",
    "SELECT id, (id IS NOT NULL)::int AS have FROM pictrepo.complete_and_pop('q', NULL, :id)" + GSET,
    "\\else",
    "SELECT (array_agg(id))[1] AS id, count(*) AS have FROM pictrepo.pop('q')" + GSET,
    "\\endif")
BARE_CYCLE = script(BARE_PUSH, BARE_CLAIM + GSET, BARE_COMPLETE + ":id")

BATCH = 1000
BATCH_CYCLE = script(
    f"""SELECT pictrepo.push_many('q', array_fill('{{"Ingest": 1}}'::jsonb, ARRAY[{BATCH}]))""",
    f"SELECT array_agg(id) AS ids FROM pictrepo.pop('q', max_jobs => {BATCH})" + GSET,
    "SELECT pictrepo.complete_many('q', NULL, :ids)")
BARE_BATCH_CYCLE = script(
    f"""INSERT INTO bare.jobs (job) SELECT '{{"Ingest": 1}}' FROM generate_series(1, {BATCH})""",
    f"""WITH claimed AS (UPDATE bare.jobs SET taken = true WHERE id = ANY (ARRAY(SELECT id FROM bare.jobs
            WHERE NOT taken ORDER BY id LIMIT {BATCH} FOR UPDATE SKIP LOCKED)) RETURNING id)
        SELECT array_agg(id) AS ids FROM claimed""" + GSET,
    "DELETE FROM bare.jobs WHERE id = ANY (:ids)")

# Ids that a script can name without asking for them.
RUNNING = 1000
RUNNING_ID = "('00000000-0000-4000-8000-' || lpad({n}::text, 12, '0'))::uuid"
RUNNING_JOBS = (
    *EMPTY_QUEUES,
    f"""INSERT INTO pictrepo.job_queue (id, queue, job)
        SELECT {RUNNING_ID.format(n="n")}, 'q', '1' FROM generate_series(1, {RUNNING}) n""",
    f"SELECT count(*) FROM pictrepo.pop('q', '{PICTRS_WORKER}', {RUNNING})",
    f"""INSERT INTO pictrs.job_queue (id, queue, job, status, worker, heartbeat)
        SELECT id, queue, job, 'running', worker, now() FROM pictrepo.job_queue""",
)
# Each client has its share of the jobs.
PICK = rf"\set n 1 + :client_id + :clients * random(0, {RUNNING // CLIENTS} - 1)"
PICKED = RUNNING_ID.format(n=":n")

WAITERS = {"pictrepo": PopWorker, "pictrepo, pop_wait": PopWaitWorker,
           "pict-rs": PictrsWorker, "polling": PollingWorker}

# Nobody hears of these, so as not to measure what telling of so many leaves behind.
MANY_JOBS = (
    *EMPTY_QUEUES,
    "SET session_replication_role = replica",
    "SET pictrepo.notify = off",
    f"""INSERT INTO pictrepo.job_queue (id, queue, job)
        SELECT gen_random_uuid(), 'q', '1' FROM generate_series(1, {ROWS})""",
    f"INSERT INTO pictrs.job_queue (queue, job) SELECT 'q', '1' FROM generate_series(1, {ROWS})",
    "RESET pictrepo.notify",
    "RESET session_replication_role",
    "VACUUM ANALYZE pictrepo.job_queue, pictrs.job_queue",
)

WORKS = [
    Work("push", "push a job", {
        "pictrepo": rate(script(PUSH)),
        "pict-rs": rate(script(PICTRS_PUSH)),
        "bare": rate(script(BARE_PUSH)),
    }, before_each=START),
    Work("cycle", "push, pop and complete a job", {
        "pictrepo": rate(CYCLE),
        "pict-rs": rate(PICTRS_CYCLE),
        "bare": rate(BARE_CYCLE),
    }, before_each=START),
    Work("next", "push a job, complete one and take the next", {
        "pictrepo": rate(NEXT),
        "pict-rs": rate(PICTRS_CYCLE),
        "bare": rate(BARE_CYCLE),
    }, before_each=START),
    Work("batch", f"the jobs of one client, {BATCH} at a time", {
        "pictrepo": rate(BATCH_CYCLE, clients=1, units=BATCH),
        "pictrepo, one at a time": rate(CYCLE, clients=1),
        "pict-rs, one at a time": rate(PICTRS_CYCLE, clients=1),
        "bare": rate(BARE_BATCH_CYCLE, clients=1, units=BATCH),
    }, before_each=START),
    Work("held", f"the job cycle at the end of {HELD:g} s beside an old snapshot", {
        "pictrepo": at_the_end(NEXT, beside=old_snapshot),
        "pict-rs": at_the_end(PICTRS_CYCLE, beside=old_snapshot),
        "pictrepo, no snapshot": at_the_end(NEXT),
    }, before_each=START, rounds=FEW_ROUNDS),
    Work("heartbeat", f"a heartbeat for one of {RUNNING:,} jobs", {
        "pictrepo": writes(script(PICK, f"SELECT pictrepo.heartbeat('q', '{PICTRS_WORKER}', {PICKED})"),
                           table="pictrepo.job_queue"),
        "pict-rs": writes(script(PICK, PICTRS_HEARTBEAT + PICKED), table="pictrs.job_queue"),
        "empty function": writes(script(PICK, EMPTY), table="pictrs.job_queue"),
    }, before_each=RUNNING_JOBS),
    *(Work("latency", f"from push to job in hand, idle workers: {size}", {
        name: latency(kind, size) for name, kind in WAITERS.items()
    }, before_each=EMPTY_QUEUES) for size in (1, 8, 32)),
    Work("idle", "64 workers that wait", {
        **{name: idle(kind, 64) for name, kind in WAITERS.items()},
        "idle connections": idle(IdleConnection, 64),
    }, before_each=EMPTY_QUEUES, rounds=FEW_ROUNDS),
    Work("serve", "from an alias to identifier and details", {
        "pictrepo": reading(
            ALIAS, "SELECT pictrepo.details(pictrepo.identifier_from_alias('a' || :n))"),
        "pict-rs": reading(
            ALIAS, "SELECT hash FROM pictrs.aliases WHERE alias = 'a' || :n" + GSET,
            "SELECT identifier FROM pictrs.hashes WHERE hash = :hash" + GSET,
            "SELECT json FROM pictrs.details WHERE identifier = :identifier"),
    }),
    Work("page", "the last page of 20 hashes", {
        "pictrepo": reading("SELECT pictrepo.hash_page_by_date(:at, 20)"),
        "pict-rs": reading(
            """SELECT hash FROM pictrs.hashes WHERE created_at < :at
                OR (created_at = :at AND hash <= '~')
                ORDER BY created_at DESC, hash DESC LIMIT 21""",
            """SELECT hash FROM pictrs.hashes WHERE created_at > :at
                OR (created_at = :at AND hash > '~')
                ORDER BY created_at, hash OFFSET 19 LIMIT 1"""),
    }),
    Work("outdated", "the 100 variants served longest ago", {
        "pictrepo": reading("SELECT count(*) FROM pictrepo.older_variants('2030-01-01', 100)"),
        "pict-rs": reading(
            """SELECT count(*) FROM (SELECT hash, variant FROM pictrs.variants
                WHERE accessed < '2030-01-01' ORDER BY accessed LIMIT 100) v"""),
    }),
    Work("count", "how many hashes there are", {
        "pictrepo": reading("SELECT pictrepo.size()"),
        "pict-rs": reading("SELECT count(*) FROM pictrs.hashes"),
        "empty function": reading(EMPTY),
    }),
    Work("count", "how many jobs a queue has", {
        "pictrepo": reading("SELECT pictrepo.queue_length('q')"),
        "pict-rs": reading("SELECT count(*) FROM pictrs.job_queue"),
        "empty function": reading(EMPTY),
    }, before_round=MANY_JOBS),
]

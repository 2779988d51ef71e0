"""What is measured of the queue, and how each contestant does it."""

from ends import OPEN_POPS, TIMED, ends, open_pops
from libraries import GRAPHILE, PG_BOSS, PGQ
from measure import at_the_end, no_snapshot, old_snapshot, rate, script, seconds_of
from options import BACKLOG, BETWEEN, CLIENTS, FEW_ROUNDS, HELD, QUEUES, ROUNDS
from peers import (BARE_CLAIM, BARE_COMPLETE, BARE_PUSH, EMPTY, GRAPHILE_PUSH, GSET, PGQ_PUSH,
                   PICTRS_HEARTBEAT, PICTRS_PUSH, PICTRS_WORKER, pictrs_cycle)
from waiting import idle, latency, library_latency
from work import BARE, FLOOR, PICTREPO, PICTRS, Work
from workers import (IdleConnection, NotifyWorker, PictrsWorker, PollingWorker, PopWaitWorker,
                     PopWorker)

EMPTY_QUEUES = ("TRUNCATE pictrepo.job_queue, pictrs.job_queue, bare.jobs",)

# Some jobs lie ahead, so that a client finds one while others have theirs locked.
START = (
    *EMPTY_QUEUES,
    "SELECT pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[100]))",
    "INSERT INTO pictrs.job_queue (queue, job) SELECT 'q', '1' FROM generate_series(1, 100)",
    "INSERT INTO bare.jobs (job) SELECT '1' FROM generate_series(1, 100)",
)

# ---------------------------------------------------------------------------
# Pushing, and the job cycle
# ---------------------------------------------------------------------------


def push(queue="'q'"):
    return f"""SELECT pictrepo.push({queue}, '{{"Ingest": 1}}')"""


def three_calls(queue="'q'"):
    return script(push(queue), f"SELECT id FROM pictrepo.pop({queue})" + GSET,
                  f"SELECT pictrepo.complete_job({queue}, NULL, :id)")


TIMED_ENDS = script(
    push(),
    "SELECT (array_agg(id))[1] AS id, count(*) AS have FROM pictrepo.pop('q')" + GSET,
    r"\if :have",
    "SELECT bare.timed_end(:id)",
    r"\endif")
# The next job comes with the end of the last one, but for a client's first.
TWO_CALLS = script(
    push(),
    r"\if :have",
    "SELECT id, (id IS NOT NULL)::int AS have FROM pictrepo.complete_and_pop('q', NULL, :id)" + GSET,
    r"\else",
    "SELECT (array_agg(id))[1] AS id, count(*) AS have FROM pictrepo.pop('q')" + GSET,
    r"\endif")
PICTRS_CYCLE = script(*pictrs_cycle())
BARE_CYCLE = script(BARE_PUSH, BARE_CLAIM + GSET, BARE_COMPLETE + ":id")


def cycle(clients):
    return Work("cycle", f"push, take and complete a job, {clients} client{'s' * (clients > 1)}", {
        PICTREPO: rate(TWO_CALLS, clients),
        "pictrepo, three calls": rate(three_calls(), clients),
        PICTRS: rate(PICTRS_CYCLE, clients),
        BARE: rate(BARE_CYCLE, clients),
        "pgq": PGQ.cycle(clients),
        "graphile-worker": GRAPHILE.rate("cycle", clients),
        "pg-boss": PG_BOSS.rate("cycle", clients),
    }, before_each=START, at=clients, rounds=ROUNDS if clients == CLIENTS else FEW_ROUNDS)


def batches(size):
    return script(
        f"""SELECT pictrepo.push_many('q', array_fill('{{"Ingest": 1}}'::jsonb, ARRAY[{size}]))""",
        f"SELECT array_agg(id) AS ids FROM pictrepo.pop('q', max_jobs => {size})" + GSET,
        "SELECT pictrepo.complete_many('q', NULL, :ids)")


def bare_batches(size):
    return script(
        f"""INSERT INTO bare.jobs (job) SELECT '{{"Ingest": 1}}' FROM generate_series(1, {size})""",
        f"""WITH claimed AS (UPDATE bare.jobs SET taken = true WHERE id = ANY (ARRAY(SELECT id FROM bare.jobs
                WHERE NOT taken ORDER BY id LIMIT {size} FOR UPDATE SKIP LOCKED)) RETURNING id)
            SELECT array_agg(id) AS ids FROM claimed""" + GSET,
        "DELETE FROM bare.jobs WHERE id = ANY (:ids)")


def batch(size):
    contestants = {
        PICTREPO: rate(batches(size), clients=1, units=size),
        BARE: rate(bare_batches(size), clients=1, units=size),
        "pgq": PGQ.cycle(1, size),
        "graphile-worker": GRAPHILE.rate("batch" if size > 1 else "cycle", 1, batch=size),
        "pg-boss": PG_BOSS.rate("batch", 1, batch=size),
    }
    if size == 1:
        contestants[PICTRS] = rate(PICTRS_CYCLE, clients=1)
    return Work("batch", f"the jobs of one client, {size:,} at a time", contestants,
                before_each=START, at=size,
                rounds=ROUNDS if size == 1000 else FEW_ROUNDS if size == 1 else BETWEEN)


# ---------------------------------------------------------------------------
# Much of it
# ---------------------------------------------------------------------------

# Nobody hears of these, so as not to measure what telling of so many leaves behind.
MANY_JOBS = (
    *EMPTY_QUEUES,
    "SET session_replication_role = replica",
    "SET pictrepo.notify = off",
    "INSERT INTO pictrepo.job_queue (id, queue, job)"
    " SELECT gen_random_uuid(), 'q', '1' FROM generate_series(1, :jobs)",
    "INSERT INTO pictrs.job_queue (queue, job) SELECT 'q', '1' FROM generate_series(1, :jobs)",
    "INSERT INTO bare.jobs (job) SELECT '1' FROM generate_series(1, :jobs)",
    "RESET pictrepo.notify",
    "RESET session_replication_role",
    "VACUUM ANALYZE pictrepo.job_queue, pictrs.job_queue, bare.jobs",
)

ANY_QUEUE = rf"\set n random(1, {QUEUES})"
# Some jobs lie ahead in each.
MANY_QUEUES = (
    *EMPTY_QUEUES,
    f"SELECT count(pictrepo.push('q' || n % {QUEUES} + 1, '1')) FROM generate_series(1, 5 * {QUEUES}) n",
    "INSERT INTO pictrs.job_queue (queue, job)"
    f" SELECT 'q' || n % {QUEUES} + 1, '1' FROM generate_series(1, 5 * {QUEUES}) n",
)

# ---------------------------------------------------------------------------
# Heartbeats
# ---------------------------------------------------------------------------

# Ids that a script can name without asking for them.
RUNNING = 1000
RUNNING_ID = "('00000000-0000-4000-8000-' || lpad({n}::text, 12, '0'))::uuid"
RUNNING_JOBS = (
    *EMPTY_QUEUES,
    f"""INSERT INTO pictrepo.job_queue (id, queue, job)
        SELECT {RUNNING_ID.format(n="n")}, 'q', '1' FROM generate_series(1, {RUNNING}) n""",
    f"SELECT count(*) FROM pictrepo.pop('q', '{PICTRS_WORKER}', {RUNNING})",
    """INSERT INTO pictrs.job_queue (id, queue, job, status, worker, heartbeat)
        SELECT id, queue, job, 'running', worker, now() FROM pictrepo.job_queue""",
)
# Each client has its share of the jobs.
PICK = rf"\set n 1 + :client_id + :clients * random(0, {RUNNING // CLIENTS} - 1)"
PICKED = RUNNING_ID.format(n=":n")

# ---------------------------------------------------------------------------
# Waiting
# ---------------------------------------------------------------------------

WAITERS = {PICTREPO: PopWorker, "pictrepo, pop_wait": PopWaitWorker, PICTRS: PictrsWorker,
           "NOTIFY to every worker": NotifyWorker, "polling": PollingWorker}
WAITING_LIBRARIES = {"graphile-worker": GRAPHILE, "pg-boss": PG_BOSS}


def waiting(size):
    return Work("latency", f"from push to job in hand, {size} idle worker{'s' * (size > 1)}", {
        **{name: latency(kind, size) for name, kind in WAITERS.items()},
        **{name: library_latency(library, size) for name, library in WAITING_LIBRARIES.items()},
    }, before_each=EMPTY_QUEUES, at=size, rounds=FEW_ROUNDS if size in (8, 32) else BETWEEN)


QUEUE_WORKS = [
    Work("push", "push a job", {
        PICTREPO: rate(script(push())),
        PICTRS: rate(script(PICTRS_PUSH)),
        BARE: rate(script(BARE_PUSH)),
        "pgq": PGQ.measure(rate(script(PGQ_PUSH))),
        "graphile-worker": GRAPHILE.measure(rate(script(GRAPHILE_PUSH))),
        "pg-boss": PG_BOSS.rate("push"),
    }, before_each=START),
    *(cycle(clients) for clients in sorted({1, CLIENTS, 32})),
    *(batch(size) for size in (1, 10, 100, 1000)),
    Work("backlog", f"the job cycle, {BACKLOG:,} jobs ready", {
        PICTREPO: rate(TWO_CALLS),
        PICTRS: rate(PICTRS_CYCLE),
        BARE: rate(BARE_CYCLE),
        "graphile-worker": GRAPHILE.rate("cycle", before=GRAPHILE.fill),
        "pg-boss": PG_BOSS.rate("cycle", before=PG_BOSS.fill),
    }, before_round=MANY_JOBS, rounds=FEW_ROUNDS),
    Work("queues", f"the job cycle in {QUEUES:,} queues", {
        PICTREPO: rate(ANY_QUEUE + "\n" + three_calls("'q' || :n")),
        PICTRS: rate(ANY_QUEUE + "\n" + script(*pictrs_cycle("'q' || :n"))),
        "graphile-worker": GRAPHILE.rate("cycle", queues=QUEUES),
        "pg-boss": PG_BOSS.rate("cycle", before=PG_BOSS.make_queues, queues=QUEUES),
    }, before_each=MANY_QUEUES, rounds=FEW_ROUNDS),
    Work("held", f"the job cycle at the end of {HELD:g} s beside an old snapshot", {
        PICTREPO: at_the_end(seconds_of(TWO_CALLS), old_snapshot),
        "pictrepo, no snapshot": at_the_end(seconds_of(TWO_CALLS), no_snapshot),
        PICTRS: at_the_end(seconds_of(PICTRS_CYCLE), old_snapshot),
        BARE: at_the_end(seconds_of(BARE_CYCLE), old_snapshot),
        "pgq": at_the_end(PGQ.seconds_of(), old_snapshot),
        "graphile-worker": at_the_end(GRAPHILE.seconds_of(), old_snapshot),
        "pg-boss": at_the_end(PG_BOSS.seconds_of(), old_snapshot),
    }, before_each=START, rounds=1),
    Work("ends", f"the job cycle beside {OPEN_POPS} transactions that have popped and stay open", {
        PICTREPO: ends(TIMED_ENDS, open_pops),
        "pictrepo, no open pops": ends(TIMED_ENDS, no_snapshot),
    }, before_each=(*START, *TIMED)),
    Work("heartbeat", f"a heartbeat for one of {RUNNING:,} running jobs", {
        PICTREPO: rate(script(PICK, f"SELECT pictrepo.heartbeat('q', '{PICTRS_WORKER}', {PICKED})")),
        PICTRS: rate(script(PICK, PICTRS_HEARTBEAT + PICKED)),
        FLOOR: rate(script(PICK, EMPTY)),
    }, before_each=RUNNING_JOBS),
    *(waiting(size) for size in (1, 8, 32, 64)),
    Work("idle", "64 workers that wait", {
        **{name: idle(kind, 64) for name, kind in WAITERS.items()},
        "idle connections": idle(IdleConnection, 64),
    }, before_each=EMPTY_QUEUES, rounds=1),
]

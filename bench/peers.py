"""What the peers send, in place of one call of pictrepo. Their tables are in peers.sql.

pict-rs's statements are those of its repo for PostgreSQL, one for one and in
its order; where it has a choice, it is the one that costs it less.
"""

import os

GSET = " \\gset"

# ---------------------------------------------------------------------------
# pict-rs's queue
# ---------------------------------------------------------------------------

PICTRS_WORKER = "11111111-1111-4111-8111-111111111111"


def pictrs_push(queue="'q'", job="""'{"Ingest": 1}'"""):
    return f"INSERT INTO pictrs.job_queue (queue, job, unique_key) VALUES ({queue}, {job}, NULL) RETURNING id"


def pictrs_claim(queue="'q'"):
    return f"""UPDATE pictrs.job_queue
    SET heartbeat = now(), status = 'running', worker = '{PICTRS_WORKER}'
    WHERE id = (SELECT id FROM pictrs.job_queue WHERE status = 'new' AND queue = {queue} AND retry >= 1
        ORDER BY queue_time LIMIT 1 FOR UPDATE SKIP LOCKED) AND status = 'new' RETURNING id, job"""


def pictrs_complete(queue="'q'"):
    return f"DELETE FROM pictrs.job_queue WHERE queue = {queue} AND worker = '{PICTRS_WORKER}' AND id = "


PICTRS_PUSH = pictrs_push()
PICTRS_LISTEN = "LISTEN queue_status_channel"
PICTRS_RESET = """UPDATE pictrs.job_queue SET heartbeat = NULL, status = 'new', worker = NULL
    WHERE heartbeat <= now() - interval '2 minutes'"""
PICTRS_CLAIM = pictrs_claim()
PICTRS_COMPLETE = pictrs_complete()
PICTRS_HEARTBEAT = f"""UPDATE pictrs.job_queue SET heartbeat = now()
    WHERE queue = 'q' AND worker = '{PICTRS_WORKER}' AND id = """

# A pop sends LISTEN to one of few connections that are there for it. A script has
# one connection, so beyond that number a client sends something else that costs
# the same, and need not be told of each job.
PICTRS_LISTENERS = min(os.cpu_count(), 4)
PICTRS_LISTEN_AS_ONE_OF_FEW = (
    rf"\if :client_id < {PICTRS_LISTENERS}", PICTRS_LISTEN,
    r"\else", "UNLISTEN queue_status_channel", r"\endif")


def pictrs_cycle(queue="'q'"):
    return (*PICTRS_LISTEN_AS_ONE_OF_FEW, pictrs_push(queue), PICTRS_RESET, pictrs_claim(queue) + GSET,
            pictrs_complete(queue) + ":id")


# ---------------------------------------------------------------------------
# pict-rs's repo; alias is an expression
# ---------------------------------------------------------------------------

# It asks for hash and identifier a second time on its way to the details.
def pictrs_serve(alias):
    return (f"SELECT hash FROM pictrs.aliases WHERE alias = {alias}" + GSET,
            "SELECT identifier FROM pictrs.hashes WHERE hash = :hash" + GSET,
            "SELECT json FROM pictrs.details WHERE identifier = :identifier")


def pictrs_accessed(alias):
    return f"UPDATE pictrs.proxies SET accessed = now() WHERE alias = {alias}"


# :content is what the image is made of. For the answer its details are looked up.
PICTRS_INGEST = (
    """INSERT INTO pictrs.hashes (hash, identifier, created_at)
        VALUES (encode(sha256(int8send(:content)), 'base64'), 'new' || :content, now())""",
    """INSERT INTO pictrs.details (identifier, json)
        VALUES ('new' || :content, '{"width": 640, "height": 480}')""",
    """INSERT INTO pictrs.aliases (alias, hash, token)
        VALUES ('new' || :content, encode(sha256(int8send(:content)), 'base64'), 't')""",
    *pictrs_serve("'new' || :content"))


def pictrs_delete(alias):
    """The alias by hand, then the job that removes the image.

    Until its two files are queued to be removed: removing them is another job
    for each, and not counted.
    """
    return (
        f"SELECT token FROM pictrs.aliases WHERE alias = {alias}" + GSET,
        f"SELECT hash FROM pictrs.aliases WHERE alias = {alias}" + GSET,
        f"DELETE FROM pictrs.proxies WHERE alias = {alias}",
        f"DELETE FROM pictrs.aliases WHERE alias = {alias}",
        "SELECT count(*) FROM pictrs.aliases WHERE hash = :hash",
        pictrs_push(job="jsonb_build_object('Hash', :hash::text)"),
        *PICTRS_LISTEN_AS_ONE_OF_FEW, PICTRS_RESET, PICTRS_CLAIM + GSET,
        "SELECT count(*) FROM pictrs.aliases WHERE hash = :hash",
        "SELECT identifier AS variant FROM pictrs.variants WHERE hash = :hash" + GSET,
        "SELECT identifier FROM pictrs.hashes WHERE hash = :hash" + GSET,
        "SELECT motion_identifier FROM pictrs.hashes WHERE hash = :hash",
        pictrs_push("'cleanup'", "jsonb_build_object('Identifier', :variant::text)"),
        pictrs_push("'cleanup'", "jsonb_build_object('Identifier', :identifier::text)"),
        "BEGIN",
        "DELETE FROM pictrs.variants WHERE hash = :hash",
        "DELETE FROM pictrs.hashes WHERE hash = :hash",
        "COMMIT",
        PICTRS_COMPLETE + ":id")


# A page from a position on, and the beginning of the page before it.
PICTRS_PAGE = (
    """SELECT hash FROM pictrs.hashes WHERE created_at < :at
        OR (created_at = :at AND hash <= '~')
        ORDER BY created_at DESC, hash DESC LIMIT 21""",
    """SELECT hash FROM pictrs.hashes WHERE created_at > :at
        OR (created_at = :at AND hash > '~')
        ORDER BY created_at, hash OFFSET 19 LIMIT 1""")

# Where no position is given: the newest, with nothing before them.
PICTRS_FIRST_PAGE = "SELECT hash FROM pictrs.hashes ORDER BY created_at DESC, hash DESC LIMIT 21"

# Its order is the newest first.
PICTRS_OLDER_VARIANTS = """SELECT count(*) FROM (SELECT accessed, hash, variant FROM pictrs.variants
    WHERE accessed < '2030-01-01' ORDER BY accessed DESC LIMIT 100) v"""
PICTRS_OLDER_ALIASES = """SELECT count(*) FROM (SELECT accessed, alias FROM pictrs.proxies
    WHERE accessed < '2030-01-01' ORDER BY accessed DESC LIMIT 100) p"""

# ---------------------------------------------------------------------------
# Floors
# ---------------------------------------------------------------------------

BARE_PUSH = """INSERT INTO bare.jobs (job) VALUES ('{"Ingest": 1}')"""
BARE_CLAIM = """UPDATE bare.jobs SET taken = true WHERE id = (SELECT id FROM bare.jobs
        WHERE NOT taken ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"""
BARE_COMPLETE = "DELETE FROM bare.jobs WHERE id = "

# What a call of a C function costs at least; bare.nothing looks at what it is given.
EMPTY = "SELECT pg_backend_pid()"


def empty_of(argument):
    return f"SELECT * FROM bare.nothing({argument})"


# What serve() does, by hand.
JOIN = """SELECT h.hash, h.identifier, d.details, h.motion_identifier, h.blurhash, false
    FROM pictrepo.aliases a JOIN pictrepo.hashes h ON h.hash = a.hash
    LEFT JOIN pictrepo.details d ON d.identifier = h.identifier WHERE a.alias = """

# ---------------------------------------------------------------------------
# Peers with SQL calls of their own
# ---------------------------------------------------------------------------

PGQ_PUSH = """SELECT pgq.insert_event('q', 'job', '{"Ingest": 1}')"""
GRAPHILE_PUSH = """SELECT graphile_worker.add_job('job', '{"Ingest": 1}')"""

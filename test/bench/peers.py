"""What the peers send, in place of one call of pictrepo. Their tables are in peers.sql."""

PICTRS_PUSH = """INSERT INTO pictrs.job_queue (queue, job) VALUES ('q', '{"Ingest": 1}')"""
PICTRS_LISTEN = "LISTEN queue_status_channel"
PICTRS_RESET = """UPDATE pictrs.job_queue SET status = 'new', heartbeat = NULL
    WHERE heartbeat IS NOT NULL AND heartbeat < now() - interval '2 minutes' AND queue = 'q'"""
PICTRS_CLAIM = """UPDATE pictrs.job_queue
    SET status = 'running', heartbeat = now(), worker = '11111111-1111-4111-8111-111111111111'
    WHERE id = (SELECT id FROM pictrs.job_queue WHERE status = 'new' AND queue = 'q'
        ORDER BY queue_time LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"""
PICTRS_COMPLETE = "DELETE FROM pictrs.job_queue WHERE id = "
PICTRS_HEARTBEAT = """UPDATE pictrs.job_queue SET heartbeat = now()
    WHERE queue = 'q' AND worker = '11111111-1111-4111-8111-111111111111' AND id = """

BARE_PUSH = """INSERT INTO bare.jobs (job) VALUES ('{"Ingest": 1}')"""
BARE_CLAIM = """UPDATE bare.jobs SET taken = true WHERE id = (SELECT id FROM bare.jobs
        WHERE NOT taken ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"""
BARE_COMPLETE = "DELETE FROM bare.jobs WHERE id = "

# Does nothing, and is in every server: what a call of a C function costs at least.
EMPTY = "SELECT pg_backend_pid()"

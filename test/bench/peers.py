"""What the peers send, in place of one call of pictrepo. Their tables are in peers.sql."""

import os

PICTRS_WORKER = "11111111-1111-4111-8111-111111111111"
PICTRS_PUSH = """INSERT INTO pictrs.job_queue (queue, job, unique_key)
    VALUES ('q', '{"Ingest": 1}', NULL) RETURNING id"""
PICTRS_LISTEN = "LISTEN queue_status_channel"
PICTRS_RESET = """UPDATE pictrs.job_queue SET heartbeat = NULL, status = 'new', worker = NULL
    WHERE heartbeat <= now() - interval '2 minutes'"""
PICTRS_CLAIM = f"""UPDATE pictrs.job_queue
    SET heartbeat = now(), status = 'running', worker = '{PICTRS_WORKER}'
    WHERE id = (SELECT id FROM pictrs.job_queue WHERE status = 'new' AND queue = 'q' AND retry >= 1
        ORDER BY queue_time LIMIT 1 FOR UPDATE SKIP LOCKED) AND status = 'new' RETURNING id, job"""
PICTRS_OWN = f"queue = 'q' AND worker = '{PICTRS_WORKER}' AND id = "
PICTRS_COMPLETE = f"DELETE FROM pictrs.job_queue WHERE {PICTRS_OWN}"
PICTRS_HEARTBEAT = f"UPDATE pictrs.job_queue SET heartbeat = now() WHERE {PICTRS_OWN}"

# A pop sends LISTEN to one of few connections that are there for it. A script has
# one connection, so beyond that number a client sends something else that costs
# the same, and need not be told of each job.
PICTRS_LISTENERS = min(os.cpu_count(), 4)
PICTRS_LISTEN_AS_ONE_OF_FEW = (
    rf"\if :client_id < {PICTRS_LISTENERS}", PICTRS_LISTEN,
    r"\else", "UNLISTEN queue_status_channel", r"\endif")

BARE_PUSH = """INSERT INTO bare.jobs (job) VALUES ('{"Ingest": 1}')"""
BARE_CLAIM = """UPDATE bare.jobs SET taken = true WHERE id = (SELECT id FROM bare.jobs
        WHERE NOT taken ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"""
BARE_COMPLETE = "DELETE FROM bare.jobs WHERE id = "

# Does nothing, and is in every server: what a call of a C function costs at least.
EMPTY = "SELECT pg_backend_pid()"

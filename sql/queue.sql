-- QueueRepo: jobs, their workers, and dead jobs.
SET timezone = 'UTC';
\set one '11111111-1111-4111-8111-111111111111'
\set two '22222222-2222-4222-8222-222222222222'

-- push, pop, complete
SELECT pictrepo.push('process', '{"Ingest": 1}') AS id \gset
SELECT substr(:'id', 15, 1) AS version, pictrepo.queue_length('process'), pictrepo.queue_length();
SELECT id = :'id' AS same, job, attempt, now() - queue_time < '1 minute' AS just_now FROM pictrepo.pop('process', :'one');
SELECT * FROM pictrepo.pop('process', :'two');
SELECT state, worker, attempt, retry FROM pictrepo.jobs;
SELECT pictrepo.heartbeat('process', :'one', :'id'), pictrepo.heartbeat('process', :'two', :'id') AS other_worker,
	pictrepo.heartbeat('cleanup', :'one', :'id') AS other_queue;
SELECT pictrepo.complete_job('process', :'two', :'id') AS other_worker, pictrepo.complete_job('cleanup', :'one', :'id') AS other_queue;
SELECT pictrepo.complete_job('process', :'one', :'id');
SELECT pictrepo.complete_job('process', :'one', :'id') AS again, pictrepo.heartbeat('process', :'one', :'id');
SELECT pictrepo.queue_length();

-- worker NULL: the session is the worker
SELECT pictrepo.push('process', '2') AS id \gset
SELECT job FROM pictrepo.pop('process');
SELECT worker = pictrepo.session_worker() AS mine FROM pictrepo.jobs;
SELECT pictrepo.heartbeat('process', NULL, :'id'), pictrepo.complete_job('process', NULL, :'id');

-- order: priority, then run_at, then id; only due jobs, even behind jobs that are not due
SELECT count(pictrepo.push('order', job, NULL, run_at, priority)) FROM (VALUES
	('"low"'::jsonb, now() - interval '3 hours', -5),
	('"late"', now() - interval '1 hour', 0),
	('"early"', now() - interval '2 hours', 0),
	('"high"', now(), 10),
	('"tie 1"', now() - interval '1 minute', 1),
	('"tie 2"', now() - interval '1 minute', 1),
	('"tomorrow"', now() + interval '1 day', 100),
	('"next week"', now() + interval '7 days', 0)) jobs (job, run_at, priority);
SELECT job FROM pictrepo.pop('order', :'one');
SELECT job FROM pictrepo.pop('order', :'one', 3);
SELECT job FROM pictrepo.pop('order', :'one', 100);
SELECT job, state FROM pictrepo.jobs WHERE state <> 'running' ORDER BY run_at;
TRUNCATE pictrepo.job_queue;

-- the same order for uncommitted jobs of this transaction, after an earlier pop
SELECT count(pictrepo.push_many('order', '{1,2,3}'));
SELECT job FROM pictrepo.pop('order', :'one');
BEGIN;
SELECT count(pictrepo.push('order', '"first"', priority := 1));
SAVEPOINT inner_one;
SELECT count(pictrepo.push('order', '"second"', run_at := '2001-01-01'));
SELECT job FROM pictrepo.pop('order', :'one');
SELECT job FROM pictrepo.pop('order', :'one');
SELECT job FROM pictrepo.pop('order', :'one');
COMMIT;
TRUNCATE pictrepo.job_queue;

-- only one live job holds a unique key, in any queue
SELECT pictrepo.push('process', '1', 'nightly') AS id \gset
SELECT pictrepo.push('process', '2', 'nightly') AS held, pictrepo.push('cleanup', '3', 'nightly') AS held_too,
	pictrepo.push('process', '4', 'Nightly') IS NOT NULL AS another;
SELECT job FROM pictrepo.pop('process', :'one');
SELECT pictrepo.push('process', '5', 'nightly') AS held_while_running;
SELECT pictrepo.complete_job('process', :'one', :'id');
SELECT pictrepo.push('process', '6', 'nightly') IS NOT NULL AS free;
TRUNCATE pictrepo.job_queue;

-- many at once
SELECT array_length(pictrepo.push_many('many', ARRAY['1', '2', '3']::jsonb[]), 1);
SELECT array_positions(pictrepo.push_many('many', ARRAY['4', '5', '6', '7']::jsonb[], ARRAY['a', NULL, 'a', 'b']), NULL) AS held;
SELECT array_positions(pictrepo.push_many('many', ARRAY['8', '9']::jsonb[], ARRAY['a', 'c'], priority := 1), NULL) AS held;
SELECT pictrepo.push_many('many', '{}'), pictrepo.push_many('many', ARRAY['8']::jsonb[], ARRAY['a']);
SELECT pictrepo.queue_length('many');
SELECT job FROM pictrepo.pop('many', :'one', 4);
SELECT array_agg(id ORDER BY id) || :'id'::uuid AS ids FROM pictrepo.jobs WHERE state = 'running' \gset
SELECT pictrepo.complete_many('many', :'two', :'ids');
SELECT pictrepo.complete_many('many', :'one', :'ids');
SELECT pictrepo.complete_many('many', :'one', '{}');
SELECT id, job FROM pictrepo.pop('many', :'one') \gset
SELECT outcome, job, attempt FROM pictrepo.complete_and_pop('many', :'one', :'id');
SELECT outcome, job, attempt FROM pictrepo.complete_and_pop('many', :'one', :'id');
TRUNCATE pictrepo.job_queue;
SELECT * FROM pictrepo.complete_and_pop('many', :'one', :'id');

-- failure: the job runs again after a pause, with one retry less, until none is left
SELECT pictrepo.configure_queue('flaky', backoff := '0');
SELECT pictrepo.push('flaky', '1', 'key', retry := 1) AS id \gset
SELECT attempt FROM pictrepo.pop('flaky', :'one');
SELECT pictrepo.complete_job('flaky', :'one', :'id', 'failure', 'first');
SELECT state, retry, worker, error FROM pictrepo.jobs;
SELECT pictrepo.complete_job('flaky', :'one', :'id', 'failure', 'late');
SELECT attempt FROM pictrepo.pop('flaky', :'one');
SELECT outcome, id FROM pictrepo.complete_and_pop('flaky', :'one', :'id', 'failure', 'second');
SELECT queue, job, attempt, unique_key, error, now() - died_at < '1 minute' AS just_now FROM pictrepo.dead_jobs;
SELECT pictrepo.queue_length('flaky');

-- requeue_dead, unless a live job holds the key
SELECT pictrepo.push('flaky', '2', 'key') AS other \gset
SELECT pictrepo.requeue_dead(:'id') AS key_held;
DELETE FROM pictrepo.job_queue WHERE id = :'other';
SELECT pictrepo.requeue_dead(:'id');
SELECT pictrepo.requeue_dead(:'id');
SELECT id = :'id' AS same, state, retry, attempt, error FROM pictrepo.jobs;
SELECT job, attempt FROM pictrepo.pop('flaky', :'one');
SELECT failures FROM pictrepo.job_queue;

-- aborted: the job is dead at once
SELECT pictrepo.complete_job('flaky', :'one', :'id', 'aborted');
SELECT attempt, error FROM pictrepo.dead_jobs;
SELECT pictrepo.push_many('flaky', ARRAY['1', '2']::jsonb[], retry := 0) AS ids \gset
SELECT count(*) FROM pictrepo.pop('flaky', :'one', 2);
SELECT pictrepo.complete_many('flaky', :'one', array_append(:'ids'::uuid[], :'id'), 'failure', 'both');
SELECT count(*) FROM pictrepo.dead_jobs;
TRUNCATE pictrepo.dead_jobs, pictrepo.job_queue;

-- pauses double up to backoff_max, and are shortened by up to half
SELECT pictrepo.configure_queue('slow', retries := 20, backoff := '10 s', backoff_max := '1 min');
SELECT pictrepo.push('slow', '1') AS id \gset
CREATE FUNCTION pause() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	job uuid;
BEGIN
	UPDATE pictrepo.job_queue SET run_at = now();
	SELECT id INTO job FROM pictrepo.pop('slow');
	PERFORM pictrepo.complete_job('slow', NULL, job, 'failure');
	RETURN (SELECT extract(epoch FROM run_at - clock_timestamp()) FROM pictrepo.job_queue);
END $$;
SELECT n, pause BETWEEN most / 2 - 1 AND most AS as_told
FROM (VALUES (1, 10), (2, 20), (3, 40), (4, 60), (5, 60)) v (n, most), LATERAL (SELECT pause() WHERE n > 0) p;
UPDATE pictrepo.job_queue SET failures = 2000000000;
SELECT pause BETWEEN 29 AND 60 AS as_told FROM pause();
SELECT count(*) AS not_due FROM pictrepo.pop('slow');
UPDATE pictrepo.job_queue SET run_at = now();
SELECT attempt FROM pictrepo.pop('slow');
SELECT pictrepo.complete_job('slow', NULL, :'id', 'aborted');
SELECT pictrepo.requeue_dead(:'id');
SELECT pause BETWEEN 5 - 1 AND 10 AS as_at_first FROM pause();
DROP FUNCTION pause;
TRUNCATE pictrepo.job_queue, pictrepo.queues;

-- a silent worker loses its job, and the job loses one retry
SELECT pictrepo.push('silent', '1', retry := 1) AS id \gset
SELECT attempt FROM pictrepo.pop('silent', :'one');
SET pictrepo.heartbeat_timeout = '1 ms';
SELECT pg_sleep(0.01);
SELECT pictrepo.run_maintenance('reap');
SELECT attempt FROM pictrepo.pop('silent', :'two');
SELECT pictrepo.heartbeat('silent', :'one', :'id') AS one, pictrepo.complete_job('silent', :'one', :'id') AS one,
	retry, error ~ '^worker 1{8}.* sent no heartbeat since ' AS why FROM pictrepo.jobs;
SELECT pg_sleep(0.01);
SELECT pictrepo.run_maintenance('reap');
SELECT attempt FROM pictrepo.pop('silent', :'one');
SELECT attempt, error ~ '^worker 2{8}.* sent no heartbeat since ' AS why FROM pictrepo.dead_jobs;
RESET pictrepo.heartbeat_timeout;
TRUNCATE pictrepo.dead_jobs;

-- a worker claims a job again: a call that names the attempt means that claim alone
SELECT pictrepo.configure_queue('again', backoff := '0');
SELECT pictrepo.push('again', '1') AS id \gset
SELECT attempt FROM pictrepo.pop('again', :'one');
SELECT pictrepo.heartbeat('again', :'one', :'id', 1), pictrepo.heartbeat('again', :'one', :'id', 2) AS another;
SELECT pictrepo.complete_job('again', :'one', :'id', 'failure', NULL, 2) AS another;
SELECT pictrepo.complete_job('again', :'one', :'id', 'failure', NULL, 1);
SELECT attempt FROM pictrepo.pop('again', :'one');
SELECT pictrepo.heartbeat('again', :'one', :'id', 1) AS first, pictrepo.heartbeat('again', :'one', :'id', 2),
	pictrepo.heartbeat('again', :'one', :'id') AS any;
SELECT pictrepo.complete_job('again', :'one', :'id', attempt := 1) AS success,
	pictrepo.complete_job('again', :'one', :'id', 'failure', 'late', 1) AS failure,
	pictrepo.complete_job('again', :'one', :'id', 'aborted', 'late', 1) AS aborted;
SELECT pictrepo.complete_many('again', :'one', ARRAY[:'id'::uuid], attempts := '{1}') AS success,
	pictrepo.complete_many('again', :'one', ARRAY[:'id'::uuid], 'failure', 'late', '{1}') AS failure;
SELECT outcome, id FROM pictrepo.complete_and_pop('again', :'one', :'id', attempt := 1);
SELECT outcome FROM pictrepo.finish_ingest('again', :'one', :'id', NULL, '\x01', 'late', '{}', 'late', 'token', NULL, 1);
SELECT state, attempt, retry, error FROM pictrepo.jobs WHERE queue = 'again';
SELECT outcome, attempt FROM pictrepo.complete_and_pop('again', :'one', :'id', 'failure', attempt := 2);
SELECT pictrepo.complete_many('again', :'one', ARRAY[:'id'::uuid, :'id'], 'success', NULL, '{2,3}');
-- of many jobs, those whose claim it is
SELECT pictrepo.push_many('again', '{1,2,3}') AS ids \gset
SELECT count(*) FROM pictrepo.pop('again', :'one', 3);
SELECT pictrepo.complete_many('again', :'one', :'ids', 'failure', NULL, '{2,1,0}');
SELECT pictrepo.complete_many('again', :'one', :'ids', 'success', NULL, '{2,1,1}');
SELECT pictrepo.complete_many('again', :'one', :'ids');
-- a dead job that is requeued goes on counting
SELECT id, attempt FROM pictrepo.pop('again', :'one') \gset
SELECT pictrepo.complete_job('again', :'one', :'id', 'aborted', NULL, :attempt);
SELECT pictrepo.requeue_dead(:'id');
SELECT attempt FROM pictrepo.pop('again', :'one');
SELECT pictrepo.complete_job('again', :'one', :'id', attempt := :attempt) AS first_life,
	pictrepo.heartbeat('again', :'one', :'id', :attempt) AS first_life, pictrepo.complete_job('again', :'one', :'id', attempt := 3);
TRUNCATE pictrepo.job_queue, pictrepo.queues;

-- paused and limited queues
SELECT count(pictrepo.push('limited', '1')) FROM generate_series(1, 5);
SELECT pictrepo.pause_queue('limited');
SELECT pictrepo.pause_queue('limited');
SELECT count(*) FROM pictrepo.pop('limited', :'one');
SELECT pictrepo.resume_queue('limited');
SELECT pictrepo.resume_queue('limited'), pictrepo.resume_queue('unknown');
SELECT pictrepo.configure_queue('limited', max_running := 2);
SELECT count(*) FROM pictrepo.pop('limited', :'one', 5);
SELECT count(*) FROM pictrepo.pop('limited', :'two', 5);
SELECT pictrepo.complete_job('limited', :'one', id) FROM pictrepo.jobs WHERE state = 'running' LIMIT 1;
SELECT count(*) FROM pictrepo.pop('limited', :'two', 5);
SELECT pictrepo.configure_queue('limited', max_running := -1);
SELECT count(*) FROM pictrepo.pop('limited', :'two', 5);
SELECT pictrepo.configure_queue('limited', 7, '2 s', '3 s', 4, true);
SELECT pictrepo.configure_queue('limited', paused := false);
SELECT * FROM pictrepo.queues ORDER BY queue;
SELECT pictrepo.push('limited', '1') AS id \gset
SELECT retry FROM pictrepo.jobs WHERE id = :'id';
TRUNCATE pictrepo.job_queue, pictrepo.queues;

-- a wait until the timeout, and a wait for a job that becomes due
SELECT count(*) FROM pictrepo.pop('wait', wait := '10 ms');
SELECT pictrepo.push('wait', '1', run_at := clock_timestamp() + interval '50 ms') IS NOT NULL AS pushed;
SELECT job FROM pictrepo.pop('wait', wait := '1 minute');
SET statement_timeout = '50 ms';
SELECT * FROM pictrepo.pop('wait', wait := '1 hour');
RESET statement_timeout;
TRUNCATE pictrepo.job_queue;

-- any JSON is stored unchanged
SELECT pictrepo.push('json', 'null') IS NOT NULL, pictrepo.push('json', '"\ud83d\ude00"') IS NOT NULL,
	pictrepo.push('json', '[1.0, {"a": {}}]') IS NOT NULL;
SELECT job FROM pictrepo.pop('json', max_jobs := 10);
TRUNCATE pictrepo.job_queue;

-- errors
SELECT pictrepo.push(NULL, '1');
SELECT pictrepo.push('', '1');
SELECT pictrepo.push(repeat('q', 81), '1');
SELECT pictrepo.push('q', NULL);
\set VERBOSITY sqlstate
SELECT pictrepo.push('q', '{');
\set VERBOSITY default
SELECT pictrepo.push('q', jsonb_build_object('x', repeat('x', 1048576)));
SELECT pictrepo.push('q', '1', '');
SELECT pictrepo.push('q', '1', repeat('k', 81));
SELECT pictrepo.push('q', '1', run_at := 'infinity');
SELECT pictrepo.push('q', '1', priority := NULL);
SELECT pictrepo.push('q', '1', retry := -1);
SELECT pictrepo.push_many('q', NULL);
SELECT pictrepo.push_many('q', ARRAY['1', NULL]::jsonb[]);
SELECT pictrepo.push_many('q', ARRAY[['1'], ['2']]::jsonb[]);
SELECT pictrepo.push_many('q', ARRAY['1']::jsonb[], ARRAY['a', 'b']);
SELECT pictrepo.push_many('q', ARRAY['1']::jsonb[], ARRAY['']);
SELECT pictrepo.pop(NULL);
SELECT pictrepo.pop('q', max_jobs := 0);
SELECT pictrepo.pop('q', max_jobs := 10001);
SELECT pictrepo.pop('q', wait := NULL);
SELECT pictrepo.pop('q', wait := '-1 s');
SELECT pictrepo.heartbeat('q', NULL, NULL);
SELECT pictrepo.complete_job('q', NULL, NULL);
SELECT pictrepo.complete_job('q', NULL, :'id', 'done');
SELECT pictrepo.complete_job('q', NULL, :'id', NULL);
SELECT pictrepo.complete_many('q', NULL, NULL);
SELECT pictrepo.complete_many('q', NULL, ARRAY[NULL]::uuid[]);
SELECT pictrepo.complete_many('q', NULL, ARRAY[:'id'::uuid], attempts := '{1,2}');
SELECT pictrepo.complete_many('q', NULL, ARRAY[:'id'::uuid], attempts := '{NULL}');
SELECT pictrepo.complete_many('q', NULL, ARRAY[:'id'::uuid], attempts := '{{1}}');
SELECT pictrepo.heartbeat('q', NULL, :'id', -1);
SELECT pictrepo.complete_and_pop('q', NULL, NULL);
SELECT pictrepo.queue_length('');
SELECT pictrepo.configure_queue(NULL);
SELECT pictrepo.configure_queue('q', retries := -1);
SELECT pictrepo.configure_queue('q', backoff := '-1 s');
SELECT pictrepo.configure_queue('q', backoff_max := '31 days');
SELECT pictrepo.configure_queue('q', max_running := -2);
SELECT pictrepo.pause_queue(NULL);
SELECT pictrepo.resume_queue('');
SELECT pictrepo.requeue_dead(NULL);
SELECT pictrepo.queue_length(), count(*) FROM pictrepo.queues;

-- a row that no repo function stores
INSERT INTO pictrepo.job_queue (id, queue, job, run_at) VALUES ('01900000-0000-7000-8000-000000000000', 'q', '1', '-infinity');

-- a wait that commits a transaction with LISTEN and a temporary table
\c -
DO $$
DECLARE
	id uuid; job jsonb; attempt int; queue_time timestamptz;
BEGIN
	CREATE TEMP TABLE made_before (id uuid);
	LISTEN made_before;
	CALL pictrepo.pop_wait('nothing', NULL, '50 ms', id, job, attempt, queue_time);
	RAISE NOTICE 'job: %', job;
END $$;
SELECT coalesce(sum(waiting), 0) AS waiting FROM pictrepo.queue_stats;

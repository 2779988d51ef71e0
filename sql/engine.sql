-- Waiting, heartbeats, bound claims, counts and maintenance tasks.  The results are
-- the same with and without shared_preload_libraries.
\set VERBOSITY terse
SELECT pictrepo.session_worker() AS worker \gset

-- ----- pop_wait -----

SELECT pictrepo.push('long', '"job"') AS pushed \gset
CALL pictrepo.pop_wait('long', :'worker', '10 s', NULL, NULL, NULL, NULL) \gset popped_
SELECT :'popped_id' = :'pushed' AS same, :'popped_job' AS job, :popped_attempt AS attempt,
	:'popped_queue_time'::timestamptz <= now() AS queued;
CALL pictrepo.pop_wait('long', NULL, '20 ms', NULL, NULL, NULL, NULL);
CALL pictrepo.pop_wait('long', timeout => '20 ms');
CALL pictrepo.pop_wait(timeout => '0', worker => NULL, queue => 'long', id => NULL, job => NULL, attempt => NULL, queue_time => NULL);
SELECT pictrepo.complete_job('long', :'worker', :'pushed');

-- a job that becomes due during the wait
SELECT pictrepo.push('long', '"later"', run_at => clock_timestamp() + interval '100 ms') IS NOT NULL AS pushed;
CALL pictrepo.pop_wait('long', NULL, '10 s', NULL, NULL, NULL, NULL) \gset popped_
SELECT :'popped_job' AS job;
SELECT pictrepo.complete_job('long', NULL, :'popped_id');

-- in a procedure that may commit, and not in a transaction block
CREATE PROCEDURE take(INOUT what jsonb) LANGUAGE plpgsql AS $$
DECLARE id uuid; attempt int; queued timestamptz;
BEGIN
	PERFORM pictrepo.push('long', '"from a procedure"');
	CALL pictrepo.pop_wait('long', NULL, '10 s', id, what, attempt, queued);
	PERFORM pictrepo.complete_job('long', NULL, id);
	CALL pictrepo.pop_wait('long', NULL, '10 ms', id, what, attempt, queued);
	what = to_jsonb(id IS NULL);
END $$;
CALL take(NULL);
\set VERBOSITY default
BEGIN;
CALL pictrepo.pop_wait('long', NULL, '10 s', NULL, NULL, NULL, NULL);
ROLLBACK;
\set VERBOSITY terse
BEGIN;
CALL take(NULL);
ROLLBACK;
DO $$ BEGIN CALL pictrepo.pop_wait('long', NULL, '0', NULL, NULL, NULL, NULL); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLSTATE; END $$;
CALL pictrepo.pop_wait(NULL, NULL, '10 s', NULL, NULL, NULL, NULL);
CALL pictrepo.pop_wait('', NULL, '10 s', NULL, NULL, NULL, NULL);
CALL pictrepo.pop_wait(repeat('q', 81), NULL, '10 s', NULL, NULL, NULL, NULL);
CALL pictrepo.pop_wait('long', NULL, NULL, NULL, NULL, NULL, NULL);
CALL pictrepo.pop_wait('long', NULL, '-1 s', NULL, NULL, NULL, NULL);
SET statement_timeout = '50ms';
CALL pictrepo.pop_wait('long', NULL, '10 s', NULL, NULL, NULL, NULL);
SELECT count(*) FROM pictrepo.pop('long', wait => '10 s');
RESET statement_timeout;
SELECT pictrepo.queue_length('long');
DROP PROCEDURE take;

-- ----- heartbeats -----

SELECT pictrepo.push('beat', '1') AS job \gset
SELECT count(*) FROM pictrepo.pop('beat');
SELECT heartbeat AS claimed FROM pictrepo.jobs WHERE id = :'job' \gset
SELECT pictrepo.heartbeat('beat', NULL, :'job');
SELECT heartbeat > :'claimed' AS later, coalesce(pictrepo.pulse(id), heartbeat) = heartbeat AS seen
FROM pictrepo.jobs WHERE id = :'job';
-- false for another worker, another queue, and an ended job
SELECT pictrepo.heartbeat('beat', '11111111-1111-1111-1111-111111111111', :'job'),
	pictrepo.heartbeat('another', NULL, :'job');
SELECT pictrepo.complete_job('beat', NULL, :'job');
SELECT pictrepo.heartbeat('beat', NULL, :'job'), pictrepo.pulse(:'job');
SELECT pictrepo.pulse(NULL);
-- a claim that is rolled back
SELECT pictrepo.push('beat', '2') AS job \gset
BEGIN;
SELECT count(*) FROM pictrepo.pop('beat');
SELECT pictrepo.heartbeat('beat', NULL, :'job');
ROLLBACK;
SELECT pictrepo.heartbeat('beat', NULL, :'job'), pictrepo.pulse(:'job');
BEGIN;
SAVEPOINT a;
SELECT count(*) FROM pictrepo.pop('beat');
ROLLBACK TO a;
SELECT pictrepo.heartbeat('beat', NULL, :'job');
SELECT count(*) FROM pictrepo.pop('beat');
COMMIT;
SELECT pictrepo.heartbeat('beat', NULL, :'job');
-- a claim whose job DELETE or TRUNCATE removes
DELETE FROM pictrepo.job_queue WHERE id = :'job';
SELECT pictrepo.heartbeat('beat', NULL, :'job');
SELECT pictrepo.push('beat', '3') AS job \gset
SELECT count(*) FROM pictrepo.pop('beat');
TRUNCATE pictrepo.job_queue;
SELECT pictrepo.heartbeat('beat', NULL, :'job'), pictrepo.queue_length(), pictrepo.queue_length('beat');

-- ----- bound claims -----

SELECT pictrepo.push('bound', '1') AS job \gset
SELECT job FROM pictrepo.pop('bound', bind => true);
SELECT state, session IS NOT NULL AS bound FROM pictrepo.jobs WHERE queue = 'bound';
-- a claim of this session stays
SELECT pictrepo.run_maintenance('rescue');
-- a claim of an ended session does not
UPDATE pictrepo.job_queue SET session = '1.1' WHERE id = :'job';
SELECT pictrepo.run_maintenance('rescue') <= 1 AS rescued;
SELECT state, retry, session, error FROM pictrepo.jobs WHERE queue = 'bound';
SELECT job, attempt FROM pictrepo.pop('bound');
SELECT state, session FROM pictrepo.jobs WHERE queue = 'bound';
SELECT pictrepo.complete_job('bound', NULL, :'job');
SELECT * FROM pictrepo.pop('bound', bind => NULL);

-- ----- counts, after any statement that changes the tables -----

CREATE FUNCTION counts(OUT size bigint, OUT jobs bigint, OUT q bigint, OUT r bigint, OUT exact bool) LANGUAGE sql AS $$
	SELECT pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('q'), pictrepo.queue_length('r'),
		(pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('q'), pictrepo.queue_length('r')) =
		((SELECT count(*) FROM pictrepo.hashes), (SELECT count(*) FROM pictrepo.job_queue),
		(SELECT count(*) FROM pictrepo.job_queue WHERE queue = 'q'), (SELECT count(*) FROM pictrepo.job_queue WHERE queue = 'r'))
$$;
DELETE FROM pictrepo.hashes;
SELECT * FROM counts();
SELECT pictrepo.create_hash('\x01', 'a'), pictrepo.push('q', '1') IS NOT NULL AS pushed;
INSERT INTO pictrepo.hashes (hash, identifier) SELECT int4send(n), 'i' FROM generate_series(1, 10) n;
INSERT INTO pictrepo.job_queue (id, queue, job) SELECT gen_random_uuid(), 'r', '1' FROM generate_series(1, 10);
COPY pictrepo.hashes (hash, identifier) FROM stdin;
\\x02	copied
\\x03	copied
\.
SELECT * FROM counts();
-- uncommitted changes of this transaction count
BEGIN;
SELECT cardinality(pictrepo.push_many('q', '{1,2,3}'));
DELETE FROM pictrepo.hashes WHERE identifier = 'i';
SELECT * FROM counts();
SAVEPOINT a;
DELETE FROM pictrepo.job_queue;
SELECT * FROM counts();
ROLLBACK TO a;
SELECT * FROM counts();
SAVEPOINT b;
TRUNCATE pictrepo.job_queue;
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed;
SELECT * FROM counts();
RELEASE b;
SELECT * FROM counts();
ROLLBACK;
SELECT * FROM counts();
-- in a subtransaction that is released
BEGIN;
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed;
SAVEPOINT a;
SELECT cardinality(pictrepo.push_many('q', '{1,2}'));
RELEASE a;
SELECT * FROM counts();
ROLLBACK;
-- a job that moves to another queue
UPDATE pictrepo.job_queue SET queue = 'q' WHERE queue = 'r' AND id IN (SELECT id FROM pictrepo.job_queue WHERE queue = 'r' LIMIT 4);
SELECT * FROM counts();
BEGIN;
TRUNCATE pictrepo.job_queue;
SELECT pictrepo.push('r', '1') IS NOT NULL AS pushed;
TRUNCATE pictrepo.hashes CASCADE;
SELECT pictrepo.create_hash('\x01', 'a');
COMMIT;
SELECT * FROM counts();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM counts();
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed;
SELECT * FROM counts();
COMMIT;
-- changes in the way of logical replication
SET session_replication_role = replica;
DELETE FROM pictrepo.job_queue;
DELETE FROM pictrepo.hashes;
RESET session_replication_role;
SELECT * FROM counts();

-- rows that come and go past the triggers, also in a transaction that rolls back
ALTER TABLE pictrepo.hashes DISABLE TRIGGER ALL;
ALTER TABLE pictrepo.job_queue DISABLE TRIGGER ALL;
INSERT INTO pictrepo.hashes (hash, identifier) VALUES ('past', 'past.png');
INSERT INTO pictrepo.job_queue (id, queue, job) VALUES (gen_random_uuid(), 'q', '1');
SELECT pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('q');
ALTER TABLE pictrepo.hashes ENABLE TRIGGER ALL;
ALTER TABLE pictrepo.job_queue ENABLE TRIGGER ALL;
SELECT pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('q');
SET session_replication_role = replica;
DELETE FROM pictrepo.hashes;
DELETE FROM pictrepo.job_queue;
RESET session_replication_role;
SELECT pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('q');
SELECT value, advice FROM pictrepo.status() WHERE item = 'triggers';
ALTER TABLE pictrepo.hashes DISABLE TRIGGER hash_changed;
SELECT value, advice FROM pictrepo.status() WHERE item = 'triggers';
SELECT pictrepo.post_restore();
SELECT value, advice FROM pictrepo.status() WHERE item = 'triggers';
ALTER TABLE pictrepo.hashes ENABLE ALWAYS TRIGGER hash_changed;
SELECT value, advice FROM pictrepo.status() WHERE item = 'triggers';
BEGIN;
ALTER TABLE pictrepo.hashes DISABLE TRIGGER hash_changed;
INSERT INTO pictrepo.hashes (hash, identifier) VALUES ('past', 'past.png');
SELECT pictrepo.size(), * FROM pictrepo.recount();
ROLLBACK;
SELECT pictrepo.size(), * FROM pictrepo.recount();
SELECT * FROM counts();
DROP FUNCTION counts;

-- ----- before and after a restore -----

SELECT pictrepo.upkeep_held_by();
BEGIN;
SELECT pictrepo.pre_restore() BETWEEN clock_timestamp() + '59 minutes' AND clock_timestamp() + '1 hour' AS held;
SELECT pictrepo.pre_restore('7 days') > clock_timestamp() + '6 days' AS longer;
SELECT pictrepo.upkeep_held_by() LIKE 'pre_restore() until 2%' AS held, pictrepo.health_check() LIKE '%; upkeep held by pre_restore() until 2%' AS unhealthy;
SELECT value LIKE 'held by pre_restore() until 2%' AS held, advice FROM pictrepo.status() WHERE item = 'upkeep';
SELECT DISTINCT held_by LIKE 'pre_restore() until 2%' AS held FROM pictrepo.maintenance;
SELECT pictrepo.post_restore();
SELECT pictrepo.post_restore();
SELECT pictrepo.pre_restore('0') <= clock_timestamp() AS at_once;
ROLLBACK;
SELECT pictrepo.upkeep_held_by();
SELECT pictrepo.pre_restore('-1 second');
SELECT pictrepo.pre_restore('8 days');

-- ----- maintenance tasks -----

SELECT duty FROM pictrepo.maintenance_status();
-- on a slow machine, a lock of a test may have stopped a run of the worker
SELECT duty, last_error FROM pictrepo.maintenance
WHERE last_error <> 'canceling statement due to lock timeout';
SELECT pictrepo.run_maintenance() >= 0 AS done;
SELECT pictrepo.run_maintenance('no such duty');
SELECT pictrepo.run_maintenance('notify');
SELECT pictrepo.run_maintenance('');

-- an unclaimed upload, and an upload whose job an INSERT made dead
SELECT pictrepo.create_upload() AS upload \gset
SELECT pictrepo.create_upload() AS other \gset
UPDATE pictrepo.uploads SET created_at = now() - interval '2 days' WHERE id = :'other';
INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, attempt, upload, error)
	VALUES (gen_random_uuid(), 'q', '1', 0, now(), 1, :'upload', 'broken');
SELECT pictrepo.run_maintenance('uploads') <= 2 AS done;
SELECT id = :'upload' AS upload, result FROM pictrepo.uploads WHERE id IN (:'upload', :'other');
SELECT pictrepo.claim(:'upload');

-- expired claims on variants
SELECT pictrepo.create_hash('\x01', 'a'), pictrepo.claim_variant_processing_rights('\x01', 'old', :'worker'),
	pictrepo.claim_variant_processing_rights('\x01', 'new', :'worker');
UPDATE pictrepo.variant_claims SET heartbeat = now() - interval '1 hour' WHERE variant = 'old';
SELECT pictrepo.run_maintenance('claims') <= 1 AS done;
SELECT variant FROM pictrepo.variant_claims;
SELECT pictrepo.cleanup_hash('\x01');

-- by default, dead jobs stay
UPDATE pictrepo.dead_jobs SET died_at = now() - interval '1 year';
SELECT pictrepo.run_maintenance('dead jobs');
SELECT count(*) FROM pictrepo.dead_jobs;
DELETE FROM pictrepo.dead_jobs;

-- only shared memory has the counters of a queue
SELECT pictrepo.push('seen', '1') IS NOT NULL AS pushed FROM generate_series(1, 3);
SELECT pictrepo.push('seen', '1', run_at => now() + interval '1 hour') IS NOT NULL AS pushed;
SELECT count(*) FROM pictrepo.pop('seen');
SELECT pictrepo.pause_queue('seen'), pictrepo.pause_queue('empty');
SELECT queue, ready, scheduled, running, dead, oldest_age > '0' AS aged, paused, max_running
FROM pictrepo.queue_stats WHERE queue IN ('seen', 'empty') ORDER BY queue;
SELECT count(*) = pictrepo.counting()::int AND
	coalesce(bool_and(pushed = 4 AND popped = 1 AND completed = 0 AND waiting = 0), true) AS counted
FROM pictrepo.queue_counters() WHERE queue = 'seen';
DELETE FROM pictrepo.job_queue;
DELETE FROM pictrepo.queues;

-- many subtransactions do not use much memory
DO $$
DECLARE
	bytes bigint[];
BEGIN
	FOR i IN 1..4000 LOOP
		BEGIN
			PERFORM pictrepo.push('many', '1');
			IF i % 2 = 0 THEN
				RAISE division_by_zero;
			END IF;
		EXCEPTION WHEN division_by_zero THEN
		END;
		IF i IN (2000, 4000) THEN
			bytes := bytes || (SELECT sum(used_bytes) FROM pg_backend_memory_contexts
				WHERE name = 'TopTransactionContext')::bigint;
		END IF;
	END LOOP;
	RAISE NOTICE 'not much more than before: %', bytes[2] - bytes[1] < 200000;
END $$;
DELETE FROM pictrepo.job_queue;
-- this session does not wait, therefore it is not listed
SELECT * FROM pictrepo.waiting_sessions();

-- lock_row locks rows of tables; what is none is not locked
SELECT pictrepo.push('lock', '1') IS NOT NULL AS pushed;
SELECT pictrepo.lock_row(tableoid, ctid, true), pictrepo.lock_row(tableoid, ctid, false) FROM pictrepo.job_queue;
SELECT tid, pictrepo.lock_row('pictrepo.job_queue'::regclass, tid, true)
FROM unnest('{"(0,0)","(0,65535)","(4294967295,1)"}'::tid[]) tid;
SELECT pictrepo.lock_row('pictrepo.jobs'::regclass, '(0,1)', true) AS view,
	pictrepo.lock_row('pictrepo.job_queue_pkey'::regclass, '(0,1)', true) AS index, pictrepo.lock_row(1, '(0,1)', true) AS nothing;
SELECT pictrepo.lock_row(NULL, '(0,1)', true);
SELECT pictrepo.lock_row(tableoid, NULL, true) FROM pictrepo.job_queue;
SELECT pictrepo.lock_row(tableoid, ctid, NULL) FROM pictrepo.job_queue;
BEGIN READ ONLY;
SELECT pictrepo.lock_row(tableoid, ctid, true) FROM pictrepo.job_queue;
ROLLBACK;
-- nor are rows of a table that the caller may not update
CREATE ROLE pictrepo_regress_locker;
GRANT USAGE ON SCHEMA pictrepo TO pictrepo_regress_locker;
GRANT EXECUTE ON FUNCTION pictrepo.lock_row TO pictrepo_regress_locker;
GRANT SELECT ON pictrepo.job_queue TO pictrepo_regress_locker;
SET ROLE pictrepo_regress_locker;
SELECT pictrepo.lock_row(tableoid, ctid, true) FROM pictrepo.job_queue;
RESET ROLE;
DROP OWNED BY pictrepo_regress_locker;
DROP ROLE pictrepo_regress_locker;
DELETE FROM pictrepo.job_queue;

-- privileges of a writer
CREATE ROLE pictrepo_regress_engine;
SELECT pictrepo.grant_access('pictrepo_regress_engine', 'writer');
SET ROLE pictrepo_regress_engine;
CALL pictrepo.pop_wait('long', NULL, '0', NULL, NULL, NULL, NULL);
SELECT count(*) FROM pictrepo.maintenance WHERE duty = 'reap';
SELECT count(*) FROM pictrepo.queue_stats WHERE queue = 'none';
SELECT pictrepo.start_worker();
SELECT pictrepo.run_maintenance();
RESET ROLE;
DROP OWNED BY pictrepo_regress_engine;
DROP ROLE pictrepo_regress_engine;

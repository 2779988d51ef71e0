-- QueueRepo: jobs, their workers, and dead jobs.

CREATE TYPE pictrepo.job_status AS ENUM ('new', 'running');
COMMENT ON TYPE pictrepo.job_status IS
	'status of a job: new (it waits for a worker) or running (a worker holds it)';

CREATE TABLE pictrepo.queues (
	queue text COLLATE "C" PRIMARY KEY CHECK (octet_length(queue) BETWEEN 1 AND 80),
	retries int CHECK (retries >= 0),
	backoff interval CHECK (backoff BETWEEN '0' AND '30 days'),
	backoff_max interval CHECK (backoff_max BETWEEN '0' AND '30 days'),
	max_running int CHECK (max_running >= 0),
	paused bool NOT NULL DEFAULT false
);
COMMENT ON TABLE pictrepo.queues IS 'configuration of queues. A queue without a row has the defaults';
COMMENT ON COLUMN pictrepo.queues.queue IS 'name of the queue';
COMMENT ON COLUMN pictrepo.queues.retries IS 'retries of a new job; NULL for the default, 5';
COMMENT ON COLUMN pictrepo.queues.backoff IS
	'pause before the first retry; NULL for the default, 1 second. '
	'The pause doubles with each further retry, and is shortened at random by up to half';
COMMENT ON COLUMN pictrepo.queues.backoff_max IS
	'longest pause before a retry; NULL for the default, 5 minutes';
COMMENT ON COLUMN pictrepo.queues.max_running IS 'most jobs that run at the same time; NULL for no limit';
COMMENT ON COLUMN pictrepo.queues.paused IS 'true if workers get no jobs of the queue';

-- job_changed() checks the rows.  CHECK constraints took a third of the time of a
-- push, because the server parses them anew for each statement.
CREATE TABLE pictrepo.job_queue (
	id uuid PRIMARY KEY,
	queue text COLLATE "C" NOT NULL,
	job jsonb NOT NULL,
	status pictrepo.job_status NOT NULL DEFAULT 'new',
	priority int NOT NULL DEFAULT 0,
	run_at timestamptz NOT NULL DEFAULT now(),
	queue_time timestamptz NOT NULL DEFAULT now(),
	attempt int NOT NULL DEFAULT 0,
	retry int NOT NULL DEFAULT 5,
	worker uuid,
	heartbeat timestamptz,
	unique_key text COLLATE "C",
	upload uuid,
	error text,
	session text COLLATE "C",
	returned_at timestamptz,
	failures int NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX job_queue_unique_key_index ON pictrepo.job_queue (unique_key)
	WHERE unique_key IS NOT NULL;
CREATE INDEX job_queue_ready_index ON pictrepo.job_queue (queue, priority DESC, run_at, id)
	WHERE status = 'new';
CREATE INDEX job_queue_running_index ON pictrepo.job_queue (queue, heartbeat)
	WHERE status = 'running';

COMMENT ON TABLE pictrepo.job_queue IS 'jobs that wait or run';
COMMENT ON COLUMN pictrepo.job_queue.id IS 'UUID version 7';
COMMENT ON COLUMN pictrepo.job_queue.queue IS 'name of the queue';
COMMENT ON COLUMN pictrepo.job_queue.job IS 'work to do; the queue does not interpret it';
COMMENT ON COLUMN pictrepo.job_queue.status IS 'new or running';
COMMENT ON COLUMN pictrepo.job_queue.priority IS 'priority; a job with a higher number runs first';
COMMENT ON COLUMN pictrepo.job_queue.run_at IS 'time from which the job is due';
COMMENT ON COLUMN pictrepo.job_queue.queue_time IS 'time when the job was pushed';
COMMENT ON COLUMN pictrepo.job_queue.attempt IS
	'number of times that a worker got the job, also before it was dead: the number of the last claim';
COMMENT ON COLUMN pictrepo.job_queue.retry IS 'number of retries left';
COMMENT ON COLUMN pictrepo.job_queue.failures IS
	'number of runs that failed since the job was pushed or requeued; the pause before a retry doubles with each';
COMMENT ON COLUMN pictrepo.job_queue.worker IS 'worker that holds the job; NULL if the job waits';
COMMENT ON COLUMN pictrepo.job_queue.heartbeat IS
	'time of the claim or of a later heartbeat; NULL if the job waits. View jobs shows the last heartbeat';
COMMENT ON COLUMN pictrepo.job_queue.unique_key IS
	'key that only one waiting or running job can have; NULL if the job has none';
COMMENT ON COLUMN pictrepo.job_queue.upload IS
	'upload that the job processes; NULL if none. The upload gets a Failure if the job fails for good';
COMMENT ON COLUMN pictrepo.job_queue.error IS
	'error of the last failed run; NULL if no run failed or the worker gave no error';
COMMENT ON COLUMN pictrepo.job_queue.session IS
	'session that the claim is bound to; NULL if none. The claim ends with the session';
COMMENT ON COLUMN pictrepo.job_queue.returned_at IS
	'time when the job last became new again after a claim; NULL if it never did';
COMMENT ON INDEX pictrepo.job_queue_unique_key_index IS 'allows one waiting or running job per unique key';
COMMENT ON INDEX pictrepo.job_queue_ready_index IS 'finds the next job of a queue';
COMMENT ON INDEX pictrepo.job_queue_running_index IS 'finds the running jobs of a queue by heartbeat';

CREATE TABLE pictrepo.dead_jobs (
	id uuid PRIMARY KEY,
	queue text COLLATE "C" NOT NULL,
	job jsonb NOT NULL,
	priority int NOT NULL,
	queue_time timestamptz NOT NULL,
	died_at timestamptz NOT NULL DEFAULT now(),
	attempt int NOT NULL,
	unique_key text COLLATE "C",
	upload uuid,
	error text
);
CREATE INDEX dead_jobs_queue_index ON pictrepo.dead_jobs (queue, died_at);
CREATE INDEX dead_jobs_died_index ON pictrepo.dead_jobs (died_at);
CREATE INDEX dead_jobs_upload_index ON pictrepo.dead_jobs (upload) WHERE upload IS NOT NULL;
COMMENT ON INDEX pictrepo.dead_jobs_upload_index IS 'finds the dead jobs of an upload';
COMMENT ON INDEX pictrepo.dead_jobs_queue_index IS 'finds the dead jobs of a queue';
COMMENT ON INDEX pictrepo.dead_jobs_died_index IS
	'finds the dead jobs that are older than pictrepo.dead_job_retention';
COMMENT ON TABLE pictrepo.dead_jobs IS 'jobs that failed for good; requeue_dead makes one ready again';
COMMENT ON COLUMN pictrepo.dead_jobs.id IS 'ID of the job';
COMMENT ON COLUMN pictrepo.dead_jobs.queue IS 'name of the queue';
COMMENT ON COLUMN pictrepo.dead_jobs.job IS 'work to do';
COMMENT ON COLUMN pictrepo.dead_jobs.priority IS 'priority of the job';
COMMENT ON COLUMN pictrepo.dead_jobs.queue_time IS 'time when the job was pushed';
COMMENT ON COLUMN pictrepo.dead_jobs.died_at IS 'time when the job failed for good';
COMMENT ON COLUMN pictrepo.dead_jobs.attempt IS 'number of times that a worker got the job';
COMMENT ON COLUMN pictrepo.dead_jobs.unique_key IS
	'unique key of the job, which another job can use now; NULL if it had none';
COMMENT ON COLUMN pictrepo.dead_jobs.upload IS 'upload that the job processed; NULL if none';
COMMENT ON COLUMN pictrepo.dead_jobs.error IS 'error of the last run; NULL if the worker gave none';

CREATE FUNCTION pictrepo.pulse(job_id uuid) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_pulse';
COMMENT ON FUNCTION pictrepo.pulse(uuid) IS
	'last heartbeat of a job in shared memory; NULL if shared memory has none';

CREATE FUNCTION pictrepo.job_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_job_changed';
COMMENT ON FUNCTION pictrepo.job_changed() IS
	'trigger function of job_queue: checks the row, keeps the counts and wakes waiting sessions. '
	'When a job becomes ready, it also notifies queue_status_channel. Error 23514: the row is invalid';
CREATE TRIGGER job_came AFTER INSERT OR DELETE ON pictrepo.job_queue
	FOR EACH ROW EXECUTE FUNCTION pictrepo.job_changed();
CREATE TRIGGER job_changed AFTER UPDATE OF status, queue, priority, run_at, unique_key, retry, worker
	ON pictrepo.job_queue FOR EACH ROW EXECUTE FUNCTION pictrepo.job_changed();
CREATE TRIGGER jobs_gone AFTER TRUNCATE ON pictrepo.job_queue
	EXECUTE FUNCTION pictrepo.job_changed();
ALTER TABLE pictrepo.job_queue ENABLE ALWAYS TRIGGER job_came,
	ENABLE ALWAYS TRIGGER job_changed, ENABLE ALWAYS TRIGGER jobs_gone;
COMMENT ON TRIGGER job_came ON pictrepo.job_queue IS
	'checks the row, keeps the counts and wakes waiting sessions';
COMMENT ON TRIGGER job_changed ON pictrepo.job_queue IS
	'checks the row, keeps the counts and wakes waiting sessions. A claim wakes no session';
COMMENT ON TRIGGER jobs_gone ON pictrepo.job_queue IS 'resets the counts after TRUNCATE';

CREATE FUNCTION pictrepo.queue_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_queue_changed';
COMMENT ON FUNCTION pictrepo.queue_changed() IS
	'trigger function of queues: when the configuration of a queue changes, wakes the sessions that wait '
	'for its jobs';
CREATE TRIGGER queue_changed AFTER INSERT OR UPDATE OR DELETE ON pictrepo.queues
	FOR EACH ROW EXECUTE FUNCTION pictrepo.queue_changed();
CREATE TRIGGER queues_gone AFTER TRUNCATE ON pictrepo.queues
	EXECUTE FUNCTION pictrepo.queue_changed();
ALTER TABLE pictrepo.queues ENABLE ALWAYS TRIGGER queue_changed, ENABLE ALWAYS TRIGGER queues_gone;
COMMENT ON TRIGGER queue_changed ON pictrepo.queues IS 'wakes the sessions that wait for jobs of the queue';
COMMENT ON TRIGGER queues_gone ON pictrepo.queues IS 'wakes the sessions that wait for jobs after TRUNCATE';

CREATE FUNCTION pictrepo.push(queue text, job jsonb, unique_key text = NULL, run_at timestamptz = NULL,
	priority int = 0, retry int = NULL, upload uuid = NULL) RETURNS uuid
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_push';
COMMENT ON FUNCTION pictrepo.push(text, jsonb, text, timestamptz, int, int, uuid) IS
	'add a job to a queue. Returns its ID, or NULL if a job that waits or runs holds the unique key. '
	'queue, unique_key: 1 to 80 bytes each. run_at: time from which the job is due; NULL: now. '
	'priority: a job with a higher number runs first. '
	'retry: number of retries, 0 to 1000000; NULL: as configured for the queue. '
	'upload: an upload that gets a Failure if the job fails for good';

CREATE FUNCTION pictrepo.push_many(queue text, jobs jsonb[], unique_keys text[] = NULL,
	run_at timestamptz = NULL, priority int = 0, retry int = NULL) RETURNS uuid[]
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_push_many';
COMMENT ON FUNCTION pictrepo.push_many(text, jsonb[], text[], timestamptz, int, int) IS
	'add many jobs to a queue in one statement. '
	'Returns their IDs in order, with NULL for each job whose unique key a job that waits or runs holds. '
	'unique_keys: a key or NULL for each job; NULL: no job has a unique key. '
	'run_at, priority, retry: as in push';

CREATE FUNCTION pictrepo.pop(queue text, worker uuid = NULL, max_jobs int = 1, wait interval = '0', bind bool = false,
	OUT id uuid, OUT job jsonb, OUT attempt int, OUT queue_time timestamptz) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_pop';
COMMENT ON FUNCTION pictrepo.pop(text, uuid, int, interval, bool) IS
	'claim due jobs for a worker: highest priority first, then oldest run_at, then lowest id. '
	'worker NULL: session_worker(). max_jobs: 1 to 10000. '
	'wait: longest time to wait if no job is ready; 0: do not wait. '
	'A waiting call holds a snapshot; a call of pop_wait does not. '
	'bind: if true, the worker loses the jobs when this session ends, as a silent worker does';

CREATE PROCEDURE pictrepo.pop_wait(queue text, worker uuid = NULL, timeout interval = '1 minute',
	INOUT id uuid = NULL, INOUT job jsonb = NULL, INOUT attempt int = NULL,
	INOUT queue_time timestamptz = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_pop_wait';
COMMENT ON PROCEDURE pictrepo.pop_wait(text, uuid, interval, uuid, jsonb, int, timestamptz) IS
	'claim the next due job for a worker, and wait if no job is ready. '
	'A waiting call holds no transaction. The results are NULL if the timeout passes first. '
	'worker NULL: session_worker(). timeout: an interval of 0 or more, not NULL. '
	'Error 2D000: the call is in a transaction block or a function';

CREATE FUNCTION pictrepo.heartbeat(queue text, worker uuid, job_id uuid, attempt int = NULL) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_heartbeat';
COMMENT ON FUNCTION pictrepo.heartbeat(text, uuid, uuid, int) IS
	'record that a worker still runs a job. '
	'Returns false if the worker no longer holds the job, or holds it by another claim than the given one. '
	'worker NULL: session_worker(). '
	'attempt: number of the claim, which pop returned; NULL: any claim. '
	'Without a heartbeat for pictrepo.heartbeat_timeout, a worker counts as silent and loses the job. '
	'The job is then ready again with one retry less, or moves to dead_jobs if it has no retry left';

CREATE FUNCTION pictrepo.complete_job(queue text, worker uuid, job_id uuid,
	result text = 'success', error text = NULL, attempt int = NULL) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_job';
COMMENT ON FUNCTION pictrepo.complete_job(text, uuid, uuid, text, text, int) IS
	'end a job. worker NULL: session_worker(). '
	'result: success removes the job; failure runs it again after a pause, or moves it to dead_jobs if it '
	'has no retry left; aborted moves it to dead_jobs. '
	'error: reason of the failure, which jobs and dead_jobs show; the first 64 kB are kept. '
	'attempt: number of the claim, which pop returned; NULL: any claim. '
	'Returns the outcome: completed, retrying, dead (the job is in dead_jobs), or lost (the worker no '
	'longer holds the job, or holds it by another claim than the given one, and nothing changes)';

CREATE FUNCTION pictrepo.complete_many(queue text, worker uuid, job_ids uuid[],
	result text = 'success', error text = NULL, attempts int[] = NULL) RETURNS text[]
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_many';
COMMENT ON FUNCTION pictrepo.complete_many(text, uuid, uuid[], text, text, int[]) IS
	'end many jobs with the same result, as complete_job does. Returns the outcome of each job, in order. '
	'worker NULL: session_worker(). result: success, failure or aborted. '
	'attempts: the number of the claim for each job; NULL: any claim';

CREATE FUNCTION pictrepo.complete_and_pop(queue text, worker uuid, job_id uuid,
	result text = 'success', error text = NULL, attempt int = NULL,
	OUT outcome text, OUT id uuid, OUT job jsonb, OUT attempt int, OUT queue_time timestamptz)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_and_pop';
COMMENT ON FUNCTION pictrepo.complete_and_pop(text, uuid, uuid, text, text, int) IS
	'end a job as complete_job does, and claim the next job of the queue in the same call. '
	'Returns the outcome of the ended job, and the next job, or NULLs if none is ready. '
	'worker NULL: session_worker(). result: success, failure or aborted. '
	'attempt: number of the claim that ends; NULL: any claim';

CREATE FUNCTION pictrepo.queue_length(queue text = NULL) RETURNS bigint
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_queue_length';
COMMENT ON FUNCTION pictrepo.queue_length(text) IS
	'number of jobs that wait or run. queue NULL: in every queue. '
	'With shared_preload_libraries, it takes constant time. '
	'On a standby, a number from 10,000 on is as old as the last sweep of the primary';

CREATE FUNCTION pictrepo.configure_queue(queue text, retries int = NULL, backoff interval = NULL,
	backoff_max interval = NULL, max_running int = NULL, paused bool = NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_configure_queue';
COMMENT ON FUNCTION pictrepo.configure_queue(text, int, interval, interval, int, bool) IS
	'configure a queue. An argument that is NULL changes nothing. '
	'retries: retries of a new job, 0 to 1000000. '
	'backoff, backoff_max: first and longest pause before a retry, 0 to 30 days. '
	'max_running: most jobs that run at the same time; -1: no limit. '
	'With a limit, a pop finds no job while another transaction that has popped stays open. '
	'paused: if true, workers get no jobs of the queue';

CREATE FUNCTION pictrepo.pause_queue(queue text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_pause_queue';
COMMENT ON FUNCTION pictrepo.pause_queue(text) IS
	'stop giving jobs of a queue to workers. Returns false if the queue was paused already. '
	'Running jobs continue, and clients can push jobs';

CREATE FUNCTION pictrepo.resume_queue(queue text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_resume_queue';
COMMENT ON FUNCTION pictrepo.resume_queue(text) IS
	'give jobs of a queue to workers again. Returns false if the queue was not paused';

CREATE FUNCTION pictrepo.requeue_dead(id uuid) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_requeue_dead';
COMMENT ON FUNCTION pictrepo.requeue_dead(uuid) IS
	'make a dead job ready again, with the retries that are configured for its queue. '
	'Its attempts go on counting, its failures begin at 0. '
	'Returns false if no dead job has the ID, or if a job that waits or runs holds its unique key';

-- A role sees the content of a job only if it may claim jobs.
CREATE VIEW pictrepo.jobs AS
	SELECT id, queue,
		CASE WHEN (SELECT has_function_privilege(
				'pictrepo.pop(text, uuid, int, interval, bool)'::regprocedure, 'EXECUTE')) THEN job END AS job,
		CASE WHEN status = 'running' THEN 'running'
			WHEN run_at > clock_timestamp() THEN 'scheduled'
			ELSE 'ready' END AS state,
		priority, run_at, queue_time, attempt, retry, worker,
		CASE WHEN status = 'running' THEN coalesce(pictrepo.pulse(id), heartbeat) END AS heartbeat,
		unique_key, upload,
		CASE WHEN (SELECT has_function_privilege(
				'pictrepo.pop(text, uuid, int, interval, bool)'::regprocedure, 'EXECUTE')) THEN error END AS error,
		session
	FROM pictrepo.job_queue;
COMMENT ON VIEW pictrepo.jobs IS 'jobs that wait or run, with their state and last heartbeat';
COMMENT ON COLUMN pictrepo.jobs.id IS 'ID of the job';
COMMENT ON COLUMN pictrepo.jobs.queue IS 'name of the queue';
COMMENT ON COLUMN pictrepo.jobs.job IS
	'work to do; NULL for a role that may not call pop, since a job may contain a delete token';
COMMENT ON COLUMN pictrepo.jobs.state IS 'scheduled (not due yet), ready or running';
COMMENT ON COLUMN pictrepo.jobs.priority IS 'priority; a job with a higher number runs first';
COMMENT ON COLUMN pictrepo.jobs.run_at IS 'time from which the job is due';
COMMENT ON COLUMN pictrepo.jobs.queue_time IS 'time when the job was pushed';
COMMENT ON COLUMN pictrepo.jobs.attempt IS
	'number of times that a worker got the job, also before it was dead: the number of the last claim';
COMMENT ON COLUMN pictrepo.jobs.retry IS 'number of retries left';
COMMENT ON COLUMN pictrepo.jobs.worker IS 'worker that holds the job; NULL if the job waits';
COMMENT ON COLUMN pictrepo.jobs.heartbeat IS 'time of the last heartbeat; NULL if the job waits';
COMMENT ON COLUMN pictrepo.jobs.unique_key IS
	'key that only one waiting or running job can have; NULL if the job has none';
COMMENT ON COLUMN pictrepo.jobs.upload IS 'upload that the job processes; NULL if none';
COMMENT ON COLUMN pictrepo.jobs.error IS
	'error of the last failed run; NULL if no run failed, if the worker gave no error, or for a role that may '
	'not call pop';
COMMENT ON COLUMN pictrepo.jobs.session IS
	'session that the claim is bound to; NULL if none. The claim ends with the session';

-- QueueRepo: jobs, who runs them, and what became of those that failed.

CREATE TYPE pictrepo.job_status AS ENUM ('new', 'running');
COMMENT ON TYPE pictrepo.job_status IS 'new: waits for a worker; running: a worker holds it';

CREATE TABLE pictrepo.queues (
	queue text COLLATE "C" PRIMARY KEY CHECK (octet_length(queue) BETWEEN 1 AND 80),
	retries int CHECK (retries >= 0),
	backoff interval CHECK (backoff BETWEEN '0' AND '30 days'),
	backoff_max interval CHECK (backoff_max BETWEEN '0' AND '30 days'),
	max_running int CHECK (max_running >= 0),
	paused bool NOT NULL DEFAULT false
);
COMMENT ON TABLE pictrepo.queues IS 'queues that are configured; a queue needs no row here to work';
COMMENT ON COLUMN pictrepo.queues.queue IS 'name';
COMMENT ON COLUMN pictrepo.queues.retries IS 'how often a job is tried again; NULL: 5';
COMMENT ON COLUMN pictrepo.queues.backoff IS 'pause before the first retry, doubled with each further one; NULL: 1 s';
COMMENT ON COLUMN pictrepo.queues.backoff_max IS 'longest pause before a retry; NULL: 5 min';
COMMENT ON COLUMN pictrepo.queues.max_running IS 'most jobs that run at once; NULL: no limit';
COMMENT ON COLUMN pictrepo.queues.paused IS 'true: no job is given out';

-- The server parses CHECK constraints anew for each statement, which took a third
-- of the time of a push: job_changed() checks these rows.
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
	returned_at timestamptz
);
CREATE UNIQUE INDEX job_queue_unique_key_index ON pictrepo.job_queue (unique_key)
	WHERE unique_key IS NOT NULL;
CREATE INDEX job_queue_ready_index ON pictrepo.job_queue (queue, priority DESC, run_at, id)
	WHERE status = 'new';
CREATE INDEX job_queue_running_index ON pictrepo.job_queue (queue, heartbeat)
	WHERE status = 'running';

COMMENT ON TABLE pictrepo.job_queue IS 'jobs that wait or run';
COMMENT ON COLUMN pictrepo.job_queue.id IS 'UUID version 7';
COMMENT ON COLUMN pictrepo.job_queue.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.job_queue.job IS 'what to do; the queue never looks inside';
COMMENT ON COLUMN pictrepo.job_queue.status IS 'waits or runs';
COMMENT ON COLUMN pictrepo.job_queue.priority IS 'higher first';
COMMENT ON COLUMN pictrepo.job_queue.run_at IS 'not before this time';
COMMENT ON COLUMN pictrepo.job_queue.queue_time IS 'when it was pushed';
COMMENT ON COLUMN pictrepo.job_queue.attempt IS 'how often it was given to a worker';
COMMENT ON COLUMN pictrepo.job_queue.retry IS 'retries that are left';
COMMENT ON COLUMN pictrepo.job_queue.worker IS 'who runs it; NULL: nobody';
COMMENT ON COLUMN pictrepo.job_queue.heartbeat IS 'when it was claimed, or a later sign of life of the worker; view jobs has the last one; NULL: it waits';
COMMENT ON COLUMN pictrepo.job_queue.unique_key IS 'no two live jobs have the same; NULL: it has none';
COMMENT ON COLUMN pictrepo.job_queue.upload IS 'the upload it serves, which gets a Failure if the job dies; NULL: none';
COMMENT ON COLUMN pictrepo.job_queue.error IS 'why the last attempt failed; NULL: none did';
COMMENT ON COLUMN pictrepo.job_queue.session IS 'the session whose end ends the claim; NULL: none';
COMMENT ON COLUMN pictrepo.job_queue.returned_at IS 'when it was taken or given back from a worker the last time; NULL: it never was';
COMMENT ON INDEX pictrepo.job_queue_unique_key_index IS 'no two live jobs with one key';
COMMENT ON INDEX pictrepo.job_queue_ready_index IS 'the next job of a queue';
COMMENT ON INDEX pictrepo.job_queue_running_index IS 'running jobs of a queue by last heartbeat';

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
CREATE INDEX dead_jobs_died_index ON pictrepo.dead_jobs (died_at);
CREATE INDEX dead_jobs_upload_index ON pictrepo.dead_jobs (upload) WHERE upload IS NOT NULL;
COMMENT ON INDEX pictrepo.dead_jobs_upload_index IS 'dead jobs that an upload came with';
COMMENT ON INDEX pictrepo.dead_jobs_died_index IS 'dead jobs that are kept no longer';
COMMENT ON TABLE pictrepo.dead_jobs IS 'jobs that failed for good; requeue_dead gives one another life';
COMMENT ON COLUMN pictrepo.dead_jobs.id IS 'the job''s id';
COMMENT ON COLUMN pictrepo.dead_jobs.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.dead_jobs.job IS 'what was to do';
COMMENT ON COLUMN pictrepo.dead_jobs.priority IS 'its priority';
COMMENT ON COLUMN pictrepo.dead_jobs.queue_time IS 'when it was pushed';
COMMENT ON COLUMN pictrepo.dead_jobs.died_at IS 'when it failed for good';
COMMENT ON COLUMN pictrepo.dead_jobs.attempt IS 'how often it was given to a worker';
COMMENT ON COLUMN pictrepo.dead_jobs.unique_key IS 'its unique key, free again; NULL: it had none';
COMMENT ON COLUMN pictrepo.dead_jobs.upload IS 'the upload it served; NULL: none';
COMMENT ON COLUMN pictrepo.dead_jobs.error IS 'why the last attempt failed; NULL: the worker did not say';

CREATE FUNCTION pictrepo.pulse(job_id uuid) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_pulse';
COMMENT ON FUNCTION pictrepo.pulse(uuid) IS
	'the last heartbeat of a job in shared memory; NULL: there is none';

CREATE VIEW pictrepo.jobs AS
	SELECT id, queue, job,
		CASE WHEN status = 'running' THEN 'running'
			WHEN run_at > clock_timestamp() THEN 'scheduled'
			ELSE 'ready' END AS state,
		priority, run_at, queue_time, attempt, retry, worker,
		CASE WHEN status = 'running' THEN coalesce(pictrepo.pulse(id), heartbeat) END AS heartbeat,
		unique_key, upload, error, session
	FROM pictrepo.job_queue;
COMMENT ON VIEW pictrepo.jobs IS 'jobs that wait or run, as a person wants to see them';
COMMENT ON COLUMN pictrepo.jobs.id IS 'the job''s id';
COMMENT ON COLUMN pictrepo.jobs.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.jobs.job IS 'what to do';
COMMENT ON COLUMN pictrepo.jobs.state IS 'scheduled (not due yet), ready or running';
COMMENT ON COLUMN pictrepo.jobs.priority IS 'higher first';
COMMENT ON COLUMN pictrepo.jobs.run_at IS 'not before this time';
COMMENT ON COLUMN pictrepo.jobs.queue_time IS 'when it was pushed';
COMMENT ON COLUMN pictrepo.jobs.attempt IS 'how often it was given to a worker';
COMMENT ON COLUMN pictrepo.jobs.retry IS 'retries that are left';
COMMENT ON COLUMN pictrepo.jobs.worker IS 'who runs it; NULL: nobody';
COMMENT ON COLUMN pictrepo.jobs.heartbeat IS 'last sign of life of the worker; NULL: nobody runs it';
COMMENT ON COLUMN pictrepo.jobs.unique_key IS 'no two live jobs have the same; NULL: it has none';
COMMENT ON COLUMN pictrepo.jobs.upload IS 'the upload it serves; NULL: none';
COMMENT ON COLUMN pictrepo.jobs.error IS 'why the last attempt failed; NULL: none did';
COMMENT ON COLUMN pictrepo.jobs.session IS 'the session whose end ends the claim; NULL: none';

CREATE FUNCTION pictrepo.job_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_job_changed';
COMMENT ON FUNCTION pictrepo.job_changed() IS
	'trigger: jobs came, went, became ready or stopped running; tells waiters and queue_status_channel';
CREATE TRIGGER job_came AFTER INSERT OR DELETE ON pictrepo.job_queue
	FOR EACH ROW EXECUTE FUNCTION pictrepo.job_changed();
CREATE TRIGGER job_changed AFTER UPDATE OF status, queue, priority, run_at, unique_key, retry, worker
	ON pictrepo.job_queue FOR EACH ROW EXECUTE FUNCTION pictrepo.job_changed();
CREATE TRIGGER jobs_gone AFTER TRUNCATE ON pictrepo.job_queue
	EXECUTE FUNCTION pictrepo.job_changed();
ALTER TABLE pictrepo.job_queue ENABLE ALWAYS TRIGGER job_came,
	ENABLE ALWAYS TRIGGER job_changed, ENABLE ALWAYS TRIGGER jobs_gone;
COMMENT ON TRIGGER job_came ON pictrepo.job_queue IS 'checks the row, wakes workers, keeps the counts';
COMMENT ON TRIGGER job_changed ON pictrepo.job_queue IS 'checks the row, wakes workers; a claim is no news';
COMMENT ON TRIGGER jobs_gone ON pictrepo.job_queue IS 'keeps the counts';

CREATE FUNCTION pictrepo.queue_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_queue_changed';
COMMENT ON FUNCTION pictrepo.queue_changed() IS
	'trigger: a queue is configured differently; wakes who waits for its jobs';
CREATE TRIGGER queue_changed AFTER INSERT OR UPDATE OR DELETE ON pictrepo.queues
	FOR EACH ROW EXECUTE FUNCTION pictrepo.queue_changed();
ALTER TABLE pictrepo.queues ENABLE ALWAYS TRIGGER queue_changed;
COMMENT ON TRIGGER queue_changed ON pictrepo.queues IS 'wakes workers that may go on';

CREATE FUNCTION pictrepo.push(queue text, job jsonb, unique_key text = NULL, run_at timestamptz = NULL,
	priority int = 0, retry int = NULL, upload uuid = NULL) RETURNS uuid
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_push';
COMMENT ON FUNCTION pictrepo.push(text, jsonb, text, timestamptz, int, int, uuid) IS
	'add a job; its id, or NULL when a live job holds the unique key. '
	'run_at NULL: due now. priority: higher first. retry: 0 to 1000000 retries, NULL: as the queue has it. '
	'upload: gets a Failure if the job dies';

CREATE FUNCTION pictrepo.push_many(queue text, jobs jsonb[], unique_keys text[] = NULL,
	run_at timestamptz = NULL, priority int = 0, retry int = NULL) RETURNS uuid[]
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_push_many';
COMMENT ON FUNCTION pictrepo.push_many(text, jsonb[], text[], timestamptz, int, int) IS
	'add many jobs in one statement; their ids in order, NULL where a live job holds the unique key. '
	'unique_keys NULL: none has one; else as many as jobs, each may be NULL. The others are as in push';

CREATE FUNCTION pictrepo.pop(queue text, worker uuid = NULL, max_jobs int = 1, wait interval = '0', bind bool = false,
	OUT id uuid, OUT job jsonb, OUT attempt int, OUT queue_time timestamptz) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_pop';
COMMENT ON FUNCTION pictrepo.pop(text, uuid, int, interval, bool) IS
	'give a worker the next jobs that are due: highest priority, then oldest run_at, then id. '
	'worker NULL: session_worker(). max_jobs: 1 to 10000. '
	'wait: so long for one where there is none, 0 not at all; it holds a snapshot meanwhile, see pop_wait. '
	'bind: they are ready again when this session ends';

CREATE PROCEDURE pictrepo.pop_wait(queue text, worker uuid = NULL, timeout interval = '1 minute',
	INOUT id uuid = NULL, INOUT job jsonb = NULL, INOUT attempt int = NULL,
	INOUT queue_time timestamptz = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_pop_wait';
COMMENT ON PROCEDURE pictrepo.pop_wait(text, uuid, interval, uuid, jsonb, int, timestamptz) IS
	'give a worker the next job, and wait for one without holding a transaction; NULLs: the time is up. '
	'worker NULL: session_worker(). '
	'timeout: any interval from 0 on, not NULL. Error 2D000: it is called in a transaction block or a function';

CREATE FUNCTION pictrepo.heartbeat(queue text, worker uuid, job_id uuid) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_heartbeat';
COMMENT ON FUNCTION pictrepo.heartbeat(text, uuid, uuid) IS
	'the worker is alive and at the job; false: it no longer holds it. worker NULL: session_worker(). '
	'A job without one for pictrepo.heartbeat_timeout is given to another worker';

CREATE FUNCTION pictrepo.complete_job(queue text, worker uuid, job_id uuid,
	result text = 'success', error text = NULL) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_job';
COMMENT ON FUNCTION pictrepo.complete_job(text, uuid, uuid, text, text) IS
	'end a job. worker NULL: session_worker(). '
	'result: success removes it; failure tries it again after a pause, as long as it has retries left; aborted does not. '
	'error: why, for jobs and dead_jobs. '
	'The answer is completed, retrying, dead (it is in dead_jobs now), or lost: the worker no longer holds it, nothing is changed';

CREATE FUNCTION pictrepo.complete_many(queue text, worker uuid, job_ids uuid[],
	result text = 'success', error text = NULL) RETURNS text[]
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_many';
COMMENT ON FUNCTION pictrepo.complete_many(text, uuid, uuid[], text, text) IS
	'end many jobs with the same result, as complete_job does; the answers in order. worker NULL: session_worker(). '
	'result: success, failure or aborted';

CREATE FUNCTION pictrepo.complete_and_pop(queue text, worker uuid, job_id uuid,
	result text = 'success', error text = NULL,
	OUT outcome text, OUT id uuid, OUT job jsonb, OUT attempt int, OUT queue_time timestamptz)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_and_pop';
COMMENT ON FUNCTION pictrepo.complete_and_pop(text, uuid, uuid, text, text) IS
	'end a job as complete_job does and pop in one: what became of the job, and the next one (NULLs: none is ready). '
	'worker NULL: session_worker(). result: success, failure or aborted';

CREATE FUNCTION pictrepo.queue_length(queue text = NULL) RETURNS bigint
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_queue_length';
COMMENT ON FUNCTION pictrepo.queue_length(text) IS
	'how many jobs wait or run; queue NULL: in all queues. '
	'With shared_preload_libraries it takes the same time for any number';

CREATE FUNCTION pictrepo.configure_queue(queue text, retries int = NULL, backoff interval = NULL,
	backoff_max interval = NULL, max_running int = NULL, paused bool = NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_configure_queue';
COMMENT ON FUNCTION pictrepo.configure_queue(text, int, interval, interval, int, bool) IS
	'set what a queue does; what is NULL stays. '
	'retries: 0 to 1000000. backoff, backoff_max: the first and the longest pause before another try, 0 to 30 days. '
	'max_running: most jobs at once, -1: no limit';

CREATE FUNCTION pictrepo.pause_queue(queue text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_pause_queue';
COMMENT ON FUNCTION pictrepo.pause_queue(text) IS
	'give out no more jobs of a queue; false: it was paused. Those that run go on, and jobs may be pushed';

CREATE FUNCTION pictrepo.resume_queue(queue text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_resume_queue';
COMMENT ON FUNCTION pictrepo.resume_queue(text) IS
	'give out jobs of a queue again; false: it was not paused';

CREATE FUNCTION pictrepo.requeue_dead(id uuid) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_requeue_dead';
COMMENT ON FUNCTION pictrepo.requeue_dead(uuid) IS
	'give a dead job another life, with all its queue''s retries; false: no such dead job, or a live job holds its unique key';

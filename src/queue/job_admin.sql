-- QueueRepo for administrators: cancelling and changing jobs, many dead jobs at once.

CREATE FUNCTION pictrepo.cancel_job(id uuid) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cancel_job';
COMMENT ON FUNCTION pictrepo.cancel_job(uuid) IS
	'remove a job that waits or runs. Returns cancelled or missing. '
	'The worker of a running job loses it: its next heartbeat is false, and its end is lost. '
	'The upload of the job gets a Failure';

CREATE FUNCTION pictrepo.cancel_jobs(queue text, unique_key text = NULL, max int = 1000) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cancel_jobs';
COMMENT ON FUNCTION pictrepo.cancel_jobs(text, text, int) IS
	'cancel the job of a queue that holds a unique key, as cancel_job does. Returns how many jobs it cancelled. '
	'unique_key NULL: cancel jobs of the queue, those that wait before those that run. '
	'max: most jobs that it cancels, 1 to 10000; call it until it returns 0. '
	'A job that another transaction has locked stays';

CREATE FUNCTION pictrepo.update_job(id uuid, queue text = NULL, run_at timestamptz = NULL, priority int = NULL)
	RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_update_job';
COMMENT ON FUNCTION pictrepo.update_job(uuid, text, timestamptz, int) IS
	'change the queue, the time or the priority of a job that waits. An argument that is NULL changes nothing. '
	'Returns false if no such job waits';

CREATE FUNCTION pictrepo.release_job(queue text, worker uuid, job_id uuid, run_at timestamptz = NULL) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_release_job';
COMMENT ON FUNCTION pictrepo.release_job(text, uuid, uuid, timestamptz) IS
	'give a job back to its queue without using up a retry. '
	'worker NULL: session_worker(). run_at: time from which it is due again; NULL: now. '
	'Returns false if the worker does not hold the job';

CREATE FUNCTION pictrepo.requeue_dead(queue text, error_like text, max int = 1000) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_requeue_dead_many';
COMMENT ON FUNCTION pictrepo.requeue_dead(text, text, int) IS
	'make dead jobs of a queue ready again, the oldest first, with the retries that are configured for the queue. '
	'Returns how many. error_like: a pattern for LIKE that the error must match; %: any error, or none. '
	'max: most jobs that it takes, 1 to 10000. '
	'A job stays dead if a job that waits or runs holds its unique key';

CREATE FUNCTION pictrepo.delete_dead(queue text, error_like text, max int = 1000) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_delete_dead';
COMMENT ON FUNCTION pictrepo.delete_dead(text, text, int) IS
	'delete dead jobs of a queue, the oldest first. Returns how many. '
	'error_like: a pattern for LIKE that the error must match; %: any error, or none. '
	'max: most jobs that it deletes, 1 to 10000';

CREATE FUNCTION pictrepo.drop_queue(queue text) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_drop_queue';
COMMENT ON FUNCTION pictrepo.drop_queue(text) IS
	'remove the configuration of a queue. Returns dropped, missing (the queue has no configuration), or '
	'in_use (a job, a dead job or a schedule belongs to the queue, and nothing changes)';

-- QueueRepo: what is seen of the queues.

CREATE FUNCTION pictrepo.queue_counters(OUT queue text, OUT pushed bigint, OUT popped bigint,
	OUT completed bigint, OUT failed bigint, OUT died bigint, OUT reaped bigint, OUT woken bigint,
	OUT waiting int) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_queue_counters';
COMMENT ON FUNCTION pictrepo.queue_counters() IS
	'what happened in each queue since the server started, and who waits; no rows without shared_preload_libraries';

CREATE VIEW pictrepo.queue_stats AS
	SELECT queue,
		coalesce(j.ready, 0) AS ready, coalesce(j.scheduled, 0) AS scheduled,
		coalesce(j.running, 0) AS running, coalesce(d.dead, 0) AS dead,
		j.oldest_age, coalesce(q.paused, false) AS paused, q.max_running,
		c.pushed, c.popped, c.completed, c.failed, c.died, c.reaped, c.woken, c.waiting
	FROM (SELECT queue, count(*) FILTER (WHERE status = 'new' AND run_at <= clock_timestamp()) AS ready,
			count(*) FILTER (WHERE status = 'new' AND run_at > clock_timestamp()) AS scheduled,
			count(*) FILTER (WHERE status = 'running') AS running,
			clock_timestamp() - min(run_at) FILTER (WHERE status = 'new' AND run_at <= clock_timestamp()) AS oldest_age
		FROM pictrepo.job_queue GROUP BY queue) j
	FULL JOIN (SELECT queue, count(*) AS dead FROM pictrepo.dead_jobs GROUP BY queue) d USING (queue)
	FULL JOIN pictrepo.queues q USING (queue)
	FULL JOIN pictrepo.queue_counters() c USING (queue);
COMMENT ON VIEW pictrepo.queue_stats IS 'each queue: what is in it now, and what happened since the server started';
COMMENT ON COLUMN pictrepo.queue_stats.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.queue_stats.ready IS 'jobs that wait for a worker';
COMMENT ON COLUMN pictrepo.queue_stats.scheduled IS 'jobs that are not due yet';
COMMENT ON COLUMN pictrepo.queue_stats.running IS 'jobs that workers hold';
COMMENT ON COLUMN pictrepo.queue_stats.dead IS 'jobs in dead_jobs';
COMMENT ON COLUMN pictrepo.queue_stats.oldest_age IS 'how long the oldest ready job has been due; NULL: none is ready';
COMMENT ON COLUMN pictrepo.queue_stats.paused IS 'true: no job is given out';
COMMENT ON COLUMN pictrepo.queue_stats.max_running IS 'most jobs that run at once; NULL: no limit';
COMMENT ON COLUMN pictrepo.queue_stats.pushed IS 'jobs that were pushed; NULL, as what follows, where nothing was counted';
COMMENT ON COLUMN pictrepo.queue_stats.popped IS 'jobs that were given to workers';
COMMENT ON COLUMN pictrepo.queue_stats.completed IS 'jobs that ended in success';
COMMENT ON COLUMN pictrepo.queue_stats.failed IS 'runs that ended in failure or abort';
COMMENT ON COLUMN pictrepo.queue_stats.died IS 'jobs that went to dead_jobs';
COMMENT ON COLUMN pictrepo.queue_stats.reaped IS 'jobs that were taken from silent workers and ended sessions';
COMMENT ON COLUMN pictrepo.queue_stats.woken IS 'waiting sessions that were called to look';
COMMENT ON COLUMN pictrepo.queue_stats.waiting IS 'sessions that wait now';

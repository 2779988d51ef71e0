-- QueueRepo: what is seen of the queues.

CREATE FUNCTION pictrepo.queue_counters(OUT queue text, OUT pushed bigint, OUT popped bigint,
	OUT completed bigint, OUT failed bigint, OUT died bigint, OUT reaped bigint, OUT woken bigint,
	OUT wait_time interval, OUT run_time interval, OUT waiting int) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_queue_counters';
COMMENT ON FUNCTION pictrepo.queue_counters() IS
	'what happened in each queue since the server started, and who waits; no rows without shared_preload_libraries';

CREATE FUNCTION pictrepo.counting() RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_counting';
COMMENT ON FUNCTION pictrepo.counting() IS
	'whether queue_counters knows what happened, so that a queue without a row had nothing; false without shared_preload_libraries and on a standby';

CREATE VIEW pictrepo.queue_stats AS
	SELECT queue,
		coalesce(j.ready, 0) AS ready, coalesce(j.scheduled, 0) AS scheduled,
		coalesce(j.running, 0) AS running, coalesce(d.dead, 0) AS dead,
		j.oldest_age, coalesce(q.paused, false) AS paused, q.max_running,
		coalesce(c.pushed, n.nothing) AS pushed, coalesce(c.popped, n.nothing) AS popped,
		coalesce(c.completed, n.nothing) AS completed, coalesce(c.failed, n.nothing) AS failed,
		coalesce(c.died, n.nothing) AS died, coalesce(c.reaped, n.nothing) AS reaped,
		coalesce(c.woken, n.nothing) AS woken,
		coalesce(c.wait_time, make_interval(secs => n.nothing)) AS wait_time,
		coalesce(c.run_time, make_interval(secs => n.nothing)) AS run_time,
		coalesce(c.waiting, n.nothing) AS waiting
	FROM (SELECT queue, count(*) FILTER (WHERE status = 'new' AND run_at <= clock_timestamp()) AS ready,
			count(*) FILTER (WHERE status = 'new' AND run_at > clock_timestamp()) AS scheduled,
			count(*) FILTER (WHERE status = 'running') AS running,
			clock_timestamp() - min(run_at) FILTER (WHERE status = 'new' AND run_at <= clock_timestamp()) AS oldest_age
		FROM pictrepo.job_queue GROUP BY queue) j
	FULL JOIN (SELECT queue, count(*) AS dead FROM pictrepo.dead_jobs GROUP BY queue) d USING (queue)
	FULL JOIN pictrepo.queues q USING (queue)
	FULL JOIN pictrepo.queue_counters() c USING (queue)
	CROSS JOIN (SELECT CASE WHEN pictrepo.counting() THEN 0 END AS nothing) n;
COMMENT ON VIEW pictrepo.queue_stats IS 'each queue: what is in it now, and what happened since the server started';
COMMENT ON COLUMN pictrepo.queue_stats.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.queue_stats.ready IS 'jobs that wait for a worker';
COMMENT ON COLUMN pictrepo.queue_stats.scheduled IS 'jobs that are not due yet';
COMMENT ON COLUMN pictrepo.queue_stats.running IS 'jobs that workers hold';
COMMENT ON COLUMN pictrepo.queue_stats.dead IS 'jobs in dead_jobs';
COMMENT ON COLUMN pictrepo.queue_stats.oldest_age IS 'how long the oldest ready job has been due; NULL: none is ready';
COMMENT ON COLUMN pictrepo.queue_stats.paused IS 'true: no job is given out';
COMMENT ON COLUMN pictrepo.queue_stats.max_running IS 'most jobs that run at once; NULL: no limit';
COMMENT ON COLUMN pictrepo.queue_stats.pushed IS 'jobs that were pushed; NULL, as what follows, without shared_preload_libraries and on a standby';
COMMENT ON COLUMN pictrepo.queue_stats.popped IS 'jobs that were given to workers';
COMMENT ON COLUMN pictrepo.queue_stats.completed IS 'jobs that ended in success';
COMMENT ON COLUMN pictrepo.queue_stats.failed IS 'runs that ended in failure or abort';
COMMENT ON COLUMN pictrepo.queue_stats.died IS 'jobs that went to dead_jobs';
COMMENT ON COLUMN pictrepo.queue_stats.reaped IS 'jobs that were taken from silent workers and ended sessions';
COMMENT ON COLUMN pictrepo.queue_stats.woken IS 'waiting sessions that were called to look';
COMMENT ON COLUMN pictrepo.queue_stats.wait_time IS 'how long jobs were due until they were given to workers, all of popped together';
COMMENT ON COLUMN pictrepo.queue_stats.run_time IS 'how long workers held jobs, all of completed, failed and reaped together; of a job beyond pictrepo.max_running_jobs since its last heartbeat';
COMMENT ON COLUMN pictrepo.queue_stats.waiting IS 'sessions that wait now';

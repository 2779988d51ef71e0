-- QueueRepo: statistics of queues.

CREATE FUNCTION pictrepo.queue_counters(OUT queue text, OUT pushed bigint, OUT popped bigint,
	OUT completed bigint, OUT failed bigint, OUT died bigint, OUT reaped bigint, OUT woken bigint,
	OUT wait_time interval, OUT run_time interval, OUT waiting int) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_queue_counters';
COMMENT ON FUNCTION pictrepo.queue_counters() IS
	'counters of each queue since the server started, and the number of sessions that wait. '
	'A queue has NULL instead of its counters if a prepared transaction changed it, '
	'or if there were more queues than pictrepo.max_queues. '
	'Returns no row without shared_preload_libraries';

CREATE FUNCTION pictrepo.counting() RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_counting';
COMMENT ON FUNCTION pictrepo.counting() IS
	'check whether the server keeps the counters of queue_counters. '
	'A queue without a row there then has counted nothing. '
	'Returns false without shared_preload_libraries, on a standby, '
	'and when there were more queues than pictrepo.max_queues';

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
	CROSS JOIN LATERAL (SELECT CASE WHEN c.waiting IS NULL AND pictrepo.counting() THEN 0 END AS nothing) n;
COMMENT ON VIEW pictrepo.queue_stats IS
	'queues, with their current jobs and their counters since the server started';
COMMENT ON COLUMN pictrepo.queue_stats.queue IS 'name of the queue';
COMMENT ON COLUMN pictrepo.queue_stats.ready IS 'due jobs that wait for a worker';
COMMENT ON COLUMN pictrepo.queue_stats.scheduled IS 'jobs that are not due yet';
COMMENT ON COLUMN pictrepo.queue_stats.running IS 'jobs that workers hold';
COMMENT ON COLUMN pictrepo.queue_stats.dead IS 'jobs in dead_jobs';
COMMENT ON COLUMN pictrepo.queue_stats.oldest_age IS
	'time since the oldest ready job became due; NULL if no job is ready';
COMMENT ON COLUMN pictrepo.queue_stats.paused IS 'true if workers get no jobs of the queue';
COMMENT ON COLUMN pictrepo.queue_stats.max_running IS
	'most jobs that run at the same time; NULL for no limit';
COMMENT ON COLUMN pictrepo.queue_stats.pushed IS
	'jobs pushed. '
	'This column and the following ones are NULL where they are not complete: '
	'without shared_preload_libraries, on a standby, if a prepared transaction changed the queue, '
	'and if there were more queues than pictrepo.max_queues';
COMMENT ON COLUMN pictrepo.queue_stats.popped IS 'jobs given to workers';
COMMENT ON COLUMN pictrepo.queue_stats.completed IS 'jobs that ended in success';
COMMENT ON COLUMN pictrepo.queue_stats.failed IS 'runs that ended in failure or were aborted';
COMMENT ON COLUMN pictrepo.queue_stats.died IS 'jobs moved to dead_jobs';
COMMENT ON COLUMN pictrepo.queue_stats.reaped IS 'jobs taken from silent workers and from ended sessions';
COMMENT ON COLUMN pictrepo.queue_stats.woken IS 'number of times that a waiting session was woken';
COMMENT ON COLUMN pictrepo.queue_stats.wait_time IS
	'total time that popped jobs had been due before a worker got them';
COMMENT ON COLUMN pictrepo.queue_stats.run_time IS
	'total time that workers held the completed, failed and reaped jobs. '
	'A job beyond pictrepo.max_running_jobs counts from its last heartbeat';
COMMENT ON COLUMN pictrepo.queue_stats.waiting IS 'sessions that wait for a job now';

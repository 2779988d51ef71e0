/*-------------------------------------------------------------------------
 *
 * reap.c
 *		QueueRepo: taking jobs away from workers that are gone.
 *
 * A worker that went silent counts as a failure, without the pause: so does a
 * session that ended and had bound its claims to itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/injection_points.h"
#include "common/maintenance_tasks.h"
#include "queue/job_end.h"
#include "queue/queue.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"
#include "xact/heartbeat.h"

/* With shared memory the row says when the job was claimed, and the pulse the rest. */
#define SILENT(j) \
	j ".status = 'running' AND " j ".heartbeat < $2" \
	" AND coalesce(pictrepo.pulse(" j ".id), " j ".heartbeat) < $2"

STATEMENT(any_silent, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.job_queue j WHERE j.queue = $1 AND " SILENT("j") " LIMIT 1",
		  TEXTOID, TIMESTAMPTZOID);

STATEMENT(any_silent_anywhere, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.job_queue j WHERE " SILENT("j") " LIMIT 1",
		  TEXTOID, TIMESTAMPTZOID);

/*
 * Since when the server takes writes: the walwriter starts with it, after a
 * crash, and at a promotion, a moment after which it may still be to come.
 */
STATEMENT(server_ready_at, STMT_READ_WRITE,
		  "SELECT coalesce(max(backend_start), 'infinity') FROM pg_stat_activity"
		  " WHERE backend_type = 'walwriter'");

#define REAP(which) \
	END_JOBS("SELECT j.id, j.queue, j.retry > 0 AS again, j.run_at," \
			 " format('worker %s sent no heartbeat since %s', j.worker," \
			 " coalesce(pictrepo.pulse(j.id), j.heartbeat)) AS error" \
			 " FROM pictrepo.job_queue j WHERE " which SILENT("j") \
			 " ORDER BY j.queue, j.heartbeat, j.id LIMIT $3 OFFSET $4 FOR UPDATE SKIP LOCKED") \
	" SELECT queue, again FROM ended"

STATEMENT(reap_silent, STMT_READ_WRITE,
		  REAP("j.queue = $1 AND "), TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID);
STATEMENT(reap_silent_anywhere, STMT_READ_WRITE,
		  REAP(""), TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID);
STATEMENT(reap_given, STMT_READ_WRITE,
		  REAP("j.id = ANY ($1) AND "), UUIDARRAYOID, TIMESTAMPTZOID, INT4OID, INT4OID);

/* The last statement's rows are jobs that lost their workers; how many. */
static uint64
count_reaped(void)
{
	uint64		reaped = SPI_processed;

	INJECT(jobs_reaped);
	for (uint64 i = 0; i < reaped; i++)
	{
		count_ended_jobs(result_value(i, 1), COUNTER_REAPED, 1);
		if (!DatumGetBool(result_value(i, 2).value))
			count_ended_jobs(result_value(i, 1), COUNTER_DIED, 1);
	}
	return reaped;
}

static TimestampTz
reap_cutoff(void)
{
	return GetCurrentTimestamp() - (int64) guc_heartbeat_timeout * 1000;
}

/*
 * While the server was down nobody could send a heartbeat, so after a start
 * nothing is reaped before a full timeout has passed.  Nor could workers send
 * any to a dump.
 */
static bool
may_reap(TimestampTz cutoff)
{
	statement_run(&server_ready_at, NULL);
	return DatumGetTimestampTz(result_value(0, 1).value) <= cutoff && restore_guard_last() <= cutoff;
}

/*
 * Take the queue's jobs (NULL: those of all queues) away from workers that
 * went silent; how many.
 */
uint64
reap_silent_workers(NullableDatum queue)
{
	TimestampTz cutoff = reap_cutoff();
	NullableDatum args[] = {queue, not_null(TimestampTzGetDatum(cutoff))};

	if (statement_run_latest(queue.isnull ? &any_silent_anywhere : &any_silent, args) == 0 ||
		!may_reap(cutoff))
		return 0;
	heartbeat_suspend(heartbeat_silent_jobs(cutoff), cutoff);
	return row_batch_run(queue.isnull ? &reap_silent_anywhere : &reap_silent, args, TASK_BATCH,
						 count_reaped);
}

/*
 * The same for jobs whose heartbeats are in shared memory, which finds them
 * without looking at the table.
 */
uint64
reap_silent_heartbeats(void)
{
	TimestampTz cutoff = reap_cutoff();
	Datum		jobs = heartbeat_silent_jobs(cutoff);

	if (ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(jobs)), ARR_DIMS(DatumGetArrayTypeP(jobs))) == 0 ||
		!may_reap(cutoff))
		return 0;
	heartbeat_suspend(jobs, cutoff);
	return row_batch_run(&reap_given, ARGS(not_null(jobs), not_null(TimestampTzGetDatum(cutoff))),
						 TASK_BATCH, count_reaped);
}

#define BOUND(j) j ".session IS NOT NULL AND " j ".status = 'running'"

/* Sessions as log_line_prefix writes them with %c */
#define RESCUE(which) \
	END_JOBS("SELECT j.id, j.queue, j.retry > 0 AS again, j.run_at," \
			 " format('session %s has ended', j.session) AS error" \
			 " FROM pictrepo.job_queue j WHERE " which BOUND("j") \
			 " AND j.session NOT IN (SELECT to_hex(trunc(extract(epoch FROM backend_start))::bigint)" \
			 " || '.' || to_hex(pid) FROM pg_stat_activity WHERE backend_start IS NOT NULL)" \
			 " ORDER BY j.queue, j.id LIMIT $2 OFFSET $3 FOR UPDATE SKIP LOCKED") \
	" SELECT queue, again FROM ended"

STATEMENT(any_bound, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.job_queue j WHERE j.queue = $1 AND " BOUND("j") " LIMIT 1", TEXTOID);
STATEMENT(any_bound_anywhere, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.job_queue j WHERE " BOUND("j") " LIMIT 1", TEXTOID);

STATEMENT(rescue_bound, STMT_READ_WRITE,
		  RESCUE("j.queue = $1 AND "), TEXTOID, INT4OID, INT4OID);
STATEMENT(rescue_bound_anywhere, STMT_READ_WRITE,
		  RESCUE(""), TEXTOID, INT4OID, INT4OID);

/*
 * Take the queue's jobs (NULL: those of all queues) away from sessions that
 * have ended, where the claim was bound to the session; how many.  Who is
 * there is read after the rows are, and not from what was read before.
 */
uint64
reap_ended_sessions(NullableDatum queue)
{
	if (statement_run_latest(queue.isnull ? &any_bound_anywhere : &any_bound, &queue) == 0)
		return 0;
	pgstat_clear_backend_activity_snapshot();
	return row_batch_run(queue.isnull ? &rescue_bound_anywhere : &rescue_bound, &queue, TASK_BATCH,
						 count_reaped);
}

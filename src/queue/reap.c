/*-------------------------------------------------------------------------
 *
 * reap.c
 *		QueueRepo: taking jobs away from workers that are gone.
 *
 * A job is taken away when its worker has sent no heartbeat for
 * pictrepo.heartbeat_timeout, or when the claim was bound to a session that has
 * ended.  Both count as a failure of the job.  But its retry is ready at once,
 * without the pause that follows other failures.
 *
 * A worker may send a heartbeat just when a session takes its job away.  So the
 * session first suspends the heartbeats of the jobs, and the worker must update
 * the job's row (xact/heartbeat.c).  Then it looks for silent jobs, and takes those
 * whose rows nobody has changed since.  Either the worker keeps the job, or it learns
 * that it has lost the job.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/injection_points.h"
#include "common/maintenance_tasks.h"
#include "common/server_processes.h"
#include "queue/job_end.h"
#include "queue/queue.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"
#include "xact/heartbeat.h"

/*
 * The row has the time of the claim.  Later heartbeats are in shared memory, which
 * function pulse reads, or in the row.
 */
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
 * SQL: take jobs away, up to $3 after the first $4.  A job that dies, and whose
 * upload then gets a Failure, is left for the next time while another transaction
 * has locked the upload.  CASE: the job is locked after the upload.
 */
#define TAKE_AWAY(which, order, error) \
	END_JOBS("SELECT j.id, j.queue, j.again, j.run_at, " error " AS error FROM" \
			 " (SELECT j.id, j.queue, j.retry > 0 AS again, j.run_at, j.worker, j.heartbeat, j.session," \
			 " j.tableoid, j.ctid, u.tableoid AS upload_table, u.ctid AS upload_row" \
			 " FROM pictrepo.job_queue j LEFT JOIN pictrepo.uploads u" \
			 " ON u.id = j.upload AND j.retry <= 0 AND u.result IS NULL" \
			 " WHERE " which " ORDER BY " order " OFFSET 0) j" \
			 " WHERE CASE WHEN j.upload_row IS NULL" \
			 " OR pictrepo.lock_row(j.upload_table, j.upload_row, false)" \
			 " THEN " TRY_LOCK("j") " END LIMIT $3 OFFSET $4") \
	" SELECT queue, again FROM ended"

#define REAP(which) \
	TAKE_AWAY(which SILENT("j"), "j.queue, j.heartbeat, j.id", \
			  "format('worker %s sent no heartbeat since %s', j.worker," \
			  " greatest(pictrepo.pulse(j.id), j.heartbeat))")

STATEMENT(reap_silent, STMT_READ_WRITE,
		  REAP("j.queue = $1 AND "), TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID);
STATEMENT(reap_silent_anywhere, STMT_READ_WRITE,
		  REAP(""), TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID);
STATEMENT(reap_given, STMT_READ_WRITE,
		  REAP("j.id = ANY ($1) AND "), UUIDARRAYOID, TIMESTAMPTZOID, INT4OID, INT4OID);

/* Count the jobs that the last statement has taken away; returns their number. */
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

/* Workers whose last heartbeat is older are silent. */
static TimestampTz
reap_cutoff(void)
{
	return GetCurrentTimestamp() - (int64) guc_heartbeat_timeout * 1000;
}

/*
 * Have workers had a full timeout in which they could send heartbeats?  They
 * cannot while the server is down, nor while a dump is being restored.  The
 * walwriter starts when the server accepts writes: at a start, after a crash and
 * at a promotion.
 */
static bool
may_reap(TimestampTz cutoff)
{
	return walwriter_start_time() <= cutoff && restore_guard_last() <= cutoff;
}

/*
 * Take jobs of the queue away from silent workers; NULL: jobs of every queue.
 * Returns the number of jobs.
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
 * The same for jobs of every queue that have a heartbeat in shared memory.  It
 * reads the table only when shared memory has a silent job.
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

#define REAP_BOUND(which) \
	TAKE_AWAY(which BOUND("j") " AND j.session = ANY ($2)", "j.queue, j.id", \
			  "format('session %s has ended', j.session)")

STATEMENT(bound_sessions, STMT_READ_WRITE,
		  "SELECT DISTINCT j.session FROM pictrepo.job_queue j WHERE j.queue = $1 AND " BOUND("j"), TEXTOID);
STATEMENT(bound_sessions_anywhere, STMT_READ_WRITE,
		  "SELECT DISTINCT j.session FROM pictrepo.job_queue j WHERE " BOUND("j"), TEXTOID);

STATEMENT(reap_bound, STMT_READ_WRITE,
		  REAP_BOUND("j.queue = $1 AND "), TEXTOID, TEXTARRAYOID, INT4OID, INT4OID);
STATEMENT(reap_bound_anywhere, STMT_READ_WRITE,
		  REAP_BOUND(""), TEXTOID, TEXTARRAYOID, INT4OID, INT4OID);

/*
 * The result of the last statement has n sessions with claims.  Returns those that
 * have ended.  The list of processes is read after the claims: a session that is
 * not in the list has ended.
 */
static ArrayBuildState *
ended_sessions(uint64 n)
{
	ArrayBuildState *ended = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	server_processes_refresh();
	for (uint64 i = 0; i < n; i++)
	{
		Datum		session = result_value(i, 1).value;

		if (!session_runs(TextDatumGetCString(session)))
			ended = accumArrayResult(ended, session, false, TEXTOID, CurrentMemoryContext);
	}
	return ended;
}

/*
 * Take jobs of the queue away whose claims are bound to sessions that have ended;
 * NULL: jobs of every queue.  Returns the number of jobs.
 */
uint64
reap_ended_sessions(NullableDatum queue)
{
	uint64		bound = statement_run_latest(queue.isnull ? &bound_sessions_anywhere : &bound_sessions, &queue);
	ArrayBuildState *ended = ended_sessions(bound);

	if (ended->nelems == 0)
		return 0;
	return row_batch_run(queue.isnull ? &reap_bound_anywhere : &reap_bound,
						 ARGS(queue, not_null(makeArrayResult(ended, CurrentMemoryContext))),
						 TASK_BATCH, count_reaped);
}

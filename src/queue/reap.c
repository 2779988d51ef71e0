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

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/injection_points.h"
#include "common/maintenance_tasks.h"
#include "common/monotonic.h"
#include "common/server_processes.h"
#include "queue/job_end.h"
#include "queue/queue.h"
#include "queue/restore_hold.h"
#include "shmem/clock_watch.h"
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
 * function pulse reads, or in the row.  The row also tells who was silent before the
 * wall clock was set back: after a full timeout, only he has a heartbeat that far in
 * the future.  The times that were read before the statement, and the clock that is
 * read in it, must agree: otherwise the clock was set, or the process stood still, in
 * between.  $2 to $5 are the arguments of a Silence.
 */
#define NO_HEARTBEAT(j) \
	"coalesce(pictrepo.pulse(" j ".id) < $4," \
	" " j ".heartbeat NOT BETWEEN clock_timestamp() - $5 AND clock_timestamp() + $5)"

#define SILENT(j) \
	j ".status = 'running' AND (" j ".heartbeat < $2 OR " j ".heartbeat > $3) AND " NO_HEARTBEAT(j)

#define SILENCE_TYPES TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID

/* Pops run this often.  With OR, it would read every running job of the queue. */
#define SILENT_IN_QUEUE(bound) \
	"SELECT 1 FROM pictrepo.job_queue j WHERE j.queue = $1 AND j.status = 'running'" \
	" AND j.heartbeat " bound " AND " NO_HEARTBEAT("j")

STATEMENT(any_silent, STMT_READ_WRITE,
		  SILENT_IN_QUEUE("< $2") " UNION ALL " SILENT_IN_QUEUE("> $3") " LIMIT 1",
		  TEXTOID, SILENCE_TYPES);

STATEMENT(any_silent_anywhere, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.job_queue j WHERE " SILENT("j") " LIMIT 1",
		  TEXTOID, SILENCE_TYPES);

/* If the wall clock was set back, the job is ready at once nevertheless. */
#define READY_AT(j) "least(" j ".run_at, clock_timestamp()) AS run_at"

/*
 * SQL: take jobs away, up to max after the first skipped ones.  A job that dies, and whose
 * upload then gets a Failure, is left for the next time while another transaction
 * has locked the upload.  CASE: the job is locked after the upload.
 */
#define TAKE_AWAY(which, order, error, max, skipped) \
	END_JOBS("SELECT j.id, j.queue, j.again, " READY_AT("j") ", " error " AS error FROM" \
			 " (SELECT j.id, j.queue, j.retry > 0 AS again, j.run_at, j.worker, j.heartbeat, j.session," \
			 " j.tableoid, j.ctid, u.tableoid AS upload_table, u.ctid AS upload_row" \
			 " FROM pictrepo.job_queue j LEFT JOIN pictrepo.uploads u" \
			 " ON u.id = j.upload AND j.retry <= 0 AND u.result IS NULL" \
			 " WHERE " which " ORDER BY " order " OFFSET 0) j" \
			 " WHERE CASE WHEN j.upload_row IS NULL" \
			 " OR pictrepo.lock_row(j.upload_table, j.upload_row, false)" \
			 " THEN " TRY_LOCK("j") " END LIMIT " max " OFFSET " skipped) \
	" SELECT queue, again FROM ended"

#define REAP(which) \
	TAKE_AWAY(which SILENT("j"), "j.queue, j.heartbeat, j.id", \
			  "format('worker %s sent no heartbeat since %s', j.worker," \
			  " coalesce(pictrepo.pulse(j.id), j.heartbeat))", "$6", "$7")

STATEMENT(reap_silent, STMT_READ_WRITE,
		  REAP("j.queue = $1 AND "), TEXTOID, SILENCE_TYPES, INT4OID, INT4OID);
STATEMENT(reap_silent_anywhere, STMT_READ_WRITE,
		  REAP(""), TEXTOID, SILENCE_TYPES, INT4OID, INT4OID);
STATEMENT(reap_given, STMT_READ_WRITE,
		  REAP("j.id = ANY ($1) AND "), UUIDARRAYOID, SILENCE_TYPES, INT4OID, INT4OID);

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

/* ----- silent workers ----- */

#define SILENCE_ARGS 5

/* Since when a worker must have sent no heartbeat, by each clock */
typedef struct Silence
{
	MonotonicTime since;
	NullableDatum args[SILENCE_ARGS];	/* which jobs; for rows: not after, and
										 * not before; for pulse; the timeout */
} Silence;

static int64
timeout_us(void)
{
	return guc_heartbeat_timeout * INT64CONST(1000);
}

/*
 * A heartbeat in the future tells something only if the clock was not set back
 * within the timeout.  Without shared memory the session may not know.
 */
static Silence
silence(NullableDatum which)
{
	bool		known = clock_watch_lasts(timeout_us());
	TimestampTz now = GetCurrentTimestamp();
	Interval   *timeout = palloc0(sizeof(Interval));
	Silence		silence = {.since = monotonic_now() - timeout_us()};

	timeout->time = timeout_us();
	silence.args[0] = which;
	silence.args[1] = not_null(TimestampTzGetDatum(now - timeout_us()));
	silence.args[2] = not_null(TimestampTzGetDatum(known ? now + timeout_us() : DT_NOEND));
	silence.args[3] = not_null(TimestampTzGetDatum(heartbeat_show(silence.since)));
	silence.args[4] = not_null(IntervalPGetDatum(timeout));
	return silence;
}

/*
 * Has the server run for the timeout?  Without shared memory, the start of the
 * walwriter tells: it starts when the server accepts writes, at a start, after a
 * crash and at a promotion.
 */
static bool
runs_long_enough(void)
{
	TimestampTz start;

	if (shmem != NULL)
		return clock_watch_lasts(timeout_us());
	start = walwriter_start_time();
	return !TIMESTAMP_IS_NOEND(start) && llabs(GetCurrentTimestamp() - start) >= timeout_us();
}

/*
 * Have workers had a full timeout in which they could send heartbeats, and were
 * seen to?  They cannot while the server is down or stands still, nor while a dump
 * is being restored.  And a step of the wall clock makes their heartbeats look old.
 */
static bool
may_reap(const Silence *silence)
{
	return clock_watch_undisturbed(timeout_us()) && runs_long_enough() &&
		restore_guard_last() <= silence->since && !restore_hold_within(guc_heartbeat_timeout);
}

/*
 * Take jobs of the queue away from silent workers; NULL: jobs of every queue.
 * Returns the number of jobs.
 */
uint64
reap_silent_workers(NullableDatum queue)
{
	Silence		now = silence(queue);

	if (statement_run(queue.isnull ? &any_silent_anywhere : &any_silent, now.args) == 0 ||
		!may_reap(&now))
		return 0;
	heartbeat_suspend(heartbeat_silent_jobs(now.since), now.since);
	return row_batch_run(queue.isnull ? &reap_silent_anywhere : &reap_silent, now.args, TASK_BATCH,
						 count_reaped);
}

/*
 * The same for jobs of every queue that have a heartbeat in shared memory.  It
 * reads the table only when shared memory has a silent job.
 */
uint64
reap_silent_heartbeats(void)
{
	Silence		now = silence(NULL_ARG);
	Datum		jobs = heartbeat_silent_jobs(now.since);

	if (ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(jobs)), ARR_DIMS(DatumGetArrayTypeP(jobs))) == 0 ||
		!may_reap(&now))
		return 0;
	now.args[0] = not_null(jobs);
	heartbeat_suspend(jobs, now.since);
	return row_batch_run(&reap_given, now.args, TASK_BATCH, count_reaped);
}

/* ----- ended sessions ----- */

#define BOUND(j) j ".session IS NOT NULL AND " j ".status = 'running'"

#define REAP_BOUND(which) \
	TAKE_AWAY(which BOUND("j") " AND j.session = ANY ($2)", "j.queue, j.id", \
			  "format('session %s has ended', j.session)", "$3", "$4")

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
	uint64		bound = statement_run(queue.isnull ? &bound_sessions_anywhere : &bound_sessions, &queue);
	ArrayBuildState *ended = ended_sessions(bound);

	if (ended->nelems == 0)
		return 0;
	return row_batch_run(queue.isnull ? &reap_bound_anywhere : &reap_bound,
						 ARGS(queue, not_null(makeArrayResult(ended, CurrentMemoryContext))),
						 TASK_BATCH, count_reaped);
}

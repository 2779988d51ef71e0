/*-------------------------------------------------------------------------
 *
 * claim.c
 *		QueueRepo: claiming the ready jobs of a queue.
 *
 * A claim is an UPDATE of ready jobs that skips rows which other sessions have
 * locked or changed (sqlfunc/row_lock.c).  Jobs of a higher priority come first,
 * then those with an earlier run_at.
 *
 * Usually a pop claims jobs from the low-water marks of its queue on, one priority
 * after the other (shmem/low_water_mark.c).  If it finds none there, or cannot use
 * the marks, it scans the whole queue for the first job of each priority.  This
 * full scan sets the marks anew, and the pop claims from them.  If the queue has
 * more priorities than marks, or no slot in shared memory, one statement claims
 * jobs of every priority without marks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/injection_points.h"
#include "queue/claim.h"
#include "queue/queue.h"
#include "shmem/database_slot.h"
#include "shmem/low_water_mark.h"
#include "shmem/shmem.h"
#include "shmem/wait_queue.h"
#include "shmem/worker_slot.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"
#include "xact/async_commit.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"

/* without a background worker, the pops of a queue reap this often, at most */
#define REAP_INTERVAL USECS_PER_SEC

/* while other sessions have locked ready jobs, a waiter checks this often */
#define LOCKED_INTERVAL (USECS_PER_SEC / 2)

#define CLAIM \
	"UPDATE pictrepo.job_queue j SET status = 'running', worker = $2, heartbeat = $3," \
	" session = $5, attempt = j.attempt + 1"
#define CLAIMED " RETURNING j.id, j.job, j.attempt, j.queue_time, j.priority, j.run_at, j.returned_at"

/*
 * Claims due jobs of every priority, without marks.  The recursive query steps
 * from one priority to the next lower one.  So it does not read jobs of a high
 * priority that are not due yet.  The planner cannot know how few jobs the LIMIT
 * allows: the array keeps it from joining with the whole table.
 */
STATEMENT(claim_anywhere, STMT_READ_WRITE,
		  "WITH RECURSIVE level (priority) AS ("
		  "(SELECT priority FROM pictrepo.job_queue WHERE queue = $1 AND status = 'new'"
		  " ORDER BY priority DESC LIMIT 1)"
		  " UNION ALL SELECT lower.priority FROM level, LATERAL"
		  " (SELECT j.priority FROM pictrepo.job_queue j WHERE j.queue = $1 AND j.status = 'new'"
		  " AND j.priority < level.priority ORDER BY j.priority DESC LIMIT 1) lower"
		  "), ready AS ("
		  "SELECT due.id FROM level, LATERAL"
		  " (SELECT j.id, j.tableoid, j.ctid FROM pictrepo.job_queue j WHERE j.queue = $1 AND j.status = 'new'"
		  " AND j.priority = level.priority AND j.run_at <= $3 ORDER BY j.run_at, j.id OFFSET 0) due"
		  " WHERE " TRY_LOCK_NO_KEY("due") " LIMIT $4"
		  "), claimed AS ("
		  CLAIM " WHERE j.id = ANY (ARRAY(SELECT id FROM ready))" CLAIMED ")"
		  " SELECT * FROM claimed ORDER BY priority DESC, run_at, id",
		  TEXTOID, UUIDOID, TIMESTAMPTZOID, INT4OID, TEXTOID);

#define READY_FROM_BOUND \
	" WHERE j.id = ANY (ARRAY(SELECT due.id FROM" \
	" (SELECT r.id, r.tableoid, r.ctid FROM pictrepo.job_queue r" \
	" WHERE r.queue = $1 AND r.status = 'new' AND r.priority = $6" \
	" AND (r.run_at, r.id) >= ($7, $8) AND r.run_at <= $3 ORDER BY r.run_at, r.id OFFSET 0) due" \
	" WHERE " TRY_LOCK_NO_KEY("due") " LIMIT $4))"

/* Claims due jobs of one priority, from its low-water mark on */
STATEMENT(claim_level, STMT_READ_WRITE,
		  "WITH claimed AS (" CLAIM READY_FROM_BOUND CLAIMED ")"
		  " SELECT * FROM claimed ORDER BY run_at, id",
		  TEXTOID, UUIDOID, TIMESTAMPTZOID, INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID, UUIDOID);

/* The same for one job, which needs no order */
STATEMENT(claim_one, STMT_READ_WRITE,
		  CLAIM READY_FROM_BOUND CLAIMED,
		  TEXTOID, UUIDOID, TIMESTAMPTZOID, INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID, UUIDOID);

static JobPosition
claimed_position(uint64 row)
{
	JobPosition position;

	position.id = *DatumGetUUIDP(result_value(row, 1).value);
	position.priority = DatumGetInt32(result_value(row, 5).value);
	position.run_at = DatumGetTimestampTz(result_value(row, 6).value);
	return position;
}

/* How long the job has been ready before this claim, in us. */
static int64
wait_time(const PopCall *pop, uint64 row)
{
	TimestampTz pushed = DatumGetTimestampTz(result_value(row, 4).value);
	TimestampTz due = DatumGetTimestampTz(result_value(row, 6).value);
	NullableDatum returned = result_value(row, 7);
	TimestampTz since = Max(pushed, due);

	if (!returned.isnull)
		since = Max(since, DatumGetTimestampTz(returned.value));
	return TIMESTAMP_NOT_FINITE(since) ? 0 : Max(pop->now - since, 0);
}

/* The last statement has claimed jobs: record the claims, and take the rows. */
static void
take_claims(PopCall *pop)
{
	Claim		claim = {.worker = *DatumGetUUIDP(pop->worker.value)};

	if (SPI_processed == 0)
		return;
	INJECT(claim_locked);
	claim.queue = queue_name_hash(DatumGetTextPP(pop->queue.value));
	for (uint64 i = 0; i < SPI_processed && pop->slot != NULL; i++)
	{
		JobPosition position = claimed_position(i);

		claim.job = position.id;
		claim.attempt = DatumGetInt32(result_value(i, 3).value);
		heartbeat_claim(&claim);
		pending_taken(pop->slot, &position);
		pending_counter(pop->slot, COUNTER_POPPED, 1);
		pending_counter(pop->slot, COUNTER_WAIT_TIME, wait_time(pop, i));
	}
	pop->claimed += SPI_processed;
	pop->take(pop);
	INJECT(claim_noted);
}

/*
 * Claim jobs of one priority, and raise its bound to the last of them.  With fewer
 * jobs than there is room for, no due job is left, and the bound rises to now.
 * Jobs that another session has locked are before the bound then.  If that session
 * rolls back a change of them, it lowers the bound again.  Otherwise the next full
 * scan finds them.
 */
static void
claim_from_bound(PopCall *pop, const LowWaterMarkView *view, const JobPosition *bound, int room)
{
	JobPosition reached = {.priority = bound->priority, .run_at = view->now};
	uint64		claimed;

	claimed = statement_run(room == 1 ? &claim_one : &claim_level,
							ARGS(pop->queue, pop->worker,
								 not_null(TimestampTzGetDatum(pop->now)), not_null(Int32GetDatum(room)),
								 pop->session, not_null(Int32GetDatum(bound->priority)),
								 not_null(TimestampTzGetDatum(bound->run_at)),
								 not_null(UUIDPGetDatum(&bound->id))));
	if (claimed == room)
		reached = claimed_position(claimed - 1);
	take_claims(pop);
	low_water_mark_raise(view, &reached);
}

static void
claim_from_bounds(PopCall *pop, const LowWaterMarkView *view, int room)
{
	for (int i = 0; i < view->bounds.levels && pop->claimed < room; i++)
	{
		JobPosition bound = view->bounds.first[i];

		claim_from_bound(pop, view, &bound, room - pop->claimed);
	}
}

/* Every priority that the queue has, with its first job */
STATEMENT(levels_of_queue, STMT_READ_WRITE,
		  "WITH RECURSIVE level AS ("
		  "(SELECT priority, run_at, id FROM pictrepo.job_queue"
		  " WHERE queue = $1 AND status = 'new' ORDER BY priority DESC, run_at, id LIMIT 1)"
		  " UNION ALL SELECT lower.* FROM level, LATERAL"
		  " (SELECT j.priority, j.run_at, j.id FROM pictrepo.job_queue j"
		  " WHERE j.queue = $1 AND j.status = 'new' AND j.priority < level.priority"
		  " ORDER BY j.priority DESC, j.run_at, j.id LIMIT 1) lower)"
		  " SELECT * FROM level LIMIT $2",
		  TEXTOID, INT4OID);

/* Set the bounds of the view, and of the queue, to the first job of each priority. */
static void
full_scan(PopCall *pop, LowWaterMarkView *view)
{
	full_scan_begin(view, pop->slot);
	statement_run(&levels_of_queue,
				  ARGS(pop->queue, not_null(Int32GetDatum(LOW_WATER_MARK_LEVELS + 1))));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		JobPosition job = {
			.priority = DatumGetInt32(result_value(i, 1).value),
			.run_at = DatumGetTimestampTz(result_value(i, 2).value),
			.id = *DatumGetUUIDP(result_value(i, 3).value)
		};

		ready_bounds_add(&view->bounds, &job);
	}
	full_scan_end(view);
}

/*
 * Claim up to so many due jobs.  The low-water marks do not know of jobs that this
 * transaction has made ready, so the pop adds their bounds.
 */
static void
claim_due_jobs(PopCall *pop, int room, LowWaterMarkView *view)
{
	if (low_water_marks_read(view, pop->slot) && pending_add_ready_bounds(&view->bounds, pop->slot))
	{
		claim_from_bounds(pop, view, room);
		if (pop->claimed > 0)
			return;
	}
	view->bounds.complete = false;
	if (pop->slot != NULL && guc_cursor_mode != LOW_WATER_MARKS_OFF)
		full_scan(pop, view);
	if (view->bounds.complete)
		claim_from_bounds(pop, view, room);
	else
	{
		statement_run(&claim_anywhere,
					  ARGS(pop->queue, pop->worker, not_null(TimestampTzGetDatum(pop->now)),
						   not_null(Int32GetDatum(room)), pop->session));
		take_claims(pop);
	}
}

/* ----- jobs that a session in the wait queue must look for ----- */

STATEMENT(next_due_of_level, STMT_READ_WRITE,
		  "SELECT run_at FROM pictrepo.job_queue"
		  " WHERE queue = $1 AND status = 'new' AND priority = $3 AND run_at > $2"
		  " ORDER BY run_at LIMIT 1",
		  TEXTOID, TIMESTAMPTZOID, INT4OID);

STATEMENT(next_due_of_queue, STMT_READ_WRITE,
		  "SELECT min(run_at) FROM pictrepo.job_queue"
		  " WHERE queue = $1 AND status = 'new' AND run_at > $2",
		  TEXTOID, TIMESTAMPTZOID);

/* The statement gives the time at which the next job is due. */
static void
expect_due_job(PopCall *pop, SqlStatement *statement, int priority)
{
	NullableDatum due = NULL_ARG;

	if (statement_run(statement,
					  ARGS(pop->queue, not_null(TimestampTzGetDatum(pop->now)),
						   not_null(Int32GetDatum(priority)))) > 0)
		due = result_value(0, 1);
	if (!due.isnull)
		wait_queue_expect_due(pop->slot, DatumGetTimestampTz(due.value));
}

/* Before waiting: a session in the wait queue must check when the next job is due. */
static void
expect_due_jobs(PopCall *pop, const LowWaterMarkView *view)
{
	if (!view->bounds.complete)
		expect_due_job(pop, &next_due_of_queue, 0);
	for (int i = 0; i < view->bounds.levels && view->bounds.complete; i++)
		expect_due_job(pop, &next_due_of_level, view->bounds.first[i].priority);
}

STATEMENT(any_due_in_queue, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.job_queue WHERE queue = $1 AND status = 'new' AND run_at <= $2 LIMIT 1",
		  TEXTOID, TIMESTAMPTZOID);

/* Is a job due that the pop has not claimed?  The view is of the full scan before. */
static bool
is_any_locked(PopCall *pop, const LowWaterMarkView *view)
{
	if (!view->bounds.complete)
		return statement_run(&any_due_in_queue,
							 ARGS(pop->queue, not_null(TimestampTzGetDatum(pop->now)))) > 0;
	for (int i = 0; i < view->bounds.levels; i++)
		if (view->bounds.first[i].run_at <= pop->now)
			return true;
	return false;
}

/* The end of a lock wakes nobody, so a session in the wait queue must check again soon. */
static void
expect_locked_jobs(PopCall *pop, const LowWaterMarkView *view)
{
	if (is_any_locked(pop, view))
		wait_queue_expect_unlock(pop->slot, monotonic_now() + LOCKED_INTERVAL);
}

/* ----- the whole claim ----- */

/* Without a healthy background worker, pops take jobs away from silent workers. */
static void
reap_without_worker(PopCall *pop)
{
	MonotonicTime now = monotonic_now();
	bool		is_due = true;

	if (pop->slot != NULL && worker_healthy(my_database_slot()))
		return;
	if (pop->slot != NULL)
	{
		LWLockAcquire(&pop->slot->lock, LW_EXCLUSIVE);
		is_due = now - pop->slot->last_reap >= Min(REAP_INTERVAL, guc_heartbeat_timeout * INT64CONST(1000) / 4);
		if (is_due)
			pop->slot->last_reap = now;
		LWLockRelease(&pop->slot->lock);
	}
	if (!is_due)
		return;
	reap_silent_workers(pop->queue);
	reap_ended_sessions(pop->queue);
	bring_jobs_forward();
}

/* If a statement fails, its rollback gives back what it may have claimed. */
static void
claim_or_undo(PopCall *pop, int room, LowWaterMarkView *view)
{
	if (pop->slot != NULL)
		pending_claiming(pop->slot, room);
	claim_due_jobs(pop, room, view);
	if (pop->slot != NULL)
		pending_claiming(pop->slot, -room);
}

/*
 * Claim up to pop->wanted jobs, between repo_call_begin and repo_call_end.  Returns
 * their number.
 */
uint64
claim_jobs(PopCall *pop)
{
	LowWaterMarkView view = {0};
	int			room;

	pop->slot = pending_queue(DatumGetTextPP(pop->queue.value));
	pop->claimed = 0;
	reap_without_worker(pop);
	async_commit_begin_write();
	room = queue_room(pop->queue, pop->slot, pop->wanted, pop->ended, &pop->turn);
	pop->now = GetCurrentTimestamp();
	if (room > 0)
		claim_or_undo(pop, room, &view);
	async_commit_end_write();
	if (pop->turn == TURN_TAKEN && pop->claimed == 0)
		queue_turn_release(pop->queue);
	if (pop->claimed == 0 && pop->waits && room > 0 && pop->slot != NULL)
	{
		expect_due_jobs(pop, &view);
		expect_locked_jobs(pop, &view);
	}
	return pop->claimed;
}

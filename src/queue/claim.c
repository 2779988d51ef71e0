/*-------------------------------------------------------------------------
 *
 * claim.c
 *		QueueRepo: claiming jobs.
 *
 * A claim is an UPDATE that skips the rows that others have locked.  It begins at
 * the low-water marks of its queue, see shmem/low_water_mark.c.
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
#include "sqlfunc/statement.h"
#include "xact/async_commit.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"

/* without a worker: how often the pops of a queue look for silent workers */
#define REAP_PAUSE USECS_PER_SEC

#define CLAIM \
	"UPDATE pictrepo.job_queue j SET status = 'running', worker = $2, heartbeat = $3," \
	" session = $5, attempt = j.attempt + 1"
#define CLAIMED " RETURNING j.id, j.job, j.attempt, j.queue_time, j.priority, j.run_at, j.returned_at"

/*
 * Only jobs that are due, by priority.  Stepping from one priority to the next
 * lower one keeps jobs of a high priority that are not due yet from being
 * waded through.  Going through an array keeps the planner, which cannot know
 * how few jobs are wanted, from joining with the whole table.
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
		  " (SELECT j.id FROM pictrepo.job_queue j WHERE j.queue = $1 AND j.status = 'new'"
		  " AND j.priority = level.priority AND j.run_at <= $3"
		  " ORDER BY j.run_at, j.id LIMIT $4 FOR UPDATE SKIP LOCKED) due LIMIT $4"
		  "), claimed AS ("
		  CLAIM " WHERE j.id = ANY (ARRAY(SELECT id FROM ready))" CLAIMED ")"
		  " SELECT * FROM claimed ORDER BY priority DESC, run_at, id",
		  TEXTOID, UUIDOID, TIMESTAMPTZOID, INT4OID, TEXTOID);

#define READY_FROM_BOUND \
	" WHERE j.id = ANY (ARRAY(SELECT r.id FROM pictrepo.job_queue r" \
	" WHERE r.queue = $1 AND r.status = 'new' AND r.priority = $6" \
	" AND (r.run_at, r.id) >= ($7, $8) AND r.run_at <= $3" \
	" ORDER BY r.run_at, r.id LIMIT $4 FOR UPDATE SKIP LOCKED))"

/* Of one priority, behind the cursor's bound */
STATEMENT(claim_level, STMT_READ_WRITE,
		  "WITH claimed AS (" CLAIM READY_FROM_BOUND CLAIMED ")"
		  " SELECT * FROM claimed ORDER BY run_at, id",
		  TEXTOID, UUIDOID, TIMESTAMPTZOID, INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID, UUIDOID);

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

/* For how long, in us, nobody had the job though it was there and due. */
static int64
claimed_wait(const PopCall *pop, uint64 row)
{
	TimestampTz pushed = DatumGetTimestampTz(result_value(row, 4).value);
	TimestampTz due = DatumGetTimestampTz(result_value(row, 6).value);
	NullableDatum returned = result_value(row, 7);
	TimestampTz since = Max(pushed, due);

	if (!returned.isnull)
		since = Max(since, DatumGetTimestampTz(returned.value));
	return TIMESTAMP_NOT_FINITE(since) ? 0 : Max(pop->now - since, 0);
}

/* The last statement's rows are claimed: tell shared memory, and whoever asked. */
static void
take_claimed(PopCall *pop)
{
	Claim		claim = {.worker = *DatumGetUUIDP(pop->worker.value)};

	if (SPI_processed == 0)
		return;
	INJECT(claim_locked);
	for (uint64 i = 0; i < SPI_processed && pop->state != NULL; i++)
	{
		JobPosition position = claimed_position(i);

		claim.job = position.id;
		claim.attempt = DatumGetInt32(result_value(i, 3).value);
		claim.queue = queue_name_hash(DatumGetTextPP(pop->queue.value));
		heartbeat_claim(&claim);
		pending_claim(pop->state, &position, 1);
		pending_counter(pop->state, COUNTER_WAIT_TIME, claimed_wait(pop, i));
	}
	pop->claimed += SPI_processed;
	pop->take(pop);
	INJECT(claim_noted);
}

/* Claim jobs of one priority, and raise the bound behind them. */
static void
claim_from_bound(PopCall *pop, const LowWaterMarkView *view, const JobPosition *bound, int room)
{
	JobPosition reached = {.priority = bound->priority, .run_at = view->now};
	uint64		claimed;

	claimed = statement_run_latest(room == 1 ? &claim_one : &claim_level,
								   ARGS(pop->queue, pop->worker,
										not_null(TimestampTzGetDatum(pop->now)), not_null(Int32GetDatum(room)),
										pop->session, not_null(Int32GetDatum(bound->priority)),
										not_null(TimestampTzGetDatum(bound->run_at)),
										not_null(UUIDPGetDatum(&bound->id))));
	if (claimed == room)
		reached = claimed_position(claimed - 1);
	take_claimed(pop);
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

/* All priorities that the queue has, with the first job of each */
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

/* Find out where the first jobs are. */
static void
scan_all_levels(PopCall *pop, LowWaterMarkView *view)
{
	full_scan_begin(view, pop->state);
	statement_run_latest(&levels_of_queue,
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

/* Claim up to so many jobs that are due, wherever they are. */
static void
claim_due_jobs(PopCall *pop, int room, LowWaterMarkView *view)
{
	if (low_water_marks_read(view, pop->state) && pending_add_ready_bounds(&view->bounds, pop->state))
	{
		claim_from_bounds(pop, view, room);
		if (pop->claimed > 0)
			return;
	}
	view->bounds.complete = false;
	if (pop->state != NULL && guc_cursor_mode != LOW_WATER_MARKS_OFF)
		scan_all_levels(pop, view);
	if (view->bounds.complete)
		claim_from_bounds(pop, view, room);
	else
	{
		statement_run_latest(&claim_anywhere,
							 ARGS(pop->queue, pop->worker, not_null(TimestampTzGetDatum(pop->now)),
								  not_null(Int32GetDatum(room)), pop->session));
		take_claimed(pop);
	}
}

/* ----- jobs that are due later ----- */

STATEMENT(next_due_of_level, STMT_READ_WRITE,
		  "SELECT run_at FROM pictrepo.job_queue"
		  " WHERE queue = $1 AND status = 'new' AND priority = $3 AND run_at > $2"
		  " ORDER BY run_at LIMIT 1",
		  TEXTOID, TIMESTAMPTZOID, INT4OID);

STATEMENT(next_due_of_queue, STMT_READ_WRITE,
		  "SELECT min(run_at) FROM pictrepo.job_queue"
		  " WHERE queue = $1 AND status = 'new' AND run_at > $2",
		  TEXTOID, TIMESTAMPTZOID);

static void
expect_next(PopCall *pop, SqlStatement *statement, int priority)
{
	NullableDatum due = NULL_ARG;

	if (statement_run_latest(statement,
							 ARGS(pop->queue, not_null(TimestampTzGetDatum(pop->now)),
								  not_null(Int32GetDatum(priority)))) > 0)
		due = result_value(0, 1);
	if (!due.isnull)
		wait_queue_expect_due(pop->state, DatumGetTimestampTz(due.value));
}

/* Before waiting: somebody in line has to look when the next job is due. */
static void
expect_due_jobs(PopCall *pop, const LowWaterMarkView *view)
{
	if (!view->bounds.complete)
		expect_next(pop, &next_due_of_queue, 0);
	for (int i = 0; i < view->bounds.levels && view->bounds.complete; i++)
		expect_next(pop, &next_due_of_level, view->bounds.first[i].priority);
}

/* ----- the whole of it ----- */

/* Without a worker, the pops look for those that went silent. */
static void
reap_if_nobody_does(PopCall *pop)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		now_is_the_time = true;

	if (pop->state != NULL && worker_healthy(my_database_slot()))
		return;
	if (pop->state != NULL)
	{
		LWLockAcquire(&pop->state->lock, LW_EXCLUSIVE);
		now_is_the_time = now - pop->state->last_reap >= Min(REAP_PAUSE, guc_heartbeat_timeout * INT64CONST(1000) / 4);
		if (now_is_the_time)
			pop->state->last_reap = now;
		LWLockRelease(&pop->state->lock);
	}
	if (!now_is_the_time)
		return;
	reap_silent_workers(pop->queue);
	reap_ended_sessions(pop->queue);
}

/* Claim what is wanted, within a call; how many. */
uint64
claim_jobs(PopCall *pop)
{
	LowWaterMarkView view = {0};
	int			room;

	pop->state = pending_queue(DatumGetTextPP(pop->queue.value));
	pop->claimed = 0;
	reap_if_nobody_does(pop);
	async_commit_begin_write();
	room = queue_room(pop->queue, pop->state, pop->wanted, &pop->has_turn);
	pop->now = GetCurrentTimestamp();
	if (room > 0)
		claim_due_jobs(pop, room, &view);
	async_commit_end_write();
	if (pop->has_turn && pop->claimed == 0)
		queue_turn_release(pop->queue);
	if (pop->claimed == 0 && pop->waits && room > 0 && pop->state != NULL)
		expect_due_jobs(pop, &view);
	return pop->claimed;
}

/*-------------------------------------------------------------------------
 *
 * queue_claiming.c
 *		QueueRepo: giving jobs to workers.
 *
 * A claim is an UPDATE that skips what others have locked.  A job whose worker
 * sent no heartbeat for pictrepo.heartbeat_timeout is taken away from it: by
 * the background worker, or, where none runs, by the next pop of its queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "engine/arguments.h"
#include "engine/changes.h"
#include "engine/cursor.h"
#include "engine/identity.h"
#include "engine/injection.h"
#include "engine/lazy_commit.h"
#include "engine/pulse.h"
#include "engine/settings.h"
#include "engine/statements.h"
#include "engine/waiting.h"
#include "engine/wakeup.h"
#include "engine/worker.h"
#include "repo/queue.h"

/* without a worker: how often the pops of a queue look for silent workers */
#define REAP_PAUSE USECS_PER_SEC

/* whose turn it is in a queue; no user takes this with the pg_advisory_* functions */
#define QUEUE_LOCK_CLASS 0x706a

/* columns that a pop gives away, of those that a claim returns */
#define POP_COLUMNS 4

typedef struct Pop
{
	NullableDatum queue;
	NullableDatum worker;
	NullableDatum session;		/* the claim ends with it */
	int			wanted;
	bool		waits;
	FunctionCallInfo fcinfo;
	void		(*take) (struct Pop *pop);	/* the rows of a claim */
	NullableDatum row[POP_COLUMNS]; /* for take_row */
	uint64		claimed;
	QueueState *state;			/* NULL: not in shared memory */
	bool		has_turn;		/* of a queue with a limit */
	TimestampTz now;			/* jobs are due */
} Pop;

/* The shared state of a queue, kept until the end of the transaction. */
QueueState *
queue_state(NullableDatum queue)
{
	text	   *name = DatumGetTextPP(queue.value);

	if (my_database() == NULL)
		return NULL;
	return changing_queue(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

/* ----- how many may be given out ----- */

READS(limits_of_queue,
	   "SELECT paused, max_running FROM pictrepo.queues WHERE queue = $1", TEXTOID);

READS(room_left,
	  "SELECT max_running - (SELECT count(*) FROM pictrepo.job_queue j"
	  " WHERE j.queue = q.queue AND j.status = 'running')"
	  " FROM pictrepo.queues q WHERE q.queue = $1",
	  TEXTOID);

/* Is it known that nothing is set for the queue? */
static bool
is_known_unconfigured(QueueState *state, uint64 *version)
{
	bool		unconfigured;

	if (state == NULL || pg_atomic_read_u32(&my_database()->prepared) != 0)
		return false;
	SpinLockAcquire(&state->mutex);
	unconfigured = state->config_known && !state->configured;
	*version = state->config_version;
	SpinLockRelease(&state->mutex);
	return unconfigured;
}

/* A limit must be known before it is used, so that ends of jobs call waiters. */
static void
remember_configuration(QueueState *state, uint64 version, bool configured, bool limited)
{
	if (state == NULL)
		return;
	SpinLockAcquire(&state->mutex);
	if (limited)
		state->limited = true;
	if (state->config_version == version)
	{
		state->config_known = true;
		state->configured = configured;
		state->limited = limited;
	}
	SpinLockRelease(&state->mutex);
}

/*
 * Does the queue have no row in queues?  If it has one, that is the last
 * statement's result.
 *
 * What is remembered holds for all sessions.  So it is the latest that has
 * been committed, not what an old snapshot shows, and nothing where this
 * transaction has settings of its own.
 */
static bool
look_for_configuration(NullableDatum queue, QueueState *state)
{
	bool		own = state != NULL && changes_configuration(state);
	uint64		version = 0;
	bool		configured;

	if (!own && is_known_unconfigured(state, &version))
		return true;
	configured = run_latest(&limits_of_queue, &queue) > 0;
	if (!own)
		remember_configuration(state, version, configured,
							   configured && !result_value(0, 2).isnull);
	return !configured;
}

/* Is nothing set for it?  False where finding out would not pay. */
bool
queue_is_unconfigured(NullableDatum queue)
{
	QueueState *state = queue_state(queue);

	return state != NULL && look_for_configuration(queue, state);
}

static LOCKTAG
turn_of_queue(NullableDatum queue)
{
	uint64		hash = hash_of_queue(DatumGetTextPP(queue.value));
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, QUEUE_LOCK_CLASS);
	return tag;
}

/*
 * Pops of a queue with a limit take turns until their transactions end, so
 * that they see each other's claims, whatever their isolation level.
 */
static int
room_under_limit(Pop *pop)
{
	LOCKTAG		turn = turn_of_queue(pop->queue);
	NullableDatum room = NULL_ARG;

	(void) LockAcquire(&turn, ExclusiveLock, false, false);
	pop->has_turn = true;
	if (run_latest(&room_left, &pop->queue) > 0)
		room = result_value(0, 1);
	return room.isnull ? pop->wanted : Min(pop->wanted, DatumGetInt64(room.value));
}

/* Who claimed nothing is in nobody's way, above all while waiting. */
static void
pass_turn(Pop *pop)
{
	LOCKTAG		turn = turn_of_queue(pop->queue);

	LockRelease(&turn, ExclusiveLock, false);
	pop->has_turn = false;
}

/* How many jobs may be given out now, at most. */
static int
room_in_queue(Pop *pop)
{
	if (look_for_configuration(pop->queue, pop->state))
		return pop->wanted;
	if (DatumGetBool(result_value(0, 1).value))
		return 0;
	if (result_value(0, 2).isnull)
		return pop->wanted;
	return room_under_limit(pop);
}

/*
 * ----- claims -----
 *
 * All looks are at what is committed by now, whatever the isolation level: the
 * cursor is for all sessions, and a job that has come since an old snapshot is
 * a job.
 */

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
WRITES(claim_anywhere,
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
WRITES(claim_level,
	   "WITH claimed AS (" CLAIM READY_FROM_BOUND CLAIMED ")"
	   " SELECT * FROM claimed ORDER BY run_at, id",
	   TEXTOID, UUIDOID, TIMESTAMPTZOID, INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID, UUIDOID);

WRITES(claim_one, CLAIM READY_FROM_BOUND CLAIMED,
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
claimed_wait(const Pop *pop, uint64 row)
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
take_claimed(Pop *pop)
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
		claim.queue = hash_of_queue(DatumGetTextPP(pop->queue.value));
		begin_pulse(&claim);
		note_claimed(pop->state, &position, 1);
		note_counted(pop->state, COUNT_WAIT_TIME, claimed_wait(pop, i));
	}
	pop->claimed += SPI_processed;
	pop->take(pop);
	INJECT(claim_noted);
}

/* Claim jobs of one priority, and raise the bound behind them. */
static void
claim_from_bound(Pop *pop, const CursorView *view, const JobPosition *bound, int room)
{
	JobPosition reached = {.priority = bound->priority, .run_at = view->now};
	uint64		claimed;

	claimed = run_latest(room == 1 ? &claim_one : &claim_level,
						 ARGS(pop->queue, pop->worker,
							  given(TimestampTzGetDatum(pop->now)), given(Int32GetDatum(room)),
							  pop->session, given(Int32GetDatum(bound->priority)),
							  given(TimestampTzGetDatum(bound->run_at)),
							  given(UUIDPGetDatum(&bound->id))));
	if (claimed == room)
		reached = claimed_position(claimed - 1);
	take_claimed(pop);
	raise_bound(view, &reached);
}

static void
claim_from_bounds(Pop *pop, const CursorView *view, int room)
{
	for (int i = 0; i < view->bounds.levels && pop->claimed < room; i++)
	{
		JobPosition bound = view->bounds.first[i];

		claim_from_bound(pop, view, &bound, room - pop->claimed);
	}
}

/* All priorities that the queue has, with the first job of each */
READS_NOW(levels_of_queue,
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
look_at_all(Pop *pop, CursorView *view)
{
	begin_full_look(view, pop->state);
	run_latest(&levels_of_queue,
			   ARGS(pop->queue, given(Int32GetDatum(CURSOR_LEVELS + 1))));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		JobPosition job = {
			.priority = DatumGetInt32(result_value(i, 1).value),
			.run_at = DatumGetTimestampTz(result_value(i, 2).value),
			.id = *DatumGetUUIDP(result_value(i, 3).value)
		};

		add_level(&view->bounds, &job);
	}
	end_full_look(view);
}

/* Claim up to so many jobs that are due, wherever they are. */
static void
claim_due_jobs(Pop *pop, int room, CursorView *view)
{
	if (read_cursor(view, pop->state) && add_uncommitted_ready(&view->bounds, pop->state))
	{
		claim_from_bounds(pop, view, room);
		if (pop->claimed > 0)
			return;
	}
	view->bounds.complete = false;
	if (pop->state != NULL && cursor_mode != CURSOR_OFF)
		look_at_all(pop, view);
	if (view->bounds.complete)
		claim_from_bounds(pop, view, room);
	else
	{
		run_latest(&claim_anywhere,
				   ARGS(pop->queue, pop->worker, given(TimestampTzGetDatum(pop->now)),
						given(Int32GetDatum(room)), pop->session));
		take_claimed(pop);
	}
}

/* ----- what is due later ----- */

READS_NOW(next_due_of_level,
		  "SELECT run_at FROM pictrepo.job_queue"
		  " WHERE queue = $1 AND status = 'new' AND priority = $3 AND run_at > $2"
		  " ORDER BY run_at LIMIT 1",
		  TEXTOID, TIMESTAMPTZOID, INT4OID);

READS_NOW(next_due_of_queue,
		  "SELECT min(run_at) FROM pictrepo.job_queue"
		  " WHERE queue = $1 AND status = 'new' AND run_at > $2",
		  TEXTOID, TIMESTAMPTZOID);

static void
expect_next(Pop *pop, Statement *statement, int priority)
{
	NullableDatum due = NULL_ARG;

	if (run_latest(statement,
				   ARGS(pop->queue, given(TimestampTzGetDatum(pop->now)),
						given(Int32GetDatum(priority)))) > 0)
		due = result_value(0, 1);
	if (!due.isnull)
		expect_due(pop->state, DatumGetTimestampTz(due.value));
}

/* Before waiting: somebody in line has to look when the next job is due. */
static void
expect_due_jobs(Pop *pop, const CursorView *view)
{
	if (!view->bounds.complete)
		expect_next(pop, &next_due_of_queue, 0);
	for (int i = 0; i < view->bounds.levels && view->bounds.complete; i++)
		expect_next(pop, &next_due_of_level, view->bounds.first[i].priority);
}

/* ----- pop ----- */

/* Without a worker, the pops look for those that went silent. */
static void
reap_if_nobody_does(Pop *pop)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		now_is_the_time = true;

	if (pop->state != NULL && worker_tends(my_database()))
		return;
	if (pop->state != NULL)
	{
		SpinLockAcquire(&pop->state->mutex);
		now_is_the_time = now - pop->state->last_reap >= Min(REAP_PAUSE, heartbeat_timeout * INT64CONST(1000) / 4);
		if (now_is_the_time)
			pop->state->last_reap = now;
		SpinLockRelease(&pop->state->mutex);
	}
	if (!now_is_the_time)
		return;
	reap_jobs(pop->queue);
	rescue_jobs(pop->queue);
}

/* Claim what is wanted, within a call; how many. */
static uint64
claim_jobs(Pop *pop)
{
	CursorView	view = {0};
	int			room;

	pop->state = queue_state(pop->queue);
	pop->claimed = 0;
	pop->has_turn = false;
	reap_if_nobody_does(pop);
	begin_losable_write();
	room = room_in_queue(pop);
	pop->now = GetCurrentTimestamp();
	if (room > 0)
		claim_due_jobs(pop, room, &view);
	end_losable_write();
	if (pop->has_turn && pop->claimed == 0)
		pass_turn(pop);
	if (pop->claimed == 0 && pop->waits && room > 0 && pop->state != NULL)
		expect_due_jobs(pop, &view);
	return pop->claimed;
}

static bool
look_for_jobs(void *pop, TimestampTz *again)
{
	return claim_jobs(pop) > 0;
}

/* Give the claimed rows to the caller of a set-returning function. */
static void
take_rows(Pop *pop)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		NullableDatum row[POP_COLUMNS];

		for (int c = 0; c < POP_COLUMNS; c++)
			row[c] = result_value(i, c + 1);
		give_row(pop->fcinfo, row);
	}
}

/* Keep the one row that is wanted. */
static void
take_row(Pop *pop)
{
	for (int c = 0; c < POP_COLUMNS; c++)
		pop->row[c] = kept_value(0, c + 1);
}

/* ----- claims that end with their session ----- */

/* The session is gone: its jobs can be given to others. */
static void
tell_worker(int code, Datum database)
{
	attend((DatabaseState *) DatumGetPointer(database), ATTEND_SESSIONS);
}

/* This session, as log_line_prefix writes it with %c. */
static NullableDatum
this_session(void)
{
	static bool told = false;

	if (!told && my_database() != NULL)
	{
		/* when it no longer shows among the sessions */
		on_proc_exit(tell_worker, PointerGetDatum(my_database()));
		told = true;
	}
	return given(CStringGetTextDatum(psprintf("%lx.%x", (long) MyStartTime, MyProcPid)));
}

PG_FUNCTION_INFO_V1(pictrepo_pop);

/*
 * pop(queue text, worker uuid, max_jobs int, wait interval, bind bool)
 *		-> setof (id uuid, job jsonb, attempt int, queue_time timestamptz)
 *
 * Claim up to max_jobs (1 to 10000) jobs that are due.  When there is none,
 * wait that long for one.  worker NULL: session_worker().  bind: when this
 * session ends, they go to somebody else at once.  22004, 22023, 22001.
 */
Datum
pictrepo_pop(PG_FUNCTION_ARGS)
{
	Pop			pop = {
		.queue = key_argument(fcinfo, 0),
		.worker = worker_argument(fcinfo, 1),
		.wanted = DatumGetInt32(limit_argument(fcinfo, 2, 1, PAGE_MAX).value),
		.session = DatumGetBool(any_argument(fcinfo, 4).value) ? this_session() : NULL_ARG,
		.fcinfo = fcinfo,
		.take = take_rows
	};
	WaitRules	rules = {
		.what = WAIT_FOR_JOB,
		.microseconds = duration_argument(fcinfo, 3),
		.name = pop.queue
	};
	RepoCall	call;

	pop.waits = rules.microseconds > 0;
	begin_rows(fcinfo);
	begin_call(&call, fcinfo);
	rules.queue = queue_state(pop.queue);
	(void) wait_until(&rules, look_for_jobs, &pop);
	end_call(&call);
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(pictrepo_complete_and_pop);

/*
 * complete_and_pop(queue text, worker uuid, job_id uuid, result text, error text)
 *		-> (outcome text, id uuid, job jsonb, attempt int, queue_time timestamptz)
 *
 * complete_job, then pop of one job, in one step.  id is NULL when no job is
 * ready.  22004, 22023, 22001.
 */
Datum
pictrepo_complete_and_pop(PG_FUNCTION_ARGS)
{
	Ending		ending = ending_arguments(fcinfo, 3);
	Pop			pop = {
		.queue = key_argument(fcinfo, 0),
		.worker = worker_argument(fcinfo, 1),
		.session = NULL_ARG,
		.wanted = 1,
		.take = take_row,
		.row = {NULL_ARG, NULL_ARG, NULL_ARG, NULL_ARG}
	};
	NullableDatum job_id = any_argument(fcinfo, 2);
	NullableDatum row[1 + POP_COLUMNS];
	const char *outcome;
	RepoCall	call;

	begin_call(&call, fcinfo);
	outcome = end_job(&ending, pop.queue, pop.worker, job_id);
	(void) claim_jobs(&pop);
	end_call(&call);
	row[0] = given(PointerGetDatum(cstring_to_text(outcome)));
	memcpy(&row[1], pop.row, sizeof(pop.row));
	return form_row(fcinfo, row);
}

/* ----- pop_wait ----- */

typedef struct LongPop
{
	Pop			pop;
	MemoryContext memory;		/* outlives the transactions */
} LongPop;

static bool
look_in_transaction(void *what, TimestampTz *again)
{
	LongPop    *wait = what;
	RepoCall	call;
	bool		found;

	MemoryContextSwitchTo(wait->memory);
	/* the extension may be another one by now, whose jobs this function does not know */
	AcceptInvalidationMessages();
	begin_call(&call, wait->pop.fcinfo);
	found = claim_jobs(&wait->pop) > 0;
	end_call(&call);
	return found;
}

/* End the transaction, so that nothing is held while this backend sleeps. */
static void
let_go(void)
{
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	SPI_finish();
	InvalidateCatalogSnapshot();
}

static void
refuse_transaction_block(FunctionCallInfo fcinfo)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				errmsg("pop_wait cannot be called in a transaction block"),
				errhint("Call it on its own, or use pop with wait."));
}

PG_FUNCTION_INFO_V1(pictrepo_pop_wait);

/*
 * pop_wait(queue text, worker uuid, timeout interval,
 *			INOUT id uuid, INOUT job jsonb, INOUT attempt int, INOUT queue_time timestamptz)
 *
 * Claim one job; while there is none, wait for it without a transaction.  The
 * last four are NULL when the time is up.  worker NULL: session_worker().
 * 22004, 22023, 22001, 2D000 in a transaction block, 25006 on a standby.
 */
Datum
pictrepo_pop_wait(PG_FUNCTION_ARGS)
{
	LongPop		wait = {
		.memory = CurrentMemoryContext,
		.pop = {
			.queue = key_argument(fcinfo, 0),
			.worker = worker_argument(fcinfo, 1),
			.session = NULL_ARG,
			.wanted = 1,
			.fcinfo = fcinfo,
			.take = take_row,
			.row = {NULL_ARG, NULL_ARG, NULL_ARG, NULL_ARG}
		}
	};
	WaitRules	rules = {
		.what = WAIT_FOR_JOB,
		.microseconds = duration_argument(fcinfo, 2),
		.name = wait.pop.queue,
		.rest = let_go
	};

	PreventCommandDuringRecovery("pictrepo.pop_wait()");
	refuse_transaction_block(fcinfo);
	wait.pop.waits = rules.microseconds > 0;
	rules.queue = queue_state(wait.pop.queue);
	(void) wait_until(&rules, look_in_transaction, &wait);
	EnsurePortalSnapshotExists();
	return form_row(fcinfo, wait.pop.row);
}

/* ----- heartbeats ----- */

PG_FUNCTION_INFO_V1(pictrepo_heartbeat);

WRITES(beat,
	   "UPDATE pictrepo.job_queue SET heartbeat = clock_timestamp()"
	   " WHERE id = $3 AND queue = $1 AND worker = $2 AND status <> 'new' RETURNING attempt",
	   TEXTOID, UUIDOID, UUIDOID);

/*
 * heartbeat(queue text, worker uuid, job_id uuid) -> bool
 *
 * The worker is alive and at the job; false: it no longer holds it.  22004,
 * 22023, 22001.
 */
Datum
pictrepo_heartbeat(PG_FUNCTION_ARGS)
{
	NullableDatum args[] = {
		key_argument(fcinfo, 0), worker_argument(fcinfo, 1), any_argument(fcinfo, 2)
	};
	Claim		claim = {
		.job = *DatumGetUUIDP(args[2].value),
		.worker = *DatumGetUUIDP(args[1].value),
		.queue = hash_of_queue(DatumGetTextPP(args[0].value))
	};
	RepoCall	call;
	bool		announced;
	bool		held;

	if (beat_pulse(&claim))
		PG_RETURN_BOOL(true);
	begin_call(&call, fcinfo);
	announced = announce_pulse(&claim);
	if (announced)
		INJECT(heartbeat_announced);
	held = run_latest(&beat, args) > 0;
	if (held)
		claim.attempt = DatumGetInt32(result_value(0, 1).value);
	if (announced)
		settle_pulse(&claim, held);
	else if (held)
		pardon_pulse(&claim);
	end_call(&call);
	PG_RETURN_BOOL(held);
}

PG_FUNCTION_INFO_V1(pictrepo_pulse);

/*
 * pulse(job_id uuid) -> timestamptz
 *
 * The last heartbeat in shared memory; NULL: there is none.  22004.
 */
Datum
pictrepo_pulse(PG_FUNCTION_ARGS)
{
	TimestampTz heartbeat;

	if (!read_pulse(DatumGetUUIDP(any_argument(fcinfo, 0).value), &heartbeat))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(heartbeat);
}

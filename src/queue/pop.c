/*-------------------------------------------------------------------------
 *
 * pop.c
 *		QueueRepo: functions that give jobs to workers.
 *
 * Function pop can wait within its transaction, which then holds a snapshot.
 * Procedure pop_wait commits before it sleeps, and checks in a new transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/limits.h"
#include "common/server_processes.h"
#include "queue/claim.h"
#include "queue/job_end.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "shmem/wait.h"
#include "shmem/worker_slot.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/pending.h"

/* time between two tries of a waiting pop to get the turn of a queue with a limit */
#define TURN_INTERVAL (USECS_PER_SEC / 2)

/* Add the claimed rows to the result of a set-returning function. */
static void
take_rows(PopCall *pop)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		NullableDatum row[POP_COLUMNS];

		for (int c = 0; c < POP_COLUMNS; c++)
			row[c] = result_value(i, c + 1);
		rows_add(pop->fcinfo, row);
	}
}

/* Keep the one claimed row in the call. */
static void
take_row(PopCall *pop)
{
	for (int c = 0; c < POP_COLUMNS; c++)
		pop->row[c] = result_value_copy(0, c + 1);
}

/* ----- claims that end with their session ----- */

/* The session has ended: ask the worker to take its jobs away. */
static void
request_session_reap(int code, Datum database)
{
	worker_request((DatabaseSlot *) DatumGetPointer(database), WORKER_REQ_SESSIONS);
}

static NullableDatum
this_session(void)
{
	static bool registered = false;

	if (!registered && my_database_slot() != NULL)
	{
		/* late enough: session_runs() is false for this session by then */
		on_proc_exit(request_session_reap, PointerGetDatum(my_database_slot()));
		registered = true;
	}
	return not_null(CStringGetTextDatum(session_name()));
}

/* Nobody wakes this session when a transaction ends that has the turn of a queue. */
static bool
check_for_jobs(void *what, MonotonicTime *again)
{
	PopCall    *pop = what;
	bool		found = claim_jobs(pop) > 0;

	if (pop->turn == TURN_MISSED)
		*again = monotonic_now() + TURN_INTERVAL;
	return found;
}

PG_FUNCTION_INFO_V1(pictrepo_pop);

/*
 * pop(queue text, worker uuid, max_jobs int, wait interval, bind bool)
 *		-> setof (id uuid, job jsonb, attempt int, queue_time timestamptz)
 *
 * Claim up to max_jobs (1 to 10000) due jobs, and return them.  If no job is due,
 * wait so long for one.  worker NULL: session_worker().  bind: when this session
 * ends, the jobs are ready again at once.
 */
Datum
pictrepo_pop(PG_FUNCTION_ARGS)
{
	PopCall		pop = {
		.queue = key_argument(fcinfo, 0),
		.worker = worker_argument(fcinfo, 1),
		.wanted = DatumGetInt32(limit_argument(fcinfo, 2, 1, PAGE_MAX).value),
		.session = DatumGetBool(any_argument(fcinfo, 4).value) ? this_session() : NULL_ARG,
		.fcinfo = fcinfo,
		.take = take_rows
	};
	WaitSpec	spec = {
		.what = WAIT_FOR_JOB,
		.memory = CurrentMemoryContext,
		.microseconds = duration_argument(fcinfo, 3),
		.name = pop.queue
	};
	RepoCall	call;

	pop.waits = spec.microseconds > 0;
	rows_begin(fcinfo);
	repo_call_begin(&call, fcinfo);
	if (pop.waits)
		queue_config_hold(pop.queue);
	spec.queue = pending_queue(DatumGetTextPP(pop.queue.value));
	(void) wait_until(&spec, check_for_jobs, &pop);
	repo_call_end(&call);
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(pictrepo_complete_and_pop);

/*
 * complete_and_pop(queue text, worker uuid, job_id uuid, result text, error text,
 *					attempt int)
 *		-> (outcome text, id uuid, job jsonb, attempt int, queue_time timestamptz)
 *
 * End a job as complete_job does, then claim one job as pop does without waiting.
 * Returns the outcome of the first job, and the columns of the second one.  These
 * are NULL if no job is due.
 */
Datum
pictrepo_complete_and_pop(PG_FUNCTION_ARGS)
{
	EndedClaims claim = claim_arguments(fcinfo, 5);
	JobEnd		ending = job_end_arguments(fcinfo, 3);
	PopCall		pop = {
		.queue = claim.queue,
		.worker = claim.worker,
		.session = NULL_ARG,
		.wanted = 1,
		.take = take_row,
		.row = {NULL_ARG, NULL_ARG, NULL_ARG, NULL_ARG}
	};
	NullableDatum row[1 + POP_COLUMNS];
	const char *outcome;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	outcome = end_job(&ending, &claim);
	pop.ended = strcmp(outcome, "lost") != 0;
	(void) claim_jobs(&pop);
	repo_call_end(&call);
	row[0] = not_null(PointerGetDatum(cstring_to_text(outcome)));
	memcpy(&row[1], pop.row, sizeof(pop.row));
	return form_row(fcinfo, row);
}

/* ----- pop_wait ----- */

typedef struct PopWaitCall
{
	PopCall		pop;
	MemoryContext memory;		/* survives the commits */
} PopWaitCall;

static bool
check_in_transaction(void *what, MonotonicTime *again)
{
	PopWaitCall *wait = what;
	RepoCall	call;
	bool		found;

	MemoryContextSwitchTo(wait->memory);

	/*
	 * While this session slept, another session may have dropped the
	 * extension and created it again.
	 */
	AcceptInvalidationMessages();
	repo_call_begin(&call, wait->pop.fcinfo);
	found = check_for_jobs(&wait->pop, again);
	repo_call_end(&call);
	return found;
}

/* Commit, so that the session holds no lock and no snapshot while it sleeps. */
static void
commit_before_sleep(void)
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
				errhint("Call pop_wait outside transaction blocks and functions, or call pop with the argument wait."));
}

PG_FUNCTION_INFO_V1(pictrepo_pop_wait);

/*
 * pop_wait(queue text, worker uuid, timeout interval,
 *			INOUT id uuid, INOUT job jsonb, INOUT attempt int, INOUT queue_time timestamptz)
 *
 * Claim one due job.  If no job is due, wait for one until the timeout, without a
 * transaction.  The INOUT parameters return the job; NULL: the time is up.
 * worker NULL: session_worker().  Error 2D000 in a transaction block or a
 * function, 25006 on a standby.
 */
Datum
pictrepo_pop_wait(PG_FUNCTION_ARGS)
{
	PopWaitCall wait = {
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
	WaitSpec	spec = {
		.what = WAIT_FOR_JOB,
		.memory = CurrentMemoryContext,
		.microseconds = duration_argument(fcinfo, 2),
		.name = wait.pop.queue,
		.before_sleep = commit_before_sleep
	};

	PreventCommandDuringRecovery("pictrepo.pop_wait()");
	refuse_transaction_block(fcinfo);
	wait.pop.waits = spec.microseconds > 0;
	spec.queue = pending_queue(DatumGetTextPP(wait.pop.queue.value));
	(void) wait_until(&spec, check_in_transaction, &wait);
	EnsurePortalSnapshotExists();
	return form_row(fcinfo, wait.pop.row);
}

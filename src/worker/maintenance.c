/*-------------------------------------------------------------------------
 *
 * maintenance.c
 *		The tasks of the background worker: their table, and running them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "admin/counts.h"
#include "admin/samples.h"
#include "common/guc.h"
#include "common/injection_points.h"
#include "common/maintenance_tasks.h"
#include "common/progress.h"
#include "images/uploads.h"
#include "images/variants.h"
#include "operations/operations.h"
#include "queue/queue.h"
#include "queue/restore_hold.h"
#include "queue/schedules.h"
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"
#include "worker/maintenance.h"
#include "xact/notify.h"

static uint64
reap_everywhere(void)
{
	return reap_silent_workers(NULL_ARG);
}

static uint64
reap_sessions_everywhere(void)
{
	return reap_ended_sessions(NULL_ARG);
}

static uint64
sweep(void)
{
	uint64		rows = sweep_queues();

	sweep_counts();
	return rows;
}

const MaintenanceTask maintenance_tasks[MAINTENANCE_TASKS] = {
	[TASK_REAP_SESSIONS] = {"rescue", &guc_reap_interval, WORKER_REQ_SESSIONS, reap_sessions_everywhere},
	[TASK_REAP_HEARTBEATS] = {"pulses", &guc_reap_interval, 0, reap_silent_heartbeats},
	[TASK_REAP] = {"reap", &guc_reap_interval, 0, reap_everywhere},
	[TASK_NOTIFY] = {"notify", &guc_sweep_interval, WORKER_REQ_NOTIFY, notify_send, notify_next_run, .worker_only = true},
	[TASK_SCHEDULES] = {
		"schedules", &guc_schedule_interval, WORKER_REQ_SCHEDULES | WORKER_REQ_CLOCK, schedules_run, schedules_next_run
	},
	[TASK_UPLOADS] = {"uploads", &guc_upload_interval, 0, end_uploads},
	[TASK_VARIANT_CLAIMS] = {"claims", &guc_claim_interval, 0, expire_variant_claims},
	[TASK_DEAD_JOBS] = {"dead jobs", &guc_dead_job_interval, 0, prune_dead_jobs},
	[TASK_VARIANTS] = {
		"variants", &guc_variant_interval, 0, expire_old_variants, .batch = TASK_SMALL_BATCH
	},
	[TASK_PROXIES] = {
		"proxies", &guc_proxy_interval, 0, expire_old_proxies, .batch = TASK_SMALL_BATCH
	},
	[TASK_SAMPLES] = {"samples", &guc_sample_interval, 0, take_sample},
	[TASK_SWEEP] = {"sweep", &guc_sweep_interval, WORKER_REQ_CLOCK, sweep},
};

/*
 * A task does not wait long for a lock, so that the other tasks go on.  In a
 * deadlock with a user's statement, the task notices first, and fails.
 */
#define WORKER_LOCK_TIMEOUT "500ms"
#define WORKER_DEADLOCK_TIMEOUT "10ms"

static MonotonicTime next_run[MAINTENANCE_TASKS];
static MonotonicTime last_run[MAINTENANCE_TASKS];

/* by the wall clock, for tasks that have a next(); the task also runs then */
static TimestampTz next_due[MAINTENANCE_TASKS];

/* why the last run of a task failed, which the log has said; 0: it did not fail */
static uint64 logged_cause[MAINTENANCE_TASKS];

/* ----- one run ----- */

/*
 * Lock the extension until the transaction ends.  False: another session drops or
 * updates it, or has dropped it.
 */
static bool
hold_extension(void)
{
	Oid			extension = get_extension_oid("pictrepo", true);

	if (!OidIsValid(extension) ||
		!ConditionalLockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock))
		return false;
	return get_extension_oid("pictrepo", true) == extension;
}

static void
set_for_task(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
							 false);
}

static bool
hold_by_administrator(void)
{
	bool		held;

	SPI_connect();
	held = restore_hold_within(0);
	SPI_finish();
	if (held)
		restore_guard_touch();
	return held;
}

/* False: the task cannot run now, as the extension is locked or a restore runs. */
static bool
begin_task(const MaintenanceTask *task)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!hold_extension() || !restore_guard_keep_away() || hold_by_administrator())
	{
		CommitTransactionCommand();
		return false;
	}
	set_for_task("search_path", "pg_catalog, pg_temp");
	set_for_task("lock_timeout", WORKER_LOCK_TIMEOUT);
	set_for_task("deadlock_timeout", WORKER_DEADLOCK_TIMEOUT);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, psprintf("pictrepo: %s", task->name));
	return true;
}

static void
end_task(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Log the error, unless the last run had it, too, and copy its message. */
static void
fail_task(int number, MemoryContext context, char *message, int size)
{
	ErrorData  *error;
	uint64		cause;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	cause = error_cause(error);
	strlcpy(message, error->message, size);
	FreeErrorData(error);
	if (cause != logged_cause[number])
		EmitErrorReport();
	logged_cause[number] = cause;
	FlushErrorState();
	AbortCurrentTransaction();
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* A task without an interval runs on request, and once an hour. */
static MonotonicTime
interval_of(const MaintenanceTask *task)
{
	return *task->interval > 0 ? *task->interval * INT64CONST(1000) : USECS_PER_HOUR;
}

static bool
has_more_to_do(const MaintenanceTask *task, uint64 rows)
{
	return rows >= (task->batch != 0 ? task->batch : TASK_BATCH);
}

/*
 * While an old snapshot keeps deleted rows, a scan of a table is slow.  The task
 * runs less often then.
 */
static MonotonicTime
end_of_pause(MonotonicTime start)
{
	MonotonicTime end = monotonic_now();

	return end + (end - start) * TASK_SHARE;
}

static void
run_task(int number)
{
	const MaintenanceTask *task = &maintenance_tasks[number];
	MemoryContext context = CurrentMemoryContext;
	MonotonicTime start = monotonic_now();
	volatile MonotonicTime next = start + interval_of(task);
	volatile uint64 rows = 0;
	volatile bool ran = false;
	char		error[sizeof(((MaintenanceTaskState *) NULL)->error)] = "";

	next_due[number] = DT_NOEND;
	PG_TRY();
	{
		if (begin_task(task))
		{
			row_batch_clear_error();
			rows = task->run();
			INJECT_AFTER_TASK(number);
			if (has_more_to_do(task, rows))
				next = start;
			if (task->next)
				next_due[number] = task->next();
			end_task();
			logged_cause[number] = 0;
			ran = true;
			INJECT(worker_committed);
		}
	}
	PG_CATCH();
	{
		fail_task(number, context, error, sizeof(error));
		rows = 0;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	last_run[number] = start;

	/* the request still holds */
	if (!ran && task->requests != 0)
		next = start + USECS_PER_SEC;
	else if (error[0] != '\0')
		next = Max(next, start + USECS_PER_SEC);
	else if (task->next == NULL && !has_more_to_do(task, rows))
		next = Max(next, end_of_pause(start));
	next_run[number] = next;
	if (error[0] == '\0' && row_batch_error() != NULL)
		strlcpy(error, row_batch_error(), sizeof(error));
	if (my_database_slot() != NULL && (ran || error[0] != '\0'))
		worker_slot_record_task(my_database_slot(), number, start, rows, error);
}

/* ----- what is due ----- */

/* Requested tasks are due now. */
void
maintenance_request(uint32 requests)
{
	for (int i = 0; i < MAINTENANCE_TASKS; i++)
		if (maintenance_tasks[i].requests & requests)
			next_run[i] = 0;

	/* notifications are sent at most once in their interval */
	if (next_run[TASK_NOTIFY] == 0)
		next_run[TASK_NOTIFY] = last_run[TASK_NOTIFY] + guc_notify_interval * INT64CONST(1000);
}

static bool
is_due(int number)
{
	return next_run[number] <= monotonic_now() ||
		(maintenance_tasks[number].next && next_due[number] <= GetCurrentTimestamp());
}

void
maintenance_run_due(void)
{
	for (int i = 0; i < MAINTENANCE_TASKS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_due(i))
			run_task(i);
	}
	if (my_database_slot() != NULL)
		worker_slot_tasks_done(my_database_slot());
}

/* When to look again whether a task is due. */
MonotonicTime
maintenance_next_run(void)
{
	MonotonicTime next = MONOTONIC_NEVER;

	for (int i = 0; i < MAINTENANCE_TASKS; i++)
	{
		next = Min(next, next_run[i]);
		if (maintenance_tasks[i].next)
			next = Min(next, monotonic_look_at(next_due[i]));
	}
	return next;
}

/* The intervals have changed. */
void
maintenance_new_intervals(void)
{
	for (int i = 0; i < MAINTENANCE_TASKS; i++)
		next_run[i] = Min(next_run[i], monotonic_now() + interval_of(&maintenance_tasks[i]));
}

/* ----- SQL ----- */

/* name NULL: each task that sessions may run. */
static bool
task_is_wanted(const MaintenanceTask *task, const char *name)
{
	return !task->worker_only && (name == NULL || strcmp(name, task->name) == 0);
}

PG_FUNCTION_INFO_V1(pictrepo_run_maintenance);

/*
 * run_maintenance(duty text) -> bigint
 *
 * Run a task of the worker now; NULL: each task but sending notifications.
 * Returns the number of rows that the tasks processed.  22023, 22001.
 */
Datum
pictrepo_run_maintenance(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL : TextDatumGetCString(key_argument(fcinfo, 0).value);
	int			wanted = 0;
	uint64		rows = 0;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	for (int i = 0; i < MAINTENANCE_TASKS; i++)
		if (task_is_wanted(&maintenance_tasks[i], name))
		{
			progress_report(psprintf("duty %s", maintenance_tasks[i].name), i, MAINTENANCE_TASKS);
			rows += maintenance_tasks[i].run();
			wanted++;
		}
	repo_call_end(&call);
	progress_end();
	if (wanted == 0)
		bad_argument(fcinfo, 0, psprintf("\"%s\" is not a task that a session can run.", name),
					 "View pictrepo.maintenance lists the tasks, of which only the worker runs \"notify\".");
	PG_RETURN_INT64(rows);
}

PG_FUNCTION_INFO_V1(pictrepo_maintenance_status);

/*
 * maintenance_status()
 *		-> setof (duty text, every interval, last_run timestamptz, duration interval,
 *				  rows bigint, runs bigint, errors bigint, error text,
 *				  failing_since timestamptz)
 *
 * The tasks of this database's worker, and their runs since the server started.
 */
Datum
pictrepo_maintenance_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DatabaseSlot *database = my_database_slot();

	rows_begin(fcinfo);
	for (int i = 0; i < MAINTENANCE_TASKS; i++)
	{
		MaintenanceTaskState state = {0};
		Datum		values[9] = {0};
		bool		nulls[9] = {false};
		Interval   *every = palloc0(sizeof(Interval));
		Interval   *duration = palloc0(sizeof(Interval));

		if (database != NULL)
			worker_slot_read_task(database, i, &state);
		every->time = *maintenance_tasks[i].interval * INT64CONST(1000);
		duration->time = state.duration;
		values[0] = CStringGetTextDatum(maintenance_tasks[i].name);
		values[1] = IntervalPGetDatum(every);
		nulls[1] = *maintenance_tasks[i].interval == 0;
		values[2] = TimestampTzGetDatum(state.last_run);
		values[3] = IntervalPGetDatum(duration);
		nulls[2] = nulls[3] = state.last_run == 0;
		values[4] = Int64GetDatum(state.rows);
		values[5] = Int64GetDatum(state.runs);
		values[6] = Int64GetDatum(state.errors);
		values[7] = CStringGetTextDatum(state.error);
		nulls[7] = state.error[0] == '\0';
		values[8] = TimestampTzGetDatum(state.failing_since);
		nulls[8] = state.failing_since == 0;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

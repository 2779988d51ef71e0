/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The background worker of a database.
 *
 * It does its duties, each at its interval or when shared memory says that
 * there is something to do, each in a transaction of its own: an error is
 * logged and shown in the view maintenance, and stops no other duty.  It ends
 * when the extension is no longer there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "engine/batches.h"
#include "engine/compat.h"
#include "engine/injection.h"
#include "engine/progress.h"
#include "engine/restore.h"
#include "engine/settings.h"
#include "engine/statements.h"
#include "engine/worker.h"

/* A worker that ran this long is well: the next one may start at once. */
#define PROBATION (10 * USECS_PER_SEC)

/*
 * A duty waits no longer for a lock, because others have to go on; and where it
 * is in a deadlock with a user's statement, it finds that out first and gives way.
 */
#define WORKER_LOCK_TIMEOUT "500ms"
#define WORKER_DEADLOCK_TIMEOUT "10ms"

/* what no user takes with the pg_advisory_* functions */
#define WORKER_LOCK_CLASS 0x7069

static TimestampTz next_run[DUTIES];
static TimestampTz last_run[DUTIES];

/* creations of the extension before the last look for it */
static uint32 creations_seen;

/* ----- what others see of it ----- */

bool
worker_runs(DatabaseState *database)
{
	return database->worker_state == WORKER_RUNNING;
}

/* Does it also do what it is there for? */
bool
worker_tends(DatabaseState *database)
{
	TimestampTz seen = (TimestampTz) pg_atomic_read_u64(&database->worker_seen);

	return worker_runs(database) &&
		seen > GetCurrentTimestamp() - (3 * (int64) reap_interval * 1000 + 10 * USECS_PER_SEC);
}

/* ----- beginning and end ----- */

static void
set_worker_state(DatabaseState *database, WorkerState state)
{
	SpinLockAcquire(&shared->mutex);
	database->worker_state = state;
	database->worker_pid = state == WORKER_RUNNING ? MyProcPid : 0;
	database->worker_latch = state == WORKER_RUNNING ? MyLatch : NULL;
	SpinLockRelease(&shared->mutex);
}

/*
 * When its transaction and its locks are gone, or the next one would find this
 * one there and go.  Each start in a row that comes to nothing doubles the pause
 * before the next.
 */
static void
sign_off(int code, Datum unused)
{
	DatabaseState *database = my_database();

	if (database->worker_state != WORKER_RUNNING || database->worker_pid != MyProcPid)
		return;
	database->worker_next_try = GetCurrentTimestamp() +
		(database->worker_failures > 1 ? USECS_PER_SEC << Min(database->worker_failures, 6) : 0);
	set_worker_state(database, WORKER_NONE);
	wake_launcher();
}

static void
sign_on(void)
{
	DatabaseState *database = my_database();

	if (database == NULL)
		return;
	database->worker_failures++;
	on_shmem_exit(sign_off, (Datum) 0);
	set_worker_state(database, WORKER_RUNNING);
}

/* An end that is as it should be. */
pg_noreturn static void
retire(void)
{
	if (my_database() != NULL)
		my_database()->worker_failures = 0;
	proc_exit(0);
}

/* The shared state, where there is one: only the extension makes it. */
static DatabaseState *
known_database(void)
{
	return shared_engine() ? find_database(MyDatabaseId) : NULL;
}

static void
remember_creations(void)
{
	DatabaseState *database = known_database();

	creations_seen = 0;
	if (database == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	creations_seen = database->creations;
	SpinLockRelease(&shared->mutex);
}

/*
 * There is nothing to work on, so nobody need come again before the extension
 * is created or updated: unless it was since we looked, or another worker has
 * found it.
 */
static void
note_unwanted(void)
{
	DatabaseState *database = known_database();

	INJECT(worker_unwanted);
	if (database == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	if (database->creations == creations_seen &&
		(database->worker_state != WORKER_RUNNING || database->worker_pid == MyProcPid))
	{
		database->worker_state = WORKER_UNWANTED;
		database->worker_pid = 0;
		database->worker_latch = NULL;
	}
	SpinLockRelease(&shared->mutex);
}

/* One worker in a database, whoever starts it. */
static bool
is_the_only_one(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, WORKER_LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Is the extension there, and of this version?  The library may be newer than
 * what CREATE EXTENSION left in the database: then there is nothing to do
 * before ALTER EXTENSION UPDATE, which makes the launcher send another worker.
 * Or it is older, where that came before the restart of the server.
 */
static bool
schema_is_ours(void)
{
	Relation	relation;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		there;
	bool		ours = false;

	remember_creations();
	StartTransactionCommand();
	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("pictrepo"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	there = HeapTupleIsValid(tuple);
	if (there)
	{
		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion,
										   RelationGetDescr(relation), &isnull);

		ours = strcmp(TextDatumGetCString(version), PICTREPO_VERSION) == 0;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	if (there && !ours)
		ereport(LOG,
				errmsg("pictrepo in database \"%s\" is of another version than its library %s",
					   get_database_name(MyDatabaseId), PICTREPO_VERSION),
				errhint("Restart the server after an installation, then run ALTER EXTENSION pictrepo UPDATE."));
	CommitTransactionCommand();
	return ours;
}

void
report_no_room(int level)
{
	ereport(level,
			errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			errmsg("no pictrepo worker can run in database \"%s\"", get_database_name(MyDatabaseId)),
			errdetail("Shared memory has room for %d databases with pictrepo.", DATABASES_MAX),
			errhint("All functions work there as without preload."));
}

static void
leave_for_want_of_room(void)
{
	StartTransactionCommand();
	report_no_room(WARNING);
	CommitTransactionCommand();
	proc_exit(0);
}

/* ----- a duty ----- */

/*
 * Keep the extension there until the transaction ends; false: it is being
 * dropped, or updated, or is gone.
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
set_for_duty(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
							 false);
}

/* False: there is nothing to work on, for now at least. */
static bool
begin_duty(const Duty *duty)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!hold_extension() || !keep_restores_away())
	{
		CommitTransactionCommand();
		return false;
	}
	set_for_duty("search_path", "pg_catalog, pg_temp");
	set_for_duty("lock_timeout", WORKER_LOCK_TIMEOUT);
	set_for_duty("deadlock_timeout", WORKER_DEADLOCK_TIMEOUT);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, psprintf("pictrepo: %s", duty->name));
	return true;
}

static void
end_duty(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* The error goes to the log and into text. */
static void
fail_duty(MemoryContext context, char *message, int size)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	strlcpy(message, error->message, size);
	FreeErrorData(error);
	EmitErrorReport();
	FlushErrorState();
	AbortCurrentTransaction();
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
record_run(int number, TimestampTz start, uint64 rows, const char *error)
{
	DatabaseState *database = my_database();
	DutyState  *state;

	if (database == NULL)
		return;
	state = &database->duties[number];
	SpinLockAcquire(&shared->mutex);
	state->last_run = start;
	state->duration = GetCurrentTimestamp() - start;
	state->rows += rows;
	state->runs++;
	if (error[0] != '\0')
		state->errors++;
	strlcpy(state->error, error, sizeof(state->error));
	SpinLockRelease(&shared->mutex);
}

/* A duty without an interval is done when it is told to, and looks now and then. */
static TimestampTz
interval_of(const Duty *duty)
{
	return *duty->interval > 0 ? *duty->interval * INT64CONST(1000) : USECS_PER_HOUR;
}

static bool
has_more_to_do(const Duty *duty, uint64 rows)
{
	return rows >= (duty->batch != 0 ? duty->batch : DUTY_BATCH);
}

/*
 * A look at a table is slow while some snapshot keeps what is deleted: then it
 * is taken less often.
 */
static TimestampTz
end_of_pause(TimestampTz start)
{
	TimestampTz end = GetCurrentTimestamp();

	return end + (end - start) * DUTY_SHARE;
}

static void
run_duty(int number)
{
	const Duty *duty = &duties[number];
	MemoryContext context = CurrentMemoryContext;
	TimestampTz start = GetCurrentTimestamp();
	volatile TimestampTz next = start + interval_of(duty);
	volatile uint64 rows = 0;
	volatile bool ran = false;
	char		error[sizeof(((DutyState *) NULL)->error)] = "";

	PG_TRY();
	{
		if (begin_duty(duty))
		{
			forget_broken_rows();
			rows = duty->run();
			INJECT_AFTER_DUTY(number);
			if (has_more_to_do(duty, rows))
				next = start;
			if (duty->next)
				next = Min(next, duty->next());
			end_duty();
			ran = true;
			INJECT(worker_committed);
		}
	}
	PG_CATCH();
	{
		fail_duty(context, error, sizeof(error));
		rows = 0;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	last_run[number] = start;

	/* what it was called for is still to be done */
	if (!ran && duty->attention != 0)
		next = start + USECS_PER_SEC;
	else if (error[0] != '\0')
		next = Max(next, start + USECS_PER_SEC);
	else if (duty->next == NULL && !has_more_to_do(duty, rows))
		next = Max(next, end_of_pause(start));
	next_run[number] = next;
	if (error[0] == '\0' && broken_row_error() != NULL)
		strlcpy(error, broken_row_error(), sizeof(error));
	record_run(number, start, rows, error);
}

/* ----- the loop ----- */

static void
look_for_attention(void)
{
	DatabaseState *database = my_database();
	uint32		attention;

	if (database == NULL)
		return;
	attention = pg_atomic_exchange_u32(&database->attention, 0);
	if (attention & ATTEND_STOP)
		retire();
	for (int i = 0; i < DUTIES; i++)
		if (duties[i].attention & attention)
			next_run[i] = 0;

	/* rounds of notifications keep their distance */
	if (next_run[DUTY_NOTIFY] == 0)
		next_run[DUTY_NOTIFY] = last_run[DUTY_NOTIFY] + notify_interval * INT64CONST(1000);
}

static void
do_what_is_due(void)
{
	for (int i = 0; i < DUTIES; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (next_run[i] <= GetCurrentTimestamp())
			run_duty(i);
	}
	if (my_database() != NULL)
		pg_atomic_write_u64(&my_database()->worker_seen, GetCurrentTimestamp());
}

static long
milliseconds_to_next(void)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < DUTIES; i++)
		next = Min(next, next_run[i]);
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);
}

/* New intervals hold from now on. */
static void
reload_settings(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	for (int i = 0; i < DUTIES; i++)
		next_run[i] = Min(next_run[i], GetCurrentTimestamp() + interval_of(&duties[i]));
}

static uint32
idle_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = extension_wait_event("PictrepoWorkerMain");
	return event;
}

static void
work(void)
{
	TimestampTz start = GetCurrentTimestamp();

	for (;;)
	{
		if (!schema_is_ours())
		{
			note_unwanted();
			retire();
		}
		look_for_attention();
		do_what_is_due();
		if (my_database() != NULL && GetCurrentTimestamp() > start + PROBATION)
			my_database()->worker_failures = 0;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 milliseconds_to_next(), idle_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload_settings();
	}
}

/* Entry point of the worker; the argument is the database's OID. */
void
pictrepo_worker_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	pgstat_report_appname("pictrepo worker");

	if (!schema_is_ours())
	{
		note_unwanted();
		proc_exit(0);
	}
	if (database_has_no_room())
		leave_for_want_of_room();
	if (!is_the_only_one())
		proc_exit(0);
	sign_on();
	INJECT(worker_started);
	work();
}

/* ----- SQL ----- */

/* NULL is all of them that are not for the worker alone. */
static bool
duty_is_wanted(const Duty *duty, const char *name)
{
	return !duty->worker_only && (name == NULL || strcmp(name, duty->name) == 0);
}

PG_FUNCTION_INFO_V1(pictrepo_run_maintenance);

/*
 * run_maintenance(duty text) -> bigint
 *
 * Do a duty of the worker now, or, NULL, all but sending notifications; how
 * many rows were done.  22023, 22001.
 */
Datum
pictrepo_run_maintenance(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL : TextDatumGetCString(key_argument(fcinfo, 0).value);
	int			wanted = 0;
	uint64		rows = 0;
	RepoCall	call;

	begin_call(&call, fcinfo);
	for (int i = 0; i < DUTIES; i++)
		if (duty_is_wanted(&duties[i], name))
		{
			report_progress(psprintf("duty %s", duties[i].name), i, DUTIES);
			rows += duties[i].run();
			wanted++;
		}
	end_call(&call);
	end_progress();
	if (wanted == 0)
		bad_argument(fcinfo, 0, psprintf("\"%s\" is not a duty that can be called for.", name),
					 "View pictrepo.maintenance lists the duties.");
	PG_RETURN_INT64(rows);
}

PG_FUNCTION_INFO_V1(pictrepo_maintenance_status);

/*
 * maintenance_status()
 *		-> setof (duty text, every interval, last_run timestamptz, duration interval,
 *				  rows bigint, runs bigint, errors bigint, error text)
 *
 * What the worker of this database did since the server started.
 */
Datum
pictrepo_maintenance_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DatabaseState *database = my_database();

	begin_rows(fcinfo);
	for (int i = 0; i < DUTIES; i++)
	{
		DutyState	state = {0};
		Datum		values[8] = {0};
		bool		nulls[8] = {false};
		Interval   *every = palloc0(sizeof(Interval));
		Interval   *duration = palloc0(sizeof(Interval));

		if (database != NULL)
		{
			SpinLockAcquire(&shared->mutex);
			state = database->duties[i];
			SpinLockRelease(&shared->mutex);
		}
		every->time = *duties[i].interval * INT64CONST(1000);
		duration->time = state.duration;
		values[0] = CStringGetTextDatum(duties[i].name);
		values[1] = IntervalPGetDatum(every);
		nulls[1] = *duties[i].interval == 0;
		values[2] = TimestampTzGetDatum(state.last_run);
		values[3] = IntervalPGetDatum(duration);
		nulls[2] = nulls[3] = state.last_run == 0;
		values[4] = Int64GetDatum(state.rows);
		values[5] = Int64GetDatum(state.runs);
		values[6] = Int64GetDatum(state.errors);
		values[7] = CStringGetTextDatum(state.error);
		nulls[7] = state.error[0] == '\0';
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

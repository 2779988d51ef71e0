/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		Keeping one worker in each database that has the extension.
 *
 * The launcher knows the databases but cannot look into them.  Into each one
 * that is new it sends a worker, which stays where it finds the extension.
 * What happens afterwards is known:
 *
 * 	state		event								next
 * 	(unseen)	the database appears				STARTING
 * 	NONE		next_try has come					STARTING
 * 	STARTING	the worker signs on					RUNNING
 * 	STARTING	it finds no extension				UNWANTED
 * 	RUNNING		it ends								NONE
 * 	RUNNING		it no longer finds the extension	UNWANTED
 * 	UNWANTED	CREATE EXTENSION commits			NONE
 * 	STARTING	CREATE EXTENSION commits			NONE, as it may have come too early
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/compat.h"
#include "common/injection_points.h"
#include "shmem/database_slot.h"
#include "shmem/reset.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "worker/worker.h"
#include "xact/heartbeat.h"

/* databases that come by other ways than CREATE DATABASE here are seen then */
#define SCAN_INTERVAL (10 * 1000)

/* a worker that did not sign on after this time was lost */
#define STARTING_LASTS (30 * USECS_PER_SEC)

/* Databases into which a worker was sent already, by this launcher */
static List *seen = NIL;
static bool complained = false;

/* ----- starting workers ----- */

/* Ask for a worker in a database; false: all slots for workers are taken. */
static bool
start_worker(Oid database)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_main_arg = ObjectIdGetDatum(database)
	};

	strlcpy(worker.bgw_library_name, "pictrepo", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "pictrepo_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pictrepo worker for database %u", database);
	strlcpy(worker.bgw_type, "pictrepo worker", sizeof(worker.bgw_type));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

static void
complain_once(void)
{
	if (!complained)
		ereport(WARNING,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("no slot is free for a pictrepo worker"),
				errhint("Consider increasing the configuration parameter \"max_worker_processes\"."));
	complained = true;
}

/* Is it time for a worker in a database whose state is known? */
static bool
wants_worker(DatabaseSlot *database, TimestampTz now)
{
	bool		wants;

	SpinLockAcquire(&shmem->mutex);
	if (database->worker_state == WORKER_STARTING &&
		database->worker_next_try + STARTING_LASTS < now)
		database->worker_state = WORKER_NONE;
	wants = database->worker_state == WORKER_NONE &&
		database->worker_next_try <= now && database->held_until <= now;
	SpinLockRelease(&shmem->mutex);
	return wants;
}

static void
change_state(DatabaseSlot *database, WorkerState from, WorkerState to, TimestampTz next_try)
{
	SpinLockAcquire(&shmem->mutex);
	if (database->worker_state == from)
	{
		database->worker_state = to;
		database->worker_next_try = next_try;
	}
	SpinLockRelease(&shmem->mutex);
}

/* The worker may have come and gone before the launcher goes on. */
static bool
start_known_worker(DatabaseSlot *database, TimestampTz now)
{
	bool		starts;

	change_state(database, WORKER_NONE, WORKER_STARTING, now);
	starts = start_worker(database->database);
	if (!starts)
		change_state(database, WORKER_STARTING, WORKER_NONE, now + USECS_PER_SEC);
	return starts;
}

static void
tend_database(Oid oid)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *database = database_slot_find(oid);
	MemoryContext context;
	bool		starts;

	if (database != NULL ? !wants_worker(database, now) : list_member_oid(seen, oid))
		return;
	INJECT(worker_wanted);
	starts = database != NULL ? start_known_worker(database, now) : start_worker(oid);
	INJECT(worker_requested);
	if (!starts)
	{
		complain_once();
		return;
	}
	complained = false;
	context = MemoryContextSwitchTo(TopMemoryContext);
	seen = list_append_unique_oid(seen, oid);
	MemoryContextSwitchTo(context);
}

/* ----- the databases ----- */

/* Those that workers may visit, and those that are there at all. */
static void
list_databases(List **visitable, List **all)
{
	Relation	relation = table_open(DatabaseRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		*all = lappend_oid(*all, database->oid);
		if (database->datallowconn && !database->datistemplate &&
			database->datconnlimit >= -1)
			*visitable = lappend_oid(*visitable, database->oid);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
}

static List *
known_databases(void)
{
	List	   *known = NIL;

	for (int i = 0; i < DATABASES_MAX; i++)
		if (OidIsValid(shmem->databases[i].database))
			known = lappend_oid(known, shmem->databases[i].database);
	return known;
}

/*
 * Those that were known before all were listed: another one may be new.  Where
 * there was no room for a state, there is now.
 */
static void
forget_dropped(const List *known, const List *all)
{
	ListCell   *cell;

	foreach(cell, known)
	{
		Oid			oid = lfirst_oid(cell);

		if (list_member_oid(all, oid))
			continue;
		heartbeat_remove_all(oid);
		database_slot_reset(oid, true);
		list_free(seen);
		seen = NIL;
	}
}

static void
tend_databases(void)
{
	List	   *visitable = NIL;
	List	   *all = NIL;
	List	   *known;
	ListCell   *cell;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "pictrepo: looking for databases");
	known = known_databases();
	list_databases(&visitable, &all);
	forget_dropped(known, all);
	foreach(cell, visitable)
		tend_database(lfirst_oid(cell));
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* When the first database may have its worker. */
static long
milliseconds_to_next_try(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		pause = SCAN_INTERVAL;

	for (int i = 0; i < DATABASES_MAX; i++)
	{
		DatabaseSlot *database = &shmem->databases[i];

		if (OidIsValid(database->database) && database->worker_state == WORKER_NONE)
			pause = Min(pause, 100 + TimestampDifferenceMilliseconds(now,
																	 Max(database->worker_next_try, database->held_until)));
	}
	return pause;
}

/* ----- the launcher ----- */

static void
leave(int code, Datum unused)
{
	SpinLockAcquire(&shmem->mutex);
	shmem->launcher_latch = NULL;
	SpinLockRelease(&shmem->mutex);
}

static uint32
idle_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = extension_wait_event("PictrepoLauncherMain");
	return event;
}

/* Entry point of the launcher. */
void
pictrepo_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("pictrepo launcher");

	before_shmem_exit(leave, (Datum) 0);
	SpinLockAcquire(&shmem->mutex);
	shmem->launcher_latch = MyLatch;
	SpinLockRelease(&shmem->mutex);

	for (;;)
	{
		tend_databases();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 milliseconds_to_next_try(), idle_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

/* From _PG_init, in the postmaster. */
void
launcher_register(void)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 5
	};

	if (IsBinaryUpgrade)
		return;
	strlcpy(worker.bgw_library_name, "pictrepo", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "pictrepo_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "pictrepo launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "pictrepo launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

PG_FUNCTION_INFO_V1(pictrepo_start_worker);

/*
 * start_worker() -> bool
 *
 * Start a background worker for this database, where none is started by the
 * server itself; false: one runs.  53400 when no slot is free or the server has
 * too many databases with pictrepo, 25006 on a standby.
 */
Datum
pictrepo_start_worker(PG_FUNCTION_ARGS)
{
	DatabaseSlot *database = my_database_slot();

	PreventCommandDuringRecovery("pictrepo.start_worker()");
	if (database != NULL && worker_running(database))
		PG_RETURN_BOOL(false);
	if (database_slots_full())
		report_no_database_slot(ERROR);
	if (!start_worker(MyDatabaseId))
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("no slot is free for a pictrepo worker"),
				errhint("Consider increasing the configuration parameter \"max_worker_processes\"."));
	PG_RETURN_BOOL(true);
}

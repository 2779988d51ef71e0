/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The background worker of a database.
 *
 * The worker runs its tasks, each at its interval or when a session requests it
 * through shared memory, and each in a transaction of its own.  The error of a
 * task goes to the log and to view maintenance, and the other tasks go on.  The
 * worker ends when the extension has been dropped.
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
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "common/advisory_locks.h"
#include "common/compat.h"
#include "common/injection_points.h"
#include "common/monotonic.h"
#include "shmem/clock_watch.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "worker/maintenance.h"
#include "worker/worker.h"

/* after this time, earlier failures no longer delay the next worker */
#define PROBATION (10 * USECS_PER_SEC)

/* creations of the extension before the worker last looked for it */
static uint32 creations_seen;

static WorkerEvent how_it_ends = WORKER_EV_FAIL;

/* ----- beginning and end ----- */

/*
 * This runs after the worker has released its locks.  Otherwise the next worker
 * would not get the lock, and would end.
 */
static void
worker_end_callback(int code, Datum unused)
{
	worker_slot_sign_off(my_database_slot(), how_it_ends);
}

static void
worker_begin(void)
{
	DatabaseSlot *database = my_database_slot();

	if (database == NULL)
		return;
	on_shmem_exit(worker_end_callback, (Datum) 0);
	worker_slot_sign_on(database);
}

/* End without a failure. */
pg_noreturn static void
retire(void)
{
	how_it_ends = WORKER_EV_RETIRE;
	proc_exit(0);
}

/* The slot of this database, if the extension has made one. */
static DatabaseSlot *
known_database(void)
{
	return shmem_usable() ? database_slot_find(MyDatabaseId) : NULL;
}

static void
remember_creations(void)
{
	DatabaseSlot *database = known_database();

	creations_seen = database != NULL ? worker_slot_creations(database) : 0;
}

/* The launcher need not start another worker here for now. */
static void
report_unwanted(void)
{
	DatabaseSlot *database = known_database();

	INJECT(worker_unwanted);
	if (database != NULL)
		worker_slot_no_extension(database, creations_seen);
	if (shmem_usable())
		visit_found_nothing(MyDatabaseId);
}

/* A database has one worker, started by the launcher or by start_worker(). */
static bool
is_the_only_one(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, WORKER_LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Does the database have the extension, in the version of the library?  The
 * library is newer between an installation and ALTER EXTENSION UPDATE, after
 * which the launcher starts another worker.  It is older when ALTER EXTENSION
 * UPDATE comes before the restart of the server.
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
report_no_database_slot(int level)
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
	report_no_database_slot(WARNING);
	CommitTransactionCommand();
	visit_found_nothing(MyDatabaseId);
	proc_exit(0);
}

/* ----- the loop ----- */

/* A session that wants to drop or copy the database waits for the end of the worker. */
static void
leave_if_held(void)
{
	if (my_database_slot() != NULL && worker_slot_held(my_database_slot()))
		retire();
}

static void
take_requests(void)
{
	if (my_database_slot() != NULL)
		maintenance_request(worker_slot_take_requests(my_database_slot()));
}

/* The intervals may have changed. */
static void
reload_settings(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	maintenance_new_intervals();
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
	MonotonicTime start = monotonic_now();
	MonotonicTime next;

	for (;;)
	{
		if (!schema_is_ours())
		{
			report_unwanted();
			retire();
		}
		leave_if_held();
		take_requests();
		maintenance_run_due();
		if (my_database_slot() != NULL && monotonic_now() > start + PROBATION)
			worker_slot_proved(my_database_slot());
		next = maintenance_next_run();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 monotonic_ms_until(next), idle_event());
		clock_watch_woke(next);
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
		report_unwanted();
		proc_exit(0);
	}
	if (!is_the_only_one())
		proc_exit(0);
	if (database_slots_full())
		leave_for_want_of_room();
	worker_begin();
	INJECT(worker_started);
	work();
}

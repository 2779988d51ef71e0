/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		Keeping one worker in each database that has the extension.
 *
 * The launcher knows the databases but cannot look into them.  It sends a worker
 * into each new database, and the worker stays where it finds the extension.
 * Such a worker makes a slot in shared memory for its database.  Without a slot,
 * the launcher keeps the state in its own memory.  The table in
 * shmem/worker_slot.c says how states change.
 *
 * The server signals the launcher when a worker starts or ends, and sessions wake
 * it when a database needs a worker.  A database has its next worker when the
 * process of the last one has ended, so that a worker never takes two places of
 * max_worker_processes.
 *
 * At most VISITS_MAX workers at a time are in databases without a slot:
 * hundreds of databases would leave no process for others.
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
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "common/compat.h"
#include "common/injection_points.h"
#include "common/monotonic.h"
#include "shmem/clock_watch.h"
#include "shmem/database_slot.h"
#include "shmem/reset.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "worker/start_worker.h"
#include "worker/worker.h"
#include "xact/heartbeat.h"

/* the launcher is not woken when a database begins to allow connections */
#define SCAN_INTERVAL (10 * USECS_PER_SEC)

/* between attempts while max_worker_processes is used up by others */
#define NO_PLACE_PAUSE USECS_PER_SEC

#define NO_VISIT (-1)

typedef struct LauncherEntry
{
	Oid			database;		/* hash key */
	uint64		round;			/* when the launcher last saw the database */
	WorkerStatus status;		/* while the database has no slot */
	BackgroundWorkerHandle *handle; /* NULL: no worker that was started here
									 * runs */
	int			visit;			/* its place among the visits, or NO_VISIT */
} LauncherEntry;

static HTAB *entries;
static bool visit_taken[VISITS_MAX];
static uint64 round_number = 0;
static MonotonicTime next_look;

/* no worker is asked for before, as max_worker_processes was used up; 0: any time */
static MonotonicTime place_expected = 0;
static bool complained = false;

/* ----- the entries ----- */

static void
create_entries(void)
{
	HASHCTL		info = {
		.keysize = sizeof(Oid), .entrysize = sizeof(LauncherEntry), .hcxt = TopMemoryContext
	};

	entries = hash_create("pictrepo launcher", 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The entry of a database that the scan has found. */
static LauncherEntry *
seen_entry(Oid database)
{
	bool		found;
	LauncherEntry *entry = hash_search(entries, &database, HASH_ENTER, &found);

	if (!found)
	{
		memset(&entry->status, 0, sizeof(entry->status));
		entry->handle = NULL;
		entry->visit = NO_VISIT;
	}
	entry->round = round_number;
	return entry;
}

/* A database that comes back is visited again. */
static void
forget_unseen_entries(void)
{
	HASH_SEQ_STATUS scan;
	LauncherEntry *entry;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->round != round_number && entry->handle == NULL)
			hash_search(entries, &entry->database, HASH_REMOVE, NULL);
}

/* ----- visits ----- */

/* NO_VISIT: all places are taken. */
static int
free_visit(void)
{
	for (int i = 0; i < VISITS_MAX; i++)
		if (!visit_taken[i])
			return i;
	return NO_VISIT;
}

static void
take_visit(LauncherEntry *entry, int visit)
{
	visit_taken[visit] = true;
	entry->visit = visit;
	visit_begin(visit, entry->database);
}

static void
give_visit_back(LauncherEntry *entry)
{
	if (entry->visit != NO_VISIT)
		visit_taken[entry->visit] = false;
	entry->visit = NO_VISIT;
}

/* ----- ends of workers ----- */

static void
apply_end(LauncherEntry *entry, DatabaseSlot *slot)
{
	bool		in_vain = entry->visit != NO_VISIT && visit_was_in_vain(entry->visit);

	if (slot != NULL)
		worker_slot_apply(slot, WORKER_EV_LOST);
	else
		worker_status_apply(&entry->status, in_vain ? WORKER_EV_NO_EXTENSION : WORKER_EV_LOST,
							monotonic_now());
}

/* Has the worker that was started last signed on, or ended? */
static void
follow_worker(LauncherEntry *entry)
{
	DatabaseSlot *slot = database_slot_find(entry->database);
	bool		ended;
	pid_t		pid;

	if (entry->handle == NULL)
		return;
	ended = GetBackgroundWorkerPid(entry->handle, &pid) == BGWH_STOPPED;
	if (ended)
	{
		apply_end(entry, slot);
		pfree(entry->handle);
		entry->handle = NULL;
		place_expected = 0;
	}
	if (ended || slot != NULL)
		give_visit_back(entry);
}

static void
follow_workers(void)
{
	HASH_SEQ_STATUS scan;
	LauncherEntry *entry;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		follow_worker(entry);
}

/* ----- starting workers ----- */

/* False: not yet, and the launcher looks again when it may be time. */
static bool
begin_start(LauncherEntry *entry, DatabaseSlot *slot, MonotonicTime now)
{
	WorkerStatus status = entry->status;

	if (slot != NULL ? worker_slot_start(slot, now) : worker_status_start(&entry->status, now))
		return true;
	if (slot != NULL)
		worker_slot_read_status(slot, &status);
	if (status.state == WORKER_NONE && status.next_try > now)
		next_look = Min(next_look, status.next_try);
	return false;
}

static void
undo_start(LauncherEntry *entry, DatabaseSlot *slot, MonotonicTime now)
{
	if (slot != NULL)
		worker_slot_apply(slot, WORKER_EV_NO_PLACE);
	else
		worker_status_apply(&entry->status, WORKER_EV_NO_PLACE, now);
	give_visit_back(entry);
	place_expected = now + NO_PLACE_PAUSE;
	if (!complained)
		report_no_worker_place(WARNING);
	complained = true;
}

/* The handle lives as long as the launcher. */
static BackgroundWorkerHandle *
register_worker(Oid database)
{
	MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorkerHandle *handle = worker_register(database);

	MemoryContextSwitchTo(context);
	return handle;
}

static void
tend_database(Oid database)
{
	MonotonicTime now = monotonic_now();
	LauncherEntry *entry = seen_entry(database);
	DatabaseSlot *slot = database_slot_find(database);
	int			visit = slot == NULL ? free_visit() : NO_VISIT;

	if (entry->handle != NULL || place_expected > now || (slot == NULL && visit == NO_VISIT))
		return;
	if (!begin_start(entry, slot, now))
		return;
	if (slot == NULL)
		take_visit(entry, visit);
	INJECT(worker_wanted);
	entry->handle = register_worker(database);
	INJECT(worker_requested);
	if (entry->handle != NULL)
		complained = false;
	else
		undo_start(entry, slot, now);
}

/* ----- the databases ----- */

/* The databases that workers may visit, and all databases. */
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

/* A slot is free again, and a visitor may have found none for its database. */
static void
visit_all_again(void)
{
	HASH_SEQ_STATUS scan;
	LauncherEntry *entry;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		worker_status_apply(&entry->status, WORKER_EV_EXTENSION, 0);
}

/*
 * Free the slots of dropped databases.  The slots were listed before the databases,
 * because a slot that is newer may belong to a database that is newer, too.
 */
static void
forget_dropped(const List *slots, const List *all)
{
	ListCell   *cell;

	foreach(cell, slots)
	{
		Oid			database = lfirst_oid(cell);

		if (list_member_oid(all, database))
			continue;
		heartbeat_remove_all(database);
		database_slot_reset(database, true);
		visit_all_again();
	}
}

static void
tend_databases(void)
{
	List	   *visitable = NIL;
	List	   *all = NIL;
	List	   *slots;
	ListCell   *cell;
	MonotonicTime now = monotonic_now();

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "pictrepo: looking for databases");
	round_number++;
	next_look = now + SCAN_INTERVAL;
	if (place_expected <= now)
		place_expected = 0;
	slots = database_slots_list();
	list_databases(&visitable, &all);
	forget_dropped(slots, all);
	follow_workers();
	foreach(cell, visitable)
		tend_database(lfirst_oid(cell));
	forget_unseen_entries();
	if (place_expected != 0)
		next_look = Min(next_look, place_expected);
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* ----- the launcher ----- */

/* The handles of workers that an earlier launcher asked for are lost. */
static void
take_over(void)
{
	for (int i = 0; i < DATABASES_MAX; i++)
		worker_slot_apply(&shmem->databases[i], WORKER_EV_NEW_LAUNCHER);
}

static void
leave(int code, Datum unused)
{
	launcher_sign_off();
}

static uint32
idle_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = extension_wait_event("PictrepoLauncherMain");
	return event;
}

/* Sleep until the next look at the databases, or until something has happened. */
static void
watch_clocks(void)
{
	int			events = 0;

	while (!(events & WL_LATCH_SET) && monotonic_now() < next_look)
	{
		clock_watch_look();
		events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   Min(monotonic_ms_until(next_look), CLOCK_WATCH_INTERVAL), idle_event());
	}
	ResetLatch(MyLatch);
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

	create_entries();
	before_shmem_exit(leave, (Datum) 0);
	launcher_sign_on();
	take_over();

	for (;;)
	{
		tend_databases();
		watch_clocks();
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

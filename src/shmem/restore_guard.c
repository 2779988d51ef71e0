/*-------------------------------------------------------------------------
 *
 * restore_guard.c
 *		Keeping the worker away while a dump is restored.
 *
 * A restore takes one transaction per table.  In between, a schedule may be there
 * without its job, or an image without its variants.  A worker that acted on
 * this would push the job and remove the image, and the restore would fail or
 * lose rows.
 *
 * An administrator can say that a restore begins (queue/restore_hold.c).  This
 * file recognizes one.  The server does not know that a dump is being restored,
 * but every dump of pg_dump turns check_function_bodies off first.  The utility
 * hook sees that a session which has done so creates the extension or copies into
 * its tables.  It does so only with preload.  The triggers see rows in any case,
 * and tell rows of a dump from rows of an application by the search_path, which
 * a dump leaves empty.
 *
 * Only a role that may write the rows is heard, and only when its statement has
 * succeeded.  While the statement runs, its session holds the lock of the
 * turn, which each maintenance task needs, too.  Afterwards the session holds a
 * lock that names the period of time, until it ends.  A task looks for locks of
 * the present period and of the one before.  So the worker goes on when a period
 * has passed without rows of the dump, even if the session stays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "common/advisory_locks.h"
#include "common/guc.h"
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"

/* for a session without shared memory */
static MonotonicTime last_restore_seen = PG_INT64_MIN;

/* ----- locks ----- */

typedef enum RestoreLock
{
	LOCK_OF_PERIOD,
	LOCK_OF_TURN
} RestoreLock;

static LOCKTAG
restore_lock_tag(RestoreLock which, uint32 period)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, period, which, RESTORE_LOCK_CLASS);
	return tag;
}

static LOCKTAG
turn_tag(void)
{
	return restore_lock_tag(LOCK_OF_TURN, 0);
}

/*
 * A lock counts in its own period and in the next one.  The periods are half as
 * long as the setting, so that it counts no longer than the setting says.
 */
static uint32
this_period(void)
{
	return monotonic_now() / (guc_restore_timeout * USECS_PER_SEC / 2);
}

/*
 * Sessions that restore take the locks in ShareLock mode.  Others use a mode that
 * conflicts with it, and not with itself.
 */
static bool
try_lock(const LOCKTAG *tag)
{
	return LockAcquire(tag, RowExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static bool
session_holds(const LOCKTAG *tag)
{
	if (!try_lock(tag))
		return true;
	(void) LockRelease(tag, RowExclusiveLock, false);
	return false;
}

/* Has another session restored rows in this period or in the one before? */
static bool
rows_came_lately(void)
{
	uint32		period = this_period();
	LOCKTAG		now = restore_lock_tag(LOCK_OF_PERIOD, period);
	LOCKTAG		before = restore_lock_tag(LOCK_OF_PERIOD, period - 1);

	return session_holds(&now) || session_holds(&before);
}

/* ----- the session that restores ----- */

/*
 * May the role restore rows into the table?  A role that may not must not stop
 * the maintenance of the database.
 */
static bool
may_load(Oid table, Oid role)
{
	return OidIsValid(table) && pg_class_aclcheck(table, role, ACL_INSERT) == ACLCHECK_OK;
}

/* A dump names the schema of each table. */
static bool
is_copy_of_dump(const CopyStmt *copy)
{
	const RangeVar *table = copy->relation;

	return copy->is_from && table != NULL && table->schemaname != NULL &&
		strcmp(table->schemaname, "pictrepo") == 0 &&
		may_load(get_relname_relid(table->relname, get_namespace_oid("pictrepo", true)), GetUserId());
}

/* A database, a role or a connection may have the setting off for good. */
static bool
reads_dump(void)
{
	return !check_function_bodies && guc_set_by_session("check_function_bodies");
}

/* Is the statement one of a dump, run by a role that may restore it? */
bool
restore_guard_recognizes(Node *statement)
{
	if (!reads_dump() || !IsTransactionState())
		return false;
	if (IsA(statement, CreateExtensionStmt))
		return superuser() && strcmp(((CreateExtensionStmt *) statement)->extname, "pictrepo") == 0;
	return IsA(statement, CopyStmt) && is_copy_of_dump((CopyStmt *) statement);
}

/* Wait for a maintenance task that runs, and keep others away. */
void
restore_guard_enter(void)
{
	LOCKTAG		tag = turn_tag();

	(void) LockAcquire(&tag, ShareLock, true, false);
}

/* The statement that restore_guard_enter was called for has ended. */
void
restore_guard_leave(int code, Datum unused)
{
	LOCKTAG		tag = turn_tag();

	(void) LockRelease(&tag, ShareLock, true);
}

/* The same until the transaction ends. */
void
restore_guard_enter_transaction(void)
{
	LOCKTAG		tag = turn_tag();

	(void) LockAcquire(&tag, ShareLock, false, false);
}

/*
 * Rows of a dump have come.  A task that does not know of them yet may run, if
 * this session has not told of any in this period.
 */
void
restore_guard_loaded(void)
{
	LOCKTAG		tag = restore_lock_tag(LOCK_OF_PERIOD, this_period());

	if (LockAcquire(&tag, ShareLock, true, false) == LOCKACQUIRE_OK)
	{
		restore_guard_enter();
		restore_guard_leave(0, 0);
	}
	restore_guard_touch();
}

/*
 * For the triggers of a table.  The session's own role decides: within a call
 * of pictrepo the current one is the owner.
 */
void
restore_guard_check_rows(Oid table)
{
	if (!check_function_bodies && namespace_search_path[0] == '\0' && reads_dump() &&
		may_load(table, GetSessionUserId()))
		restore_guard_loaded();
}

/* ----- sessions that wait for its end ----- */

void
restore_guard_touch(void)
{
	DatabaseSlot *database = my_database_slot();

	last_restore_seen = monotonic_now();
	if (database != NULL)
		pg_atomic_write_u64(&database->restored, last_restore_seen);
}

/*
 * Keep restores away until the transaction ends; false: a restore runs.  If one
 * ran at the last call and has ended since, it counts as having ended now.
 */
bool
restore_guard_keep_away(void)
{
	static bool restore_runs = false;
	LOCKTAG		tag = turn_tag();
	bool		kept_away = try_lock(&tag) && !rows_came_lately();

	if (restore_runs || !kept_away)
		restore_guard_touch();
	restore_runs = !kept_away;
	return kept_away;
}

/* When the last known restore ended, or a running one was seen. */
MonotonicTime
restore_guard_last(void)
{
	DatabaseSlot *database = my_database_slot();
	LOCKTAG		turn = turn_tag();

	if (database != NULL)
		return (MonotonicTime) pg_atomic_read_u64(&database->restored);
	if (session_holds(&turn) || rows_came_lately())
		restore_guard_touch();
	return last_restore_seen;
}

static bool
keeps_worker_away(const LockInstanceData *lock)
{
	const LOCKTAG *tag = &lock->locktag;

	return tag->locktag_type == LOCKTAG_ADVISORY && tag->locktag_field1 == MyDatabaseId &&
		tag->locktag_field4 == RESTORE_LOCK_CLASS && (lock->holdMask & LOCKBIT_ON(ShareLock)) != 0 &&
		(tag->locktag_field3 == LOCK_OF_TURN || tag->locktag_field2 + 1 >= this_period());
}

/*
 * Does a session restore a dump?  *process is its process; 0: its transaction is
 * prepared.
 */
bool
restore_guard_find(int *process)
{
	LockData   *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
		if (keeps_worker_away(&locks->locks[i]))
		{
			*process = locks->locks[i].pid;
			return true;
		}
	return false;
}

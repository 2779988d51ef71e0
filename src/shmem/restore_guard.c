/*-------------------------------------------------------------------------
 *
 * restore_guard.c
 *		Restores of dumps, from which the worker keeps away.
 *
 * A restore takes one transaction per table.  In between, a schedule is there
 * whose job is not, or an image whose variants are not: a worker that went by
 * what it sees would push the one and remove the other, and the restore would
 * fail or have lost something.
 *
 * Nothing tells the server that a dump is restored, but all that pg_dump writes
 * turns check_function_bodies off first.  A session that has done so, and
 * creates the extension or copies into its tables, has a lock from then on until
 * it ends.  The worker's duties need the lock as well, and do not wait for it.
 *
 * Only with preload is every statement seen.  But the triggers see rows that
 * come by whatever way; an application's are told from a dump's by the search
 * path, which is empty there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "common/advisory_locks.h"
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"

/* for a worker without shared memory */
static TimestampTz seen_restored = DT_NOBEGIN;

static LOCKTAG
lock_of_restores(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, RESTORE_LOCK_CLASS);
	return tag;
}

/* Dumps name the schema of each table. */
bool
restore_guard_recognizes(Node *statement)
{
	if (check_function_bodies)
		return false;
	if (IsA(statement, CreateExtensionStmt))
		return strcmp(((CreateExtensionStmt *) statement)->extname, "pictrepo") == 0;
	if (IsA(statement, CopyStmt) && ((CopyStmt *) statement)->is_from)
	{
		RangeVar   *table = ((CopyStmt *) statement)->relation;

		return table->schemaname != NULL && strcmp(table->schemaname, "pictrepo") == 0;
	}
	return false;
}

/* Waits for a duty that is under way. */
void
restore_guard_enter(void)
{
	LOCKTAG		tag = lock_of_restores();

	(void) LockAcquire(&tag, ShareLock, true, false);
	restore_guard_touch();
}

/* From a trigger, for a row or more. */
void
restore_guard_check_rows(void)
{
	if (!check_function_bodies && namespace_search_path[0] == '\0')
		restore_guard_enter();
}

void
restore_guard_touch(void)
{
	DatabaseSlot *database = my_database_slot();

	seen_restored = GetCurrentTimestamp();
	if (database != NULL)
		pg_atomic_write_u64(&database->restored, seen_restored);
}

/*
 * Until the transaction ends; false: one is under way.  One that has ended
 * since the last look did so just now, for all that is known.
 */
bool
restore_guard_keep_away(void)
{
	static bool under_way = false;
	LOCKTAG		tag = lock_of_restores();
	bool		away = LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;

	if (under_way || !away)
		restore_guard_touch();
	under_way = !away;
	return away;
}

/* The last time that something was restored, as far as is known. */
TimestampTz
restore_guard_last(void)
{
	DatabaseSlot *database = my_database_slot();

	return database != NULL ? (TimestampTz) pg_atomic_read_u64(&database->restored) : seen_restored;
}

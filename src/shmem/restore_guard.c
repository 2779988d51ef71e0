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
 * The server does not know that a dump is being restored.  But every dump of
 * pg_dump turns check_function_bodies off first.  A session that has done so, and
 * creates the extension or copies into its tables, holds a lock until it ends.
 * Each maintenance task needs the same lock, and does not wait for it.
 *
 * The utility hook sees statements only with preload.  The triggers see rows in
 * any case.  They tell rows of a dump from rows of an application by the
 * search_path, which a dump leaves empty.
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
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"

/* for a worker without shared memory */
static MonotonicTime last_restore_seen = PG_INT64_MIN;

static LOCKTAG
restore_lock_tag(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, RESTORE_LOCK_CLASS);
	return tag;
}

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

/* Is the statement one of a dump, run by a role that may restore it? */
bool
restore_guard_recognizes(Node *statement)
{
	if (check_function_bodies || !IsTransactionState())
		return false;
	if (IsA(statement, CreateExtensionStmt))
		return superuser() && strcmp(((CreateExtensionStmt *) statement)->extname, "pictrepo") == 0;
	return IsA(statement, CopyStmt) && is_copy_of_dump((CopyStmt *) statement);
}

/* Waits for a maintenance task that runs. */
void
restore_guard_enter(void)
{
	LOCKTAG		tag = restore_lock_tag();

	(void) LockAcquire(&tag, ShareLock, true, false);
	restore_guard_touch();
}

/* The statement that restore_guard_enter was called for has failed. */
void
restore_guard_leave(int code, Datum unused)
{
	LOCKTAG		tag = restore_lock_tag();

	(void) LockRelease(&tag, ShareLock, true);
}

/*
 * For the triggers of a table.  The session's own role decides: within a call
 * of pictrepo the current one is the owner.
 */
void
restore_guard_check_rows(Oid table)
{
	if (!check_function_bodies && namespace_search_path[0] == '\0' && may_load(table, GetSessionUserId()))
		restore_guard_enter();
}

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
	LOCKTAG		tag = restore_lock_tag();
	bool		kept_away = LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;

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

	return database != NULL ? (MonotonicTime) pg_atomic_read_u64(&database->restored) : last_restore_seen;
}

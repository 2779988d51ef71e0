/*-------------------------------------------------------------------------
 *
 * row_lock.c
 *		Locking rows in a query without waiting, and no others than those.
 *
 * Many statements take the rows that they can have now, and leave the others to
 * whoever has locked them.  FOR UPDATE SKIP LOCKED is not enough for that.  If
 * another transaction has changed the row since the statement's snapshot, the
 * server follows the row to its new version, and locks that.  On the way it may
 * wait.  If the new version does not satisfy the query, the statement leaves it,
 * but the lock stays until the end of the transaction: so a session that pops
 * would hold up the end of a job that another session has popped.  And the
 * statement's UPDATE still begins with the old version, and waits for sessions
 * that wait there.  This can be a deadlock.
 *
 * Function lock_row locks the version that the query has found, if no
 * transaction has changed or locked it.  Otherwise it returns false at once, and
 * locks nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "sqlfunc/args.h"

static bool
may_have_row(Relation table, ItemPointer row)
{
	return table->rd_rel->relkind == RELKIND_RELATION &&
		pg_class_aclcheck(RelationGetRelid(table), GetUserId(), ACL_UPDATE) == ACLCHECK_OK &&
		ItemPointerIsValid(row) && ItemPointerGetBlockNumber(row) < RelationGetNumberOfBlocks(table);
}

/*
 * Fetching the row first makes sure that there is one: table_tuple_lock does
 * not check this.  The slot then keeps it in its place.
 */
static bool
try_lock(Relation table, ItemPointer row, LockTupleMode mode)
{
	TupleTableSlot *slot = table_slot_create(table, NULL);
	Snapshot	snapshot = GetActiveSnapshot();
	TM_FailureData failure;
	bool		locked;

	locked = table_tuple_fetch_row_version(table, row, snapshot, slot) &&
		table_tuple_lock(table, row, snapshot, slot, GetCurrentCommandId(false), mode,
						 LockWaitSkip, 0, &failure) == TM_Ok;
	ExecDropSingleTupleTableSlot(slot);
	return locked;
}

PG_FUNCTION_INFO_V1(pictrepo_lock_row);

/*
 * lock_row(table_id oid, row_id tid, exclusive bool) -> bool
 *
 * Lock a row of a table, FOR UPDATE if exclusive, else FOR NO KEY UPDATE.  False:
 * another transaction has locked, changed or deleted it, or the table has no such
 * row, or the caller may not update the table.
 */
Datum
pictrepo_lock_row(PG_FUNCTION_ARGS)
{
	Oid			table_id = DatumGetObjectId(any_argument(fcinfo, 0).value);
	ItemPointer row = (ItemPointer) DatumGetPointer(any_argument(fcinfo, 1).value);
	bool		exclusive = DatumGetBool(any_argument(fcinfo, 2).value);
	Relation	table;
	bool		locked;

	PreventCommandIfReadOnly("pictrepo.lock_row()");
	table = try_relation_open(table_id, RowShareLock);
	if (table == NULL)
		PG_RETURN_BOOL(false);
	locked = may_have_row(table, row) &&
		try_lock(table, row, exclusive ? LockTupleExclusive : LockTupleNoKeyExclusive);
	relation_close(table, NoLock);
	PG_RETURN_BOOL(locked);
}

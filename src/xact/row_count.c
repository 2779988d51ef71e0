/*-------------------------------------------------------------------------
 *
 * row_count.c
 *		Exact numbers of hashes and jobs, kept in shared memory.
 *
 * Triggers collect how many rows a transaction adds and removes (pending.c), and
 * its commit adds the difference to the row count.  The start value comes from
 * a SELECT that counts all rows once.  Other transactions commit while it runs, so
 * each commit must find out whether the SELECT has counted its rows:
 *
 *	1. The session that counts publishes the snapshot of its SELECT, and sets the
 *	   value to 0.  It does both under the lock of the row count.
 *	2. A commit looks up its xid in this snapshot.  If the snapshot sees the
 *	   transaction, the SELECT counts its rows, and the commit adds nothing.
 *	   Otherwise the commit adds its difference to the value.
 *	3. When the SELECT ends, the session adds the result to the value, and the
 *	   row count is known.
 *
 * So no session waits for the SELECT, and each row counts once.
 *
 * A commit is visible to other sessions a moment before it gets here.  So the
 * snapshot stays in use after the SELECT has ended: a commit that the SELECT saw may
 * get here later.  A transaction that removes a row may also get here before the
 * one that added it.  The value is too low for that moment, and can be negative.
 *
 * A prepared transaction can be committed by any session, which does not know
 * what it changed.  While prepared transactions exist, row counts are unknown.
 *
 * Rows come past the triggers while these are disabled, as pg_restore
 * --disable-triggers does it, and in sessions with session_replication_role =
 * replica if a trigger does not fire always any more.  Row counts are unknown
 * while a trigger is in such a state.  A commit that turns triggers on or off
 * makes them unknown, too, and the next call counts again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/injection_points.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/pending.h"
#include "xact/row_count.h"

/* ----- reading ----- */

/*
 * Would a SELECT in this transaction give the number in shared memory?  Not with
 * an older snapshot, nor in a parallel worker, which does not know what its
 * leader has changed.
 */
static bool
row_count_usable(DatabaseSlot *database)
{
	return database != NULL && !IsolationUsesXactSnapshot() && !IsInParallelMode() &&
		pg_atomic_read_u32(&database->prepared) == 0 && !pending_forgets_counts();
}

/* The number of committed rows, with the changes of this transaction. */
bool
row_count_get(CountedTable which, int64 *value)
{
	DatabaseSlot *database = my_database_slot();
	RowCount   *row_count;
	bool		known;

	if (!row_count_usable(database) || pending_truncates(which))
		return false;
	row_count = &database->row_counts[which];
	LWLockAcquire(row_count->lock, LW_SHARED);
	known = row_count->state == ROW_COUNT_KNOWN;
	*value = (int64) pg_atomic_read_u64(&row_count->value);
	LWLockRelease(row_count->lock);
	*value = Max(*value + pending_get_row_count(which), 0);
	return known;
}

/* The same for the jobs of one queue. */
bool
row_count_of_queue(NullableDatum queue, int64 *length)
{
	DatabaseSlot *database = my_database_slot();
	text	   *name = DatumGetTextPP(queue.value);
	QueueSlot  *slot;
	RowCount   *row_count;
	bool		known;

	if (!row_count_usable(database) || pending_truncates(COUNTED_JOBS))
		return false;
	row_count = &database->row_counts[COUNTED_JOBS];
	slot = queue_slot_pin(MyDatabaseId, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), false);
	LWLockAcquire(row_count->lock, LW_SHARED);
	known = row_count->state == ROW_COUNT_KNOWN &&
		(slot != NULL ? !slot->uncounted : pg_atomic_read_u32(&database->overflowed) == 0);
	*length = slot != NULL ? (int64) pg_atomic_read_u64(&slot->length) : 0;
	LWLockRelease(row_count->lock);
	if (slot != NULL)
	{
		*length = Max(*length + pending_get_length(slot), 0);
		queue_slot_unpin(slot);
	}
	return known;
}

/* ----- for the end of a transaction: these cannot fail ----- */

/* Does the snapshot of the SELECT see this committed transaction? */
static bool
counted_snapshot_sees(const RowCount *row_count, FullTransactionId full_xid)
{
	TransactionId xid = XidFromFullTransactionId(full_xid);
	int			low = 0,
				high = row_count->xcnt;

	if (FullTransactionIdFollowsOrEquals(full_xid, row_count->xmax))
		return false;
	if (TransactionIdPrecedes(xid, row_count->xmin))
		return true;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (row_count->xip[middle] == xid)
			return false;
		if (row_count->xip[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return true;
}

/* Must the commit of this transaction add its difference? */
bool
row_count_must_add(const RowCount *row_count, FullTransactionId xid)
{
	return row_count->state != ROW_COUNT_UNKNOWN && !counted_snapshot_sees(row_count, xid);
}

/* A session that counts now will not publish what it has counted. */
void
row_count_set_unknown(DatabaseSlot *database)
{
	for (int t = 0; t < COUNTED_TABLES; t++)
	{
		RowCount   *row_count = &database->row_counts[t];

		LWLockAcquire(row_count->lock, LW_EXCLUSIVE);
		row_count->state = ROW_COUNT_UNKNOWN;
		LWLockRelease(row_count->lock);
	}
}

/* ----- triggers that do not fire ----- */

STATEMENT(bypassed_trigger, STMT_READ_WRITE,
		  "SELECT FROM pg_catalog.pg_trigger WHERE tgrelid IN"
		  " ('pictrepo.hashes'::pg_catalog.regclass, 'pictrepo.job_queue'::pg_catalog.regclass)"
		  " AND NOT tgisinternal AND tgenabled <> 'A'"
		  " AND tgfoid IN ('pictrepo.hash_changed()'::pg_catalog.regprocedure,"
		  " 'pictrepo.job_changed()'::pg_catalog.regprocedure) LIMIT 1");

bool
row_count_is_bypassed(void)
{
	return statement_run(&bypassed_trigger, NULL) > 0;
}

/* ----- prepared transactions ----- */

/*
 * Row counts become unknown, because a prepared transaction may change them.
 * Each call marks the database with a new number.  So row_count_check_prepared
 * does not clear a mark that is newer than the one that it has read.
 */
void
row_count_forget(DatabaseSlot *database)
{
	uint32		number = pg_atomic_add_fetch_u32(&database->preparations, 1);

	pg_atomic_write_u32(&database->prepared, Max(number, 1));
	row_count_set_unknown(database);
}

STATEMENT(prepared_here, STMT_READ_ONLY,
		  "SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()");

/*
 * Does this database have a prepared transaction?  If it has one, it must have
 * the mark, which a crash loses.  If it has none, its mark is cleared, and row
 * counts can become known again.
 */
bool
row_count_check_prepared(DatabaseSlot *database)
{
	uint32		mark = pg_atomic_read_u32(&database->prepared);
	bool		found;

	if (max_prepared_xacts == 0)
		return false;
	found = statement_run(&prepared_here, NULL) > 0;
	if (found && mark == 0)
		row_count_forget(database);
	if (!found && mark != 0)
		pg_atomic_compare_exchange_u32(&database->prepared, &mark, 0);
	return found;
}

/* ----- counting ----- */

static int
compare_xids(const void *a, const void *b)
{
	TransactionId x = *(const TransactionId *) a;
	TransactionId y = *(const TransactionId *) b;

	return (x > y) - (x < y);
}

/* A recent xid, with its epoch. */
static FullTransactionId
full_transaction_id(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

/*
 * Take a snapshot to count in, and publish it.  The lock keeps commits out
 * meanwhile.  A commit that had the lock before is visible to the snapshot, and
 * a later one finds the published snapshot.  False: another session counts, the
 * count is known, or prepared transactions exist.
 */
static bool
begin_counting(CountedTable which)
{
	RowCount   *row_count = &my_database_slot()->row_counts[which];
	Snapshot	snapshot;

	LWLockAcquire(row_count->lock, LW_EXCLUSIVE);
	if (row_count->state != ROW_COUNT_UNKNOWN || pg_atomic_read_u32(&my_database_slot()->prepared) != 0)
	{
		LWLockRelease(row_count->lock);
		return false;
	}
	/* it may fail, and this must not happen once the state is COUNTING */
	PushActiveSnapshot(GetLatestSnapshot());
	snapshot = GetActiveSnapshot();
	row_count->xmin = snapshot->xmin;
	row_count->xmax = full_transaction_id(snapshot->xmax);
	row_count->xcnt = snapshot->xcnt;
	if (snapshot->xcnt > 0)
		memcpy(row_count->xip, snapshot->xip, snapshot->xcnt * sizeof(TransactionId));
	qsort(row_count->xip, row_count->xcnt, sizeof(TransactionId), compare_xids);
	pg_atomic_write_u64(&row_count->value, 0);
	if (which == COUNTED_JOBS)
		queue_slots_clear_lengths();
	row_count->state = ROW_COUNT_COUNTING;
	row_count->counter = MyProcPid;
	LWLockRelease(row_count->lock);
	return true;
}

/*
 * Counting has failed, perhaps while this session had locks, which the end of the
 * transaction would release later.  Another session may have begun to count
 * meanwhile.
 */
static void
abandon_counting(int code, Datum which)
{
	RowCount   *row_count = &my_database_slot()->row_counts[DatumGetInt32(which)];

	LWLockReleaseAll();
	LWLockAcquire(row_count->lock, LW_EXCLUSIVE);
	if (row_count->state == ROW_COUNT_COUNTING && row_count->counter == MyProcPid)
		row_count->state = ROW_COUNT_UNKNOWN;
	LWLockRelease(row_count->lock);
}

/* Without a slot, the length of the queue is not kept. */
static void
add_to_queue(text *name, int64 count)
{
	QueueSlot  *queue = queue_slot_pin(MyDatabaseId, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), true);

	if (queue == NULL)
		return;
	pg_atomic_fetch_add_u64(&queue->length, count);
	queue_slot_unpin(queue);
}

/* The sum of the last statement's counts. */
static int64
sum_of_counts(void)
{
	int64		sum = 0;

	for (uint64 i = 0; i < SPI_processed; i++)
		sum += DatumGetInt64(result_value(i, 2).value);
	return sum;
}

/* The last statement's counts become known, unless a transaction was prepared meanwhile. */
static void
publish_count(RowCount *row_count)
{
	LWLockAcquire(row_count->lock, LW_EXCLUSIVE);
	if (row_count->state == ROW_COUNT_COUNTING && row_count->counter == MyProcPid)
	{
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			NullableDatum queue = result_value(i, 1);

			if (!queue.isnull)
				add_to_queue(DatumGetTextPP(queue.value),
							 DatumGetInt64(result_value(i, 2).value));
		}
		INJECT(count_published);
		pg_atomic_fetch_add_u64(&row_count->value, sum_of_counts());
		row_count->state = ROW_COUNT_KNOWN;
	}
	LWLockRelease(row_count->lock);
}

/*
 * A commit that disables a trigger after the check makes the count unknown, so
 * that it is not published.
 */
static void
count_and_publish(CountedTable which, SqlStatement *statement)
{
	PG_ENSURE_ERROR_CLEANUP(abandon_counting, Int32GetDatum(which));
	{
		bool		bypassed = row_count_is_bypassed();

		statement_run(statement, NULL);
		if (bypassed)
			abandon_counting(0, Int32GetDatum(which));
		else
			publish_count(&my_database_slot()->row_counts[which]);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abandon_counting, Int32GetDatum(which));
	PopActiveSnapshot();
}

/*
 * Only a transaction without an xid may count for all sessions.  The SELECT of
 * any other one also counts its own rows, and these may be rolled back.
 */
static bool
may_count_for_all(void)
{
	DatabaseSlot *database = my_database_slot();

	return database != NULL && !IsolationUsesXactSnapshot() && !IsInParallelMode() &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny()) && !row_count_check_prepared(database);
}

int64
row_count_scan(CountedTable which, SqlStatement *statement)
{
	if (may_count_for_all() && begin_counting(which))
		count_and_publish(which, statement);
	else
		statement_run(statement, NULL);
	return sum_of_counts();
}

bool
row_count_know(CountedTable which, SqlStatement *statement)
{
	int64		count;

	if (!row_count_get(which, &count) && may_count_for_all() && !row_count_is_bypassed() &&
		begin_counting(which))
		count_and_publish(which, statement);
	return row_count_get(which, &count);
}

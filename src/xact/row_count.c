/*-------------------------------------------------------------------------
 *
 * row_count.c
 *		Counts that are kept: hashes and jobs, exact for what is committed.
 *
 * Triggers note what a transaction adds and removes, and its commit adds the
 * difference.  What it is added to is found by counting once, in the snapshot
 * of some backend: while that counts, commits that its snapshot cannot see
 * gather beside, and those that it can see are left out.  So nobody waits, and
 * nothing is counted twice.
 *
 * A commit comes here a moment after it can be seen.  So the one that added a
 * row may come after the one that removed it, and after a count that saw it.
 *
 * A prepared transaction is committed without us.  While there is one, counts
 * are not known.
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

#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/pending.h"
#include "xact/row_count.h"

/* ----- reading ----- */

/* Would a count of our own, in this transaction, give the same? */
static bool
row_count_applies(DatabaseSlot *database)
{
	return database != NULL && !IsolationUsesXactSnapshot() && !IsInParallelMode() &&
		pg_atomic_read_u32(&database->prepared) == 0;
}

/* What is committed, and what this transaction has done so far. */
bool
row_count_get(CountedTable which, int64 *value)
{
	DatabaseSlot *database = my_database_slot();
	RowCount   *row_count;
	bool		known;

	if (!row_count_applies(database) || pending_truncates(which))
		return false;
	row_count = &database->row_counts[which];
	LWLockAcquire(row_count->lock, LW_SHARED);
	known = row_count->state == ROW_COUNT_KNOWN;
	*value = (int64) pg_atomic_read_u64(&row_count->value);
	LWLockRelease(row_count->lock);
	*value = Max(*value + pending_get_row_count(which), 0);
	return known;
}

bool
row_count_of_queue(NullableDatum queue, int64 *length)
{
	DatabaseSlot *database = my_database_slot();
	text	   *name = DatumGetTextPP(queue.value);
	QueueSlot  *state;
	RowCount   *row_count;
	bool		known;

	if (!row_count_applies(database) || pending_truncates(COUNTED_JOBS))
		return false;
	row_count = &database->row_counts[COUNTED_JOBS];
	state = queue_slot_pin(MyDatabaseId, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), false);
	LWLockAcquire(row_count->lock, LW_SHARED);
	known = row_count->state == ROW_COUNT_KNOWN &&
		(state != NULL ? !state->uncounted : pg_atomic_read_u32(&database->overflowed) == 0);
	*length = state != NULL ? (int64) pg_atomic_read_u64(&state->length) : 0;
	LWLockRelease(row_count->lock);
	if (state != NULL)
	{
		*length = Max(*length + pending_get_length(state), 0);
		queue_slot_unpin(state);
	}
	return known;
}

/* ----- adding ----- */

/*
 * Could the snapshot that is or was counted see the transaction, which has
 * committed?
 */
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

/* Has the difference that a committed transaction made to be added? */
bool
row_count_takes(const RowCount *row_count, FullTransactionId xid)
{
	return row_count->state != ROW_COUNT_UNKNOWN && !counted_snapshot_sees(row_count, xid);
}

/* ----- prepared transactions ----- */

void
row_count_forget(DatabaseSlot *database)
{
	uint32		number = pg_atomic_add_fetch_u32(&database->preparations, 1);

	pg_atomic_write_u32(&database->prepared, Max(number, 1));
	for (int t = 0; t < COUNTED_TABLES; t++)
	{
		RowCount   *row_count = &database->row_counts[t];

		LWLockAcquire(row_count->lock, LW_EXCLUSIVE);
		row_count->state = ROW_COUNT_UNKNOWN;
		LWLockRelease(row_count->lock);
	}
}

STATEMENT(prepared_here, STMT_READ_ONLY,
		  "SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()");

/*
 * Is there a prepared transaction, of whatever kind, in this database?  Puts
 * the mark, after a crash, and takes it away when the last one is gone, unless
 * another one came meanwhile.
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

/* A recent xid, with what tells it from those of other rounds. */
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
 * Take the snapshot to count in, such that each commit either is in it or
 * knows that it is not.  False: somebody else counts, or counts cannot be kept.
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
	/* first, as it may run out of memory, and nobody would end the counting */
	PushActiveSnapshot(GetLatestSnapshot());
	snapshot = GetActiveSnapshot();
	row_count->xmin = snapshot->xmin;
	row_count->xmax = full_transaction_id(snapshot->xmax);
	row_count->xcnt = snapshot->xcnt;
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

/* An error, or a prepared transaction: what was counted is of no use. */
static void
give_up_counting(int code, Datum which)
{
	RowCount   *row_count = &my_database_slot()->row_counts[DatumGetInt32(which)];

	LWLockAcquire(row_count->lock, LW_EXCLUSIVE);
	if (row_count->state == ROW_COUNT_COUNTING && row_count->counter == MyProcPid)
		row_count->state = ROW_COUNT_UNKNOWN;
	LWLockRelease(row_count->lock);
}

static void
add_to_queue(text *name, int64 count)
{
	QueueSlot  *queue = queue_slot_pin(MyDatabaseId, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), true);

	if (queue == NULL)
		return;					/* its length is not kept */
	pg_atomic_fetch_add_u64(&queue->length, count);
	queue_slot_unpin(queue);
}

/* Add up what the statement counted. */
static int64
counted_sum(void)
{
	int64		sum = 0;

	for (uint64 i = 0; i < SPI_processed; i++)
		sum += DatumGetInt64(result_value(i, 2).value);
	return sum;
}

static void
keep_counted(RowCount *row_count)
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
		pg_atomic_fetch_add_u64(&row_count->value, counted_sum());
		row_count->state = ROW_COUNT_KNOWN;
	}
	LWLockRelease(row_count->lock);
}

static void
count_and_keep(CountedTable which, SqlStatement *statement)
{
	PG_ENSURE_ERROR_CLEANUP(give_up_counting, Int32GetDatum(which));
	{
		statement_run(statement, NULL);
		keep_counted(&my_database_slot()->row_counts[which]);
	}
	PG_END_ENSURE_ERROR_CLEANUP(give_up_counting, Int32GetDatum(which));
	PopActiveSnapshot();
}

/*
 * Only a transaction that has written nothing may count for all: whether what
 * it wrote will be committed is not known yet.
 */
int64
row_count_scan(CountedTable which, SqlStatement *statement)
{
	DatabaseSlot *database = my_database_slot();

	if (database != NULL && !IsolationUsesXactSnapshot() && !IsInParallelMode() &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		!row_count_check_prepared(database) && begin_counting(which))
		count_and_keep(which, statement);
	else
		statement_run(statement, NULL);
	return counted_sum();
}

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
tally_applies(DatabaseState *database)
{
	return database != NULL && !IsolationUsesXactSnapshot() && !IsInParallelMode() &&
		pg_atomic_read_u32(&database->prepared) == 0;
}

/* What is committed, and what this transaction has done so far. */
bool
tally_value(Tallied which, int64 *value)
{
	DatabaseState *database = my_database();
	Tally	   *tally;
	bool		known;

	if (!tally_applies(database) || changes_truncated(which))
		return false;
	tally = &database->tallies[which];
	LWLockAcquire(tally->lock, LW_SHARED);
	known = tally->state == TALLY_KNOWN;
	*value = (int64) pg_atomic_read_u64(&tally->value);
	LWLockRelease(tally->lock);
	*value = Max(*value + uncommitted_tally(which), 0);
	return known;
}

bool
tally_of_queue(NullableDatum queue, int64 *length)
{
	DatabaseState *database = my_database();
	text	   *name = DatumGetTextPP(queue.value);
	QueueState *state;
	Tally	   *tally;
	bool		known;

	if (!tally_applies(database) || changes_truncated(TALLY_JOBS))
		return false;
	tally = &database->tallies[TALLY_JOBS];
	state = pin_queue(MyDatabaseId, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), false);
	LWLockAcquire(tally->lock, LW_SHARED);
	known = tally->state == TALLY_KNOWN &&
		(state != NULL ? !state->uncounted : pg_atomic_read_u32(&database->overflowed) == 0);
	*length = state != NULL ? (int64) pg_atomic_read_u64(&state->length) : 0;
	LWLockRelease(tally->lock);
	if (state != NULL)
	{
		*length = Max(*length + uncommitted_length(state), 0);
		unpin_queue(state);
	}
	return known;
}

/* ----- adding ----- */

/*
 * Could the snapshot that is or was counted see the transaction, which has
 * committed?
 */
static bool
counted_snapshot_sees(const Tally *tally, FullTransactionId full_xid)
{
	TransactionId xid = XidFromFullTransactionId(full_xid);
	int			low = 0,
				high = tally->xcnt;

	if (FullTransactionIdFollowsOrEquals(full_xid, tally->xmax))
		return false;
	if (TransactionIdPrecedes(xid, tally->xmin))
		return true;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (tally->xip[middle] == xid)
			return false;
		if (tally->xip[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return true;
}

/* Has the difference that a committed transaction made to be added? */
bool
tally_takes(const Tally *tally, FullTransactionId xid)
{
	return tally->state != TALLY_UNKNOWN && !counted_snapshot_sees(tally, xid);
}

/* ----- prepared transactions ----- */

void
tally_prepared(DatabaseState *database)
{
	uint32		number = pg_atomic_add_fetch_u32(&database->preparations, 1);

	pg_atomic_write_u32(&database->prepared, Max(number, 1));
	for (int t = 0; t < TALLIES; t++)
	{
		Tally	   *tally = &database->tallies[t];

		LWLockAcquire(tally->lock, LW_EXCLUSIVE);
		tally->state = TALLY_UNKNOWN;
		LWLockRelease(tally->lock);
	}
}

READS(prepared_here,
	  "SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()");

/*
 * Is there a prepared transaction, of whatever kind, in this database?  Puts
 * the mark, after a crash, and takes it away when the last one is gone, unless
 * another one came meanwhile.
 */
bool
prepared_transactions(DatabaseState *database)
{
	uint32		mark = pg_atomic_read_u32(&database->prepared);
	bool		found;

	if (max_prepared_xacts == 0)
		return false;
	found = run_statement(&prepared_here, NULL) > 0;
	if (found && mark == 0)
		tally_prepared(database);
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

static void
clear_lengths(void)
{
	HASH_SEQ_STATUS scan;
	QueueState *queue;

	LWLockAcquire(shared->table_lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, queue_states);
	while ((queue = hash_seq_search(&scan)) != NULL)
		if (queue->key.database == MyDatabaseId)
		{
			pg_atomic_write_u64(&queue->length, 0);
			queue->uncounted = false;
		}
	pg_atomic_write_u32(&my_database()->overflowed, 0);
	LWLockRelease(shared->table_lock);
}

/*
 * Take the snapshot to count in, such that each commit either is in it or
 * knows that it is not.  False: somebody else counts, or counts cannot be kept.
 */
static bool
begin_counting(Tallied which)
{
	Tally	   *tally = &my_database()->tallies[which];
	Snapshot	snapshot;

	LWLockAcquire(tally->lock, LW_EXCLUSIVE);
	if (tally->state != TALLY_UNKNOWN || pg_atomic_read_u32(&my_database()->prepared) != 0)
	{
		LWLockRelease(tally->lock);
		return false;
	}
	/* first, as it may run out of memory, and nobody would end the counting */
	PushActiveSnapshot(GetLatestSnapshot());
	snapshot = GetActiveSnapshot();
	tally->xmin = snapshot->xmin;
	tally->xmax = full_transaction_id(snapshot->xmax);
	tally->xcnt = snapshot->xcnt;
	memcpy(tally->xip, snapshot->xip, snapshot->xcnt * sizeof(TransactionId));
	qsort(tally->xip, tally->xcnt, sizeof(TransactionId), compare_xids);
	pg_atomic_write_u64(&tally->value, 0);
	if (which == TALLY_JOBS)
		clear_lengths();
	tally->state = TALLY_COUNTING;
	tally->counter = MyProcPid;
	LWLockRelease(tally->lock);
	return true;
}

/* An error, or a prepared transaction: what was counted is of no use. */
static void
give_up_counting(int code, Datum which)
{
	Tally	   *tally = &my_database()->tallies[DatumGetInt32(which)];

	LWLockAcquire(tally->lock, LW_EXCLUSIVE);
	if (tally->state == TALLY_COUNTING && tally->counter == MyProcPid)
		tally->state = TALLY_UNKNOWN;
	LWLockRelease(tally->lock);
}

static void
add_to_queue(text *name, int64 count)
{
	QueueState *queue = pin_queue(MyDatabaseId, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), true);

	if (queue == NULL)
		return;					/* its length is not kept */
	pg_atomic_fetch_add_u64(&queue->length, count);
	unpin_queue(queue);
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
keep_counted(Tally *tally)
{
	LWLockAcquire(tally->lock, LW_EXCLUSIVE);
	if (tally->state == TALLY_COUNTING && tally->counter == MyProcPid)
	{
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			NullableDatum queue = result_value(i, 1);

			if (!queue.isnull)
				add_to_queue(DatumGetTextPP(queue.value),
							 DatumGetInt64(result_value(i, 2).value));
		}
		pg_atomic_fetch_add_u64(&tally->value, counted_sum());
		tally->state = TALLY_KNOWN;
	}
	LWLockRelease(tally->lock);
}

static void
count_and_keep(Tallied which, Statement *statement)
{
	PG_ENSURE_ERROR_CLEANUP(give_up_counting, Int32GetDatum(which));
	{
		run_statement(statement, NULL);
		keep_counted(&my_database()->tallies[which]);
	}
	PG_END_ENSURE_ERROR_CLEANUP(give_up_counting, Int32GetDatum(which));
	PopActiveSnapshot();
}

/*
 * Only a transaction that has written nothing may count for all: whether what
 * it wrote will be committed is not known yet.
 */
int64
count_tally(Tallied which, Statement *statement)
{
	DatabaseState *database = my_database();

	if (database != NULL && !IsolationUsesXactSnapshot() && !IsInParallelMode() &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		!prepared_transactions(database) && begin_counting(which))
		count_and_keep(which, statement);
	else
		run_statement(statement, NULL);
	return counted_sum();
}

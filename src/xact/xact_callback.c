/*-------------------------------------------------------------------------
 *
 * xact_callback.c
 *		What happens in shared memory at the end of a transaction.
 *
 * The callback at commit runs when the rows are visible to others and before the
 * client knows: nothing in it may fail, so all memory is there and all queues are
 * pinned by then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"

#include "common/injection_points.h"
#include "shmem/database_slot.h"
#include "shmem/low_water_mark.h"
#include "shmem/queue_slot.h"
#include "shmem/reset.h"
#include "shmem/shmem.h"
#include "shmem/wait_queue.h"
#include "shmem/worker_slot.h"
#include "sqlfunc/result.h"
#include "xact/async_commit.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"
#include "xact/row_count.h"
#include "xact/xact_callback.h"

/* ----- commit ----- */

static void
set_length(QueueChange *change, bool truncated)
{
	if (truncated)
		pg_atomic_write_u64(&change->queue->length, change->length);
	else if (change->length != 0)
		pg_atomic_fetch_add_u64(&change->queue->length, change->length);
}

static void
clear_lengths(void)
{
	HASH_SEQ_STATUS scan;
	QueueState *queue;

	LWLockAcquire(shared->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_states);
	while ((queue = hash_seq_search(&scan)) != NULL)
		if (queue->key.database == MyDatabaseId)
			pg_atomic_write_u64(&queue->length, 0);
	LWLockRelease(shared->table_lock);
}

static void
apply_tally(Changes *all, Tallied which, FullTransactionId xid)
{
	Tally	   *tally = &my_database()->tallies[which];
	bool		truncated = all->truncated[which];
	slist_iter	iter;

	if (!truncated && all->tallies[which] == 0 &&
		(which != TALLY_JOBS || slist_is_empty(&all->queues)))
		return;
	LWLockAcquire(tally->lock, truncated ? LW_EXCLUSIVE : LW_SHARED);
	if (tally_takes(tally, xid))
	{
		if (truncated)
			pg_atomic_write_u64(&tally->value, all->tallies[which]);
		else
			pg_atomic_fetch_add_u64(&tally->value, all->tallies[which]);
		if (which == TALLY_JOBS)
		{
			if (truncated)
				clear_lengths();
			slist_foreach(iter, &all->queues)
				set_length(slist_container(QueueChange, node, iter.cur), truncated);
		}
	}
	LWLockRelease(tally->lock);
	if (truncated && which == TALLY_JOBS)
		end_all_pulses(MyDatabaseId);
}

static void
apply_queue_change(QueueChange *change)
{
	QueueState *queue = change->queue;
	bool		sooner;
	int64		wake = change->ready;
	bool		notice;

	SpinLockAcquire(&queue->mutex);
	lower_bounds(&queue->cursor, &change->came);
	for (int i = 0; i < COUNTS; i++)
		queue->counts[i] += change->counts[i];
	sooner = change->next_due < queue->next_due;
	queue->next_due = Min(queue->next_due, change->next_due);
	if (change->configured)
	{
		queue->config_known = false;
		queue->config_version++;
	}
	if (queue->limited)
		wake += change->freed;
	notice = change->notice && !queue->notice;
	if (change->notice)
	{
		queue->notice = true;
		queue->notice_job = change->notice_job;
	}
	SpinLockRelease(&queue->mutex);

	if (change->configured)
		wake_whole_queue(queue);
	else
		wake_queue(queue, wake);
	if (sooner)
		wake_timekeeper(queue);
	if (notice)
		attend(my_database(), ATTEND_NOTICES);
}

static void
publish_notices(Changes *all)
{
	slist_iter	iter;

	if (slist_is_empty(&all->notices))
		return;
	SpinLockAcquire(&shared->mutex);
	slist_foreach(iter, &all->notices)
	{
		Notice	   *notice = slist_container(NoticeChange, node, iter.cur)->notice;

		notice->number = ++shared->notices;
		notice->ready = true;
	}
	SpinLockRelease(&shared->mutex);
	attend(my_database(), ATTEND_NOTICES);
}

static void
apply_changes(Changes *all)
{
	FullTransactionId xid = GetTopFullTransactionIdIfAny();
	slist_iter	iter;

	if (all->created)
		forget_database(MyDatabaseId, false);
	for (int t = 0; t < TALLIES; t++)
		apply_tally(all, t, xid);
	INJECT(commit_counted);
	slist_foreach(iter, &all->pulses)
	{
		PulseChange *change = slist_container(PulseChange, node, iter.cur);

		if (change->begins)
			confirm_pulse(&change->job, change->attempt);
		else
			end_pulse(&change->job, change->attempt);
	}
	slist_foreach(iter, &all->queues)
		apply_queue_change(slist_container(QueueChange, node, iter.cur));
	slist_foreach(iter, &all->keys)
		wake_key(slist_container(KeyChange, node, iter.cur)->key);
	publish_notices(all);
	if (all->attention != 0)
		attend(my_database(), all->attention);
	if (all->created)
		wake_launcher();
	INJECT(commit_told);
}

/* ----- rollback ----- */

/* Claimed jobs are there for others again. */
static void
give_claims_back(QueueChange *change)
{
	if (change->claimed == 0)
		return;
	SpinLockAcquire(&change->queue->mutex);
	lower_bounds(&change->queue->cursor, &change->taken);
	SpinLockRelease(&change->queue->mutex);
	wake_queue(change->queue, change->claimed);
}

static void
free_notices(Changes *level)
{
	slist_iter	iter;

	SpinLockAcquire(&shared->mutex);
	slist_foreach(iter, &level->notices)
	{
		slist_container(NoticeChange, node, iter.cur)->notice->database = InvalidOid;
		shared->notices_taken--;
	}
	SpinLockRelease(&shared->mutex);
}

static void
unpin_queues(Changes *level)
{
	slist_iter	iter;

	slist_foreach(iter, &level->queues)
		unpin_queue(slist_container(QueueChange, node, iter.cur)->queue);
}

static void
undo_changes(Changes *level)
{
	slist_iter	iter;

	INJECT(abort_begun);
	slist_foreach(iter, &level->pulses)
	{
		PulseChange *change = slist_container(PulseChange, node, iter.cur);

		if (change->begins)
			end_pulse(&change->job, change->attempt);
	}
	slist_foreach(iter, &level->queues)
		give_claims_back(slist_container(QueueChange, node, iter.cur));
	free_notices(level);
	unpin_queues(level);
	INJECT(abort_told);
}

/* ----- subtransactions ----- */

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (changes == NULL || changes->level < level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		if (changes->outer != NULL && changes->outer->level == level - 1)
		{
			Changes    *inner = changes;

			changes = inner->outer;
			merge_changes(changes, inner);
			free_changes(inner);
		}
		else
			changes->level = level - 1;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		Changes    *inner = changes;

		changes = inner->outer;
		undo_changes(inner);
		free_changes(inner);
	}
}

/* ----- transactions ----- */

/*
 * Nobody will tell us when a prepared transaction is committed.  While there
 * are some, waiters look from time to time and counts are not known.
 */
static void
prepare_changes(Changes *all)
{
	slist_iter	iter;

	INJECT(prepare_begun);
	tally_prepared(my_database());
	slist_foreach(iter, &all->pulses)
	{
		PulseChange *change = slist_container(PulseChange, node, iter.cur);

		end_pulse(&change->job, change->attempt);
	}
	slist_foreach(iter, &all->queues)
	{
		QueueState *queue = slist_container(QueueChange, node, iter.cur)->queue;

		SpinLockAcquire(&queue->mutex);
		forget_bounds(&queue->cursor);
		SpinLockRelease(&queue->mutex);
		wake_whole_queue(queue);
	}
	free_notices(all);
	unpin_queues(all);
	INJECT(prepare_told);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	Changes    *all = changes;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			INJECT_WHEN(all != NULL || TransactionIdIsValid(GetTopTransactionIdIfAny()), commit_begun);
			lazy_commit_at_pre_commit();
			return;
		case XACT_EVENT_COMMIT:
			changes = NULL;
			INJECT_WHEN(all != NULL || TransactionIdIsValid(GetTopTransactionIdIfAny()), commit_visible);
			if (all != NULL)
			{
				apply_changes(all);
				unpin_queues(all);
			}
			break;
		case XACT_EVENT_PREPARE:
			changes = NULL;
			if (all != NULL)
				prepare_changes(all);
			break;
		case XACT_EVENT_ABORT:
			/* levels within are undone already, unless the server stops */
			for (changes = NULL; all != NULL; all = all->outer)
				undo_changes(all);
			break;
		default:
			return;
	}
	lazy_commit_at_end();
}

/* Once per process: the server keeps the callbacks. */
void
define_changes(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

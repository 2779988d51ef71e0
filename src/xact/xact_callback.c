/*-------------------------------------------------------------------------
 *
 * xact_callback.c
 *		Applying or undoing pending changes at the end of a transaction.
 *
 * At XACT_EVENT_COMMIT the rows are visible to other sessions, and the client
 * does not know of the commit yet.  An error there would be a PANIC.  So the
 * callback allocates nothing, and the queue slots that it changes are pinned.
 * The locks that it takes are LWLocks, whose acquisition raises no error, and
 * spinlocks.
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
#include "xact/async_commit.h"
#include "xact/heartbeat.h"
#include "xact/notify.h"
#include "xact/pending.h"
#include "xact/row_count.h"
#include "xact/xact_callback.h"

/* ----- commit ----- */

/* TRUNCATE removed the jobs that were in the queue before. */
static void
set_length(PendingQueue *change, bool truncated)
{
	if (truncated)
		pg_atomic_write_u64(&change->queue->length, change->length);
	else if (change->length != 0)
		pg_atomic_fetch_add_u64(&change->queue->length, change->length);
}

static void
apply_row_count(PendingChanges *all, CountedTable which, FullTransactionId xid)
{
	RowCount   *row_count = &my_database_slot()->row_counts[which];
	bool		truncated = all->truncated[which];
	slist_iter	iter;

	if (!truncated && all->row_counts[which] == 0 &&
		(which != COUNTED_JOBS || slist_is_empty(&all->queues)))
		return;
	LWLockAcquire(row_count->lock, truncated ? LW_EXCLUSIVE : LW_SHARED);
	if (row_count_must_add(row_count, xid))
	{
		if (truncated)
			pg_atomic_write_u64(&row_count->value, all->row_counts[which]);
		else
			pg_atomic_fetch_add_u64(&row_count->value, all->row_counts[which]);
		if (which == COUNTED_JOBS)
		{
			if (truncated)
				queue_slots_clear_lengths();
			slist_foreach(iter, &all->queues)
				set_length(slist_container(PendingQueue, node, iter.cur), truncated);
		}
	}
	LWLockRelease(row_count->lock);
	if (truncated && which == COUNTED_JOBS)
		heartbeat_remove_all(MyDatabaseId);
}

static void
apply_pending_queue(PendingQueue *change)
{
	QueueSlot  *queue = change->queue;
	bool		sooner;
	int64		wake = change->ready;
	bool		notify;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	low_water_marks_lower(&queue->low_water_marks, &change->ready_bounds);
	for (int i = 0; i < QUEUE_COUNTERS; i++)
		queue->counters[i] += change->counters[i];
	sooner = change->next_due < queue->next_due;
	queue->next_due = Min(queue->next_due, change->next_due);
	if (change->configured)
	{
		queue->config_known = false;
		queue->config_version++;
	}
	if (queue->limited)
		wake += change->freed;
	notify = change->notify_pending && !queue->notify_pending;
	if (change->notify_pending)
	{
		queue->notify_pending = true;
		queue->notify_job_id = change->notify_job_id;
	}
	LWLockRelease(&queue->lock);

	if (change->configured)
		wake_all_queue_waiters(queue);
	else
		wake_queue_waiters(queue, wake);
	if (sooner)
		wake_timekeeper(queue);
	if (notify)
		worker_request(my_database_slot(), WORKER_REQ_NOTIFY);
}

/*
 * Claims first: a claim may use the entry of an earlier claim that the same
 * transaction has ended.  The end of the earlier claim then leaves the entry alone.
 */
static void
apply_claims(PendingChanges *all)
{
	slist_iter	iter;

	slist_foreach(iter, &all->claims)
		heartbeat_activate(slist_container(PendingClaim, node, iter.cur));
	slist_foreach(iter, &all->claim_ends)
	{
		PendingClaimEnd *end = slist_container(PendingClaimEnd, node, iter.cur);

		heartbeat_remove(&end->job, end->attempt);
	}
}

static void
apply_pending(PendingChanges *all)
{
	FullTransactionId xid = GetTopFullTransactionIdIfAny();
	slist_iter	iter;

	if (all->created)
		database_slot_reset(MyDatabaseId, false);
	if (all->counts_forgotten)
		row_count_set_unknown(my_database_slot());
	for (int t = 0; t < COUNTED_TABLES; t++)
		apply_row_count(all, t, xid);
	INJECT(commit_counted);
	apply_claims(all);
	slist_foreach(iter, &all->queues)
		apply_pending_queue(slist_container(PendingQueue, node, iter.cur));
	slist_foreach(iter, &all->keys)
		wake_key_waiters(slist_container(PendingKey, node, iter.cur)->key);
	notify_publish(all);
	if (all->requests != 0)
		worker_request(my_database_slot(), all->requests);
	if (all->created)
		launcher_wake();
	INJECT(commit_told);
}

/* ----- rollback ----- */

/*
 * Other sessions may claim these jobs again.  Pops that found them locked have
 * raised the low-water marks past them.
 */
static void
undo_taken(PendingQueue *change)
{
	if (change->taken == 0 && change->claiming == 0)
		return;
	LWLockAcquire(&change->queue->lock, LW_EXCLUSIVE);
	low_water_marks_lower(&change->queue->low_water_marks, &change->taken_bounds);
	if (change->claiming > 0)
		low_water_marks_forget(&change->queue->low_water_marks);
	LWLockRelease(&change->queue->lock);
	wake_queue_waiters(change->queue, change->taken + change->claiming);
}

/* The claims that this level ended have kept their entries. */
static void
cancel_claims(PendingChanges *level)
{
	slist_iter	iter;

	slist_foreach(iter, &level->claims)
		heartbeat_cancel(&slist_container(PendingClaim, node, iter.cur)->claim);
}

static void
queue_slots_unpin(PendingChanges *level)
{
	slist_iter	iter;

	slist_foreach(iter, &level->queues)
		queue_slot_unpin(slist_container(PendingQueue, node, iter.cur)->queue);
}

static void
undo_pending(PendingChanges *level)
{
	slist_iter	iter;

	INJECT(abort_begun);
	cancel_claims(level);
	slist_foreach(iter, &level->queues)
		undo_taken(slist_container(PendingQueue, node, iter.cur));
	notify_discard(level);
	queue_slots_unpin(level);
	INJECT(abort_told);
}

/* ----- subtransactions ----- */

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (pending == NULL || pending->level < level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		if (pending->outer != NULL && pending->outer->level == level - 1)
		{
			PendingChanges *inner = pending;

			pending = inner->outer;
			pending_merge(pending, inner);
			pending_free(inner);
		}
		else
			pending->level = level - 1;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		PendingChanges *inner = pending;

		pending = inner->outer;
		undo_pending(inner);
		pending_free(inner);
	}
}

/* ----- transactions ----- */

/*
 * The prepared transaction may commit or roll back.  Its claims get entries from
 * their first heartbeats.  The claims that it ended keep their entries, and their
 * heartbeats must ask the rows.
 */
static void
prepare_claims(PendingChanges *all)
{
	slist_iter	iter;

	cancel_claims(all);
	slist_foreach(iter, &all->claim_ends)
	{
		PendingClaimEnd *end = slist_container(PendingClaimEnd, node, iter.cur);

		heartbeat_suspend_ended(&end->job, end->attempt);
	}
}

static bool
has_counted(const PendingQueue *change)
{
	for (int i = 0; i < QUEUE_COUNTERS; i++)
		if (change->counters[i] != 0)
			return true;
	return false;
}

/* Nobody will know whether what the transaction has counted was committed. */
static void
prepare_queue(PendingQueue *change)
{
	QueueSlot  *queue = change->queue;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	low_water_marks_forget(&queue->low_water_marks);
	if (has_counted(change))
		queue->counted = false;
	queue->config_known = false;
	queue->config_version++;
	LWLockRelease(&queue->lock);
	wake_all_queue_waiters(queue);
}

/*
 * No callback runs in this session when a prepared transaction commits.  While
 * prepared transactions exist, waiters poll and row counts are unknown.  The
 * waiters that a commit would wake are woken now, so that they begin to poll.
 */
static void
prepare_pending(PendingChanges *all)
{
	slist_iter	iter;

	INJECT(prepare_begun);
	row_count_forget(my_database_slot());
	prepare_claims(all);
	slist_foreach(iter, &all->queues)
		prepare_queue(slist_container(PendingQueue, node, iter.cur));
	slist_foreach(iter, &all->keys)
		wake_key_waiters(slist_container(PendingKey, node, iter.cur)->key);
	queue_slots_unpin(all);
	INJECT(prepare_told);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	PendingChanges *all = pending;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			INJECT_WHEN(all != NULL || TransactionIdIsValid(GetTopTransactionIdIfAny()), commit_begun);
			if (all != NULL)
				notify_before_commit(all);
			async_commit_pre_commit();
			return;
		case XACT_EVENT_PRE_PREPARE:
			if (all != NULL)
				notify_before_prepare(all);
			return;
		case XACT_EVENT_COMMIT:
			pending = NULL;
			INJECT_WHEN(all != NULL || TransactionIdIsValid(GetTopTransactionIdIfAny()), commit_visible);
			if (all != NULL)
			{
				apply_pending(all);
				queue_slots_unpin(all);
			}
			break;
		case XACT_EVENT_PREPARE:
			pending = NULL;
			if (all != NULL)
				prepare_pending(all);
			break;
		case XACT_EVENT_ABORT:

			/*
			 * subtransactions have undone their levels, unless the session
			 * ends
			 */
			for (pending = NULL; all != NULL; all = all->outer)
				undo_pending(all);
			break;
		default:
			return;
	}
	async_commit_reset();
}

/* Once for the process: the server keeps the callbacks. */
void
xact_callback_register(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

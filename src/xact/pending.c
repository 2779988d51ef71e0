/*-------------------------------------------------------------------------
 *
 * pending.c
 *		What the current transaction will change in shared memory at its commit.
 *
 * Each (sub)transaction with changes has a PendingChanges of its own.  When a
 * subtransaction commits, its changes become those of its parent.  When it rolls
 * back, they are discarded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/compat.h"
#include "common/limits.h"
#include "shmem/database_slot.h"
#include "shmem/low_water_mark.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "xact/pending.h"

PendingChanges *pending = NULL;

/* ----- collecting ----- */

static void *
pending_alloc(Size size)
{
	return MemoryContextAllocZero(TopTransactionContext, size);
}

/* The changes of the current (sub)transaction. */
static PendingChanges *
pending_current_level(void)
{
	int			level = GetCurrentTransactionNestLevel();

	if (pending == NULL || pending->level < level)
	{
		PendingChanges *inner = pending_alloc(sizeof(PendingChanges));

		inner->outer = pending;
		inner->level = level;
		pending = inner;
	}
	return pending;
}

void
pending_row_count(CountedTable which, int64 difference)
{
	pending_current_level()->row_counts[which] += difference;
}

/* TRUNCATE removes the rows that this transaction has added, too. */
void
pending_truncate(CountedTable which)
{
	PendingChanges *current = pending_current_level();

	current->truncated[which] = true;
	current->row_counts[which] = 0;
	if (which == COUNTED_JOBS)
	{
		slist_iter	iter;

		slist_foreach(iter, &current->queues)
			slist_container(PendingQueue, node, iter.cur)->length = 0;
	}
}

void
pending_forget_counts(void)
{
	pending_current_level()->counts_forgotten = true;
}

static PendingQueue *
find_pending_queue(PendingChanges *level, const QueueKey *key)
{
	slist_iter	iter;

	slist_foreach(iter, &level->queues)
	{
		PendingQueue *change = slist_container(PendingQueue, node, iter.cur);

		if (memcmp(&change->queue->key, key, sizeof(QueueKey)) == 0)
			return change;
	}
	return NULL;
}

/*
 * The slot of a queue, pinned until the transaction ends, and a place for pending
 * changes of the queue.  NULL: the queue has no slot in shared memory.
 */
QueueSlot *
pending_queue(const text *name)
{
	PendingChanges *current;
	PendingQueue *change;
	QueueKey	key;
	int			length = VARSIZE_ANY_EXHDR(name);

	if (my_database_slot() == NULL || length > KEY_MAX)
		return NULL;
	current = pending_current_level();
	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	memcpy(key.name, VARDATA_ANY(name), length);
	change = find_pending_queue(current, &key);
	if (change == NULL)
	{
		change = pending_alloc(sizeof(PendingQueue));
		change->next_due = DT_NOEND;
		change->ready_bounds.complete = change->taken_bounds.complete = true;
		change->queue = queue_slot_pin(MyDatabaseId, VARDATA_ANY(name), length, true);
		if (change->queue == NULL)
		{
			pfree(change);		/* a transaction may add a million jobs */
			return NULL;
		}
		slist_push_head(&current->queues, &change->node);
	}
	return change->queue;
}

static PendingQueue *
pending_queue_entry(const QueueSlot *queue)
{
	return find_pending_queue(pending, &queue->key);
}

void
pending_length(QueueSlot *queue, int64 difference)
{
	pending_queue_entry(queue)->length += difference;
}

/* A job becomes ready at the commit, or when it is due. */
void
pending_ready(QueueSlot *queue, const JobPosition *job)
{
	PendingQueue *change = pending_queue_entry(queue);

	if (job->run_at <= GetCurrentTimestamp())
		change->ready++;
	else
		change->next_due = Min(change->next_due, job->run_at);
	ready_bounds_add(&change->ready_bounds, job);
}

/*
 * A statement begins that may claim so many jobs, or, with a negative number, has
 * ended.  If it fails in between, nobody knows which jobs it has locked.
 */
void
pending_claiming(QueueSlot *queue, int64 difference)
{
	pending_queue_entry(queue)->claiming += difference;
}

/* A ready job was claimed, changed or removed: after a rollback it is ready again. */
void
pending_taken(QueueSlot *queue, const JobPosition *job)
{
	PendingQueue *change = pending_queue_entry(queue);

	change->taken++;
	ready_bounds_add(&change->taken_bounds, job);
}

/* A running job ended or is ready again: under a limit, another job may run. */
void
pending_job_stopped(QueueSlot *queue)
{
	pending_queue_entry(queue)->freed++;
}

void
pending_config_change(QueueSlot *queue)
{
	pending_queue_entry(queue)->configured = true;
}

void
pending_counter(QueueSlot *queue, QueueCounter what, int64 count)
{
	pending_queue_entry(queue)->counters[what] += count;
}

void
pending_job_notification(QueueSlot *queue, const pg_uuid_t *job)
{
	PendingQueue *change = pending_queue_entry(queue);

	change->notify_pending = true;
	change->notify_job_id = *job;
}

PendingClaim *
pending_claim_begin(const Claim *claim)
{
	PendingChanges *current = pending_current_level();
	PendingClaim *change = pending_alloc(sizeof(PendingClaim));

	change->claim = *claim;
	change->claimed_at = monotonic_now();
	change->replaces = claim->attempt;
	slist_push_head(&current->claims, &change->node);
	return change;
}

void
pending_claim_end(const pg_uuid_t *job, int attempt)
{
	PendingChanges *current = pending_current_level();
	PendingClaimEnd *change = pending_alloc(sizeof(PendingClaimEnd));

	change->job = *job;
	change->attempt = attempt;
	slist_push_head(&current->claim_ends, &change->node);
}

void
pending_wake_key(uint64 key)
{
	PendingChanges *current = pending_current_level();
	PendingKey *change = pending_alloc(sizeof(PendingKey));

	change->key = key;
	slist_push_head(&current->keys, &change->node);
}

void
pending_notification(const char *channel, const char *payload)
{
	PendingChanges *current = pending_current_level();
	PendingNotification *change = pending_alloc(offsetof(PendingNotification, payload) + strlen(payload) + 1);

	change->channel = channel;
	strcpy(change->payload, payload);
	dlist_push_tail(&current->notifications, &change->node);
}

void
pending_extension_created(void)
{
	pending_current_level()->created = true;
}

void
pending_worker_request(uint32 flags)
{
	pending_current_level()->requests |= flags;
}

/* ----- reading, by the transaction itself ----- */

int64
pending_get_row_count(CountedTable which)
{
	int64		sum = 0;

	for (PendingChanges *level = pending; level != NULL; level = level->outer)
		sum += level->row_counts[which];
	return sum;
}

int64
pending_get_length(QueueSlot *queue)
{
	int64		sum = 0;

	for (PendingChanges *level = pending; level != NULL; level = level->outer)
	{
		PendingQueue *change = find_pending_queue(level, &queue->key);

		if (change != NULL)
			sum += change->length;
	}
	return sum;
}

/* Has this transaction changed the configuration of the queue? */
bool
pending_changes_config(const QueueSlot *queue)
{
	for (PendingChanges *level = pending; level != NULL; level = level->outer)
	{
		PendingQueue *change = find_pending_queue(level, &queue->key);

		if (change != NULL && change->configured)
			return true;
	}
	return false;
}

static void
merge_bounds(ReadyBounds *outer, const ReadyBounds *inner)
{
	if (!inner->complete)
		outer->complete = false;
	for (int i = 0; i < inner->levels; i++)
		ready_bounds_add(outer, &inner->first[i]);
}

/*
 * Lower the bounds to the jobs that this transaction made ready.  The low-water
 * marks learn of these jobs at the commit.  False: the bounds are not complete,
 * because the jobs have too many priorities.
 */
bool
pending_add_ready_bounds(ReadyBounds *bounds, const QueueSlot *queue)
{
	for (PendingChanges *level = pending; level != NULL; level = level->outer)
	{
		PendingQueue *change = find_pending_queue(level, &queue->key);

		if (change != NULL)
			merge_bounds(bounds, &change->ready_bounds);
	}
	return bounds->complete;
}

static bool
level_changes_claim(PendingChanges *level, const pg_uuid_t *job)
{
	slist_iter	iter;

	slist_foreach(iter, &level->claims)
	{
		if (memcmp(&slist_container(PendingClaim, node, iter.cur)->claim.job, job, UUID_LEN) == 0)
			return true;
	}
	slist_foreach(iter, &level->claim_ends)
	{
		if (memcmp(&slist_container(PendingClaimEnd, node, iter.cur)->job, job, UUID_LEN) == 0)
			return true;
	}
	return false;
}

/* Has this transaction claimed the job, or ended a claim of it? */
bool
pending_changes_claim(const pg_uuid_t *job)
{
	for (PendingChanges *level = pending; level != NULL; level = level->outer)
		if (level_changes_claim(level, job))
			return true;
	return false;
}

bool
pending_truncates(CountedTable which)
{
	for (PendingChanges *level = pending; level != NULL; level = level->outer)
		if (level->truncated[which])
			return true;
	return false;
}

bool
pending_forgets_counts(void)
{
	for (PendingChanges *level = pending; level != NULL; level = level->outer)
		if (level->counts_forgotten)
			return true;
	return false;
}

/* ----- subtransactions ----- */

static void
merge_pending_queue(PendingQueue *outer, const PendingQueue *inner)
{
	outer->length += inner->length;
	outer->ready += inner->ready;
	outer->taken += inner->taken;
	outer->freed += inner->freed;
	outer->configured |= inner->configured;
	outer->next_due = Min(outer->next_due, inner->next_due);
	merge_bounds(&outer->ready_bounds, &inner->ready_bounds);
	merge_bounds(&outer->taken_bounds, &inner->taken_bounds);
	for (int i = 0; i < QUEUE_COUNTERS; i++)
		outer->counters[i] += inner->counters[i];
	if (inner->notify_pending)
	{
		outer->notify_pending = true;
		outer->notify_job_id = inner->notify_job_id;
	}
}

static void
merge_queues(PendingChanges *outer, PendingChanges *inner)
{
	slist_iter	each;
	slist_mutable_iter iter;

	if (inner->truncated[COUNTED_JOBS])
		slist_foreach(each, &outer->queues)
			slist_container(PendingQueue, node, each.cur)->length = 0;
	slist_foreach_modify(iter, &inner->queues)
	{
		PendingQueue *change = slist_container(PendingQueue, node, iter.cur);
		PendingQueue *same = find_pending_queue(outer, &change->queue->key);

		slist_delete_current(&iter);
		if (same != NULL)
		{
			merge_pending_queue(same, change);
			queue_slot_unpin(change->queue);
			pfree(change);
		}
		else
			slist_push_head(&outer->queues, &change->node);
	}
}

static void
append_list(slist_head *outer, slist_head *inner)
{
	while (!slist_is_empty(inner))
		slist_push_head(outer, slist_pop_head_node(inner));
}

/* A subtransaction committed: its changes become those of its parent. */
void
pending_merge(PendingChanges *outer, PendingChanges *inner)
{
	for (int t = 0; t < COUNTED_TABLES; t++)
	{
		if (inner->truncated[t])
		{
			outer->truncated[t] = true;
			outer->row_counts[t] = 0;
		}
		outer->row_counts[t] += inner->row_counts[t];
	}
	outer->counts_forgotten |= inner->counts_forgotten;
	outer->created |= inner->created;
	outer->requests |= inner->requests;
	merge_queues(outer, inner);
	append_list(&outer->claims, &inner->claims);
	append_list(&outer->claim_ends, &inner->claim_ends);
	append_list(&outer->keys, &inner->keys);
	while (!dlist_is_empty(&inner->notifications))
		dlist_push_tail(&outer->notifications, dlist_pop_head_node(&inner->notifications));
}

/*
 * Free the changes of a subtransaction.  A transaction may have a million of them,
 * and its memory context frees them only at its end.  Each list node is the first
 * field of its struct, so its address is the address to free.
 */
void
pending_free(PendingChanges *level)
{
	slist_head *lists[] = {
		&level->queues, &level->claims, &level->claim_ends, &level->keys
	};

	for (int i = 0; i < lengthof(lists); i++)
		while (!slist_is_empty(lists[i]))
			pfree(slist_pop_head_node(lists[i]));
	while (!dlist_is_empty(&level->notifications))
		pfree(dlist_pop_head_node(&level->notifications));
	pfree(level);
}

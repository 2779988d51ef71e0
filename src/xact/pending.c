/*-------------------------------------------------------------------------
 *
 * pending.c
 *		What the current transaction changes in shared memory, when it commits.
 *
 * Changes are kept per level of subtransactions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/limits.h"
#include "shmem/database_slot.h"
#include "shmem/low_water_mark.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/result.h"
#include "xact/pending.h"
#include "xact/row_count.h"

Changes    *changes = NULL;

/* ----- noting ----- */

static void *
change_memory(Size size)
{
	return MemoryContextAllocZero(TopTransactionContext, size);
}

/* The changes of the current level. */
static Changes *
current_changes(void)
{
	int			level = GetCurrentTransactionNestLevel();

	if (changes == NULL || changes->level < level)
	{
		Changes    *inner = change_memory(sizeof(Changes));

		inner->outer = changes;
		inner->level = level;
		changes = inner;
	}
	return changes;
}

void
note_tally(Tallied which, int64 difference)
{
	current_changes()->tallies[which] += difference;
}

/* All rows are gone, and with them what was noted of them. */
void
note_truncated(Tallied which)
{
	Changes    *current = current_changes();

	current->truncated[which] = true;
	current->tallies[which] = 0;
	if (which == TALLY_JOBS)
	{
		slist_iter	iter;

		slist_foreach(iter, &current->queues)
			slist_container(QueueChange, node, iter.cur)->length = 0;
	}
}

static QueueChange *
find_queue_change(Changes *level, const QueueState *queue)
{
	slist_iter	iter;

	slist_foreach(iter, &level->queues)
	{
		QueueChange *change = slist_container(QueueChange, node, iter.cur);

		if (change->queue == queue)
			return change;
	}
	return NULL;
}

static QueueChange *
find_queue_change_by_name(Changes *level, const QueueKey *key)
{
	slist_iter	iter;

	slist_foreach(iter, &level->queues)
	{
		QueueChange *change = slist_container(QueueChange, node, iter.cur);

		if (memcmp(&change->queue->key, key, sizeof(QueueKey)) == 0)
			return change;
	}
	return NULL;
}

/*
 * The state of a queue that this transaction changes, kept until it ends; NULL
 * when there is no place for it.
 */
QueueState *
changing_queue(const text *name)
{
	Changes    *current;
	QueueChange *change;
	QueueKey	key;
	int			length = VARSIZE_ANY_EXHDR(name);

	if (my_database() == NULL || length > KEY_MAX)
		return NULL;
	current = current_changes();
	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	memcpy(key.name, VARDATA_ANY(name), length);
	change = find_queue_change_by_name(current, &key);
	if (change == NULL)
	{
		change = change_memory(sizeof(QueueChange));
		change->next_due = DT_NOEND;
		change->came.complete = change->taken.complete = true;
		change->queue = pin_queue(MyDatabaseId, VARDATA_ANY(name), length, true);
		if (change->queue == NULL)
			return NULL;
		slist_push_head(&current->queues, &change->node);
	}
	return change->queue;
}

static QueueChange *
queue_change(const QueueState *queue)
{
	return find_queue_change(changes, queue);
}

void
note_length(QueueState *queue, int64 difference)
{
	queue_change(queue)->length += difference;
}

/* A job is ready, or will be when it is due. */
void
note_ready(QueueState *queue, const JobPosition *job)
{
	QueueChange *change = queue_change(queue);

	if (job->run_at <= GetCurrentTimestamp())
		change->ready++;
	else
		change->next_due = Min(change->next_due, job->run_at);
	add_level(&change->came, job);
}

/* Jobs were claimed, of which none comes before this one. */
void
note_claimed(QueueState *queue, const JobPosition *first, int count)
{
	QueueChange *change = queue_change(queue);

	change->claimed += count;
	change->counts[COUNT_POPPED] += count;
	add_level(&change->taken, first);
}

void
note_freed(QueueState *queue)
{
	queue_change(queue)->freed++;
}

void
note_configured(QueueState *queue)
{
	queue_change(queue)->configured = true;
}

void
note_counted(QueueState *queue, Counted what, int64 count)
{
	queue_change(queue)->counts[what] += count;
}

void
note_notice(QueueState *queue, const pg_uuid_t *job)
{
	QueueChange *change = queue_change(queue);

	change->notice = true;
	change->notice_job = *job;
}

void
note_pulse(const pg_uuid_t *job, int attempt, bool begins)
{
	Changes    *current = current_changes();
	PulseChange *change = change_memory(sizeof(PulseChange));

	change->job = *job;
	change->attempt = attempt;
	change->begins = begins;
	slist_push_head(&current->pulses, &change->node);
}

void
note_key(uint64 key)
{
	Changes    *current = current_changes();
	KeyChange  *change = change_memory(sizeof(KeyChange));

	change->key = key;
	slist_push_head(&current->keys, &change->node);
}

void
note_notice_slot(Notice *notice)
{
	Changes    *current = current_changes();
	NoticeChange *change = change_memory(sizeof(NoticeChange));

	change->notice = notice;
	slist_push_head(&current->notices, &change->node);
}

void
note_created(void)
{
	current_changes()->created = true;
}

void
note_attention(uint32 what)
{
	current_changes()->attention |= what;
}

/* ----- what this transaction itself sees ----- */

int64
uncommitted_tally(Tallied which)
{
	int64		sum = 0;

	for (Changes *level = changes; level != NULL; level = level->outer)
		sum += level->tallies[which];
	return sum;
}

int64
uncommitted_length(QueueState *queue)
{
	int64		sum = 0;

	for (Changes *level = changes; level != NULL; level = level->outer)
	{
		QueueChange *change = find_queue_change(level, queue);

		if (change != NULL)
			sum += change->length;
	}
	return sum;
}

/* Is the queue configured differently here than for others? */
bool
changes_configuration(const QueueState *queue)
{
	for (Changes *level = changes; level != NULL; level = level->outer)
	{
		QueueChange *change = find_queue_change(level, queue);

		if (change != NULL && change->configured)
			return true;
	}
	return false;
}

static void
merge_bounds(Bounds *outer, const Bounds *inner)
{
	if (!inner->complete)
		outer->complete = false;
	for (int i = 0; i < inner->levels; i++)
		add_level(outer, &inner->first[i]);
}

/*
 * Where this transaction made jobs ready, which nobody else knows of yet.
 * False: the bounds have no place for all of that.
 */
bool
add_uncommitted_ready(Bounds *bounds, const QueueState *queue)
{
	for (Changes *level = changes; level != NULL; level = level->outer)
	{
		QueueChange *change = find_queue_change(level, queue);

		if (change != NULL)
			merge_bounds(bounds, &change->came);
	}
	return bounds->complete;
}

bool
changes_truncated(Tallied which)
{
	for (Changes *level = changes; level != NULL; level = level->outer)
		if (level->truncated[which])
			return true;
	return false;
}

/* ----- subtransactions ----- */

static void
merge_queue_change(QueueChange *outer, const QueueChange *inner)
{
	outer->length += inner->length;
	outer->ready += inner->ready;
	outer->claimed += inner->claimed;
	outer->freed += inner->freed;
	outer->configured |= inner->configured;
	outer->next_due = Min(outer->next_due, inner->next_due);
	merge_bounds(&outer->came, &inner->came);
	merge_bounds(&outer->taken, &inner->taken);
	for (int i = 0; i < COUNTS; i++)
		outer->counts[i] += inner->counts[i];
	if (inner->notice)
	{
		outer->notice = true;
		outer->notice_job = inner->notice_job;
	}
}

static void
merge_queues(Changes *outer, Changes *inner)
{
	slist_iter	each;
	slist_mutable_iter iter;

	if (inner->truncated[TALLY_JOBS])
		slist_foreach(each, &outer->queues)
			slist_container(QueueChange, node, each.cur)->length = 0;
	slist_foreach_modify(iter, &inner->queues)
	{
		QueueChange *change = slist_container(QueueChange, node, iter.cur);
		QueueChange *same = find_queue_change(outer, change->queue);

		slist_delete_current(&iter);
		if (same != NULL)
		{
			merge_queue_change(same, change);
			unpin_queue(change->queue);
			pfree(change);
		}
		else
			slist_push_head(&outer->queues, &change->node);
	}
}

static void
append(slist_head *outer, slist_head *inner)
{
	while (!slist_is_empty(inner))
		slist_push_head(outer, slist_pop_head_node(inner));
}

/* A subtransaction committed: its changes are those of the one around it. */
void
merge_changes(Changes *outer, Changes *inner)
{
	for (int t = 0; t < TALLIES; t++)
	{
		if (inner->truncated[t])
		{
			outer->truncated[t] = true;
			outer->tallies[t] = 0;
		}
		outer->tallies[t] += inner->tallies[t];
	}
	outer->created |= inner->created;
	outer->attention |= inner->attention;
	merge_queues(outer, inner);
	append(&outer->pulses, &inner->pulses);
	append(&outer->keys, &inner->keys);
	append(&outer->notices, &inner->notices);
}

/*
 * What a level noted would stay in memory until the end of the transaction,
 * which may have a million of them.  Nodes are the first of what they link.
 */
void
free_changes(Changes *level)
{
	slist_head *lists[] = {&level->queues, &level->pulses, &level->keys, &level->notices};

	for (int i = 0; i < lengthof(lists); i++)
		while (!slist_is_empty(lists[i]))
			pfree(slist_pop_head_node(lists[i]));
	pfree(level);
}

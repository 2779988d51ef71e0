/*-------------------------------------------------------------------------
 *
 * changes.c
 *		What the current transaction changes in shared memory, when it commits.
 *
 * Changes are kept per level of subtransactions.  The callback at commit runs
 * when the rows are visible to others and before the client knows: nothing in
 * it may fail, so all memory is there and all queues are pinned by then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/changes.h"
#include "engine/cursor.h"
#include "engine/injection.h"
#include "engine/lazy_commit.h"
#include "engine/pulse.h"
#include "engine/tally.h"
#include "engine/wakeup.h"
#include "engine/worker.h"

typedef struct QueueChange
{
	slist_node	node;
	QueueState *queue;			/* pinned */
	int64		length;
	int64		ready;			/* jobs to wake somebody for */
	int64		claimed;		/* jobs to wake somebody for if it is rolled back */
	int64		freed;			/* jobs that no longer run */
	bool		configured;
	TimestampTz next_due;
	Bounds		came;			/* where jobs became ready */
	Bounds		taken;			/* where they will be again after a rollback */
	int64		counts[COUNTS];
	bool		notice;
	pg_uuid_t	notice_job;
} QueueChange;

typedef struct PulseChange
{
	slist_node	node;
	pg_uuid_t	job;
	int			attempt;
	bool		begins;
} PulseChange;

typedef struct KeyChange
{
	slist_node	node;
	uint64		key;
} KeyChange;

typedef struct NoticeChange
{
	slist_node	node;
	Notice	   *notice;
} NoticeChange;

typedef struct Changes
{
	struct Changes *outer;
	int			level;			/* of nesting */
	int64		tallies[TALLIES];
	bool		truncated[TALLIES];
	bool		created;
	uint32		attention;
	slist_head	queues;
	slist_head	pulses;
	slist_head	keys;
	slist_head	notices;
} Changes;

static Changes *changes = NULL;

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
 * The state of a queue that this transaction changes; NULL when there is no
 * place for it.
 */
QueueState *
changing_queue(const char *name, int length)
{
	Changes    *current = current_changes();
	QueueChange *change;
	QueueKey	key;

	if (my_database() == NULL || length > KEY_MAX)
		return NULL;
	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	memcpy(key.name, name, length);
	change = find_queue_change_by_name(current, &key);
	if (change == NULL)
	{
		change = change_memory(sizeof(QueueChange));
		change->next_due = DT_NOEND;
		change->came.complete = change->taken.complete = true;
		change->queue = pin_queue(MyDatabaseId, name, length, true);
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
static void
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
static void
free_changes(Changes *level)
{
	slist_head *lists[] = {&level->queues, &level->pulses, &level->keys, &level->notices};

	for (int i = 0; i < lengthof(lists); i++)
		while (!slist_is_empty(lists[i]))
			pfree(slist_pop_head_node(lists[i]));
	pfree(level);
}

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

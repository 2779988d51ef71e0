/*-------------------------------------------------------------------------
 *
 * queue_slot.c
 *		What is kept of each queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/limits.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"

static void
init_queue(QueueSlot *queue)
{
	DatabaseSlot *database = database_slot_lookup(queue->key.database);

	pg_atomic_init_u32(&queue->pins, 0);
	pg_atomic_init_u64(&queue->length, 0);
	queue->uncounted = database == NULL || pg_atomic_read_u32(&database->overflowed) != 0;
	LWLockInitialize(&queue->lock, shmem->table_lock->tranche);
	dlist_init(&queue->wait_queue);
	queue->next_due = DT_NOEND;
	queue->next_unlock = MONOTONIC_NEVER;
	queue->last_reap = 0;
	queue->notify_pending = false;
	memset(&queue->low_water_marks, 0, sizeof(queue->low_water_marks));
	memset(queue->counters, 0, sizeof(queue->counters));
	queue->counted = database != NULL && pg_atomic_read_u32(&database->counters_lost) == 0;
	queue->config_version = 0;
	queue->config_known = false;
	queue->config_read = 0;
	queue->configured = false;
	queue->limited = false;
}

/* Is the queue empty and unused?  Nobody changes its slot then: the caller holds table_lock. */
static bool
is_unused(QueueSlot *queue)
{
	return pg_atomic_read_u32(&queue->pins) == 0 && !queue->notify_pending &&
		!queue->uncounted && pg_atomic_read_u64(&queue->length) == 0;
}

/* Has anything been counted that would be lost with the slot? */
static bool
has_counts(const QueueSlot *queue)
{
	for (int i = 0; i < QUEUE_COUNTERS; i++)
		if (queue->counters[i] != 0)
			return true;
	return !queue->counted;
}

/* Counters of queues of this database are lost: those of a new slot may be less than all. */
static void
lose_counters(Oid database)
{
	DatabaseSlot *slot = database_slot_lookup(database);

	if (slot != NULL)
		pg_atomic_write_u32(&slot->counters_lost, 1);
}

/* The table is full: remove the slot of an unused queue, with or without counts. */
static bool
evict_queue(bool with_counts)
{
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		if (!is_unused(queue) || has_counts(queue) != with_counts)
			continue;
		if (with_counts)
			lose_counters(queue->key.database);
		hash_search(queue_slots, &queue->key, HASH_REMOVE, NULL);
		hash_seq_term(&scan);
		return true;
	}
	return false;
}

static void
mark_overflow(Oid database)
{
	DatabaseSlot *slot = database_slot_lookup(database);

	if (slot != NULL)
		pg_atomic_write_u32(&slot->overflowed, 1);
	lose_counters(database);
}

static QueueSlot *
create_queue(const QueueKey *key)
{
	bool		found;
	QueueSlot  *queue = hash_search(queue_slots, key, HASH_ENTER_NULL, &found);

	if (queue == NULL && (evict_queue(false) || evict_queue(true)))
		queue = hash_search(queue_slots, key, HASH_ENTER_NULL, &found);
	if (queue != NULL && !found)
		init_queue(queue);
	if (queue == NULL)
		mark_overflow(key->database);
	return queue;
}

/*
 * The slot of a queue, which stays in place until it is unpinned.  NULL: the
 * queue has no slot, and none is free.
 */
QueueSlot *
queue_slot_pin(Oid database, const char *name, int length, bool create)
{
	QueueKey	key;
	QueueSlot  *queue;

	if (length > KEY_MAX)
		return NULL;
	memset(&key, 0, sizeof(key));
	key.database = database;
	memcpy(key.name, name, length);

	LWLockAcquire(shmem->table_lock, LW_SHARED);
	queue = hash_search(queue_slots, &key, HASH_FIND, NULL);
	if (queue == NULL && create)
	{
		LWLockRelease(shmem->table_lock);
		LWLockAcquire(shmem->table_lock, LW_EXCLUSIVE);
		queue = create_queue(&key);
	}
	if (queue != NULL)
		pg_atomic_fetch_add_u32(&queue->pins, 1);
	LWLockRelease(shmem->table_lock);
	return queue;
}

void
queue_slot_unpin(QueueSlot *queue)
{
	pg_atomic_fetch_sub_u32(&queue->pins, 1);
}

/* The name of the queue, as text. */
Datum
queue_slot_name(const QueueSlot *queue)
{
	return PointerGetDatum(cstring_to_text_with_len(queue->key.name, strnlen(queue->key.name, KEY_MAX)));
}

/*
 * Count the jobs of each queue of this database from 0 on.  The caller holds the
 * lock of the jobs' row count in exclusive mode.
 */
void
queue_slots_clear_lengths(void)
{
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	LWLockAcquire(shmem->table_lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
		if (queue->key.database == MyDatabaseId)
		{
			pg_atomic_write_u64(&queue->length, 0);
			queue->uncounted = false;
		}
	pg_atomic_write_u32(&my_database_slot()->overflowed, 0);
	LWLockRelease(shmem->table_lock);
}

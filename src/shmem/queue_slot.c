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
	queue->last_reap = 0;
	queue->notify_pending = false;
	memset(&queue->low_water_marks, 0, sizeof(queue->low_water_marks));
	memset(queue->counters, 0, sizeof(queue->counters));
	queue->config_version = 0;
	queue->config_known = false;
	queue->config_read = 0;
	queue->configured = false;
	queue->limited = false;
}

/* The table is full: remove the slot of a queue that is empty and unused. */
static bool
evict_empty_queue(void)
{
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		if (pg_atomic_read_u32(&queue->pins) == 0 && !queue->notify_pending &&
			!queue->uncounted && pg_atomic_read_u64(&queue->length) == 0)
		{
			hash_search(queue_slots, &queue->key, HASH_REMOVE, NULL);
			hash_seq_term(&scan);
			return true;
		}
	}
	return false;
}

static QueueSlot *
create_queue(const QueueKey *key)
{
	bool		found;
	QueueSlot  *queue = hash_search(queue_slots, key, HASH_ENTER_NULL, &found);

	if (queue == NULL && evict_empty_queue())
		queue = hash_search(queue_slots, key, HASH_ENTER_NULL, &found);
	if (queue != NULL && !found)
		init_queue(queue);
	if (queue == NULL && database_slot_lookup(key->database) != NULL)
		pg_atomic_write_u32(&database_slot_lookup(key->database)->overflowed, 1);
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

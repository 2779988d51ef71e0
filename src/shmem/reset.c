/*-------------------------------------------------------------------------
 *
 * reset.c
 *		Beginning anew with a database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "shmem/database_slot.h"
#include "shmem/low_water_mark.h"
#include "shmem/reset.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"

static void
reset_queues(Oid database, bool gone)
{
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		if (queue->key.database != database)
			continue;
		if (gone && pg_atomic_read_u32(&queue->pins) == 0)
		{
			hash_search(queue_slots, &queue->key, HASH_REMOVE, NULL);
			continue;
		}
		LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
		low_water_marks_forget(&queue->low_water_marks);
		queue->config_known = false;
		queue->config_version++;
		queue->notify_pending = false;
		LWLockRelease(&queue->lock);
	}
}

static void
free_notifications_of_database(Oid database)
{
	LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
	for (int i = 0; i < NOTIFICATIONS_MAX; i++)
		if (shmem->notification_slots[i].database == database)
		{
			shmem->notification_slots[i].database = InvalidOid;
			shmem->notifications_taken--;
		}
	LWLockRelease(shmem->notification_lock);
}

/* The next database that gets the slot has none of this behind it. */
static void
clear_history(DatabaseSlot *state)
{
	pg_atomic_write_u32(&state->overflowed, 0);
	pg_atomic_write_u32(&state->counters_lost, 0);
	pg_atomic_write_u32(&state->prepared, 0);
	pg_atomic_write_u64(&state->restored, 0);
	pg_atomic_write_u64(&state->worker_seen, 0);
}

/*
 * Begin anew with a database: its extension was created, or it is gone for
 * good.
 */
void
database_slot_reset(Oid database, bool gone)
{
	DatabaseSlot *state = database_slot_find(database);

	if (state == NULL)
		return;
	for (int t = 0; t < COUNTED_TABLES; t++)
	{
		LWLockAcquire(state->row_counts[t].lock, LW_EXCLUSIVE);
		state->row_counts[t].state = ROW_COUNT_UNKNOWN;
		LWLockRelease(state->row_counts[t].lock);
	}
	worker_slot_extension_changed(state);
	if (gone)
		worker_slot_clear(state);
	LWLockAcquire(shmem->table_lock, LW_EXCLUSIVE);
	reset_queues(database, gone);
	if (gone)
	{
		free_notifications_of_database(database);
		clear_history(state);
		state->database = InvalidOid;
	}
	LWLockRelease(shmem->table_lock);
}

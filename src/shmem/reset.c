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
#include "sqlfunc/result.h"
#include "worker/maintenance.h"

static void
forget_queues(Oid database, bool gone)
{
	HASH_SEQ_STATUS scan;
	QueueState *queue;

	hash_seq_init(&scan, queue_states);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		if (queue->key.database != database)
			continue;
		if (gone && pg_atomic_read_u32(&queue->pins) == 0)
		{
			hash_search(queue_states, &queue->key, HASH_REMOVE, NULL);
			continue;
		}
		SpinLockAcquire(&queue->mutex);
		forget_bounds(&queue->cursor);
		queue->config_known = false;
		queue->config_version++;
		queue->notice = false;
		SpinLockRelease(&queue->mutex);
	}
}

static void
forget_notices(Oid database)
{
	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < NOTICES_MAX; i++)
		if (shared->notice_slots[i].database == database)
		{
			shared->notice_slots[i].database = InvalidOid;
			shared->notices_taken--;
		}
	SpinLockRelease(&shared->mutex);
}

/*
 * Begin anew with a database: its extension was created, or it is gone for
 * good.
 */
void
forget_database(Oid database, bool gone)
{
	DatabaseState *state = find_database(database);

	if (state == NULL)
		return;
	for (int t = 0; t < TALLIES; t++)
	{
		LWLockAcquire(state->tallies[t].lock, LW_EXCLUSIVE);
		state->tallies[t].state = TALLY_UNKNOWN;
		LWLockRelease(state->tallies[t].lock);
	}
	SpinLockAcquire(&shared->mutex);
	state->worker_failures = 0;
	state->worker_next_try = 0;
	state->creations++;
	if (state->worker_state != WORKER_RUNNING)
		state->worker_state = WORKER_NONE;
	SpinLockRelease(&shared->mutex);
	LWLockAcquire(shared->table_lock, LW_EXCLUSIVE);
	forget_queues(database, gone);
	if (gone)
	{
		forget_notices(database);
		state->held_until = 0;
		pg_atomic_write_u32(&state->attention, 0);
		memset(state->duties, 0, sizeof(state->duties));
		state->database = InvalidOid;
	}
	LWLockRelease(shared->table_lock);
}

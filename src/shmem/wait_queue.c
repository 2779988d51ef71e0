/*-------------------------------------------------------------------------
 *
 * wait_queue.c
 *		Lines of waiting backends, and calling them at commit.
 *
 * Who waits for a job stands in its queue's line, from before it looks until
 * it leaves: so a commit either is seen by the look or finds the waiter.  A
 * commit calls as many as it made jobs ready, the longest waiting first, and
 * rather one that sleeps than one that looks already.  Who leaves with a call
 * that it has not used passes it on.
 *
 * The first in line keeps the time: it sleeps until the next job is due, the
 * others until they are called.
 *
 * Who waits for an upload or a variant stands in one of a fixed number of
 * lines, by a hash of what it waits for, and all with the same hash are called.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/proc.h"

#include "shmem/shmem.h"
#include "shmem/wait_queue.h"

/* latches that are set after the spinlock is released */
#define LATCHES 16

static Waiter *
waiter_at(dlist_iter iter)
{
	return dlist_container(Waiter, node, iter.cur);
}

/* ----- calling ----- */

/*
 * Call sleepers first, then lookers, up to a number; under the mutex.  Gives
 * the latches of the sleepers.  Returns how many were called.
 */
static int
mark_woken(dlist_head *line, int64 count, bool relay, Latch **latches, int *nlatches)
{
	dlist_iter	iter;
	int			called = 0;

	*nlatches = 0;
	dlist_foreach(iter, line)
	{
		Waiter	   *waiter = waiter_at(iter);

		if (called >= count || *nlatches == LATCHES)
			return called;
		if (waiter->checking || waiter->woken)
			continue;
		waiter->woken = true;
		waiter->relay = relay;
		latches[(*nlatches)++] = waiter->latch;
		called++;
	}
	dlist_foreach(iter, line)
	{
		Waiter	   *waiter = waiter_at(iter);

		if (called >= count)
			break;
		if (!waiter->checking || waiter->woken)
			continue;
		waiter->woken = true;
		waiter->relay = relay;
		called++;
	}
	return called;
}

static void
set_latches(Latch **latches, int nlatches)
{
	for (int i = 0; i < nlatches; i++)
		SetLatch(latches[i]);
}

static void
wake_from_queue(QueueSlot *queue, int64 count, bool relay)
{
	Latch	   *latches[LATCHES];
	int			nlatches;

	do
	{
		int			called;

		SpinLockAcquire(&queue->mutex);
		called = mark_woken(&queue->wait_queue, count, relay, latches, &nlatches);
		queue->counters[COUNTER_WOKEN] += called;
		SpinLockRelease(&queue->mutex);
		set_latches(latches, nlatches);
		count -= called;
	} while (nlatches == LATCHES && count > 0);
}

/* Call as many as there are jobs. */
void
wake_queue_waiters(QueueSlot *queue, int64 count)
{
	if (count > 0)
		wake_from_queue(queue, count, false);
}

void
wake_all_queue_waiters(QueueSlot *queue)
{
	wake_from_queue(queue, PG_INT64_MAX, false);
}

/* The next due time has changed: let the first in line see it. */
void
wake_timekeeper(QueueSlot *queue)
{
	Latch	   *latch = NULL;

	SpinLockAcquire(&queue->mutex);
	if (!dlist_is_empty(&queue->wait_queue))
		latch = dlist_head_element(Waiter, node, &queue->wait_queue)->latch;
	SpinLockRelease(&queue->mutex);
	if (latch)
		SetLatch(latch);
}

static KeyedWaitQueue *
keyed_wait_queue(uint64 key)
{
	return &shmem->keyed_wait_queues[key % KEYED_WAIT_QUEUES];
}

void
wake_key_waiters(uint64 key)
{
	KeyedWaitQueue *line = keyed_wait_queue(key);
	Latch	   *latches[LATCHES];
	int			nlatches;

	do
	{
		dlist_iter	iter;

		nlatches = 0;
		SpinLockAcquire(&line->mutex);
		dlist_foreach(iter, &line->wait_queue)
		{
			Waiter	   *waiter = waiter_at(iter);

			if (waiter->key != key || waiter->woken)
				continue;
			if (nlatches == LATCHES)
				break;
			waiter->woken = true;
			latches[nlatches++] = waiter->latch;
		}
		SpinLockRelease(&line->mutex);
		set_latches(latches, nlatches);
	} while (nlatches == LATCHES);
}

/* ----- waiting ----- */

/* NULL: all places are taken. */
Waiter *
waiter_allocate(const WaitInfo *awaited)
{
	Waiter	   *waiter = NULL;

	SpinLockAcquire(&shmem->mutex);
	if (!dlist_is_empty(&shmem->free_waiters))
	{
		waiter = dlist_container(Waiter, node, dlist_pop_head_node(&shmem->free_waiters));
		waiter->info = *awaited;
	}
	SpinLockRelease(&shmem->mutex);
	if (waiter != NULL)
	{
		waiter->latch = &MyProc->procLatch;
		waiter->checking = true;
		waiter->woken = false;
		waiter->relay = false;
	}
	return waiter;
}

void
waiter_release(Waiter *waiter)
{
	SpinLockAcquire(&shmem->mutex);
	waiter->info.pid = 0;
	dlist_push_head(&shmem->free_waiters, &waiter->node);
	SpinLockRelease(&shmem->mutex);
}

void
wait_queue_join(Waiter *waiter, QueueSlot *queue)
{
	SpinLockAcquire(&queue->mutex);
	dlist_push_tail(&queue->wait_queue, &waiter->node);
	SpinLockRelease(&queue->mutex);
}

void
wait_queue_join_keyed(Waiter *waiter, uint64 key)
{
	KeyedWaitQueue *line = keyed_wait_queue(key);

	waiter->key = key;
	SpinLockAcquire(&line->mutex);
	dlist_push_tail(&line->wait_queue, &waiter->node);
	SpinLockRelease(&line->mutex);
}

/* The mutex of the line that a waiter is in; queue NULL: a keyed one. */
static slock_t *
wait_queue_mutex(const Waiter *waiter, QueueSlot *queue)
{
	return queue != NULL ? &queue->mutex : &keyed_wait_queue(waiter->key)->mutex;
}

/* Under the mutex: take the due time over, so that nobody else acts on it. */
static bool
due_now(const Waiter *waiter, QueueSlot *queue, TimestampTz now, TimestampTz *until)
{
	if (queue == NULL || dlist_head_element(Waiter, node, &queue->wait_queue) != waiter)
		return false;
	if (queue->next_due > now)
	{
		*until = Min(*until, queue->next_due);
		return false;
	}
	queue->next_due = DT_NOEND;
	queue->counters[COUNTER_WOKEN]++;
	return true;
}

/*
 * There was nothing: may this backend sleep, and until when at most?  If not,
 * it is looking again.
 */
WakeUp
wait_queue_prepare_sleep(Waiter *waiter, QueueSlot *queue, TimestampTz now, TimestampTz *until)
{
	slock_t    *mutex = wait_queue_mutex(waiter, queue);
	WakeUp		call = WAKE_UP_NONE;

	SpinLockAcquire(mutex);
	if (waiter->woken)
		call = waiter->relay ? WAKE_UP_RELAY : WAKE_UP_CHECK;
	else if (due_now(waiter, queue, now, until))
		call = WAKE_UP_RELAY;
	waiter->woken = false;
	waiter->checking = call != WAKE_UP_NONE;
	SpinLockRelease(mutex);
	return call;
}

/*
 * Whoever is next in line keeps the time from now on.  owed: a call that is
 * for somebody else, because this backend did not come to look, or is to be
 * relayed.
 */
static void
leave_queue(Waiter *waiter, QueueSlot *queue, WakeUp owed)
{
	bool		was_first;
	bool		timed;

	SpinLockAcquire(&queue->mutex);
	was_first = dlist_head_element(Waiter, node, &queue->wait_queue) == waiter;
	dlist_delete(&waiter->node);
	if (waiter->woken)
		owed = waiter->relay || owed == WAKE_UP_RELAY ? WAKE_UP_RELAY : WAKE_UP_CHECK;
	timed = queue->next_due != DT_NOEND;
	SpinLockRelease(&queue->mutex);

	if (owed != WAKE_UP_NONE)
		wake_from_queue(queue, 1, owed == WAKE_UP_RELAY);
	if (was_first && timed)
		wake_timekeeper(queue);
}

void
wait_queue_leave(Waiter *waiter, QueueSlot *queue, WakeUp owed)
{
	if (queue != NULL)
		leave_queue(waiter, queue, owed);
	else
	{
		KeyedWaitQueue *line = keyed_wait_queue(waiter->key);

		SpinLockAcquire(&line->mutex);
		dlist_delete(&waiter->node);
		SpinLockRelease(&line->mutex);
	}
}

/* A look has seen a job that is not due yet. */
void
wait_queue_expect_due(QueueSlot *queue, TimestampTz due)
{
	bool		sooner;

	SpinLockAcquire(&queue->mutex);
	sooner = due < queue->next_due;
	if (sooner)
		queue->next_due = due;
	SpinLockRelease(&queue->mutex);
	if (sooner)
		wake_timekeeper(queue);
}

/* What the two sides agree upon: the database, the kind, and what names it. */
uint64
wait_key(char kind, const void *a, int alen, const void *b, int blen)
{
	uint64		key = hash_combine64(MyDatabaseId, (uint64) kind);

	key = hash_combine64(key, hash_bytes_extended(a, alen, 0));
	return hash_combine64(key, hash_bytes_extended(b, blen, 0));
}

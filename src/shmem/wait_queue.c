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
#include "sqlfunc/result.h"
#include "xact/pending.h"
#include "xact/row_count.h"

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
call_waiters(dlist_head *line, int64 count, bool relay, Latch **latches, int *nlatches)
{
	dlist_iter	iter;
	int			called = 0;

	*nlatches = 0;
	dlist_foreach(iter, line)
	{
		Waiter	   *waiter = waiter_at(iter);

		if (called >= count || *nlatches == LATCHES)
			return called;
		if (waiter->busy || waiter->called)
			continue;
		waiter->called = true;
		waiter->relay = relay;
		latches[(*nlatches)++] = waiter->latch;
		called++;
	}
	dlist_foreach(iter, line)
	{
		Waiter	   *waiter = waiter_at(iter);

		if (called >= count)
			break;
		if (!waiter->busy || waiter->called)
			continue;
		waiter->called = true;
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
call_from_queue(QueueState *queue, int64 count, bool relay)
{
	Latch	   *latches[LATCHES];
	int			nlatches;

	do
	{
		int			called;

		SpinLockAcquire(&queue->mutex);
		called = call_waiters(&queue->line, count, relay, latches, &nlatches);
		queue->counts[COUNT_WOKEN] += called;
		SpinLockRelease(&queue->mutex);
		set_latches(latches, nlatches);
		count -= called;
	} while (nlatches == LATCHES && count > 0);
}

/* Call as many as there are jobs. */
void
wake_queue(QueueState *queue, int64 count)
{
	if (count > 0)
		call_from_queue(queue, count, false);
}

void
wake_whole_queue(QueueState *queue)
{
	call_from_queue(queue, PG_INT64_MAX, false);
}

/* The next due time has changed: let the first in line see it. */
void
wake_timekeeper(QueueState *queue)
{
	Latch	   *latch = NULL;

	SpinLockAcquire(&queue->mutex);
	if (!dlist_is_empty(&queue->line))
		latch = dlist_head_element(Waiter, node, &queue->line)->latch;
	SpinLockRelease(&queue->mutex);
	if (latch)
		SetLatch(latch);
}

static KeyedLine *
keyed_line(uint64 key)
{
	return &shared->keyed_lines[key % KEYED_LINES];
}

void
wake_key(uint64 key)
{
	KeyedLine  *line = keyed_line(key);
	Latch	   *latches[LATCHES];
	int			nlatches;

	do
	{
		dlist_iter	iter;

		nlatches = 0;
		SpinLockAcquire(&line->mutex);
		dlist_foreach(iter, &line->line)
		{
			Waiter	   *waiter = waiter_at(iter);

			if (waiter->key != key || waiter->called)
				continue;
			if (nlatches == LATCHES)
				break;
			waiter->called = true;
			latches[nlatches++] = waiter->latch;
		}
		SpinLockRelease(&line->mutex);
		set_latches(latches, nlatches);
	} while (nlatches == LATCHES);
}

/* ----- waiting ----- */

/* NULL: all places are taken. */
Waiter *
take_place(const Awaited *awaited)
{
	Waiter	   *waiter = NULL;

	SpinLockAcquire(&shared->mutex);
	if (!dlist_is_empty(&shared->free_waiters))
	{
		waiter = dlist_container(Waiter, node, dlist_pop_head_node(&shared->free_waiters));
		waiter->awaited = *awaited;
	}
	SpinLockRelease(&shared->mutex);
	if (waiter != NULL)
	{
		waiter->latch = &MyProc->procLatch;
		waiter->busy = true;
		waiter->called = false;
		waiter->relay = false;
	}
	return waiter;
}

void
give_place_back(Waiter *waiter)
{
	SpinLockAcquire(&shared->mutex);
	waiter->awaited.pid = 0;
	dlist_push_head(&shared->free_waiters, &waiter->node);
	SpinLockRelease(&shared->mutex);
}

void
join_queue_line(Waiter *waiter, QueueState *queue)
{
	SpinLockAcquire(&queue->mutex);
	dlist_push_tail(&queue->line, &waiter->node);
	SpinLockRelease(&queue->mutex);
}

void
join_keyed_line(Waiter *waiter, uint64 key)
{
	KeyedLine  *line = keyed_line(key);

	waiter->key = key;
	SpinLockAcquire(&line->mutex);
	dlist_push_tail(&line->line, &waiter->node);
	SpinLockRelease(&line->mutex);
}

/* The mutex of the line that a waiter is in; queue NULL: a keyed one. */
static slock_t *
mutex_of_line(const Waiter *waiter, QueueState *queue)
{
	return queue != NULL ? &queue->mutex : &keyed_line(waiter->key)->mutex;
}

/* Under the mutex: take the due time over, so that nobody else acts on it. */
static bool
due_now(const Waiter *waiter, QueueState *queue, TimestampTz now, TimestampTz *until)
{
	if (queue == NULL || dlist_head_element(Waiter, node, &queue->line) != waiter)
		return false;
	if (queue->next_due > now)
	{
		*until = Min(*until, queue->next_due);
		return false;
	}
	queue->next_due = DT_NOEND;
	queue->counts[COUNT_WOKEN]++;
	return true;
}

/*
 * There was nothing: may this backend sleep, and until when at most?  If not,
 * it is looking again.
 */
Call
stop_looking(Waiter *waiter, QueueState *queue, TimestampTz now, TimestampTz *until)
{
	slock_t    *mutex = mutex_of_line(waiter, queue);
	Call		call = CALL_NONE;

	SpinLockAcquire(mutex);
	if (waiter->called)
		call = waiter->relay ? CALL_RELAY : CALL_LOOK;
	else if (due_now(waiter, queue, now, until))
		call = CALL_RELAY;
	waiter->called = false;
	waiter->busy = call != CALL_NONE;
	SpinLockRelease(mutex);
	return call;
}

/*
 * Whoever is next in line keeps the time from now on.  owed: a call that is
 * for somebody else, because this backend did not come to look, or is to be
 * relayed.
 */
static void
leave_queue_line(Waiter *waiter, QueueState *queue, Call owed)
{
	bool		was_first;
	bool		timed;

	SpinLockAcquire(&queue->mutex);
	was_first = dlist_head_element(Waiter, node, &queue->line) == waiter;
	dlist_delete(&waiter->node);
	if (waiter->called)
		owed = waiter->relay || owed == CALL_RELAY ? CALL_RELAY : CALL_LOOK;
	timed = queue->next_due != DT_NOEND;
	SpinLockRelease(&queue->mutex);

	if (owed != CALL_NONE)
		call_from_queue(queue, 1, owed == CALL_RELAY);
	if (was_first && timed)
		wake_timekeeper(queue);
}

void
leave_line(Waiter *waiter, QueueState *queue, Call owed)
{
	if (queue != NULL)
		leave_queue_line(waiter, queue, owed);
	else
	{
		KeyedLine  *line = keyed_line(waiter->key);

		SpinLockAcquire(&line->mutex);
		dlist_delete(&waiter->node);
		SpinLockRelease(&line->mutex);
	}
}

/* A look has seen a job that is not due yet. */
void
expect_due(QueueState *queue, TimestampTz due)
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
waiting_key(char kind, const void *a, int alen, const void *b, int blen)
{
	uint64		key = hash_combine64(MyDatabaseId, (uint64) kind);

	key = hash_combine64(key, hash_bytes_extended(a, alen, 0));
	return hash_combine64(key, hash_bytes_extended(b, blen, 0));
}

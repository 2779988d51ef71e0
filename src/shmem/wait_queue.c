/*-------------------------------------------------------------------------
 *
 * wait_queue.c
 *		Queues of waiting sessions, and waking them at commit.
 *
 * A session that waits for a job joins the wait queue of the job's queue before
 * it checks for a job, and leaves when it stops waiting.  So each commit is
 * either visible to the check or finds the waiter.  A commit wakes as many
 * waiters as it made jobs ready: those that have waited longest first, and
 * sleeping ones before ones that are checking already.  A waiter that leaves
 * without having used its wake-up passes it on.
 *
 * The first waiter of a queue keeps the time: it sleeps until the next job is
 * due, and the others until they are woken.  If a check finds ready jobs that other
 * sessions have locked, the first waiter checks again after a while.
 *
 * A session that waits for an upload or a variant joins one of a fixed number of
 * keyed wait queues, by a hash of what it waits for.  Waking a key wakes every
 * waiter with that key.
 *
 * A commit callback calls the functions that wake.  They cannot fail: they
 * allocate nothing, and LWLockAcquire raises no error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "shmem/shmem.h"
#include "shmem/wait_queue.h"

/* latches that are set after one round under the lock */
#define LATCHES 16

static Waiter *
waiter_at(dlist_iter iter)
{
	return dlist_container(Waiter, node, iter.cur);
}

/* ----- waking ----- */

/*
 * Mark waiters as woken, up to a number: sleeping ones first, then ones that are
 * checking.  The caller holds the queue's lock, and sets the latches of the
 * sleeping ones after it has released it.  Returns the number of marked waiters.
 */
static int
mark_woken(dlist_head *wait_queue, int64 count, bool relay, Latch **latches, int *nlatches)
{
	dlist_iter	iter;
	int			marked = 0;

	*nlatches = 0;
	dlist_foreach(iter, wait_queue)
	{
		Waiter	   *waiter = waiter_at(iter);

		if (marked >= count || *nlatches == LATCHES)
			return marked;
		if (waiter->checking || waiter->woken)
			continue;
		waiter->woken = true;
		waiter->relay = relay;
		latches[(*nlatches)++] = waiter->latch;
		marked++;
	}
	dlist_foreach(iter, wait_queue)
	{
		Waiter	   *waiter = waiter_at(iter);

		if (marked >= count)
			break;
		if (!waiter->checking || waiter->woken)
			continue;
		waiter->woken = true;
		waiter->relay = relay;
		marked++;
	}
	return marked;
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
		int			marked;

		LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
		marked = mark_woken(&queue->wait_queue, count, relay, latches, &nlatches);
		queue->counters[COUNTER_WOKEN] += marked;
		LWLockRelease(&queue->lock);
		set_latches(latches, nlatches);
		count -= marked;
	} while (nlatches == LATCHES && count > 0);
}

/* Wake as many waiters as jobs became ready. */
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

/* The next due time has changed: the first waiter sleeps until the new one. */
void
wake_timekeeper(QueueSlot *queue)
{
	Latch	   *latch = NULL;

	LWLockAcquire(&queue->lock, LW_SHARED);
	if (!dlist_is_empty(&queue->wait_queue))
		latch = dlist_head_element(Waiter, node, &queue->wait_queue)->latch;
	LWLockRelease(&queue->lock);
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
	KeyedWaitQueue *queue = keyed_wait_queue(key);
	Latch	   *latches[LATCHES];
	int			nlatches;

	do
	{
		dlist_iter	iter;

		nlatches = 0;
		LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
		dlist_foreach(iter, &queue->waiters)
		{
			Waiter	   *waiter = waiter_at(iter);

			if (waiter->key != key || waiter->woken)
				continue;
			if (nlatches == LATCHES)
				break;
			waiter->woken = true;
			latches[nlatches++] = waiter->latch;
		}
		LWLockRelease(&queue->lock);
		set_latches(latches, nlatches);
	} while (nlatches == LATCHES);
}

/* ----- waiting ----- */

/* A free waiter for this session; NULL: pictrepo.max_waiters are in use. */
Waiter *
waiter_allocate(const WaitInfo *info)
{
	Waiter	   *waiter = NULL;

	LWLockAcquire(shmem->waiter_lock, LW_EXCLUSIVE);
	if (!dlist_is_empty(&shmem->free_waiters))
	{
		waiter = dlist_container(Waiter, node, dlist_pop_head_node(&shmem->free_waiters));
		waiter->info = *info;
	}
	LWLockRelease(shmem->waiter_lock);
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
	LWLockAcquire(shmem->waiter_lock, LW_EXCLUSIVE);
	waiter->info.pid = 0;
	dlist_push_head(&shmem->free_waiters, &waiter->node);
	LWLockRelease(shmem->waiter_lock);
}

void
wait_queue_join(Waiter *waiter, QueueSlot *queue)
{
	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	dlist_push_tail(&queue->wait_queue, &waiter->node);
	LWLockRelease(&queue->lock);
}

void
wait_queue_join_keyed(Waiter *waiter, uint64 key)
{
	KeyedWaitQueue *queue = keyed_wait_queue(key);

	waiter->key = key;
	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	dlist_push_tail(&queue->waiters, &waiter->node);
	LWLockRelease(&queue->lock);
}

/* The lock of the wait queue that a waiter is in; queue NULL: a keyed one. */
static LWLock *
wait_queue_lock(const Waiter *waiter, QueueSlot *queue)
{
	return queue != NULL ? &queue->lock : &keyed_wait_queue(waiter->key)->lock;
}

/* When the first waiter must check.  The caller holds the queue's lock. */
static MonotonicTime
next_check(const QueueSlot *queue)
{
	return Min(monotonic_look_at(queue->next_due), queue->next_unlock);
}

/*
 * Must the first waiter check now?  Then it takes the times over that have come, so
 * that no other session acts on them.  The caller holds the queue's lock.
 */
static bool
due_now(const Waiter *waiter, QueueSlot *queue, MonotonicTime *until)
{
	bool		is_due;
	bool		is_unlocked;

	if (queue == NULL || dlist_head_element(Waiter, node, &queue->wait_queue) != waiter)
		return false;
	is_due = queue->next_due <= GetCurrentTimestamp();
	is_unlocked = queue->next_unlock <= monotonic_now();
	if (!is_due && !is_unlocked)
	{
		*until = Min(*until, next_check(queue));
		return false;
	}
	if (is_due)
	{
		queue->next_due = DT_NOEND;
		queue->counters[COUNTER_WOKEN]++;
	}
	queue->next_unlock = MONOTONIC_NEVER;
	return true;
}

/*
 * The check found nothing.  WAKE_UP_NONE: the session may sleep, until the given
 * time at most.  Else it must check again.
 */
WakeUp
wait_queue_prepare_sleep(Waiter *waiter, QueueSlot *queue, MonotonicTime *until)
{
	LWLock	   *lock = wait_queue_lock(waiter, queue);
	WakeUp		wake_up = WAKE_UP_NONE;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (waiter->woken)
		wake_up = waiter->relay ? WAKE_UP_RELAY : WAKE_UP_CHECK;
	else if (due_now(waiter, queue, until))
		wake_up = WAKE_UP_RELAY;
	waiter->woken = false;
	waiter->checking = wake_up != WAKE_UP_NONE;
	LWLockRelease(lock);
	return wake_up;
}

/*
 * The next waiter keeps the time from now on.  unused: a wake-up that this
 * session has not used, or must relay.
 */
static void
leave_queue(Waiter *waiter, QueueSlot *queue, WakeUp unused)
{
	bool		was_first;
	bool		timed;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	was_first = dlist_head_element(Waiter, node, &queue->wait_queue) == waiter;
	dlist_delete(&waiter->node);
	if (waiter->woken)
		unused = waiter->relay || unused == WAKE_UP_RELAY ? WAKE_UP_RELAY : WAKE_UP_CHECK;
	timed = next_check(queue) != MONOTONIC_NEVER;
	LWLockRelease(&queue->lock);

	if (unused != WAKE_UP_NONE)
		wake_from_queue(queue, 1, unused == WAKE_UP_RELAY);
	if (was_first && timed)
		wake_timekeeper(queue);
}

void
wait_queue_leave(Waiter *waiter, QueueSlot *queue, WakeUp unused)
{
	if (queue != NULL)
		leave_queue(waiter, queue, unused);
	else
	{
		KeyedWaitQueue *keyed = keyed_wait_queue(waiter->key);

		LWLockAcquire(&keyed->lock, LW_EXCLUSIVE);
		dlist_delete(&waiter->node);
		LWLockRelease(&keyed->lock);
	}
}

/* Lower a time, by either clock, at which the first waiter must check. */
static void
expect_check(QueueSlot *queue, int64 *next, int64 check)
{
	bool		sooner;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	sooner = check < *next;
	if (sooner)
		*next = check;
	LWLockRelease(&queue->lock);
	if (sooner)
		wake_timekeeper(queue);
}

/* A check has seen a job that is due later. */
void
wait_queue_expect_due(QueueSlot *queue, TimestampTz due)
{
	expect_check(queue, &queue->next_due, due);
}

/* A check has seen ready jobs that other sessions have locked. */
void
wait_queue_expect_unlock(QueueSlot *queue, MonotonicTime check)
{
	expect_check(queue, &queue->next_unlock, check);
}

/* The key of a wait: a hash of the database, the kind, and the two parts of its name. */
uint64
wait_key(char kind, const void *a, int alen, const void *b, int blen)
{
	uint64		key = hash_combine64(MyDatabaseId, (uint64) kind);

	key = hash_combine64(key, hash_bytes_extended(a, alen, 0));
	return hash_combine64(key, hash_bytes_extended(b, blen, 0));
}

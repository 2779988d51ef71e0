/*-------------------------------------------------------------------------
 *
 * wait_queue.h
 *		Queues of waiting sessions, and waking them at commit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_WAIT_QUEUE_H
#define PICTREPO_WAIT_QUEUE_H

#include "shmem/shmem.h"

/* For the end of a transaction: these cannot fail */
extern void wake_queue_waiters(QueueSlot *queue, int64 count);
extern void wake_all_queue_waiters(QueueSlot *queue);
extern void wake_timekeeper(QueueSlot *queue);
extern void wake_key_waiters(uint64 key);

/* What a waiter finds when it is about to sleep */
typedef enum WakeUp
{
	WAKE_UP_NONE,				/* sleep */
	WAKE_UP_CHECK,				/* check again */
	WAKE_UP_RELAY,				/* check again, and wake the next waiter when
								 * the check finds something */
} WakeUp;

/* A session has one waiter at most */
extern Waiter *waiter_allocate(const WaitInfo *info);
extern void waiter_release(Waiter *waiter);
extern void wait_queue_join(Waiter *waiter, QueueSlot *queue);
extern void wait_queue_join_keyed(Waiter *waiter, uint64 key);
extern WakeUp wait_queue_prepare_sleep(Waiter *waiter, QueueSlot *queue, MonotonicTime *until);
extern void wait_queue_leave(Waiter *waiter, QueueSlot *queue, WakeUp unused);
extern void wait_queue_expect_due(QueueSlot *queue, TimestampTz due);
extern void wait_queue_expect_unlock(QueueSlot *queue, MonotonicTime check);

extern uint64 wait_key(char kind, const void *a, int alen, const void *b, int blen);

#endif

/*-------------------------------------------------------------------------
 *
 * wait_queue.h
 *		Lines of waiting backends, and calling them at commit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_WAIT_QUEUE_H
#define PICTREPO_WAIT_QUEUE_H

#include "shmem/shmem.h"

/* For the end of a transaction: cannot fail */
extern void wake_queue_waiters(QueueSlot *queue, int64 count);
extern void wake_all_queue_waiters(QueueSlot *queue);
extern void wake_timekeeper(QueueSlot *queue);
extern void wake_key_waiters(uint64 key);

/* What a waiter sees when it looks around before it sleeps */
typedef enum WakeUp
{
	WAKE_UP_NONE,				/* sleep on */
	WAKE_UP_CHECK,				/* there may be something for this one */
	WAKE_UP_RELAY,				/* and when there was, for the next one, too */
} WakeUp;

/* A waiter's life; only this backend's own, which is at most one */
extern Waiter *waiter_allocate(const WaitInfo *awaited);
extern void waiter_release(Waiter *waiter);
extern void wait_queue_join(Waiter *waiter, QueueSlot *queue);
extern void wait_queue_join_keyed(Waiter *waiter, uint64 key);
extern WakeUp wait_queue_prepare_sleep(Waiter *waiter, QueueSlot *queue, TimestampTz now, TimestampTz *until);
extern void wait_queue_leave(Waiter *waiter, QueueSlot *queue, WakeUp owed);
extern void wait_queue_expect_due(QueueSlot *queue, TimestampTz due);

extern uint64 wait_key(char kind, const void *a, int alen, const void *b, int blen);

#endif

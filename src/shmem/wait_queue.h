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
extern void wake_queue(QueueState *queue, int64 count);
extern void wake_whole_queue(QueueState *queue);
extern void wake_timekeeper(QueueState *queue);
extern void wake_key(uint64 key);

/* What a waiter sees when it looks around before it sleeps */
typedef enum Call
{
	CALL_NONE,					/* sleep on */
	CALL_LOOK,					/* there may be something for this one */
	CALL_RELAY,					/* and when there was, for the next one, too */
} Call;

/* A waiter's life; only this backend's own, which is at most one */
extern Waiter *take_place(const Awaited *awaited);
extern void give_place_back(Waiter *waiter);
extern void join_queue_line(Waiter *waiter, QueueState *queue);
extern void join_keyed_line(Waiter *waiter, uint64 key);
extern Call stop_looking(Waiter *waiter, QueueState *queue, TimestampTz now, TimestampTz *until);
extern void leave_line(Waiter *waiter, QueueState *queue, Call owed);
extern void expect_due(QueueState *queue, TimestampTz due);

extern uint64 waiting_key(char kind, const void *a, int alen, const void *b, int blen);

#endif

/*-------------------------------------------------------------------------
 *
 * notify.h
 *		Sending the notifications of pictrepo's channels.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_NOTIFY_H
#define PICTREPO_NOTIFY_H

#include "lib/ilist.h"

#include "shmem/shmem.h"

/* The notification is sent when the transaction commits, or a moment later */
extern void notify_job(QueueSlot *queue, const pg_uuid_t *job, const char *queue_name);
extern void notify_channel(const char *channel, const char *payload);

/* For the worker */
extern uint64 notify_send(void);

/* For the end of a transaction, with lists of PendingNotification */
extern void notify_publish(slist_head *entries);
extern void notify_discard(slist_head *entries);

#endif

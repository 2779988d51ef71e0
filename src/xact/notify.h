/*-------------------------------------------------------------------------
 *
 * notify.h
 *		Sending the notifications of pictrepo's channels.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_NOTIFY_H
#define PICTREPO_NOTIFY_H

#include "shmem/shmem.h"
#include "xact/pending.h"

/* The notification is sent when the transaction commits, or a moment later */
extern void notify_job(QueueSlot *queue, const pg_uuid_t *job, const char *queue_name);
extern void notify_channel(const char *channel, const char *payload);

/* For the worker */
extern uint64 notify_send(void);
extern TimestampTz notify_next_run(void);

/* For the end of a transaction */
extern void notify_before_commit(PendingChanges *all);
extern void notify_before_prepare(PendingChanges *all);
extern void notify_publish(PendingChanges *all);
extern void notify_discard(PendingChanges *all);

#endif

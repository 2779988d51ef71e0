/*-------------------------------------------------------------------------
 *
 * notify.h
 *		Serving the notification channels.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_NOTIFY_H
#define PICTREPO_NOTIFY_H

#include "lib/ilist.h"

#include "shmem/shmem.h"

extern void notify_job(QueueSlot *queue, const pg_uuid_t *job, const char *queue_name);
extern void notify_channel(const char *channel, const char *payload);
extern uint64 notify_send(void);

/* Lists of PendingNotification */
extern void notify_publish(slist_head *entries);
extern void notify_discard(slist_head *entries);

#endif

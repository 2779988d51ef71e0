/*-------------------------------------------------------------------------
 *
 * notify.h
 *		Serving the notification channels.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_NOTIFY_H
#define PICTREPO_NOTIFY_H

#include "shmem/shmem.h"

extern void notify_job(QueueSlot *queue, const pg_uuid_t *job, const char *queue_name);
extern void notify(const char *channel, const char *payload);
extern uint64 notify_send(void);

#endif

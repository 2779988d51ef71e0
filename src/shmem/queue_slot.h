/*-------------------------------------------------------------------------
 *
 * queue_slot.h
 *		What is kept of each queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_QUEUE_SLOT_H
#define PICTREPO_QUEUE_SLOT_H

#include "shmem/shmem.h"

extern QueueState *pin_queue(Oid database, const char *name, int length, bool create);
extern void unpin_queue(QueueState *queue);

#endif

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

extern QueueSlot *queue_slot_pin(Oid database, const char *name, int length, bool create);
extern void queue_slot_unpin(QueueSlot *queue);
extern void queue_slots_clear_lengths(void);
extern Datum queue_slot_name(const QueueSlot *queue);

#endif

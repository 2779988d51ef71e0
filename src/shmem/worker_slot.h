/*-------------------------------------------------------------------------
 *
 * worker_slot.h
 *		What is kept of the worker of each database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_WORKER_SLOT_H
#define PICTREPO_WORKER_SLOT_H

#include "shmem/shmem.h"

extern bool worker_running(DatabaseSlot *database);
extern bool worker_healthy(DatabaseSlot *database);
extern void worker_slot_set(DatabaseSlot *database, WorkerState state);
extern void worker_request(DatabaseSlot *database, uint32 what);
extern void launcher_wake(void);

#endif

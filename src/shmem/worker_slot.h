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

extern bool worker_runs(DatabaseState *database);
extern bool worker_tends(DatabaseState *database);
extern void set_worker_state(DatabaseState *database, WorkerState state);
extern void attend(DatabaseState *database, uint32 what);
extern void wake_launcher(void);

#endif

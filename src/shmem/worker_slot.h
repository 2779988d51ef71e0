/*-------------------------------------------------------------------------
 *
 * worker_slot.h
 *		The worker of each database: its states, and requests for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_WORKER_SLOT_H
#define PICTREPO_WORKER_SLOT_H

#include "shmem/shmem.h"

typedef enum WorkerEvent
{
	WORKER_EV_START,			/* the launcher asks for a worker */
	WORKER_EV_NO_PLACE,			/* max_worker_processes is used up */
	WORKER_EV_LOST,				/* it ended before it signed on */
	WORKER_EV_SIGN_ON,
	WORKER_EV_RETIRE,			/* it ended because it was told to */
	WORKER_EV_FAIL,				/* it ended otherwise */
	WORKER_EV_NO_EXTENSION,		/* it found none, or another version */
	WORKER_EV_EXTENSION,		/* a session created or updated the extension */
	WORKER_EV_PREPARED,			/* a prepared transaction may have done so */
	WORKER_EV_NEW_LAUNCHER,		/* what the last one had asked for is unknown */
	WORKER_EVENTS
} WorkerEvent;

/* For everybody */
extern bool worker_running(DatabaseSlot *database);
extern bool worker_healthy(DatabaseSlot *database);
extern void worker_request(DatabaseSlot *database, uint32 what);
extern void launcher_wake(void);
extern void worker_slot_read_task(DatabaseSlot *database, MaintenanceTaskId task,
								  MaintenanceTaskState *state);

/* For sessions whose statements bring the extension or need the database */
extern void worker_slot_extension_changed(DatabaseSlot *database);
extern void worker_slot_prepared_committed(DatabaseSlot *database);
extern void worker_slot_hold(DatabaseSlot *database);
extern void worker_slot_release(DatabaseSlot *database);
extern void worker_slot_wait_for_end(DatabaseSlot *database, long timeout_ms);
extern void worker_slot_clear(DatabaseSlot *database);

/* For the worker */
extern void worker_slot_sign_on(DatabaseSlot *database);
extern void worker_slot_sign_off(DatabaseSlot *database, WorkerEvent how);
extern void worker_slot_proved(DatabaseSlot *database);
extern bool worker_slot_held(DatabaseSlot *database);
extern uint32 worker_slot_creations(DatabaseSlot *database);
extern void worker_slot_no_extension(DatabaseSlot *database, uint32 creations_seen);
extern uint32 worker_slot_take_requests(DatabaseSlot *database);
extern void worker_slot_tasks_done(DatabaseSlot *database);
extern void worker_slot_record_task(DatabaseSlot *database, MaintenanceTaskId task,
									MonotonicTime start, uint64 rows, const char *error);
extern void visit_found_nothing(Oid database);

/* For the launcher */
extern bool worker_status_start(WorkerStatus *status, MonotonicTime now);
extern void worker_status_apply(WorkerStatus *status, WorkerEvent event, MonotonicTime now);
extern bool worker_slot_start(DatabaseSlot *database, MonotonicTime now);
extern void worker_slot_apply(DatabaseSlot *database, WorkerEvent event);
extern void worker_slot_read_status(DatabaseSlot *database, WorkerStatus *status);
extern void visit_begin(int place, Oid database);
extern bool visit_was_in_vain(int place);
extern void launcher_sign_on(void);
extern void launcher_sign_off(void);

#endif

/*-------------------------------------------------------------------------
 *
 * worker_slot.c
 *		What is kept of the worker of each database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"

/* Tell the database's worker that there is something to do. */
void
worker_request(DatabaseSlot *database, uint32 what)
{
	Latch	   *latch = NULL;

	if ((pg_atomic_fetch_or_u32(&database->requests, what) & what) == what)
		return;
	SpinLockAcquire(&shmem->mutex);
	if (database->worker_state == WORKER_RUNNING)
		latch = database->worker_latch;
	SpinLockRelease(&shmem->mutex);
	if (latch)
		SetLatch(latch);
}

bool
worker_running(DatabaseSlot *database)
{
	return database->worker_state == WORKER_RUNNING;
}

/* Does it also do what it is there for? */
bool
worker_healthy(DatabaseSlot *database)
{
	TimestampTz seen = (TimestampTz) pg_atomic_read_u64(&database->worker_seen);

	return worker_running(database) &&
		seen > GetCurrentTimestamp() - (3 * (int64) guc_reap_interval * 1000 + 10 * USECS_PER_SEC);
}

void
worker_slot_set(DatabaseSlot *database, WorkerState state)
{
	SpinLockAcquire(&shmem->mutex);
	database->worker_state = state;
	database->worker_pid = state == WORKER_RUNNING ? MyProcPid : 0;
	database->worker_latch = state == WORKER_RUNNING ? MyLatch : NULL;
	SpinLockRelease(&shmem->mutex);
}

void
launcher_wake(void)
{
	Latch	   *latch;

	SpinLockAcquire(&shmem->mutex);
	latch = shmem->launcher_latch;
	SpinLockRelease(&shmem->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

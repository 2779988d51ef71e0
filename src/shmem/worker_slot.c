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
attend(DatabaseState *database, uint32 what)
{
	Latch	   *latch = NULL;

	if ((pg_atomic_fetch_or_u32(&database->attention, what) & what) == what)
		return;
	SpinLockAcquire(&shared->mutex);
	if (database->worker_state == WORKER_RUNNING)
		latch = database->worker_latch;
	SpinLockRelease(&shared->mutex);
	if (latch)
		SetLatch(latch);
}

bool
worker_runs(DatabaseState *database)
{
	return database->worker_state == WORKER_RUNNING;
}

/* Does it also do what it is there for? */
bool
worker_tends(DatabaseState *database)
{
	TimestampTz seen = (TimestampTz) pg_atomic_read_u64(&database->worker_seen);

	return worker_runs(database) &&
		seen > GetCurrentTimestamp() - (3 * (int64) reap_interval * 1000 + 10 * USECS_PER_SEC);
}

void
set_worker_state(DatabaseState *database, WorkerState state)
{
	SpinLockAcquire(&shared->mutex);
	database->worker_state = state;
	database->worker_pid = state == WORKER_RUNNING ? MyProcPid : 0;
	database->worker_latch = state == WORKER_RUNNING ? MyLatch : NULL;
	SpinLockRelease(&shared->mutex);
}

void
wake_launcher(void)
{
	Latch	   *latch;

	SpinLockAcquire(&shared->mutex);
	latch = shared->launcher_latch;
	SpinLockRelease(&shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

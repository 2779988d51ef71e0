/*-------------------------------------------------------------------------
 *
 * worker_slot.c
 *		The worker of each database: its states, and requests for it.
 *
 * The launcher, the worker and the sessions that create, copy or drop a
 * database change the state of its worker, each by the events that it knows
 * of.  The table next_states says where each event leads.  The launcher uses the
 * same table, in its own memory, for a database without a slot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "common/compat.h"
#include "common/guc.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"

/* ----- states ----- */

/*
 * The state after each event, for the states NONE, STARTING, RUNNING and
 * UNWANTED, in this order.  A database begins in state NONE.
 *
 * The extension may come while a worker that has looked too early is on its way.
 * STARTING becomes NONE then, and the launcher starts the next worker when that
 * one has ended.
 */
static const WorkerState next_states[WORKER_EVENTS][WORKER_STATES] = {
	[WORKER_EV_START] = {WORKER_STARTING, WORKER_STARTING, WORKER_RUNNING, WORKER_UNWANTED},
	[WORKER_EV_NO_PLACE] = {WORKER_NONE, WORKER_NONE, WORKER_RUNNING, WORKER_UNWANTED},
	[WORKER_EV_LOST] = {WORKER_NONE, WORKER_NONE, WORKER_RUNNING, WORKER_UNWANTED},
	[WORKER_EV_SIGN_ON] = {WORKER_RUNNING, WORKER_RUNNING, WORKER_RUNNING, WORKER_RUNNING},
	[WORKER_EV_RETIRE] = {WORKER_NONE, WORKER_STARTING, WORKER_NONE, WORKER_UNWANTED},
	[WORKER_EV_FAIL] = {WORKER_NONE, WORKER_STARTING, WORKER_NONE, WORKER_UNWANTED},
	[WORKER_EV_NO_EXTENSION] = {WORKER_NONE, WORKER_UNWANTED, WORKER_UNWANTED, WORKER_UNWANTED},
	[WORKER_EV_EXTENSION] = {WORKER_NONE, WORKER_NONE, WORKER_RUNNING, WORKER_NONE},
	[WORKER_EV_PREPARED] = {WORKER_NONE, WORKER_NONE, WORKER_RUNNING, WORKER_NONE},
	[WORKER_EV_NEW_LAUNCHER] = {WORKER_NONE, WORKER_NONE, WORKER_RUNNING, WORKER_UNWANTED},
};

/* The first worker that fails has a successor at once, each further one later. */
static inline MonotonicTime
pause_after(int failures)
{
	return failures > 1 ? USECS_PER_SEC << Min(failures, 6) : 0;
}

/* Assignments only: callers hold a spinlock. */
static inline void
apply_event(WorkerStatus *status, WorkerEvent event, MonotonicTime now)
{
	WorkerState next = next_states[event][status->state];

	if (next != status->state && (event == WORKER_EV_LOST || event == WORKER_EV_FAIL))
	{
		status->failures++;
		status->next_try = now + pause_after(status->failures);
	}
	if (event == WORKER_EV_RETIRE || event == WORKER_EV_EXTENSION)
	{
		status->failures = 0;
		status->next_try = 0;
	}
	status->state = next;
}

static inline bool
may_start(const WorkerStatus *status, MonotonicTime now)
{
	return status->state == WORKER_NONE && status->next_try <= now;
}

/* For a status in the launcher's own memory. */
void
worker_status_apply(WorkerStatus *status, WorkerEvent event, MonotonicTime now)
{
	apply_event(status, event, now);
}

/* The same; false: it is not yet time for a worker. */
bool
worker_status_start(WorkerStatus *status, MonotonicTime now)
{
	bool		starts = may_start(status, now);

	if (starts)
		apply_event(status, WORKER_EV_START, now);
	return starts;
}

/* ----- the launcher ----- */

/* False: it is not yet time for a worker, or a statement holds the database. */
bool
worker_slot_start(DatabaseSlot *database, MonotonicTime now)
{
	bool		starts;

	SpinLockAcquire(&database->worker_mutex);
	starts = may_start(&database->worker, now) && database->worker_holds == 0;
	if (starts)
		apply_event(&database->worker, WORKER_EV_START, now);
	SpinLockRelease(&database->worker_mutex);
	return starts;
}

/* An event that the launcher finds out. */
void
worker_slot_apply(DatabaseSlot *database, WorkerEvent event)
{
	MonotonicTime now = monotonic_now();

	SpinLockAcquire(&database->worker_mutex);
	apply_event(&database->worker, event, now);
	SpinLockRelease(&database->worker_mutex);
	ConditionVariableBroadcast(&database->worker_ended);
}

void
worker_slot_read_status(DatabaseSlot *database, WorkerStatus *status)
{
	SpinLockAcquire(&database->worker_mutex);
	*status = database->worker;
	SpinLockRelease(&database->worker_mutex);
}

static void
set_launcher_latch(Latch *latch)
{
	SpinLockAcquire(&shmem->launcher_mutex);
	shmem->launcher_latch = latch;
	SpinLockRelease(&shmem->launcher_mutex);
}

void
launcher_sign_on(void)
{
	set_launcher_latch(MyLatch);
}

void
launcher_sign_off(void)
{
	set_launcher_latch(NULL);
}

void
launcher_wake(void)
{
	Latch	   *latch;

	SpinLockAcquire(&shmem->launcher_mutex);
	latch = shmem->launcher_latch;
	SpinLockRelease(&shmem->launcher_mutex);
	if (latch != NULL)
		SetLatch(latch);
}

/* ----- visits to databases without a slot ----- */

void
visit_begin(int place, Oid database)
{
	pg_atomic_write_u32(&shmem->visits[place], database);
}

/* The worker that visits the database has found no extension that it can work on. */
void
visit_found_nothing(Oid database)
{
	for (int i = 0; i < VISITS_MAX; i++)
	{
		uint32		expected = database;

		(void) pg_atomic_compare_exchange_u32(&shmem->visits[i], &expected, InvalidOid);
	}
}

/* Asked when the worker has ended; false: it ended before it could tell. */
bool
visit_was_in_vain(int place)
{
	return pg_atomic_read_u32(&shmem->visits[place]) == InvalidOid;
}

/* ----- the worker ----- */

/* From here on sessions can wake the worker, and its visit is over. */
void
worker_slot_sign_on(DatabaseSlot *database)
{
	SpinLockAcquire(&database->worker_mutex);
	apply_event(&database->worker, WORKER_EV_SIGN_ON, 0);
	database->worker_latch = MyLatch;
	SpinLockRelease(&database->worker_mutex);
	launcher_wake();
}

/* Nothing happens where this worker has found no extension and said so. */
void
worker_slot_sign_off(DatabaseSlot *database, WorkerEvent how)
{
	MonotonicTime now = monotonic_now();

	SpinLockAcquire(&database->worker_mutex);
	if (database->worker_latch == MyLatch)
	{
		apply_event(&database->worker, how, now);
		database->worker_latch = NULL;
	}
	SpinLockRelease(&database->worker_mutex);
	ConditionVariableBroadcast(&database->worker_ended);
	launcher_wake();
}

/* The worker has run for long enough: earlier failures no longer count. */
void
worker_slot_proved(DatabaseSlot *database)
{
	SpinLockAcquire(&database->worker_mutex);
	database->worker.failures = 0;
	SpinLockRelease(&database->worker_mutex);
}

/* How often the extension was created or updated so far. */
uint32
worker_slot_creations(DatabaseSlot *database)
{
	uint32		creations;

	SpinLockAcquire(&database->worker_mutex);
	creations = database->creations;
	SpinLockRelease(&database->worker_mutex);
	return creations;
}

/*
 * This worker has found no extension, so that the database needs no worker
 * before the next CREATE EXTENSION or ALTER EXTENSION UPDATE.  That one may have
 * committed since the worker looked, or another worker may have found what it
 * brought.
 */
void
worker_slot_no_extension(DatabaseSlot *database, uint32 creations_seen)
{
	SpinLockAcquire(&database->worker_mutex);
	if (database->creations == creations_seen &&
		(database->worker_latch == NULL || database->worker_latch == MyLatch))
	{
		apply_event(&database->worker, WORKER_EV_NO_EXTENSION, 0);
		database->worker_latch = NULL;
	}
	SpinLockRelease(&database->worker_mutex);
	ConditionVariableBroadcast(&database->worker_ended);
}

uint32
worker_slot_take_requests(DatabaseSlot *database)
{
	return pg_atomic_exchange_u32(&database->requests, 0);
}

/* The worker has gone through its tasks. */
void
worker_slot_tasks_done(DatabaseSlot *database)
{
	pg_atomic_write_u64(&database->worker_seen, monotonic_now());
}

/* One run of a task has ended; error: "" when it went well. */
void
worker_slot_record_task(DatabaseSlot *database, MaintenanceTaskId task, MonotonicTime start,
						uint64 rows, const char *error)
{
	MaintenanceTaskState *state = &database->maintenance_tasks[task];
	int64		duration = monotonic_now() - start;

	LWLockAcquire(shmem->maintenance_lock, LW_EXCLUSIVE);
	state->last_run = GetCurrentTimestamp() - duration;
	state->duration = duration;
	state->rows += rows;
	state->runs++;
	if (error[0] == '\0')
		state->failing_since = 0;
	else
	{
		state->errors++;
		if (state->failing_since == 0)
			state->failing_since = state->last_run;
	}
	strlcpy(state->error, error, sizeof(state->error));
	LWLockRelease(shmem->maintenance_lock);
}

/* ----- all sessions ----- */

void
worker_slot_read_task(DatabaseSlot *database, MaintenanceTaskId task, MaintenanceTaskState *state)
{
	LWLockAcquire(shmem->maintenance_lock, LW_SHARED);
	*state = database->maintenance_tasks[task];
	LWLockRelease(shmem->maintenance_lock);
}

/* The state may change at any time, so it is read without the lock. */
bool
worker_running(DatabaseSlot *database)
{
	return database->worker.state == WORKER_RUNNING;
}

/* Does the worker run, and get through its tasks? */
bool
worker_healthy(DatabaseSlot *database)
{
	MonotonicTime seen = (MonotonicTime) pg_atomic_read_u64(&database->worker_seen);

	return worker_running(database) &&
		seen > monotonic_now() - (3 * (int64) guc_reap_interval * 1000 + 10 * USECS_PER_SEC);
}

static void
wake_worker(DatabaseSlot *database)
{
	Latch	   *latch;

	SpinLockAcquire(&database->worker_mutex);
	latch = database->worker_latch;
	SpinLockRelease(&database->worker_mutex);
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * Ask the worker to do something.  Sessions that have given up their PGPROC call
 * this, so it takes no LWLock.
 */
void
worker_request(DatabaseSlot *database, uint32 what)
{
	if ((pg_atomic_fetch_or_u32(&database->requests, what) & what) != what)
		wake_worker(database);
}

static void
change_extension(DatabaseSlot *database, WorkerEvent event)
{
	SpinLockAcquire(&database->worker_mutex);
	database->creations++;
	apply_event(&database->worker, event, 0);
	SpinLockRelease(&database->worker_mutex);
	ConditionVariableBroadcast(&database->worker_ended);
}

/* At commit: cannot fail. */
void
worker_slot_extension_changed(DatabaseSlot *database)
{
	change_extension(database, WORKER_EV_EXTENSION);
}

/*
 * A prepared transaction has committed, and may have created or updated the
 * extension.  It need not have, so failures of the worker still count.
 */
void
worker_slot_prepared_committed(DatabaseSlot *database)
{
	change_extension(database, WORKER_EV_PREPARED);
	if (!worker_running(database))
		launcher_wake();
}

/* Nothing is left to do in the database, and nothing to show of it. */
void
worker_slot_clear(DatabaseSlot *database)
{
	pg_atomic_write_u32(&database->requests, 0);
	LWLockAcquire(shmem->maintenance_lock, LW_EXCLUSIVE);
	memset(database->maintenance_tasks, 0, sizeof(database->maintenance_tasks));
	LWLockRelease(shmem->maintenance_lock);
}

/* ----- statements that need the database without a worker ----- */

/*
 * Several sessions may hold a database, each until its statement ends or it
 * exits.  A session that cannot even exit in order takes all of shared memory
 * with it, so no hold outlives its session.
 */
void
worker_slot_hold(DatabaseSlot *database)
{
	SpinLockAcquire(&database->worker_mutex);
	database->worker_holds++;
	SpinLockRelease(&database->worker_mutex);
	wake_worker(database);
}

void
worker_slot_release(DatabaseSlot *database)
{
	SpinLockAcquire(&database->worker_mutex);
	database->worker_holds--;
	SpinLockRelease(&database->worker_mutex);
	launcher_wake();
}

bool
worker_slot_held(DatabaseSlot *database)
{
	bool		held;

	SpinLockAcquire(&database->worker_mutex);
	held = database->worker_holds > 0;
	SpinLockRelease(&database->worker_mutex);
	return held;
}

/* Wait until no worker starts or runs, each time for no longer than the timeout. */
void
worker_slot_wait_for_end(DatabaseSlot *database, long timeout_ms)
{
	WorkerStatus worker;
	bool		timed_out = false;

	ConditionVariablePrepareToSleep(&database->worker_ended);
	worker_slot_read_status(database, &worker);
	while ((worker.state == WORKER_STARTING || worker.state == WORKER_RUNNING) && !timed_out)
	{
		timed_out = ConditionVariableTimedSleep(&database->worker_ended, timeout_ms, PG_WAIT_EXTENSION);
		worker_slot_read_status(database, &worker);
	}
	ConditionVariableCancelSleep();
}

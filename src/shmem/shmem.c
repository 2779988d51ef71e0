/*-------------------------------------------------------------------------
 *
 * shmem.c
 *		Laying out shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "common/guc.h"
#include "shmem/shmem.h"

SharedState *shared = NULL;
HTAB	   *queue_states = NULL;
HTAB	   *pulses = NULL;
Waiter	   *waiters = NULL;

static shmem_request_hook_type next_request_hook = NULL;
static shmem_startup_hook_type next_startup_hook = NULL;

#define LOCKS (1 + PULSE_PARTITIONS + DATABASES_MAX * TALLIES)

/* ----- laying it out ----- */

/* As many transactions as a snapshot can have in progress. */
static int
snapshot_size(void)
{
	return MaxBackends + max_prepared_xacts;
}

static Size
transactions_size(void)
{
	return mul_size(DATABASES_MAX * TALLIES, mul_size(snapshot_size(), sizeof(TransactionId)));
}

static void
request_shared_memory(void)
{
	if (next_request_hook)
		next_request_hook();

	RequestAddinShmemSpace(MAXALIGN(sizeof(SharedState)));
	RequestAddinShmemSpace(MAXALIGN(mul_size(max_waiters, sizeof(Waiter))));
	RequestAddinShmemSpace(MAXALIGN(transactions_size()));
	RequestAddinShmemSpace(hash_estimate_size(max_queues, sizeof(QueueState)));
	RequestAddinShmemSpace(hash_estimate_size(max_running_jobs, sizeof(Pulse)));
	RequestNamedLWLockTranche("pictrepo", LOCKS);
}

static void
clear_tally(Tally *tally, LWLock *lock, TransactionId *xip)
{
	tally->lock = lock;
	tally->xip = xip;
	tally->state = TALLY_UNKNOWN;
	pg_atomic_init_u64(&tally->value, 0);
}

static void
clear_shared_state(TransactionId *xip)
{
	LWLockPadded *locks = GetNamedLWLockTranche("pictrepo");

	memset(shared, 0, sizeof(SharedState));
	SpinLockInit(&shared->mutex);
	shared->table_lock = &(locks++)->lock;
	for (int i = 0; i < PULSE_PARTITIONS; i++)
		shared->pulse_locks[i] = &(locks++)->lock;
	for (int i = 0; i < DATABASES_MAX; i++)
	{
		DatabaseState *database = &shared->databases[i];

		for (int t = 0; t < TALLIES; t++, xip += snapshot_size())
			clear_tally(&database->tallies[t], &(locks++)->lock, xip);
		pg_atomic_init_u32(&database->overflowed, 0);
		pg_atomic_init_u32(&database->prepared, 0);
		pg_atomic_init_u32(&database->preparations, 0);
		pg_atomic_init_u64(&database->worker_seen, 0);
		pg_atomic_init_u64(&database->restored, 0);
		pg_atomic_init_u32(&database->attention, 0);
	}
	for (int i = 0; i < KEYED_LINES; i++)
	{
		SpinLockInit(&shared->keyed_lines[i].mutex);
		dlist_init(&shared->keyed_lines[i].line);
	}
	dlist_init(&shared->free_waiters);
	for (int i = 0; i < max_waiters; i++)
	{
		waiters[i].awaited.pid = 0;
		dlist_push_tail(&shared->free_waiters, &waiters[i].node);
	}
}

static HTAB *
shared_table(const char *name, long size, Size key, Size entry, int partitions)
{
	HASHCTL		info = {.keysize = key, .entrysize = entry, .num_partitions = partitions};
	int			flags = HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE;

	return ShmemInitHash(name, size, size, &info,
						 partitions > 0 ? flags | HASH_PARTITION : flags);
}

static void
start_shared_memory(void)
{
	TransactionId *xip;
	bool		found;

	if (next_startup_hook)
		next_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	waiters = ShmemInitStruct("pictrepo waiters", mul_size(max_waiters, sizeof(Waiter)), &found);
	xip = ShmemInitStruct("pictrepo transactions", transactions_size(), &found);
	queue_states = shared_table("pictrepo queues", max_queues,
								sizeof(QueueKey), sizeof(QueueState), 0);
	pulses = shared_table("pictrepo pulses", max_running_jobs,
						  sizeof(PulseKey), sizeof(Pulse), PULSE_PARTITIONS);
	shared = ShmemInitStruct("pictrepo", sizeof(SharedState), &found);
	if (!found)
		clear_shared_state(xip);
	LWLockRelease(AddinShmemInitLock);
}

/* From _PG_init, in the postmaster. */
void
reserve_shared_memory(void)
{
	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
}

/*
 * Is shared memory there, and does it hold?  On a standby nothing runs through
 * our hands, so there it does not.
 */
bool
shared_engine(void)
{
	return shared != NULL && !RecoveryInProgress();
}

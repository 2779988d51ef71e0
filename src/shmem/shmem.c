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

ShmemState *shmem = NULL;
HTAB	   *queue_slots = NULL;
HTAB	   *heartbeats = NULL;
Waiter	   *waiters = NULL;

static shmem_request_hook_type next_request_hook = NULL;
static shmem_startup_hook_type next_startup_hook = NULL;

/* the five single locks, and those of heartbeats and row counts */
#define LOCKS (5 + HEARTBEAT_PARTITIONS + DATABASES_MAX * COUNTED_TABLES)

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
	return mul_size(DATABASES_MAX * COUNTED_TABLES, mul_size(snapshot_size(), sizeof(TransactionId)));
}

static void
request_shared_memory(void)
{
	if (next_request_hook)
		next_request_hook();

	RequestAddinShmemSpace(MAXALIGN(sizeof(ShmemState)));
	RequestAddinShmemSpace(MAXALIGN(mul_size(guc_max_waiters, sizeof(Waiter))));
	RequestAddinShmemSpace(MAXALIGN(transactions_size()));
	RequestAddinShmemSpace(hash_estimate_size(guc_max_queues, sizeof(QueueSlot)));
	RequestAddinShmemSpace(hash_estimate_size(guc_max_running_jobs, sizeof(Heartbeat)));
	RequestNamedLWLockTranche("pictrepo", LOCKS);
}

static void
init_row_count(RowCount *row_count, LWLock *lock, TransactionId *xip)
{
	row_count->lock = lock;
	row_count->xip = xip;
	row_count->state = ROW_COUNT_UNKNOWN;
	pg_atomic_init_u64(&row_count->value, 0);
}

static void
clear_shared_state(TransactionId *xip)
{
	LWLockPadded *locks = GetNamedLWLockTranche("pictrepo");

	memset(shmem, 0, sizeof(ShmemState));
	shmem->table_lock = &(locks++)->lock;
	shmem->waiter_lock = &(locks++)->lock;
	shmem->notification_lock = &(locks++)->lock;
	shmem->maintenance_lock = &(locks++)->lock;
	shmem->clock_lock = &(locks++)->lock;
	SpinLockInit(&shmem->launcher_mutex);
	for (int i = 0; i < VISITS_MAX; i++)
		pg_atomic_init_u32(&shmem->visits[i], InvalidOid);
	for (int i = 0; i < HEARTBEAT_PARTITIONS; i++)
		shmem->heartbeat_locks[i] = &(locks++)->lock;
	for (int i = 0; i < DATABASES_MAX; i++)
	{
		DatabaseSlot *database = &shmem->databases[i];

		for (int t = 0; t < COUNTED_TABLES; t++, xip += snapshot_size())
			init_row_count(&database->row_counts[t], &(locks++)->lock, xip);
		pg_atomic_init_u32(&database->overflowed, 0);
		pg_atomic_init_u32(&database->counters_lost, 0);
		pg_atomic_init_u32(&database->preparations, max_prepared_xacts > 0 ? 1 : 0);
		pg_atomic_init_u32(&database->prepared, max_prepared_xacts > 0 ? 1 : 0);
		SpinLockInit(&database->worker_mutex);
		ConditionVariableInit(&database->worker_ended);
		pg_atomic_init_u64(&database->worker_seen, 0);
		pg_atomic_init_u64(&database->restored, 0);
		pg_atomic_init_u32(&database->requests, 0);
	}
	for (int i = 0; i < KEYED_WAIT_QUEUES; i++)
	{
		LWLockInitialize(&shmem->keyed_wait_queues[i].lock, shmem->table_lock->tranche);
		dlist_init(&shmem->keyed_wait_queues[i].waiters);
	}
	dlist_init(&shmem->free_waiters);
	for (int i = 0; i < guc_max_waiters; i++)
	{
		waiters[i].info.pid = 0;
		dlist_push_tail(&shmem->free_waiters, &waiters[i].node);
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
	waiters = ShmemInitStruct("pictrepo waiters", mul_size(guc_max_waiters, sizeof(Waiter)), &found);
	xip = ShmemInitStruct("pictrepo transactions", transactions_size(), &found);
	queue_slots = shared_table("pictrepo queues", guc_max_queues,
							   sizeof(QueueKey), sizeof(QueueSlot), 0);
	heartbeats = shared_table("pictrepo pulses", guc_max_running_jobs,
							  sizeof(HeartbeatKey), sizeof(Heartbeat), HEARTBEAT_PARTITIONS);
	shmem = ShmemInitStruct("pictrepo", sizeof(ShmemState), &found);
	if (!found)
		clear_shared_state(xip);
	LWLockRelease(AddinShmemInitLock);
}

/* From _PG_init, in the postmaster. */
void
shmem_reserve(void)
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
shmem_usable(void)
{
	return shmem != NULL && !RecoveryInProgress();
}

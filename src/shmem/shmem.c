/*-------------------------------------------------------------------------
 *
 * shared.c
 *		What lies in shared memory: laying it out, and finding things there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "engine/cursor.h"
#include "engine/settings.h"
#include "engine/shared.h"

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

/* ----- databases ----- */

/* Under the table lock. */
static DatabaseState *
database_slot(Oid database)
{
	for (int i = 0; i < DATABASES_MAX; i++)
		if (shared->databases[i].database == database)
			return &shared->databases[i];
	return NULL;
}

/* A database's state, if it has one. */
DatabaseState *
find_database(Oid database)
{
	DatabaseState *state;

	LWLockAcquire(shared->table_lock, LW_SHARED);
	state = database_slot(database);
	LWLockRelease(shared->table_lock);
	return state;
}

/*
 * The state of this database, made at its first use; NULL without shared
 * memory, or when too many databases have one.
 */
DatabaseState *
my_database(void)
{
	static DatabaseState *mine = NULL;

	if (mine == NULL && shared_engine() && OidIsValid(MyDatabaseId))
	{
		LWLockAcquire(shared->table_lock, LW_EXCLUSIVE);
		mine = database_slot(MyDatabaseId);
		if (mine == NULL && (mine = database_slot(InvalidOid)) != NULL)
			mine->database = MyDatabaseId;
		LWLockRelease(shared->table_lock);
	}
	return mine;
}

/*
 * Is this a database too many?  All works as without preload then, but there is
 * no worker, since nobody could tell it anything.
 */
bool
database_has_no_room(void)
{
	return shared_engine() && my_database() == NULL;
}

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

/* ----- queues ----- */

static void
clear_queue(QueueState *queue)
{
	DatabaseState *database = database_slot(queue->key.database);

	pg_atomic_init_u32(&queue->pins, 0);
	pg_atomic_init_u64(&queue->length, 0);
	queue->uncounted = database == NULL || pg_atomic_read_u32(&database->overflowed) != 0;
	SpinLockInit(&queue->mutex);
	dlist_init(&queue->line);
	queue->next_due = DT_NOEND;
	queue->last_reap = 0;
	queue->notice = false;
	memset(&queue->cursor, 0, sizeof(queue->cursor));
	memset(queue->counts, 0, sizeof(queue->counts));
	queue->config_version = 0;
	queue->config_known = false;
	queue->configured = false;
	queue->limited = false;
}

/* The table is full: make room by dropping one that is empty and unused. */
static bool
evict_queue(void)
{
	HASH_SEQ_STATUS scan;
	QueueState *queue;

	hash_seq_init(&scan, queue_states);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		if (pg_atomic_read_u32(&queue->pins) == 0 && !queue->notice &&
			!queue->uncounted && pg_atomic_read_u64(&queue->length) == 0)
		{
			hash_search(queue_states, &queue->key, HASH_REMOVE, NULL);
			hash_seq_term(&scan);
			return true;
		}
	}
	return false;
}

static QueueState *
make_queue(const QueueKey *key)
{
	bool		found;
	QueueState *queue = hash_search(queue_states, key, HASH_ENTER_NULL, &found);

	if (queue == NULL && evict_queue())
		queue = hash_search(queue_states, key, HASH_ENTER_NULL, &found);
	if (queue != NULL && !found)
		clear_queue(queue);
	if (queue == NULL && database_slot(key->database) != NULL)
		pg_atomic_write_u32(&database_slot(key->database)->overflowed, 1);
	return queue;
}

/*
 * A queue's state, kept in place until it is unpinned; NULL when there is none
 * and none can be made.
 */
QueueState *
pin_queue(Oid database, const char *name, int length, bool create)
{
	QueueKey	key;
	QueueState *queue;

	if (length > KEY_MAX)
		return NULL;
	memset(&key, 0, sizeof(key));
	key.database = database;
	memcpy(key.name, name, length);

	LWLockAcquire(shared->table_lock, LW_SHARED);
	queue = hash_search(queue_states, &key, HASH_FIND, NULL);
	if (queue == NULL && create)
	{
		LWLockRelease(shared->table_lock);
		LWLockAcquire(shared->table_lock, LW_EXCLUSIVE);
		queue = make_queue(&key);
	}
	if (queue != NULL)
		pg_atomic_fetch_add_u32(&queue->pins, 1);
	LWLockRelease(shared->table_lock);
	return queue;
}

void
unpin_queue(QueueState *queue)
{
	pg_atomic_fetch_sub_u32(&queue->pins, 1);
}

/* ----- forgetting ----- */

static void
forget_queues(Oid database, bool gone)
{
	HASH_SEQ_STATUS scan;
	QueueState *queue;

	hash_seq_init(&scan, queue_states);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		if (queue->key.database != database)
			continue;
		if (gone && pg_atomic_read_u32(&queue->pins) == 0)
		{
			hash_search(queue_states, &queue->key, HASH_REMOVE, NULL);
			continue;
		}
		SpinLockAcquire(&queue->mutex);
		forget_bounds(&queue->cursor);
		queue->config_known = false;
		queue->config_version++;
		queue->notice = false;
		SpinLockRelease(&queue->mutex);
	}
}

static void
forget_notices(Oid database)
{
	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < NOTICES_MAX; i++)
		if (shared->notice_slots[i].database == database)
		{
			shared->notice_slots[i].database = InvalidOid;
			shared->notices_taken--;
		}
	SpinLockRelease(&shared->mutex);
}

/*
 * Begin anew with a database: its extension was created, or it is gone for
 * good.
 */
void
forget_database(Oid database, bool gone)
{
	DatabaseState *state = find_database(database);

	if (state == NULL)
		return;
	for (int t = 0; t < TALLIES; t++)
	{
		LWLockAcquire(state->tallies[t].lock, LW_EXCLUSIVE);
		state->tallies[t].state = TALLY_UNKNOWN;
		LWLockRelease(state->tallies[t].lock);
	}
	SpinLockAcquire(&shared->mutex);
	state->worker_failures = 0;
	state->worker_next_try = 0;
	state->creations++;
	if (state->worker_state != WORKER_RUNNING)
		state->worker_state = WORKER_NONE;
	SpinLockRelease(&shared->mutex);
	LWLockAcquire(shared->table_lock, LW_EXCLUSIVE);
	forget_queues(database, gone);
	if (gone)
	{
		forget_notices(database);
		state->held_until = 0;
		pg_atomic_write_u32(&state->attention, 0);
		memset(state->duties, 0, sizeof(state->duties));
		state->database = InvalidOid;
	}
	LWLockRelease(shared->table_lock);
}

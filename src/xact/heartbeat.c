/*-------------------------------------------------------------------------
 *
 * heartbeat.c
 *		Heartbeats of running jobs, in shared memory.
 *
 * A claim creates an entry for its job.  The entry becomes active when the claim
 * commits.  The transaction that ends the claim removes the entry when it
 * commits.  While the entry is active, a heartbeat writes the time into it, and
 * makes no new version of the job's row.
 *
 * Without an entry, a heartbeat updates the job's row.  An entry is missing after
 * a restart of the server, when the table was full, and when a prepared
 * transaction that ended the claim was rolled back.  The heartbeat then makes a
 * new entry for the next ones.  It first reserves the entry, which is not active
 * yet.  Then it updates the row.  If the row says that the worker holds the job,
 * the entry becomes active, otherwise the heartbeat removes it again.  The entry
 * exists before the row is read, so a transaction that ends the claim at any
 * time after that finds the entry and removes it.
 *
 * Each claim of a job has a new attempt number.  A transaction removes the entry
 * of the attempt that it ended.  So a removal that happens late does not remove
 * the entry of the next claim.  A reserved entry has no attempt yet, and any end
 * removes it.
 *
 * A session that takes jobs away from silent workers suspends their entries
 * first (reap.c).  A heartbeat of a suspended entry must update the job's row, as
 * the session that takes the job away must.  One of them locks the row first.  So
 * no worker learns that it holds a job while it loses the job.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/compat.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"

/* The entry of a job, or NULL; its partition is locked. */
typedef struct LockedHeartbeat
{
	Heartbeat  *entry;
	LWLock	   *lock;
} LockedHeartbeat;

uint64
queue_name_hash(const text *name)
{
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(name),
							   VARSIZE_ANY_EXHDR(name), 0);
}

static LockedHeartbeat
lock_entry(Oid database, const pg_uuid_t *job, HASHACTION action, LWLockMode mode)
{
	HeartbeatKey key;
	uint32		hash;
	LockedHeartbeat found;

	memset(&key, 0, sizeof(key));
	key.database = database;
	key.job = *job;
	hash = get_hash_value(heartbeats, &key);
	found.lock = shmem->heartbeat_locks[hash % HEARTBEAT_PARTITIONS];
	LWLockAcquire(found.lock, mode);
	found.entry = hash_search_with_hash_value(heartbeats, &key, hash, action, NULL);
	return found;
}

static bool
belongs_to_claim(const Heartbeat *entry, const Claim *claim)
{
	return memcmp(&entry->worker, &claim->worker, UUID_LEN) == 0 &&
		entry->queue == claim->queue;
}

static bool
create_entry(const Claim *claim)
{
	LockedHeartbeat found = lock_entry(MyDatabaseId, &claim->job, HASH_ENTER_NULL, LW_EXCLUSIVE);

	if (found.entry != NULL)
	{
		found.entry->attempt = claim->attempt;
		found.entry->worker = claim->worker;
		found.entry->queue = claim->queue;
		found.entry->active = false;
		found.entry->suspended = false;
		pg_atomic_init_u64(&found.entry->last_beat, GetCurrentTimestamp());
	}
	LWLockRelease(found.lock);
	return found.entry != NULL;
}

/* This transaction claims a job.  Without room for an entry, heartbeats update the row. */
void
heartbeat_claim(const Claim *claim)
{
	if (create_entry(claim))
		pending_heartbeat(&claim->job, claim->attempt, true);
}

/*
 * Record a heartbeat of the worker; false: its claim has no active entry, so the
 * heartbeat must update the job's row.  That is also so while prepared
 * transactions exist, because one of them may have ended the claim.
 */
bool
heartbeat_record(const Claim *claim)
{
	DatabaseSlot *database = my_database_slot();
	LockedHeartbeat found;
	bool		held;

	if (database == NULL || pg_atomic_read_u32(&database->prepared) != 0)
		return false;
	found = lock_entry(MyDatabaseId, &claim->job, HASH_FIND, LW_SHARED);
	held = found.entry != NULL && found.entry->active && !found.entry->suspended &&
		belongs_to_claim(found.entry, claim);
	if (held)
		pg_atomic_write_u64(&found.entry->last_beat, GetCurrentTimestamp());
	LWLockRelease(found.lock);
	return held;
}

/*
 * Reserve an entry, before the job's row says whether the worker holds the job.
 * False: the job has an entry, or cannot have one.  Otherwise the caller must
 * call heartbeat_settle.
 */
bool
heartbeat_reserve(Claim *claim)
{
	DatabaseSlot *database = my_database_slot();
	LockedHeartbeat found;
	bool		exists;

	if (database == NULL || pg_atomic_read_u32(&database->prepared) != 0)
		return false;
	found = lock_entry(MyDatabaseId, &claim->job, HASH_FIND, LW_SHARED);
	exists = found.entry != NULL;
	LWLockRelease(found.lock);
	claim->attempt = ATTEMPT_UNKNOWN;
	return !exists && create_entry(claim);
}

/* The row has said whether the worker holds the job: activate or remove the entry. */
void
heartbeat_settle(const Claim *claim, bool held)
{
	LockedHeartbeat found = lock_entry(MyDatabaseId, &claim->job, HASH_FIND, LW_EXCLUSIVE);

	if (found.entry != NULL && found.entry->attempt == ATTEMPT_UNKNOWN && belongs_to_claim(found.entry, claim))
	{
		if (held)
		{
			found.entry->attempt = claim->attempt;
			found.entry->active = true;
		}
		else
			hash_search(heartbeats, &found.entry->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(found.lock);
}

/* The last heartbeat of a running job; false: the job has no active entry. */
bool
heartbeat_read(const pg_uuid_t *job, TimestampTz *heartbeat)
{
	LockedHeartbeat found;

	if (my_database_slot() == NULL)
		return false;
	found = lock_entry(MyDatabaseId, job, HASH_FIND, LW_SHARED);
	if (found.entry != NULL && found.entry->active)
		*heartbeat = (TimestampTz) pg_atomic_read_u64(&found.entry->last_beat);
	LWLockRelease(found.lock);
	return found.entry != NULL && found.entry->active;
}

/* Jobs of this database whose last heartbeat is older, as an array of uuid. */
Datum
heartbeat_silent_jobs(TimestampTz before)
{
	ArrayBuildState *jobs = NULL;
	HASH_SEQ_STATUS scan;
	Heartbeat  *entry;

	if (my_database_slot() == NULL)
		return PointerGetDatum(construct_empty_array(UUIDOID));
	for (int i = 0; i < HEARTBEAT_PARTITIONS; i++)
		LWLockAcquire(shmem->heartbeat_locks[i], LW_SHARED);
	hash_seq_init(&scan, heartbeats);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->key.database == MyDatabaseId &&
			(TimestampTz) pg_atomic_read_u64(&entry->last_beat) < before)
		{
			pg_uuid_t  *job = palloc(sizeof(pg_uuid_t));

			*job = entry->key.job;
			jobs = accumArrayResult(jobs, UUIDPGetDatum(job), false, UUIDOID, CurrentMemoryContext);
		}
	for (int i = 0; i < HEARTBEAT_PARTITIONS; i++)
		LWLockRelease(shmem->heartbeat_locks[i]);
	if (jobs == NULL)
		return PointerGetDatum(construct_empty_array(UUIDOID));
	return makeArrayResult(jobs, CurrentMemoryContext);
}

/*
 * Before the caller takes jobs away: their heartbeats must update the row from
 * here on.  A job with a newer heartbeat keeps its active entry.
 */
void
heartbeat_suspend(Datum jobs, TimestampTz before)
{
	Datum	   *ids;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(jobs), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR,
					  &ids, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		LockedHeartbeat found = lock_entry(MyDatabaseId, DatumGetUUIDP(ids[i]), HASH_FIND, LW_EXCLUSIVE);

		if (found.entry != NULL &&
			(TimestampTz) pg_atomic_read_u64(&found.entry->last_beat) < before)
			found.entry->suspended = true;
		LWLockRelease(found.lock);
	}
}

/*
 * The worker still holds the job.  This transaction has updated the job's row, and
 * its lock on the row keeps other sessions from taking the job away.
 */
void
heartbeat_resume(const Claim *claim)
{
	LockedHeartbeat found;

	if (my_database_slot() == NULL)
		return;
	found = lock_entry(MyDatabaseId, &claim->job, HASH_FIND, LW_EXCLUSIVE);
	if (found.entry != NULL && found.entry->suspended && belongs_to_claim(found.entry, claim))
	{
		found.entry->suspended = false;
		pg_atomic_write_u64(&found.entry->last_beat, GetCurrentTimestamp());
	}
	LWLockRelease(found.lock);
}

/* ----- for the end of a transaction: these cannot fail ----- */

/* The claim is committed. */
void
heartbeat_activate(const pg_uuid_t *job, int attempt)
{
	LockedHeartbeat found = lock_entry(MyDatabaseId, job, HASH_FIND, LW_EXCLUSIVE);

	if (found.entry != NULL && found.entry->attempt == attempt)
		found.entry->active = true;
	LWLockRelease(found.lock);
}

/* The claim has ended, or was rolled back; ATTEMPT_UNKNOWN: of any attempt. */
void
heartbeat_remove(const pg_uuid_t *job, int attempt)
{
	LockedHeartbeat found = lock_entry(MyDatabaseId, job, HASH_FIND, LW_EXCLUSIVE);

	if (found.entry != NULL &&
		(found.entry->attempt == attempt || found.entry->attempt == ATTEMPT_UNKNOWN ||
		 attempt == ATTEMPT_UNKNOWN))
		hash_search(heartbeats, &found.entry->key, HASH_REMOVE, NULL);
	LWLockRelease(found.lock);
}

/* The jobs of the database are gone: they were truncated, or it was dropped. */
void
heartbeat_remove_all(Oid database)
{
	HASH_SEQ_STATUS scan;
	Heartbeat  *entry;

	for (int i = 0; i < HEARTBEAT_PARTITIONS; i++)
		LWLockAcquire(shmem->heartbeat_locks[i], LW_EXCLUSIVE);
	hash_seq_init(&scan, heartbeats);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->key.database == database)
			hash_search(heartbeats, &entry->key, HASH_REMOVE, NULL);
	for (int i = 0; i < HEARTBEAT_PARTITIONS; i++)
		LWLockRelease(shmem->heartbeat_locks[i]);
}

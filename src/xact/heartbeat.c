/*-------------------------------------------------------------------------
 *
 * heartbeat.c
 *		Heartbeats of running jobs, in shared memory.
 *
 * A claim makes an entry, which counts when the claim is committed; whatever
 * ends the claim removes it at its commit.  While it is there, a heartbeat is
 * one look into it, and no row version.
 *
 * Without an entry (the table was full, the server was restarted, an end that was
 * prepared was rolled back) a heartbeat first announces one, then goes through
 * the job's row, if that is the worker's, and settles it accordingly.  So an
 * end that the row does not show yet finds the entry, and who takes the job away
 * meanwhile, because the row's heartbeat was old, finds a new one or is waited for.
 *
 * Entries of one job are told apart by the attempt, which rises with each
 * claim: an end that comes late does not remove the entry of the next claim.
 *
 * Who takes jobs away from silent workers condemns their entries first.  A
 * heartbeat that comes then has to go through the job's row, where one of the
 * two waits for the other: no worker is told that it holds what it is losing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"

/* An entry, by its job, with its partition locked. */
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
find_heartbeat(Oid database, const pg_uuid_t *job, HASHACTION action, LWLockMode mode)
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
is_of_claim(const Heartbeat *entry, const Claim *claim)
{
	return memcmp(&entry->worker, &claim->worker, UUID_LEN) == 0 &&
		entry->queue == claim->queue;
}

static bool
enter_heartbeat(const Claim *claim)
{
	LockedHeartbeat found = find_heartbeat(MyDatabaseId, &claim->job, HASH_ENTER_NULL, LW_EXCLUSIVE);

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

/* This transaction claims a job. */
void
heartbeat_claim(const Claim *claim)
{
	if (enter_heartbeat(claim))
		pending_heartbeat(&claim->job, claim->attempt, true);
}

/*
 * The worker is alive; false: there is no entry for it.  A prepared transaction
 * may end the claim without removing the entry.
 */
bool
heartbeat_record(const Claim *claim)
{
	DatabaseSlot *database = my_database_slot();
	LockedHeartbeat found;
	bool		held;

	if (database == NULL || pg_atomic_read_u32(&database->prepared) != 0)
		return false;
	found = find_heartbeat(MyDatabaseId, &claim->job, HASH_FIND, LW_SHARED);
	held = found.entry != NULL && found.entry->active && !found.entry->suspended &&
		is_of_claim(found.entry, claim);
	if (held)
		pg_atomic_write_u64(&found.entry->last_beat, GetCurrentTimestamp());
	LWLockRelease(found.lock);
	return held;
}

/*
 * Before the row says whether the worker holds the job: make an entry, if there
 * is none.  False: from now on, too, the row has to take the heartbeats.
 */
bool
heartbeat_announce(Claim *claim)
{
	DatabaseSlot *database = my_database_slot();
	LockedHeartbeat found;
	bool		exists;

	if (database == NULL || pg_atomic_read_u32(&database->prepared) != 0)
		return false;
	found = find_heartbeat(MyDatabaseId, &claim->job, HASH_FIND, LW_SHARED);
	exists = found.entry != NULL;
	LWLockRelease(found.lock);
	claim->attempt = -1;
	return !exists && enter_heartbeat(claim);
}

/* After that. */
void
heartbeat_settle(const Claim *claim, bool held)
{
	LockedHeartbeat found = find_heartbeat(MyDatabaseId, &claim->job, HASH_FIND, LW_EXCLUSIVE);

	if (found.entry != NULL && found.entry->attempt == -1 && is_of_claim(found.entry, claim))
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

/* The last heartbeat of a job that runs. */
bool
heartbeat_read(const pg_uuid_t *job, TimestampTz *heartbeat)
{
	LockedHeartbeat found;

	if (my_database_slot() == NULL)
		return false;
	found = find_heartbeat(MyDatabaseId, job, HASH_FIND, LW_SHARED);
	if (found.entry != NULL && found.entry->active)
		*heartbeat = (TimestampTz) pg_atomic_read_u64(&found.entry->last_beat);
	LWLockRelease(found.lock);
	return found.entry != NULL && found.entry->active;
}

/* Jobs of this database without a heartbeat since then, as an array of uuid. */
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

/* Before these jobs are taken away: from here on a heartbeat takes the row. */
void
heartbeat_suspend(Datum jobs, TimestampTz before)
{
	Datum	   *ids;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(jobs), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR,
					  &ids, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		LockedHeartbeat found = find_heartbeat(MyDatabaseId, DatumGetUUIDP(ids[i]), HASH_FIND, LW_EXCLUSIVE);

		if (found.entry != NULL &&
			(TimestampTz) pg_atomic_read_u64(&found.entry->last_beat) < before)
			found.entry->suspended = true;
		LWLockRelease(found.lock);
	}
}

/*
 * The job was not taken away: its row has a heartbeat of this transaction,
 * which keeps others from it.
 */
void
heartbeat_resume(const Claim *claim)
{
	LockedHeartbeat found;

	if (my_database_slot() == NULL)
		return;
	found = find_heartbeat(MyDatabaseId, &claim->job, HASH_FIND, LW_EXCLUSIVE);
	if (found.entry != NULL && found.entry->suspended && is_of_claim(found.entry, claim))
	{
		found.entry->suspended = false;
		pg_atomic_write_u64(&found.entry->last_beat, GetCurrentTimestamp());
	}
	LWLockRelease(found.lock);
}

/* ----- at the end of a transaction ----- */

/* The claim is committed. */
void
heartbeat_activate(const pg_uuid_t *job, int attempt)
{
	LockedHeartbeat found = find_heartbeat(MyDatabaseId, job, HASH_FIND, LW_EXCLUSIVE);

	if (found.entry != NULL && found.entry->attempt == attempt)
		found.entry->active = true;
	LWLockRelease(found.lock);
}

/* The claim has ended, or was rolled back; attempt -1: whichever it was. */
void
heartbeat_remove(const pg_uuid_t *job, int attempt)
{
	LockedHeartbeat found = find_heartbeat(MyDatabaseId, job, HASH_FIND, LW_EXCLUSIVE);

	if (found.entry != NULL &&
		(found.entry->attempt == attempt || found.entry->attempt == -1 || attempt == -1))
		hash_search(heartbeats, &found.entry->key, HASH_REMOVE, NULL);
	LWLockRelease(found.lock);
}

/* All jobs of a database are gone. */
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

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
#include "sqlfunc/result.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"
#include "xact/row_count.h"

/* An entry, by its job, with its partition locked. */
typedef struct Found
{
	Pulse	   *pulse;
	LWLock	   *lock;
} Found;

uint64
hash_of_queue(const text *name)
{
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(name),
							   VARSIZE_ANY_EXHDR(name), 0);
}

static Found
find_pulse(Oid database, const pg_uuid_t *job, HASHACTION action, LWLockMode mode)
{
	PulseKey	key;
	uint32		hash;
	Found		found;

	memset(&key, 0, sizeof(key));
	key.database = database;
	key.job = *job;
	hash = get_hash_value(pulses, &key);
	found.lock = shared->pulse_locks[hash % PULSE_PARTITIONS];
	LWLockAcquire(found.lock, mode);
	found.pulse = hash_search_with_hash_value(pulses, &key, hash, action, NULL);
	return found;
}

static bool
is_of_claim(const Pulse *pulse, const Claim *claim)
{
	return memcmp(&pulse->worker, &claim->worker, UUID_LEN) == 0 &&
		pulse->queue == claim->queue;
}

static bool
enter_pulse(const Claim *claim)
{
	Found		found = find_pulse(MyDatabaseId, &claim->job, HASH_ENTER_NULL, LW_EXCLUSIVE);

	if (found.pulse != NULL)
	{
		found.pulse->attempt = claim->attempt;
		found.pulse->worker = claim->worker;
		found.pulse->queue = claim->queue;
		found.pulse->confirmed = false;
		found.pulse->condemned = false;
		pg_atomic_init_u64(&found.pulse->heartbeat, GetCurrentTimestamp());
	}
	LWLockRelease(found.lock);
	return found.pulse != NULL;
}

/* This transaction claims a job. */
void
begin_pulse(const Claim *claim)
{
	if (enter_pulse(claim))
		note_pulse(&claim->job, claim->attempt, true);
}

/*
 * The worker is alive; false: there is no entry for it.  A prepared transaction
 * may end the claim without removing the entry.
 */
bool
beat_pulse(const Claim *claim)
{
	DatabaseState *database = my_database();
	Found		found;
	bool		held;

	if (database == NULL || pg_atomic_read_u32(&database->prepared) != 0)
		return false;
	found = find_pulse(MyDatabaseId, &claim->job, HASH_FIND, LW_SHARED);
	held = found.pulse != NULL && found.pulse->confirmed && !found.pulse->condemned &&
		is_of_claim(found.pulse, claim);
	if (held)
		pg_atomic_write_u64(&found.pulse->heartbeat, GetCurrentTimestamp());
	LWLockRelease(found.lock);
	return held;
}

/*
 * Before the row says whether the worker holds the job: make an entry, if there
 * is none.  False: from now on, too, the row has to take the heartbeats.
 */
bool
announce_pulse(Claim *claim)
{
	DatabaseState *database = my_database();
	Found		found;
	bool		exists;

	if (database == NULL || pg_atomic_read_u32(&database->prepared) != 0)
		return false;
	found = find_pulse(MyDatabaseId, &claim->job, HASH_FIND, LW_SHARED);
	exists = found.pulse != NULL;
	LWLockRelease(found.lock);
	claim->attempt = -1;
	return !exists && enter_pulse(claim);
}

/* After that. */
void
settle_pulse(const Claim *claim, bool held)
{
	Found		found = find_pulse(MyDatabaseId, &claim->job, HASH_FIND, LW_EXCLUSIVE);

	if (found.pulse != NULL && found.pulse->attempt == -1 && is_of_claim(found.pulse, claim))
	{
		if (held)
		{
			found.pulse->attempt = claim->attempt;
			found.pulse->confirmed = true;
		}
		else
			hash_search(pulses, &found.pulse->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(found.lock);
}

/* The last heartbeat of a job that runs. */
bool
read_pulse(const pg_uuid_t *job, TimestampTz *heartbeat)
{
	Found		found;

	if (my_database() == NULL)
		return false;
	found = find_pulse(MyDatabaseId, job, HASH_FIND, LW_SHARED);
	if (found.pulse != NULL && found.pulse->confirmed)
		*heartbeat = (TimestampTz) pg_atomic_read_u64(&found.pulse->heartbeat);
	LWLockRelease(found.lock);
	return found.pulse != NULL && found.pulse->confirmed;
}

/* Jobs of this database without a heartbeat since then, as an array of uuid. */
Datum
silent_pulses(TimestampTz before)
{
	ArrayBuildState *jobs = NULL;
	HASH_SEQ_STATUS scan;
	Pulse	   *pulse;

	if (my_database() == NULL)
		return PointerGetDatum(construct_empty_array(UUIDOID));
	for (int i = 0; i < PULSE_PARTITIONS; i++)
		LWLockAcquire(shared->pulse_locks[i], LW_SHARED);
	hash_seq_init(&scan, pulses);
	while ((pulse = hash_seq_search(&scan)) != NULL)
		if (pulse->key.database == MyDatabaseId &&
			(TimestampTz) pg_atomic_read_u64(&pulse->heartbeat) < before)
		{
			pg_uuid_t  *job = palloc(sizeof(pg_uuid_t));

			*job = pulse->key.job;
			jobs = accumArrayResult(jobs, UUIDPGetDatum(job), false, UUIDOID, CurrentMemoryContext);
		}
	for (int i = 0; i < PULSE_PARTITIONS; i++)
		LWLockRelease(shared->pulse_locks[i]);
	if (jobs == NULL)
		return PointerGetDatum(construct_empty_array(UUIDOID));
	return makeArrayResult(jobs, CurrentMemoryContext);
}

/* Before these jobs are taken away: from here on a heartbeat takes the row. */
void
condemn_pulses(Datum jobs, TimestampTz before)
{
	Datum	   *ids;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(jobs), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR,
					  &ids, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		Found		found = find_pulse(MyDatabaseId, DatumGetUUIDP(ids[i]), HASH_FIND, LW_EXCLUSIVE);

		if (found.pulse != NULL &&
			(TimestampTz) pg_atomic_read_u64(&found.pulse->heartbeat) < before)
			found.pulse->condemned = true;
		LWLockRelease(found.lock);
	}
}

/*
 * The job was not taken away: its row has a heartbeat of this transaction,
 * which keeps others from it.
 */
void
pardon_pulse(const Claim *claim)
{
	Found		found;

	if (my_database() == NULL)
		return;
	found = find_pulse(MyDatabaseId, &claim->job, HASH_FIND, LW_EXCLUSIVE);
	if (found.pulse != NULL && found.pulse->condemned && is_of_claim(found.pulse, claim))
	{
		found.pulse->condemned = false;
		pg_atomic_write_u64(&found.pulse->heartbeat, GetCurrentTimestamp());
	}
	LWLockRelease(found.lock);
}

/* ----- at the end of a transaction ----- */

/* The claim is committed. */
void
confirm_pulse(const pg_uuid_t *job, int attempt)
{
	Found		found = find_pulse(MyDatabaseId, job, HASH_FIND, LW_EXCLUSIVE);

	if (found.pulse != NULL && found.pulse->attempt == attempt)
		found.pulse->confirmed = true;
	LWLockRelease(found.lock);
}

/* The claim has ended, or was rolled back; attempt -1: whichever it was. */
void
end_pulse(const pg_uuid_t *job, int attempt)
{
	Found		found = find_pulse(MyDatabaseId, job, HASH_FIND, LW_EXCLUSIVE);

	if (found.pulse != NULL &&
		(found.pulse->attempt == attempt || found.pulse->attempt == -1 || attempt == -1))
		hash_search(pulses, &found.pulse->key, HASH_REMOVE, NULL);
	LWLockRelease(found.lock);
}

/* All jobs of a database are gone. */
void
end_all_pulses(Oid database)
{
	HASH_SEQ_STATUS scan;
	Pulse	   *pulse;

	for (int i = 0; i < PULSE_PARTITIONS; i++)
		LWLockAcquire(shared->pulse_locks[i], LW_EXCLUSIVE);
	hash_seq_init(&scan, pulses);
	while ((pulse = hash_seq_search(&scan)) != NULL)
		if (pulse->key.database == database)
			hash_search(pulses, &pulse->key, HASH_REMOVE, NULL);
	for (int i = 0; i < PULSE_PARTITIONS; i++)
		LWLockRelease(shared->pulse_locks[i]);
}

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
 * A transaction may end a claim and claim the same job again.  The job then has
 * the entry of the first claim already, and keeps it until the transaction
 * commits.  Only the commit writes the new claim into the entry.  So a rollback
 * leaves the first claim with its last heartbeat.
 *
 * Without an entry, a heartbeat updates the job's row.  An entry is missing after
 * a restart of the server, when the table was full, and when a prepared
 * transaction made the claim.  The heartbeat then makes a new entry for the next
 * ones.  It first reserves the entry, which is not active yet.  Then it updates the
 * row.  If the row says that the worker holds the job, the entry becomes active,
 * otherwise the heartbeat removes it again.  The entry exists before the row is
 * read, so a transaction that ends the claim at any time after that finds the entry
 * and removes it.
 *
 * Each claim of a job has a new attempt number.  A transaction removes the entry
 * of the attempt that it ended, or of an earlier one.  So a removal that happens
 * late does not remove the entry of the next claim.  A reserved entry has no
 * attempt yet, and any end removes it.
 *
 * A session that takes jobs away from silent workers suspends their entries
 * first (reap.c).  A heartbeat of a suspended entry must update the job's row, as
 * the session that takes the job away must.  One of them locks the row first.  So
 * no worker learns that it holds a job while it loses the job.
 *
 * PREPARE TRANSACTION suspends the entries of the claims that the transaction has
 * ended, because no callback tells whether it commits.  After ROLLBACK PREPARED
 * the last heartbeat still counts, and the next one resumes the entry.  After
 * COMMIT PREPARED the row says that the worker has lost the job.  The next claim
 * uses the entry, or the sweep removes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/compat.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/array.h"

#include "shmem/clock_watch.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "xact/heartbeat.h"

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

/* *exists, if given: the entry was there before. */
static LockedHeartbeat
lock_or_enter(const pg_uuid_t *job, HASHACTION action, LWLockMode mode, bool *exists)
{
	HeartbeatKey key;
	uint32		hash;
	LockedHeartbeat found;

	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	key.job = *job;
	hash = get_hash_value(heartbeats, &key);
	found.lock = shmem->heartbeat_locks[hash % HEARTBEAT_PARTITIONS];
	LWLockAcquire(found.lock, mode);
	found.entry = hash_search_with_hash_value(heartbeats, &key, hash, action, exists);
	return found;
}

static LockedHeartbeat
lock_entry(const pg_uuid_t *job, LWLockMode mode)
{
	return lock_or_enter(job, HASH_FIND, mode, NULL);
}

static bool
belongs_to_claim(const Heartbeat *entry, const Claim *claim)
{
	return memcmp(&entry->worker, &claim->worker, UUID_LEN) == 0 &&
		entry->queue == claim->queue;
}

static void
set_claim(Heartbeat *entry, const Claim *claim)
{
	entry->attempt = claim->attempt;
	entry->worker = claim->worker;
	entry->queue = claim->queue;
}

static void
init_entry(Heartbeat *entry, const Claim *claim)
{
	set_claim(entry, claim);
	entry->active = false;
	entry->suspended = false;
	pg_atomic_init_u64(&entry->last_beat, monotonic_now());
}

/* False: the job has an entry, or there is no room for one. */
static bool
create_entry(const Claim *claim)
{
	bool		exists = false;
	LockedHeartbeat found = lock_or_enter(&claim->job, HASH_ENTER_NULL, LW_EXCLUSIVE, &exists);

	if (found.entry != NULL && !exists)
		init_entry(found.entry, claim);
	LWLockRelease(found.lock);
	return found.entry != NULL && !exists;
}

/*
 * This transaction claims a job.  An entry that the job has stays as it is until
 * the commit.  But an entry of a later attempt is left over from a job that was
 * removed and came back.  Without room for an entry, heartbeats update the row.
 */
void
heartbeat_claim(const Claim *claim)
{
	PendingClaim *change = pending_claim_begin(claim);
	bool		exists = false;
	LockedHeartbeat found = lock_or_enter(&claim->job, HASH_ENTER_NULL, LW_EXCLUSIVE, &exists);

	if (found.entry != NULL)
	{
		if (!exists || found.entry->attempt > claim->attempt)
			init_entry(found.entry, claim);
		change->replaces = found.entry->attempt;
	}
	LWLockRelease(found.lock);
}

/* May a heartbeat of this claim use the entry?  It may not name its attempt. */
static bool
is_heartbeat_of(const Heartbeat *entry, const Claim *claim)
{
	return belongs_to_claim(entry, claim) &&
		(claim->attempt == ATTEMPT_UNKNOWN || claim->attempt == entry->attempt);
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
	found = lock_entry(&claim->job, LW_SHARED);
	held = found.entry != NULL && found.entry->active && !found.entry->suspended &&
		is_heartbeat_of(found.entry, claim);
	if (held)
		pg_atomic_write_u64(&found.entry->last_beat, monotonic_now());
	LWLockRelease(found.lock);
	return held;
}

/*
 * Reserve an entry, before the job's row says whether the worker holds the job.
 * False: the job has an entry, or cannot have one.  Otherwise the caller must
 * call heartbeat_settle.  A change of the claim by this transaction may roll back,
 * so its heartbeats make no entry.
 */
bool
heartbeat_reserve(Claim *claim)
{
	DatabaseSlot *database = my_database_slot();

	if (database == NULL || pg_atomic_read_u32(&database->prepared) != 0 || pending_changes_claim(&claim->job))
		return false;
	claim->attempt = ATTEMPT_UNKNOWN;
	return create_entry(claim);
}

/* The row has said whether the worker holds the job: activate or remove the entry. */
void
heartbeat_settle(const Claim *claim, bool held)
{
	LockedHeartbeat found = lock_entry(&claim->job, LW_EXCLUSIVE);

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

/*
 * A time by the wall clock.  Throughout a transaction the difference between the
 * clocks is the same.  So the transaction can compare what it sees of heartbeats,
 * even if the wall clock is set meanwhile.
 */
TimestampTz
heartbeat_show(MonotonicTime time)
{
	static TimestampTz transaction = 0;
	static int64 offset = 0;

	if (transaction != GetCurrentTransactionStartTimestamp())
	{
		transaction = GetCurrentTransactionStartTimestamp();
		offset = clock_watch_offset();
	}
	return time + offset;
}

/* The last heartbeat of a running job; false: the job has no active entry. */
bool
heartbeat_read(const pg_uuid_t *job, TimestampTz *heartbeat)
{
	LockedHeartbeat found;
	bool		active;
	MonotonicTime last_beat = 0;

	if (my_database_slot() == NULL)
		return false;
	found = lock_entry(job, LW_SHARED);
	active = found.entry != NULL && found.entry->active;
	if (active)
		last_beat = (MonotonicTime) pg_atomic_read_u64(&found.entry->last_beat);
	LWLockRelease(found.lock);
	*heartbeat = heartbeat_show(last_beat);
	return active;
}

/* Jobs of this database whose last heartbeat is older, as an array of uuid. */
Datum
heartbeat_silent_jobs(MonotonicTime before)
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
			(MonotonicTime) pg_atomic_read_u64(&entry->last_beat) < before)
			jobs = accumArrayResult(jobs, UUIDPGetDatum(&entry->key.job), false, UUIDOID, CurrentMemoryContext);
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
heartbeat_suspend(Datum jobs, MonotonicTime before)
{
	Datum	   *ids;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(jobs), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR,
					  &ids, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		LockedHeartbeat found = lock_entry(DatumGetUUIDP(ids[i]), LW_EXCLUSIVE);

		if (found.entry != NULL &&
			(MonotonicTime) pg_atomic_read_u64(&found.entry->last_beat) < before)
			found.entry->suspended = true;
		LWLockRelease(found.lock);
	}
}

/*
 * The worker holds the job.  This transaction has updated the job's row, and its
 * lock on the row keeps other sessions from taking the job away.  The entry may be
 * of an earlier claim that a prepared transaction has ended, so the claim is written
 * into it.  A change of the claim by this transaction may roll back, and is not
 * written.
 */
void
heartbeat_resume(const Claim *claim)
{
	LockedHeartbeat found;

	if (my_database_slot() == NULL || pending_changes_claim(&claim->job))
		return;
	found = lock_entry(&claim->job, LW_EXCLUSIVE);
	if (found.entry != NULL)
	{
		set_claim(found.entry, claim);
		found.entry->active = true;
		found.entry->suspended = false;
		pg_atomic_write_u64(&found.entry->last_beat, monotonic_now());
	}
	LWLockRelease(found.lock);
}

/* The job does not run.  An entry with a newer heartbeat belongs to a new claim. */
void
heartbeat_forget(const pg_uuid_t *job, MonotonicTime before)
{
	LockedHeartbeat found = lock_entry(job, LW_EXCLUSIVE);

	if (found.entry != NULL && (MonotonicTime) pg_atomic_read_u64(&found.entry->last_beat) < before)
		hash_search(heartbeats, &found.entry->key, HASH_REMOVE, NULL);
	LWLockRelease(found.lock);
}

/* ----- for the end of a transaction: these cannot fail ----- */

/*
 * The claim is committed: write it into the entry that it created, or that it
 * replaces.  Other sessions may have ended the claim already, and the job may have
 * the entry of a later attempt.  A suspended entry stays so, because a session may
 * have found it silent: the next heartbeat updates the row.
 */
void
heartbeat_activate(const PendingClaim *change)
{
	const Claim *claim = &change->claim;
	LockedHeartbeat found = lock_entry(&claim->job, LW_EXCLUSIVE);

	if (found.entry != NULL && found.entry->attempt >= change->replaces &&
		found.entry->attempt <= claim->attempt)
	{
		MonotonicTime last_beat = (MonotonicTime) pg_atomic_read_u64(&found.entry->last_beat);

		set_claim(found.entry, claim);
		found.entry->active = true;
		pg_atomic_write_u64(&found.entry->last_beat, Max(last_beat, change->claimed_at));
	}
	LWLockRelease(found.lock);
}

/*
 * The claim is rolled back, or prepared: remove the entry that it created.  An
 * active entry with its attempt belongs to a claim that another session made since.
 */
void
heartbeat_cancel(const Claim *claim)
{
	LockedHeartbeat found = lock_entry(&claim->job, LW_EXCLUSIVE);

	if (found.entry != NULL && found.entry->attempt == claim->attempt && !found.entry->active)
		hash_search(heartbeats, &found.entry->key, HASH_REMOVE, NULL);
	LWLockRelease(found.lock);
}

/* The claim has ended. */
void
heartbeat_remove(const pg_uuid_t *job, int attempt)
{
	LockedHeartbeat found = lock_entry(job, LW_EXCLUSIVE);

	if (found.entry != NULL && found.entry->attempt <= attempt)
		hash_search(heartbeats, &found.entry->key, HASH_REMOVE, NULL);
	LWLockRelease(found.lock);
}

/* The claim has ended, if the transaction that is being prepared commits. */
void
heartbeat_suspend_ended(const pg_uuid_t *job, int attempt)
{
	LockedHeartbeat found = lock_entry(job, LW_EXCLUSIVE);

	if (found.entry != NULL && found.entry->attempt <= attempt)
		found.entry->suspended = true;
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

/*-------------------------------------------------------------------------
 *
 * queue_config.c
 *		QueueRepo: the configuration of a queue, and how many jobs it may give out.
 *
 * A queue with a configuration has a row in queues.  Most queues have none, and
 * should not pay for looking it up at each push and pop.  So the slot of a queue in
 * shared memory caches whether it has a row.  The values in the row are not
 * cached: each pop reads them.
 *
 * A commit that changes the row marks the cached answer as unknown, and raises
 * config_version.  A session that has read queues caches its answer only if the
 * version is the same as before it read.  An answer holds for a second at most,
 * because rows can also change without a commit that this server's sessions see:
 * with the trigger disabled, or by a transaction that was prepared before a crash.
 *
 * The slot also says whether the queue may have a limit.  The end of a job
 * wakes a waiter only then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/resowner.h"

#include "common/advisory_locks.h"
#include "common/limits.h"
#include "queue/queue.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"

/* how long the cache says that a queue has no row */
#define CACHED_FOR USECS_PER_SEC

/* how long a pop waits for its turn, in ms */
#define TURN_TIMEOUT 100

/* a version that no queue has */
#define NOT_TO_BE_CACHED PG_UINT64_MAX

STATEMENT(limits_of_queue, STMT_READ_WRITE,
		  "SELECT paused, max_running FROM pictrepo.queues WHERE queue = $1", TEXTOID);

STATEMENT(room_left, STMT_READ_WRITE,
		  "SELECT max_running - (SELECT count(*) FROM pictrepo.job_queue j"
		  " WHERE j.queue = q.queue AND j.status = 'running')"
		  " FROM pictrepo.queues q WHERE q.queue = $1",
		  TEXTOID);

/*
 * Does the cache say that the queue has no row?  If not, *version is the version to
 * cache an answer with.  While prepared transactions exist, the cache is not used:
 * they change rows without raising the version.
 */
static bool
is_cached_unconfigured(QueueSlot *slot, uint64 *version)
{
	bool		unconfigured;

	*version = NOT_TO_BE_CACHED;
	if (slot == NULL || pg_atomic_read_u32(&my_database_slot()->prepared) != 0)
		return false;
	LWLockAcquire(&slot->lock, LW_SHARED);
	unconfigured = slot->config_known && !slot->configured &&
		monotonic_now() < slot->config_read + CACHED_FOR;
	*version = slot->config_version;
	LWLockRelease(&slot->lock);
	return unconfigured;
}

/*
 * The caller is about to apply the limit that it has read, even if the row has
 * changed since.  So ends of jobs must wake waiters from now on.  Without a limit,
 * waking them costs time and does no harm.
 */
static void
cache_configuration(QueueSlot *slot, uint64 version, bool configured, bool limited)
{
	if (slot == NULL)
		return;
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (limited)
		slot->limited = true;
	if (slot->config_version == version)
	{
		slot->config_known = true;
		slot->config_read = monotonic_now();
		slot->configured = configured;
		slot->limited = limited;
	}
	LWLockRelease(&slot->lock);
}

/*
 * Read the row of the queue in queues: it becomes the last statement's result.
 * False: the queue has no row.
 *
 * The cache is for every session.  So what goes into it is the latest committed
 * row, not the row of an older snapshot, nor one that this transaction has changed.
 */
static bool
read_configuration(NullableDatum queue, QueueSlot *slot)
{
	bool		changed_here = slot != NULL && pending_changes_config(slot);
	uint64		version = NOT_TO_BE_CACHED;
	bool		configured;

	if (!changed_here && is_cached_unconfigured(slot, &version))
		return false;
	configured = statement_run(&limits_of_queue, &queue) > 0;
	if (!changed_here)
		cache_configuration(slot, version, configured,
							configured && !result_value(0, 2).isnull);
	return configured;
}

/*
 * Lock the table queues until the statement of the caller ends.  A call that waits
 * reads it later, when the cached answer is too old.  If it took the lock only then,
 * it could meet a deadlock with DROP EXTENSION, which waits for its other locks.
 */
void
queue_config_hold(NullableDatum queue)
{
	statement_run(&limits_of_queue, &queue);
}

/*
 * Does the queue have no row in queues?  Without a slot, the answer is false:
 * the caller's statement reads queues then, instead of two statements.
 */
bool
queue_is_unconfigured(NullableDatum queue)
{
	QueueSlot  *slot = pending_queue(DatumGetTextPP(queue.value));

	return slot != NULL && !read_configuration(queue, slot);
}

static LOCKTAG
queue_turn_tag(NullableDatum queue)
{
	uint64		hash = queue_name_hash(DatumGetTextPP(queue.value));
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, QUEUE_LOCK_CLASS);
	return tag;
}

static void
wait_for_turn(void *turn)
{
	(void) LockAcquire(turn, ExclusiveLock, false, false);
}

/*
 * The turn belongs to the transaction, and not to the portal that runs the call:
 * a subtransaction that has waited for it leaves it to the transaction.
 */
static bool
take_free_turn(const LOCKTAG *turn)
{
	ResourceOwner portal = CurrentResourceOwner;
	LockAcquireResult result;

	CurrentResourceOwner = CurTransactionResourceOwner;
	result = LockAcquire(turn, ExclusiveLock, false, true);
	CurrentResourceOwner = portal;
	return result != LOCKACQUIRE_NOT_AVAIL;
}

/* A pop that has claimed nothing lets other pops go on, as it may wait for long. */
void
queue_turn_release(NullableDatum queue)
{
	LOCKTAG		turn = queue_turn_tag(queue);
	ResourceOwner portal = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	LockRelease(&turn, ExclusiveLock, false);
	CurrentResourceOwner = portal;
}

/*
 * A pop of a queue with a limit locks the queue against other pops until its
 * transaction ends.  So each pop counts the running jobs after the claims of the
 * one before have become visible.  False: a transaction that has popped does not
 * end, and nobody knows whether there is room.
 */
static bool
take_turn(NullableDatum queue)
{
	LOCKTAG		turn = queue_turn_tag(queue);
	ErrorData  *error;

	if (take_free_turn(&turn) ||
		try_with_lock_timeout(TURN_TIMEOUT, wait_for_turn, &turn, &error))
		return true;
	if (!error_is_lock(error))
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

/* The statement sees the claims of the pop before, at any isolation level. */
static int
room_under_limit(NullableDatum queue, int wanted)
{
	NullableDatum room = NULL_ARG;

	if (statement_run(&room_left, &queue) > 0)
		room = result_value(0, 1);
	return room.isnull ? wanted : Min(wanted, DatumGetInt64(room.value));
}

/*
 * How many of the wanted jobs the queue may give out now: none while it is
 * paused, and at most what its limit leaves.  Only a queue with a limit needs a turn.
 *
 * The call has ended as many jobs of the queue as ended says.  It may claim as many
 * without a turn: other sessions count the ended jobs until this transaction has
 * committed, and then those that it claimed.  So the end of a job never waits.
 */
int
queue_room(NullableDatum queue, QueueSlot *slot, int wanted, int ended, QueueTurn *turn)
{
	*turn = TURN_NOT_NEEDED;
	if (!read_configuration(queue, slot))
		return wanted;
	if (DatumGetBool(result_value(0, 1).value))
		return 0;
	if (result_value(0, 2).isnull)
		return wanted;
	if (ended < wanted)
		*turn = take_turn(queue) ? TURN_TAKEN : TURN_MISSED;
	return *turn == TURN_MISSED ? 0 : room_under_limit(queue, wanted);
}

PG_FUNCTION_INFO_V1(pictrepo_configure_queue);

STATEMENT(upsert_queue, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.queues AS q (queue, retries, backoff, backoff_max, max_running, paused)"
		  " VALUES ($1, $2, $3, $4, nullif($5, -1), coalesce($6, false))"
		  " ON CONFLICT (queue) DO UPDATE SET retries = coalesce($2, q.retries),"
		  " backoff = coalesce($3, q.backoff), backoff_max = coalesce($4, q.backoff_max),"
		  " max_running = nullif(coalesce($5, q.max_running), -1), paused = coalesce($6, q.paused)",
		  TEXTOID, INT4OID, INTERVALOID, INTERVALOID, INT4OID, BOOLOID);

/* A pause before a retry; NULL: it stays as it is. */
static NullableDatum
backoff_argument(FunctionCallInfo fcinfo, int n)
{
	if (!PG_ARGISNULL(n) && duration_argument(fcinfo, n) > 30 * USECS_PER_DAY)
		bad_argument(fcinfo, n, "The pause is longer than 30 days.", NULL);
	return fcinfo->args[n];
}

/*
 * configure_queue(queue text, retries int, backoff interval,
 *				   backoff_max interval, max_running int, paused bool) -> void
 *
 * Configure the queue.  An argument that is NULL leaves its setting as it is.
 * retries: 0 to RETRIES_MAX.  backoff: the pause before the first retry, doubled
 * for each further one up to backoff_max; both 0 to 30 days.  max_running: running
 * jobs at most, -1: no limit.
 */
Datum
pictrepo_configure_queue(PG_FUNCTION_ARGS)
{
	NullableDatum args[] = {
		key_argument(fcinfo, 0),
		PG_ARGISNULL(1) ? NULL_ARG : limit_argument(fcinfo, 1, 0, RETRIES_MAX),
		backoff_argument(fcinfo, 2),
		backoff_argument(fcinfo, 3),
		PG_ARGISNULL(4) ? NULL_ARG : limit_argument(fcinfo, 4, -1, PG_INT32_MAX),
		fcinfo->args[5]
	};

	return_found(fcinfo, &upsert_queue, args);
	PG_RETURN_VOID();
}

STATEMENT(switch_queue, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.queues AS q (queue, paused) SELECT $1, $2"
		  " WHERE $2 OR EXISTS (SELECT FROM pictrepo.queues WHERE queue = $1)"
		  " ON CONFLICT (queue) DO UPDATE SET paused = $2 WHERE q.paused <> $2",
		  TEXTOID, BOOLOID);

PG_FUNCTION_INFO_V1(pictrepo_pause_queue);

/*
 * pause_queue(queue text) -> bool
 *
 * Give out no jobs of the queue any more.  Returns false if it was paused already.
 */
Datum
pictrepo_pause_queue(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &switch_queue,
						ARGS(key_argument(fcinfo, 0), not_null(BoolGetDatum(true))));
}

PG_FUNCTION_INFO_V1(pictrepo_resume_queue);

/*
 * resume_queue(queue text) -> bool
 *
 * Give out jobs of the queue again.  Returns false if it was not paused.
 */
Datum
pictrepo_resume_queue(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &switch_queue,
						ARGS(key_argument(fcinfo, 0), not_null(BoolGetDatum(false))));
}

/*-------------------------------------------------------------------------
 *
 * queue_config.c
 *		QueueRepo: how a queue is configured, and how many jobs it may give out.
 *
 * What is remembered of a queue in shared memory only says that it has no
 * configuration; what a configuration says is read from its row each time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "common/advisory_locks.h"
#include "common/limits.h"
#include "queue/queue.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"

STATEMENT(limits_of_queue, STMT_READ_ONLY,
		  "SELECT paused, max_running FROM pictrepo.queues WHERE queue = $1", TEXTOID);

STATEMENT(room_left, STMT_READ_ONLY,
		  "SELECT max_running - (SELECT count(*) FROM pictrepo.job_queue j"
		  " WHERE j.queue = q.queue AND j.status = 'running')"
		  " FROM pictrepo.queues q WHERE q.queue = $1",
		  TEXTOID);

/* Is it known that nothing is set for the queue? */
static bool
is_known_unconfigured(QueueSlot *state, uint64 *version)
{
	bool		unconfigured;

	if (state == NULL || pg_atomic_read_u32(&my_database_slot()->prepared) != 0)
		return false;
	LWLockAcquire(&state->lock, LW_EXCLUSIVE);
	unconfigured = state->config_known && !state->configured;
	*version = state->config_version;
	LWLockRelease(&state->lock);
	return unconfigured;
}

/* A limit must be known before it is used, so that ends of jobs call waiters. */
static void
remember_configuration(QueueSlot *state, uint64 version, bool configured, bool limited)
{
	if (state == NULL)
		return;
	LWLockAcquire(&state->lock, LW_EXCLUSIVE);
	if (limited)
		state->limited = true;
	if (state->config_version == version)
	{
		state->config_known = true;
		state->configured = configured;
		state->limited = limited;
	}
	LWLockRelease(&state->lock);
}

/*
 * Does the queue have no row in queues?  If it has one, that is the last
 * statement's result.
 *
 * What is remembered holds for all sessions.  So it is the latest that has
 * been committed, not what an old snapshot shows, and nothing where this
 * transaction has settings of its own.
 */
static bool
look_for_configuration(NullableDatum queue, QueueSlot *state)
{
	bool		own = state != NULL && pending_changes_config(state);
	uint64		version = 0;
	bool		configured;

	if (!own && is_known_unconfigured(state, &version))
		return true;
	configured = statement_run_latest(&limits_of_queue, &queue) > 0;
	if (!own)
		remember_configuration(state, version, configured,
							   configured && !result_value(0, 2).isnull);
	return !configured;
}

/* Is nothing set for it?  False where finding out would not pay. */
bool
queue_is_unconfigured(NullableDatum queue)
{
	QueueSlot  *state = pending_queue(DatumGetTextPP(queue.value));

	return state != NULL && look_for_configuration(queue, state);
}

static LOCKTAG
turn_of_queue(NullableDatum queue)
{
	uint64		hash = queue_name_hash(DatumGetTextPP(queue.value));
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, QUEUE_LOCK_CLASS);
	return tag;
}

/*
 * Pops of a queue with a limit take turns until their transactions end, so
 * that they see each other's claims, whatever their isolation level.
 */
static int
room_under_limit(NullableDatum queue, int wanted)
{
	LOCKTAG		turn = turn_of_queue(queue);
	NullableDatum room = NULL_ARG;

	(void) LockAcquire(&turn, ExclusiveLock, false, false);
	if (statement_run_latest(&room_left, &queue) > 0)
		room = result_value(0, 1);
	return room.isnull ? wanted : Min(wanted, DatumGetInt64(room.value));
}

/* Who claimed nothing is in nobody's way, above all while waiting. */
void
queue_turn_release(NullableDatum queue)
{
	LOCKTAG		turn = turn_of_queue(queue);

	LockRelease(&turn, ExclusiveLock, false);
}

/*
 * How many of the wanted jobs may be given out now.  has_turn: the queue has a
 * limit, and others wait for this transaction to end, or for queue_turn_release.
 */
int
queue_room(NullableDatum queue, QueueSlot *state, int wanted, bool *has_turn)
{
	*has_turn = false;
	if (look_for_configuration(queue, state))
		return wanted;
	if (DatumGetBool(result_value(0, 1).value))
		return 0;
	if (result_value(0, 2).isnull)
		return wanted;
	*has_turn = true;
	return room_under_limit(queue, wanted);
}

PG_FUNCTION_INFO_V1(pictrepo_configure_queue);

STATEMENT(upsert_queue, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.queues AS q (queue, retries, backoff, backoff_max, max_running, paused)"
		  " VALUES ($1, $2, $3, $4, nullif($5, -1), coalesce($6, false))"
		  " ON CONFLICT (queue) DO UPDATE SET retries = coalesce($2, q.retries),"
		  " backoff = coalesce($3, q.backoff), backoff_max = coalesce($4, q.backoff_max),"
		  " max_running = nullif(coalesce($5, q.max_running), -1), paused = coalesce($6, q.paused)",
		  TEXTOID, INT4OID, INTERVALOID, INTERVALOID, INT4OID, BOOLOID);

/* A pause before a retry, or NULL for the one that is set. */
static NullableDatum
backoff_argument(FunctionCallInfo fcinfo, int n)
{
	if (!PG_ARGISNULL(n) && duration_argument(fcinfo, n) > 30 * USECS_PER_DAY)
		bad_argument(fcinfo, n, "It is longer than 30 days.", NULL);
	return fcinfo->args[n];
}

/*
 * configure_queue(queue text, retries int, backoff interval,
 *				   backoff_max interval, max_running int, paused bool) -> void
 *
 * Set what the queue does; NULL leaves it.  Pauses are 0 to 30 days;
 * max_running -1: no limit.  22004, 22023, 22001.
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
 * Give out no more jobs; false: it was paused.  22004, 22023, 22001.
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
 * Give out jobs again; false: it was not paused.  22004, 22023, 22001.
 */
Datum
pictrepo_resume_queue(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &switch_queue,
						ARGS(key_argument(fcinfo, 0), not_null(BoolGetDatum(false))));
}

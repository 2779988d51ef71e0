/*-------------------------------------------------------------------------
 *
 * queue.c
 *		QueueRepo: giving jobs to workers.
 *
 * A claim is an UPDATE that skips what others have locked.  A job whose worker
 * sent no heartbeat for pictrepo.heartbeat_timeout is taken away from it by
 * the next pop of its queue.  What ends a job is in queue_ending.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "engine/arguments.h"
#include "engine/identity.h"
#include "engine/settings.h"
#include "engine/statements.h"
#include "engine/waiting.h"
#include "repo/queue.h"

/* ----- push ----- */

/*
 * ids, jobs and keys element by element; keys may be NULL.  The keys go in in
 * their own order, so that two calls with the same keys cannot lock each other
 * out.  Gives the array of ids, with NULL for each that was not taken.
 */
WRITES(insert_jobs,
	   "WITH given AS (SELECT * FROM unnest($2, $3, $4) WITH ORDINALITY AS g (id, job, key, place)),"
	   " taken AS (INSERT INTO pictrepo.job_queue"
	   " (id, queue, job, unique_key, queue_time, run_at, priority, retry, upload)"
	   " SELECT id, $1, job, key, $5, coalesce($6, $5), $7,"
	   " coalesce($8, (SELECT retries FROM pictrepo.queues WHERE queue = $1), " DEFAULT_RETRIES "), $9"
	   " FROM given ORDER BY key, place"
	   " ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING"
	   " RETURNING id)"
	   " SELECT coalesce(array_agg(taken.id ORDER BY place), '{}')"
	   " FROM given LEFT JOIN taken ON taken.id = given.id",
	   TEXTOID, UUIDARRAYOID, JSONBARRAYOID, TEXTARRAYOID,
	   TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT4OID, UUIDOID);

WRITES(insert_job,
	   "INSERT INTO pictrepo.job_queue"
	   " (id, queue, job, unique_key, queue_time, run_at, priority, retry, upload)"
	   " VALUES ($2, $1, $3, $4, $5, coalesce($6, $5), $7,"
	   " coalesce($8, (SELECT retries FROM pictrepo.queues WHERE queue = $1), " DEFAULT_RETRIES "), $9)"
	   " ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING",
	   TEXTOID, UUIDOID, JSONBOID, TEXTOID,
	   TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT4OID, UUIDOID);

/* The arguments that push and push_many share: from $5 on. */
static void
schedule_arguments(FunctionCallInfo fcinfo, int n, NullableDatum *args)
{
	args[0] = given(TimestampTzGetDatum(GetCurrentTimestamp()));
	args[1] = PG_ARGISNULL(n) ? NULL_ARG : time_argument(fcinfo, n);
	args[2] = any_argument(fcinfo, n + 1);
	args[3] = PG_ARGISNULL(n + 2) ? NULL_ARG : limit_argument(fcinfo, n + 2, 0, RETRIES_MAX);
}

PG_FUNCTION_INFO_V1(pictrepo_push);

/*
 * push(queue text, job jsonb, unique_key text, run_at timestamptz,
 *		priority int, retry int, upload uuid) -> uuid
 *
 * Add a job.  run_at NULL: due now; retry NULL: the queue's retries; upload:
 * gets a Failure if the job dies.  NULL: a live job holds the key.  22004,
 * 22023, 22001.
 */
Datum
pictrepo_push(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	NullableDatum args[9] = {
		key_argument(fcinfo, 0), given(UUIDPGetDatum(id)), document_argument(fcinfo, 1),
		PG_ARGISNULL(2) ? NULL_ARG : key_argument(fcinfo, 2)
	};

	schedule_arguments(fcinfo, 3, &args[4]);
	args[8] = fcinfo->args[6];
	mint_id(id);
	if (!DatumGetBool(answer_whether(fcinfo, &insert_job, args)))
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(id);
}

/* As many unique keys as jobs, each a key or NULL. */
static void
check_keys(FunctionCallInfo fcinfo, int n, int jobs)
{
	int			count;
	bool	   *nulls;
	Datum	   *keys = array_argument(fcinfo, n, TEXTOID, &count, &nulls);

	if (count != jobs)
		bad_argument(fcinfo, n, "It must have as many elements as \"jobs\".", NULL);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			check_text(fcinfo, n, keys[i], KEY_MAX);
}

PG_FUNCTION_INFO_V1(pictrepo_push_many);

/*
 * push_many(queue text, jobs jsonb[], unique_keys text[], run_at timestamptz,
 *			 priority int, retry int) -> uuid[]
 *
 * Add the jobs in one statement.  unique_keys NULL: none has one; else as many
 * as jobs, each may be NULL.  The ids in order, NULL where a live job (one of
 * this very call, too) holds the key.  22004, 22023, 22001.
 */
Datum
pictrepo_push_many(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	int			count;
	Datum	   *jobs = array_argument(fcinfo, 1, JSONBOID, &count, NULL);
	Datum	   *ids = palloc_array(Datum, count + 1);
	pg_uuid_t  *minted = palloc_array(pg_uuid_t, count + 1);
	NullableDatum args[9];

	for (int i = 0; i < count; i++)
	{
		check_document_size(fcinfo, 1, jobs[i]);
		mint_id(&minted[i]);
		ids[i] = UUIDPGetDatum(&minted[i]);
	}
	if (!PG_ARGISNULL(2))
		check_keys(fcinfo, 2, count);
	args[0] = queue;
	args[1] = given(PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)));
	args[2] = fcinfo->args[1];
	args[3] = fcinfo->args[2];
	schedule_arguments(fcinfo, 3, &args[4]);
	args[8] = NULL_ARG;
	return answer_value(fcinfo, &insert_jobs, args);
}

/* ----- pop ----- */

/*
 * Only jobs that are due, by priority.  Stepping from one priority to the next
 * lower one keeps jobs of a high priority that are not due yet from being
 * waded through.  Going through an array keeps the planner, which cannot know
 * how few jobs are wanted, from joining with the whole table.
 */
WRITES(claim_jobs,
	   "WITH RECURSIVE level (priority) AS ("
	   "(SELECT priority FROM pictrepo.job_queue WHERE queue = $1 AND status = 'new'"
	   " ORDER BY priority DESC LIMIT 1)"
	   " UNION ALL SELECT lower.priority FROM level, LATERAL"
	   " (SELECT j.priority FROM pictrepo.job_queue j WHERE j.queue = $1 AND j.status = 'new'"
	   " AND j.priority < level.priority ORDER BY j.priority DESC LIMIT 1) lower"
	   "), ready AS ("
	   "SELECT due.id FROM level, LATERAL"
	   " (SELECT j.id FROM pictrepo.job_queue j WHERE j.queue = $1 AND j.status = 'new'"
	   " AND j.priority = level.priority AND j.run_at <= $3"
	   " ORDER BY j.run_at, j.id LIMIT $4 FOR UPDATE SKIP LOCKED) due LIMIT $4"
	   "), claimed AS ("
	   "UPDATE pictrepo.job_queue j"
	   " SET status = 'running', worker = $2, heartbeat = $3, attempt = j.attempt + 1"
	   " WHERE j.id = ANY (ARRAY(SELECT id FROM ready))"
	   " RETURNING j.id, j.job, j.attempt, j.queue_time, j.priority, j.run_at)"
	   " SELECT id, job, attempt, queue_time FROM claimed ORDER BY priority DESC, run_at, id",
	   TEXTOID, UUIDOID, TIMESTAMPTZOID, INT4OID);

READS_NOW(limits_of_queue,
	   "SELECT paused, max_running FROM pictrepo.queues WHERE queue = $1", TEXTOID);

WRITES(lock_queue,
	   "SELECT max_running FROM pictrepo.queues WHERE queue = $1 FOR NO KEY UPDATE", TEXTOID);

READS_NOW(count_running,
	   "SELECT count(*) FROM pictrepo.job_queue WHERE queue = $1 AND status = 'running'", TEXTOID);

/*
 * How many jobs may be given out now, at most.  Where the queue has a limit,
 * pops of it take turns until their transactions end, so that they see each
 * other's claims.
 */
static int
room_in_queue(NullableDatum queue, int wanted)
{
	NullableDatum max_running;

	if (run_statement(&limits_of_queue, &queue) == 0)
		return wanted;
	if (DatumGetBool(result_value(0, 1).value))
		return 0;
	if (result_value(0, 2).isnull)
		return wanted;

	max_running = run_statement(&lock_queue, &queue) > 0 ? result_value(0, 1) : NULL_ARG;
	if (max_running.isnull)
		return wanted;
	run_statement(&count_running, &queue);
	return Min(wanted, DatumGetInt32(max_running.value) -
			   DatumGetInt64(result_value(0, 1).value));
}

/* Claim jobs; how many.  They are the last statement's result. */
static uint64
claim_ready_jobs(NullableDatum queue, NullableDatum worker, int wanted)
{
	int			room;

	reap_jobs(queue);
	room = room_in_queue(queue, wanted);
	if (room <= 0)
		return 0;
	return run_statement(&claim_jobs,
						 ARGS(queue, worker,
							  given(TimestampTzGetDatum(GetCurrentTimestamp())),
							  given(Int32GetDatum(room))));
}

PG_FUNCTION_INFO_V1(pictrepo_pop);

/*
 * pop(queue text, worker uuid, max_jobs int, wait interval)
 *		-> setof (id uuid, job jsonb, attempt int, queue_time timestamptz)
 *
 * Claim up to max_jobs (1 to 10000) jobs that are due.  When there is none,
 * wait that long for one.  worker NULL: session_worker().  22004, 22023, 22001.
 */
Datum
pictrepo_pop(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	NullableDatum worker = worker_argument(fcinfo, 1);
	int			max_jobs = DatumGetInt32(limit_argument(fcinfo, 2, 1, PAGE_MAX).value);
	RepoCall	call;
	Wait		wait;
	uint64		claimed;

	begin_wait(&wait, WAIT_FOR_JOB, duration_argument(fcinfo, 3));
	begin_rows(fcinfo);
	begin_call(&call, fcinfo);
	do
		claimed = claim_ready_jobs(queue, worker, max_jobs);
	while (claimed == 0 && wait_a_moment(&wait));
	if (claimed > 0)
		give_result_rows(fcinfo);
	end_call(&call);
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(pictrepo_complete_and_pop);

/*
 * complete_and_pop(queue text, worker uuid, job_id uuid, result text, error text)
 *		-> (outcome text, id uuid, job jsonb, attempt int, queue_time timestamptz)
 *
 * complete_job, then pop of one job, in one step.  id is NULL when no job is
 * ready.  22004, 22023, 22001.
 */
Datum
pictrepo_complete_and_pop(PG_FUNCTION_ARGS)
{
	Ending		ending = ending_arguments(fcinfo, 3);
	NullableDatum queue = key_argument(fcinfo, 0);
	NullableDatum worker = worker_argument(fcinfo, 1);
	NullableDatum job_id = any_argument(fcinfo, 2);
	NullableDatum row[5] = {NULL_ARG, NULL_ARG, NULL_ARG, NULL_ARG, NULL_ARG};
	const char *outcome;
	RepoCall	call;

	begin_call(&call, fcinfo);
	outcome = end_job(&ending, queue, worker, job_id);
	if (claim_ready_jobs(queue, worker, 1) > 0)
		for (int i = 1; i <= 4; i++)
			row[i] = kept_value(0, i);
	end_call(&call);
	row[0] = given(PointerGetDatum(cstring_to_text(outcome)));
	return form_row(fcinfo, row);
}

PG_FUNCTION_INFO_V1(pictrepo_heartbeat);

WRITES(beat,
	   "UPDATE pictrepo.job_queue SET heartbeat = clock_timestamp()"
	   " WHERE id = $3 AND queue = $1 AND worker = $2 AND status = 'running'",
	   TEXTOID, UUIDOID, UUIDOID);

/*
 * heartbeat(queue text, worker uuid, job_id uuid) -> bool
 *
 * The worker is alive and at the job; false: it no longer holds it.  22004,
 * 22023, 22001.
 */
Datum
pictrepo_heartbeat(PG_FUNCTION_ARGS)
{
	return answer_whether(fcinfo, &beat,
						  ARGS(key_argument(fcinfo, 0), worker_argument(fcinfo, 1),
							   any_argument(fcinfo, 2)));
}

/* ----- queues ----- */

PG_FUNCTION_INFO_V1(pictrepo_queue_length);

READS(count_jobs, "SELECT count(*) FROM pictrepo.job_queue");

/* one count per status: each has an index of its own */
READS(count_jobs_of_queue,
	  "SELECT (SELECT count(*) FROM pictrepo.job_queue WHERE queue = $1 AND status = 'new')"
	  " + (SELECT count(*) FROM pictrepo.job_queue WHERE queue = $1 AND status = 'running')",
	  TEXTOID);

/*
 * queue_length(queue text) -> bigint
 *
 * Jobs that wait or run; NULL: in all queues.  22023, 22001.
 */
Datum
pictrepo_queue_length(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		return answer_value(fcinfo, &count_jobs, NULL);
	return answer_value(fcinfo, &count_jobs_of_queue, ARGS(key_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_configure_queue);

WRITES(upsert_queue,
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

	answer_whether(fcinfo, &upsert_queue, args);
	PG_RETURN_VOID();
}

WRITES(switch_queue,
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
	return answer_whether(fcinfo, &switch_queue,
						  ARGS(key_argument(fcinfo, 0), given(BoolGetDatum(true))));
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
	return answer_whether(fcinfo, &switch_queue,
						  ARGS(key_argument(fcinfo, 0), given(BoolGetDatum(false))));
}

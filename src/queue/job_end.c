/*-------------------------------------------------------------------------
 *
 * queue_ending.c
 *		QueueRepo: what becomes of a job that a worker is done with.
 *
 * Success removes it.  A failure runs again after a pause, as long as it has
 * retries, and is kept in dead_jobs when it has none; so is what was aborted.
 * A worker that went silent counts as a failure, without the pause.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "engine/arguments.h"
#include "engine/batches.h"
#include "engine/changes.h"
#include "engine/duties.h"
#include "engine/injection.h"
#include "engine/pulse.h"
#include "engine/restore.h"
#include "engine/settings.h"
#include "engine/statements.h"
#include "repo/queue.h"

/*
 * Send jobs to their next life: the query gives (id, queue, again, run_at,
 * error) and has the rows locked.  An upload that a dead job served gets a Failure, so
 * that nobody waits for it in vain.
 */
#define END_JOBS(query) \
	"WITH ended AS MATERIALIZED (" query ")," \
	" retried AS (UPDATE pictrepo.job_queue j" \
	" SET status = 'new', worker = NULL, heartbeat = NULL, session = NULL," \
	" retry = j.retry - 1, run_at = e.run_at, error = e.error, returned_at = clock_timestamp()" \
	" FROM ended e WHERE e.again AND j.id = e.id)," \
	" buried AS (DELETE FROM pictrepo.job_queue j USING ended e" \
	" WHERE NOT e.again AND j.id = e.id" \
	" RETURNING j.id, j.queue, j.job, j.priority, j.queue_time, j.attempt," \
	" j.unique_key, j.upload, e.error)," \
	" kept AS (INSERT INTO pictrepo.dead_jobs AS d" \
	" (id, queue, job, priority, queue_time, died_at, attempt, unique_key, upload, error)" \
	" SELECT id, queue, job, priority, queue_time, clock_timestamp(), attempt," \
	" unique_key, upload, error FROM buried" \
	" ON CONFLICT (id) DO UPDATE SET died_at = excluded.died_at, error = excluded.error)," \
	" told AS (UPDATE pictrepo.uploads u SET result = jsonb_build_object('Failure'," \
	" jsonb_build_object('message', coalesce(b.error, 'the job failed'), 'code', 'job-failed'))" \
	" FROM buried b WHERE u.id = b.upload AND u.result IS NULL)"

/* Not "= 'running'", which would make the index of running jobs look inviting. */
#define HELD(job) job "queue = $1 AND " job "worker = $2 AND " job "status <> 'new'"

/* The common case, apart because it is the hottest. */
WRITES(complete_one,
	   "DELETE FROM pictrepo.job_queue WHERE id = $3 AND " HELD(""),
	   TEXTOID, UUIDOID, UUIDOID);

/* Locked in order, as in fail_all, so that no two calls lock each other out. */
WRITES(complete_all,
	   "WITH held AS MATERIALIZED (SELECT id FROM pictrepo.job_queue"
	   " WHERE id = ANY ($3) AND " HELD("") " ORDER BY id FOR UPDATE),"
	   " ended AS (DELETE FROM pictrepo.job_queue j WHERE j.id = ANY (ARRAY(SELECT id FROM held))"
	   " RETURNING j.id)"
	   " SELECT id, false FROM ended",
	   TEXTOID, UUIDOID, UUIDARRAYOID);

/*
 * Pauses double with each attempt, and are shortened at random by up to half,
 * so that jobs which failed together do not come back together.
 */
WRITES(fail_all,
	   END_JOBS("SELECT j.id, j.queue, $5 AND j.retry > 0 AS again, $4 AS error,"
				" clock_timestamp() + make_interval(secs =>"
				" least(extract(epoch FROM coalesce(q.backoff_max, " DEFAULT_BACKOFF_MAX "))::float8,"
				" extract(epoch FROM coalesce(q.backoff, " DEFAULT_BACKOFF "))::float8"
				" * power(2, least(greatest(j.attempt, 1) - 1, 40)))"
				" * (0.5 + random() / 2)) AS run_at"
				" FROM pictrepo.job_queue j LEFT JOIN pictrepo.queues q ON q.queue = j.queue"
				" WHERE j.id = ANY ($3) AND " HELD("j.")
				" ORDER BY j.id FOR UPDATE OF j")
	   " SELECT id, again FROM ended",
	   TEXTOID, UUIDOID, UUIDARRAYOID, TEXTOID, BOOLOID);

/* The arguments result and error, from n on. */
Ending
ending_arguments(FunctionCallInfo fcinfo, int n)
{
	static const char *const results[] = {"success", "failure", "aborted"};
	char	   *name = text_to_cstring(DatumGetTextPP(key_argument(fcinfo, n).value));
	Ending		ending = {.error = fcinfo->args[n + 1]};

	for (int i = 0; i < (int) lengthof(results); i++)
		if (strcmp(name, results[i]) == 0)
		{
			ending.result = i;
			return ending;
		}
	bad_argument(fcinfo, n, psprintf("\"%s\" is not a result.", name),
				 "Results are success, failure and aborted.");
}

/* Jobs of a queue ended: for queue_stats. */
static void
count_ended(NullableDatum queue, Counted what, int64 count)
{
	QueueState *state = count > 0 ? queue_state(queue) : NULL;

	if (state != NULL)
		note_counted(state, what, count);
}

/* What became of one job; the answer is a constant */
typedef struct Outcome
{
	pg_uuid_t	id;
	const char *answer;
} Outcome;

static const char completed[] = "completed";
static const char retrying[] = "retrying";
static const char dead[] = "dead";
static const char lost[] = "lost";

static int
compare_outcomes(const void *a, const void *b)
{
	return memcmp(&((const Outcome *) a)->id, &((const Outcome *) b)->id, UUID_LEN);
}

/* The outcomes that the last statement gave, ordered by id. */
static Outcome *
sorted_outcomes(JobResult result)
{
	Outcome    *outcomes = palloc_array(Outcome, SPI_processed + 1);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		outcomes[i].id = *DatumGetUUIDP(result_value(i, 1).value);
		if (result == RESULT_SUCCESS)
			outcomes[i].answer = completed;
		else
			outcomes[i].answer = DatumGetBool(result_value(i, 2).value) ? retrying : dead;
	}
	qsort(outcomes, SPI_processed, sizeof(Outcome), compare_outcomes);
	return outcomes;
}

static void
count_outcomes(const Ending *ending, NullableDatum queue, const Outcome *outcomes, int count)
{
	int			buried = 0;

	for (int i = 0; i < count; i++)
		buried += outcomes[i].answer == dead;
	count_ended(queue, ending->result == RESULT_SUCCESS ? COUNT_COMPLETED : COUNT_FAILED, count);
	count_ended(queue, COUNT_BURIED, buried);
}

/* End many jobs; what became of them, ordered by id. */
static Outcome *
end_jobs(const Ending *ending, NullableDatum queue, NullableDatum worker, NullableDatum job_ids,
		 int *count)
{
	Outcome    *outcomes;

	if (ending->result == RESULT_SUCCESS)
		run_statement(&complete_all, ARGS(queue, worker, job_ids));
	else
		run_statement(&fail_all,
					  ARGS(queue, worker, job_ids, ending->error,
						   given(BoolGetDatum(ending->result == RESULT_FAILURE))));
	*count = SPI_processed;
	outcomes = sorted_outcomes(ending->result);
	count_outcomes(ending, queue, outcomes, *count);
	return outcomes;
}

static const char *
answer_for(Datum job_id, const Outcome *outcomes, int count)
{
	Outcome		wanted = {.id = *DatumGetUUIDP(job_id)};
	const Outcome *found = bsearch(&wanted, outcomes, count, sizeof(Outcome), compare_outcomes);

	return found != NULL ? found->answer : lost;
}

/* End one job: what became of it. */
const char *
end_job(const Ending *ending, NullableDatum queue, NullableDatum worker, NullableDatum job_id)
{
	Outcome    *outcomes;
	int			count;

	if (ending->result == RESULT_SUCCESS)
	{
		uint64		deleted = run_statement(&complete_one, ARGS(queue, worker, job_id));

		INJECT(job_ended);
		count_ended(queue, COUNT_COMPLETED, deleted);
		return deleted > 0 ? completed : lost;
	}

	outcomes = end_jobs(ending, queue, worker,
						given(PointerGetDatum(construct_array(&job_id.value, 1, UUIDOID,
															  UUID_LEN, false, TYPALIGN_CHAR))),
						&count);
	return answer_for(job_id.value, outcomes, count);
}

PG_FUNCTION_INFO_V1(pictrepo_complete_job);

/*
 * complete_job(queue text, worker uuid, job_id uuid, result text, error text) -> text
 *
 * result: 'success', 'failure' or 'aborted'.  Returns 'completed', 'retrying',
 * 'dead', or 'lost': not this worker's, nothing is changed.  22004, 22023,
 * 22001.
 */
Datum
pictrepo_complete_job(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	NullableDatum worker = worker_argument(fcinfo, 1);
	NullableDatum job_id = any_argument(fcinfo, 2);
	Ending		ending = ending_arguments(fcinfo, 3);
	const char *outcome;
	RepoCall	call;

	begin_call(&call, fcinfo);
	outcome = end_job(&ending, queue, worker, job_id);
	end_call(&call);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

PG_FUNCTION_INFO_V1(pictrepo_complete_many);

/*
 * complete_many(queue text, worker uuid, job_ids uuid[], result text, error text) -> text[]
 *
 * The same for many jobs; the answers in order.  22004, 22023, 22001.
 */
Datum
pictrepo_complete_many(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	NullableDatum worker = worker_argument(fcinfo, 1);
	Ending		ending = ending_arguments(fcinfo, 3);
	MemoryContext answer = CurrentMemoryContext;
	int			count;
	int			ended;
	Datum	   *answers = array_argument(fcinfo, 2, UUIDOID, &count, NULL);
	Outcome    *outcomes;
	Datum		result;
	RepoCall	call;

	begin_call(&call, fcinfo);
	outcomes = end_jobs(&ending, queue, worker, fcinfo->args[2], &ended);
	for (int i = 0; i < count; i++)
		answers[i] = CStringGetTextDatum(answer_for(answers[i], outcomes, ended));
	MemoryContextSwitchTo(answer);
	result = PointerGetDatum(construct_array(answers, count, TEXTOID, -1, false, TYPALIGN_INT));
	end_call(&call);
	PG_RETURN_DATUM(result);
}

/* ----- reaping ----- */

/* With shared memory the row says when the job was claimed, and the pulse the rest. */
#define SILENT(j) \
	j ".status = 'running' AND " j ".heartbeat < $2" \
	" AND coalesce(pictrepo.pulse(" j ".id), " j ".heartbeat) < $2"

READS_NOW(any_silent,
		  "SELECT FROM pictrepo.job_queue j WHERE j.queue = $1 AND " SILENT("j") " LIMIT 1",
		  TEXTOID, TIMESTAMPTZOID);

READS_NOW(any_silent_anywhere,
		  "SELECT FROM pictrepo.job_queue j WHERE " SILENT("j") " LIMIT 1",
		  TEXTOID, TIMESTAMPTZOID);

/*
 * Since when the server takes writes: the walwriter starts with it, after a
 * crash, and at a promotion, a moment after which it may still be to come.
 */
READS_NOW(server_ready_at,
		  "SELECT coalesce(max(backend_start), 'infinity') FROM pg_stat_activity"
		  " WHERE backend_type = 'walwriter'");

#define REAP(which) \
	END_JOBS("SELECT j.id, j.queue, j.retry > 0 AS again, j.run_at," \
			 " format('worker %s sent no heartbeat since %s', j.worker," \
			 " coalesce(pictrepo.pulse(j.id), j.heartbeat)) AS error" \
			 " FROM pictrepo.job_queue j WHERE " which SILENT("j") \
			 " ORDER BY j.queue, j.heartbeat, j.id LIMIT $3 OFFSET $4 FOR UPDATE SKIP LOCKED") \
	" SELECT queue, again FROM ended"

WRITES(reap_silent, REAP("j.queue = $1 AND "), TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID);
WRITES(reap_silent_anywhere, REAP(""), TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID);
WRITES(reap_given, REAP("j.id = ANY ($1) AND "), UUIDARRAYOID, TIMESTAMPTZOID, INT4OID, INT4OID);

/* The last statement's rows are jobs that lost their workers; how many. */
static uint64
count_reaped(void)
{
	uint64		reaped = SPI_processed;

	INJECT(jobs_reaped);
	for (uint64 i = 0; i < reaped; i++)
	{
		count_ended(result_value(i, 1), COUNT_REAPED, 1);
		if (!DatumGetBool(result_value(i, 2).value))
			count_ended(result_value(i, 1), COUNT_BURIED, 1);
	}
	return reaped;
}

static TimestampTz
reap_cutoff(void)
{
	return GetCurrentTimestamp() - (int64) heartbeat_timeout * 1000;
}

/*
 * While the server was down nobody could send a heartbeat, so after a start
 * nothing is reaped before a full timeout has passed.  Nor could workers send
 * any to a dump.
 */
static bool
may_reap(TimestampTz cutoff)
{
	run_statement(&server_ready_at, NULL);
	return DatumGetTimestampTz(result_value(0, 1).value) <= cutoff && last_restored() <= cutoff;
}

/*
 * Take the queue's jobs (NULL: those of all queues) away from workers that
 * went silent; how many.
 */
uint64
reap_jobs(NullableDatum queue)
{
	TimestampTz cutoff = reap_cutoff();
	NullableDatum args[] = {queue, given(TimestampTzGetDatum(cutoff))};

	if (run_latest(queue.isnull ? &any_silent_anywhere : &any_silent, args) == 0 ||
		!may_reap(cutoff))
		return 0;
	condemn_pulses(silent_pulses(cutoff), cutoff);
	return run_batch(queue.isnull ? &reap_silent_anywhere : &reap_silent, args, DUTY_BATCH,
					 count_reaped);
}

/*
 * The same for jobs whose heartbeats are in shared memory, which finds them
 * without looking at the table.
 */
uint64
reap_silent_pulses(void)
{
	TimestampTz cutoff = reap_cutoff();
	Datum		jobs = silent_pulses(cutoff);

	if (ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(jobs)), ARR_DIMS(DatumGetArrayTypeP(jobs))) == 0 ||
		!may_reap(cutoff))
		return 0;
	condemn_pulses(jobs, cutoff);
	return run_batch(&reap_given, ARGS(given(jobs), given(TimestampTzGetDatum(cutoff))),
					 DUTY_BATCH, count_reaped);
}

#define BOUND(j) j ".session IS NOT NULL AND " j ".status = 'running'"

/* Sessions as log_line_prefix writes them with %c */
#define RESCUE(which) \
	END_JOBS("SELECT j.id, j.queue, j.retry > 0 AS again, j.run_at," \
			 " format('session %s has ended', j.session) AS error" \
			 " FROM pictrepo.job_queue j WHERE " which BOUND("j") \
			 " AND j.session NOT IN (SELECT to_hex(trunc(extract(epoch FROM backend_start))::bigint)" \
			 " || '.' || to_hex(pid) FROM pg_stat_activity WHERE backend_start IS NOT NULL)" \
			 " ORDER BY j.queue, j.id LIMIT $2 OFFSET $3 FOR UPDATE SKIP LOCKED") \
	" SELECT queue, again FROM ended"

READS_NOW(any_bound,
		  "SELECT FROM pictrepo.job_queue j WHERE j.queue = $1 AND " BOUND("j") " LIMIT 1", TEXTOID);
READS_NOW(any_bound_anywhere,
		  "SELECT FROM pictrepo.job_queue j WHERE " BOUND("j") " LIMIT 1", TEXTOID);

WRITES(rescue_bound, RESCUE("j.queue = $1 AND "), TEXTOID, INT4OID, INT4OID);
WRITES(rescue_bound_anywhere, RESCUE(""), TEXTOID, INT4OID, INT4OID);

/*
 * Take the queue's jobs (NULL: those of all queues) away from sessions that
 * have ended, where the claim was bound to the session; how many.  Who is
 * there is read after the rows are, and not from what was read before.
 */
uint64
rescue_jobs(NullableDatum queue)
{
	if (run_latest(queue.isnull ? &any_bound_anywhere : &any_bound, &queue) == 0)
		return 0;
	pgstat_clear_backend_activity_snapshot();
	return run_batch(queue.isnull ? &rescue_bound_anywhere : &rescue_bound, &queue, DUTY_BATCH,
					 count_reaped);
}

/* ----- the dead ----- */

PG_FUNCTION_INFO_V1(pictrepo_requeue_dead);

WRITES(revive_job,
	   "WITH dead AS (SELECT * FROM pictrepo.dead_jobs WHERE id = $1 FOR UPDATE),"
	   " revived AS (INSERT INTO pictrepo.job_queue"
	   " (id, queue, job, priority, queue_time, run_at, unique_key, upload, error, retry)"
	   " SELECT id, queue, job, priority, queue_time, clock_timestamp(), unique_key, upload, error,"
	   " coalesce((SELECT retries FROM pictrepo.queues q WHERE q.queue = dead.queue), " DEFAULT_RETRIES ")"
	   " FROM dead ON CONFLICT DO NOTHING RETURNING id)"
	   " DELETE FROM pictrepo.dead_jobs d USING revived WHERE d.id = revived.id",
	   UUIDOID);

/*
 * requeue_dead(id uuid) -> bool
 *
 * Give a dead job another life; false: no such dead job, or a live job holds
 * its unique key.  22004.
 */
Datum
pictrepo_requeue_dead(PG_FUNCTION_ARGS)
{
	return answer_whether(fcinfo, &revive_job, ARGS(any_argument(fcinfo, 0)));
}

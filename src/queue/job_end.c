/*-------------------------------------------------------------------------
 *
 * job_end.c
 *		QueueRepo: ending jobs.
 *
 * A job that succeeded is removed.  A job that failed runs again after a backoff if
 * it has retries left.  Otherwise it moves to dead_jobs.  An aborted job moves
 * there at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "common/injection_points.h"
#include "common/limits.h"
#include "queue/job_end.h"
#include "queue/queue.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/pending.h"

/* HELD for many jobs, and by the claims that the caller means, if it says so */
#define EACH_HELD(job) \
	job "id = ANY ($3) AND " HELD(job) \
	" AND ($4 IS NULL OR (" job "id, " job "attempt) IN (SELECT * FROM unnest($3, $4)))"

/* The most frequent case has a statement of its own, which is faster. */
STATEMENT(complete_one, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.job_queue WHERE id = $3 AND " HELD("") " AND attempt = coalesce($4, attempt)",
		  TEXTOID, UUIDOID, UUIDOID, INT4OID);

/* Rows are locked in the order of ids, as in fail_jobs, which prevents deadlocks. */
STATEMENT(complete_jobs, STMT_READ_WRITE,
		  "WITH held AS MATERIALIZED (SELECT id FROM pictrepo.job_queue"
		  " WHERE " EACH_HELD("") " ORDER BY id FOR UPDATE),"
		  " ended AS (DELETE FROM pictrepo.job_queue j WHERE j.id = ANY (ARRAY(SELECT id FROM held))"
		  " RETURNING j.id, j.attempt)"
		  " SELECT id, attempt, false FROM ended",
		  TEXTOID, UUIDOID, UUIDARRAYOID, INT4ARRAYOID);

/*
 * The backoff doubles with each failure.  A random part of up to half of it is
 * subtracted: otherwise jobs that failed together would run again together.
 */
STATEMENT(fail_jobs, STMT_READ_WRITE,
		  END_JOBS("SELECT j.id, j.queue, j.attempt, $6 AND j.retry > 0 AS again, $5 AS error,"
				   " clock_timestamp() + make_interval(secs =>"
				   " least(extract(epoch FROM coalesce(q.backoff_max, " DEFAULT_BACKOFF_MAX "))::float8,"
				   " extract(epoch FROM coalesce(q.backoff, " DEFAULT_BACKOFF "))::float8"
				   " * power(2, least(j.failures, 40)))"
				   " * (0.5 + random() / 2)) AS run_at"
				   " FROM pictrepo.job_queue j LEFT JOIN pictrepo.queues q ON q.queue = j.queue"
				   " WHERE " EACH_HELD("j.")
				   " ORDER BY j.id FOR UPDATE OF j")
		  " SELECT id, attempt, again FROM ended",
		  TEXTOID, UUIDOID, UUIDARRAYOID, INT4ARRAYOID, TEXTOID, BOOLOID);

/*
 * The beginning of an error.  Workers pass what they have, such as a long stack
 * trace; a limit that is an error would keep the job from ending.
 */
static NullableDatum
kept_error(NullableDatum error)
{
	text	   *all;
	int			length;

	if (error.isnull || toast_raw_datum_size(error.value) - VARHDRSZ <= JOB_ERROR_MAX)
		return error;
	all = DatumGetTextPP(error.value);
	length = pg_mbcliplen(VARDATA_ANY(all), VARSIZE_ANY_EXHDR(all), JOB_ERROR_MAX);
	return not_null(PointerGetDatum(cstring_to_text_with_len(VARDATA_ANY(all), length)));
}

/* The arguments result and error, which begin with argument n of the call. */
JobEnd
job_end_arguments(FunctionCallInfo fcinfo, int n)
{
	static const char *const results[] = {"success", "failure", "aborted"};
	char	   *name = text_to_cstring(DatumGetTextPP(key_argument(fcinfo, n).value));
	JobEnd		ending = {.error = kept_error(fcinfo->args[n + 1])};

	for (int i = 0; i < (int) lengthof(results); i++)
		if (strcmp(name, results[i]) == 0)
		{
			ending.result = i;
			return ending;
		}
	bad_argument(fcinfo, n,
				 psprintf("The value is \"%s\"; it must be success, failure or aborted.", name), NULL);
}

/*
 * The arguments queue, worker and job, which begin each call that ends jobs, and the
 * attempt, which is argument n.  The caller checks those that may be arrays.
 */
EndedClaims
claim_arguments(FunctionCallInfo fcinfo, int attempt)
{
	EndedClaims claims = {
		.queue = key_argument(fcinfo, 0),
		.worker = worker_argument(fcinfo, 1),
		.job = any_argument(fcinfo, 2),
		.attempt = new_argument(fcinfo, attempt)
	};

	return claims;
}

/* Count ended jobs of a queue, for view queue_stats. */
void
count_ended_jobs(NullableDatum queue, QueueCounter what, int64 count)
{
	QueueSlot  *state = count > 0 ? pending_queue(DatumGetTextPP(queue.value)) : NULL;

	if (state != NULL)
		pending_counter(state, what, count);
}

static const char completed[] = "completed";
static const char retrying[] = "retrying";
static const char dead[] = "dead";
static const char lost[] = "lost";

static int
compare_outcomes(const void *a, const void *b)
{
	return memcmp(&((const JobOutcome *) a)->id, &((const JobOutcome *) b)->id, UUID_LEN);
}

/* The outcomes that the last statement returned, ordered by id. */
static JobOutcome *
sorted_outcomes(JobResult result)
{
	JobOutcome *outcomes = palloc_array(JobOutcome, SPI_processed + 1);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		outcomes[i].id = *DatumGetUUIDP(result_value(i, 1).value);
		outcomes[i].attempt = DatumGetInt32(result_value(i, 2).value);
		if (result == RESULT_SUCCESS)
			outcomes[i].answer = completed;
		else
			outcomes[i].answer = DatumGetBool(result_value(i, 3).value) ? retrying : dead;
	}
	qsort(outcomes, SPI_processed, sizeof(JobOutcome), compare_outcomes);
	return outcomes;
}

static void
count_outcomes(const JobEnd *ending, NullableDatum queue, const JobOutcome *outcomes, int count)
{
	int			died = 0;

	for (int i = 0; i < count; i++)
		died += outcomes[i].answer == dead;
	count_ended_jobs(queue, ending->result == RESULT_SUCCESS ? COUNTER_COMPLETED : COUNTER_FAILED, count);
	count_ended_jobs(queue, COUNTER_DIED, died);
}

/*
 * End jobs.  Returns the outcomes of those that the worker held, ordered by id.  The
 * caller is in a repo call.
 */
JobOutcome *
end_jobs(const JobEnd *ending, const EndedClaims *claims, int *count)
{
	JobOutcome *outcomes;

	if (ending->result == RESULT_SUCCESS)
		statement_run(&complete_jobs, ARGS(claims->queue, claims->worker, claims->job, claims->attempt));
	else
		statement_run(&fail_jobs,
					  ARGS(claims->queue, claims->worker, claims->job, claims->attempt, ending->error,
						   not_null(BoolGetDatum(ending->result == RESULT_FAILURE))));
	*count = SPI_processed;
	outcomes = sorted_outcomes(ending->result);
	count_outcomes(ending, claims->queue, outcomes, *count);
	return outcomes;
}

/*
 * The outcome of one of the claims that end_jobs was called with.  A call may name
 * two claims of one job, and has ended one of them at most.
 */
const char *
outcome_of_job(Datum job_id, NullableDatum attempt, const JobOutcome *outcomes, int count)
{
	JobOutcome	wanted = {.id = *DatumGetUUIDP(job_id)};
	const JobOutcome *found = bsearch(&wanted, outcomes, count, sizeof(JobOutcome), compare_outcomes);

	if (found == NULL || (!attempt.isnull && DatumGetInt32(attempt.value) != found->attempt))
		return lost;
	return found->answer;
}

/* The claims with arrays of one element */
static EndedClaims
arrays_of_one(const EndedClaims *claim)
{
	EndedClaims claims = *claim;

	claims.job = array_of(&claims.job.value, 1, UUIDOID);
	if (!claims.attempt.isnull)
		claims.attempt = array_of(&claims.attempt.value, 1, INT4OID);
	return claims;
}

/* End one job, and return its outcome.  The caller is in a repo call. */
const char *
end_job(const JobEnd *ending, const EndedClaims *claim)
{
	EndedClaims claims;
	JobOutcome *outcomes;
	int			count;

	if (ending->result == RESULT_SUCCESS)
	{
		uint64		deleted = statement_run(&complete_one,
											ARGS(claim->queue, claim->worker, claim->job, claim->attempt));

		INJECT(job_ended);
		count_ended_jobs(claim->queue, COUNTER_COMPLETED, deleted);
		return deleted > 0 ? completed : lost;
	}

	claims = arrays_of_one(claim);
	outcomes = end_jobs(ending, &claims, &count);
	return outcome_of_job(claim->job.value, claim->attempt, outcomes, count);
}

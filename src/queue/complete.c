/*-------------------------------------------------------------------------
 *
 * complete.c
 *		QueueRepo: ending jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "queue/job_end.h"
#include "sqlfunc/args.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_complete_job);

/*
 * complete_job(queue text, worker uuid, job_id uuid, result text, error text,
 *				attempt int) -> text
 *
 * End a job.  worker NULL: session_worker().  result: 'success', 'failure' (retry
 * it if it has retries left), or 'aborted' (do not retry it).  error: text to store
 * with a job that failed; NULL: none.  attempt: of the claim that ends; NULL:
 * whichever claim the worker has.
 *
 * Returns 'completed', 'retrying', 'dead' (it is in dead_jobs), or 'lost' (the
 * worker does not hold the job by this claim, and nothing was changed).  Error 22023
 * for another result.
 */
Datum
pictrepo_complete_job(PG_FUNCTION_ARGS)
{
	EndedClaims claim = claim_arguments(fcinfo, 5);
	JobEnd		ending = job_end_arguments(fcinfo, 3);
	const char *outcome;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	outcome = end_job(&ending, &claim);
	repo_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/* An attempt for each job; all are NULL if the call gives none. */
static NullableDatum *
attempts_argument(FunctionCallInfo fcinfo, int n, int jobs)
{
	NullableDatum *attempts = palloc_array(NullableDatum, jobs + 1);
	Datum	   *given;
	int			count = jobs;

	for (int i = 0; i < jobs; i++)
		attempts[i] = NULL_ARG;
	if (new_argument(fcinfo, n).isnull)
		return attempts;
	given = array_argument(fcinfo, n, INT4OID, &count, NULL);
	check_element_count(fcinfo, n, count, 2, jobs);
	for (int i = 0; i < jobs; i++)
		attempts[i] = not_null(given[i]);
	return attempts;
}

PG_FUNCTION_INFO_V1(pictrepo_complete_many);

/*
 * complete_many(queue text, worker uuid, job_ids uuid[], result text, error text,
 *				 attempts int[]) -> text[]
 *
 * End jobs, as complete_job does.  Returns its results in the order of job_ids.
 * attempts has one element for each job; NULL: whichever claims the worker has.
 * Error 22023 if the arrays have different lengths.
 */
Datum
pictrepo_complete_many(PG_FUNCTION_ARGS)
{
	EndedClaims claims = claim_arguments(fcinfo, 5);
	JobEnd		ending = job_end_arguments(fcinfo, 3);
	MemoryContext answer = CurrentMemoryContext;
	int			count;
	int			ended;
	Datum	   *answers = array_argument(fcinfo, 2, UUIDOID, &count, NULL);
	NullableDatum *attempts = attempts_argument(fcinfo, 5, count);
	JobOutcome *outcomes;
	Datum		result;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	outcomes = end_jobs(&ending, &claims, &ended);
	for (int i = 0; i < count; i++)
		answers[i] = CStringGetTextDatum(outcome_of_job(answers[i], attempts[i], outcomes, ended));
	MemoryContextSwitchTo(answer);
	result = array_of(answers, count, TEXTOID).value;
	repo_call_end(&call);
	PG_RETURN_DATUM(result);
}

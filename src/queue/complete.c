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
 * complete_job(queue text, worker uuid, job_id uuid, result text, error text) -> text
 *
 * End a job.  worker NULL: session_worker().  result: 'success', 'failure' (retry
 * it if it has retries left), or 'aborted' (do not retry it).  error: text to store
 * with a job that failed; NULL: none.
 *
 * Returns 'completed', 'retrying', 'dead' (it is in dead_jobs), or 'lost' (the
 * worker does not hold the job, and nothing was changed).  Error 22023 for another
 * result.
 */
Datum
pictrepo_complete_job(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	NullableDatum worker = worker_argument(fcinfo, 1);
	NullableDatum job_id = any_argument(fcinfo, 2);
	JobEnd		ending = job_end_arguments(fcinfo, 3);
	const char *outcome;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	outcome = end_job(&ending, queue, worker, job_id);
	repo_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

PG_FUNCTION_INFO_V1(pictrepo_complete_many);

/*
 * complete_many(queue text, worker uuid, job_ids uuid[], result text, error text) -> text[]
 *
 * End jobs, as complete_job does.  Returns its results in the order of job_ids.
 */
Datum
pictrepo_complete_many(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	NullableDatum worker = worker_argument(fcinfo, 1);
	JobEnd		ending = job_end_arguments(fcinfo, 3);
	MemoryContext answer = CurrentMemoryContext;
	int			count;
	int			ended;
	Datum	   *answers = array_argument(fcinfo, 2, UUIDOID, &count, NULL);
	JobOutcome *outcomes;
	Datum		result;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	outcomes = end_jobs(&ending, queue, worker, fcinfo->args[2], &ended);
	for (int i = 0; i < count; i++)
		answers[i] = CStringGetTextDatum(outcome_of_job(answers[i], outcomes, ended));
	MemoryContextSwitchTo(answer);
	result = array_of(answers, count, TEXTOID).value;
	repo_call_end(&call);
	PG_RETURN_DATUM(result);
}

/*-------------------------------------------------------------------------
 *
 * job_end.h
 *		Ending jobs: successful, failed and aborted ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_JOB_END_H
#define PICTREPO_JOB_END_H

#include "fmgr.h"

#include "shmem/shmem.h"

typedef enum JobResult
{
	RESULT_SUCCESS,
	RESULT_FAILURE,
	RESULT_ABORTED,
} JobResult;

typedef struct JobEnd
{
	JobResult	result;
	NullableDatum error;
} JobEnd;

/* Which claims end: the arguments of a call, which are $1 to $4 of the statements */
typedef struct EndedClaims
{
	NullableDatum queue;
	NullableDatum worker;
	NullableDatum job;			/* an id, or an array of them */
	NullableDatum attempt;		/* of the claim, or an array; NULL: any attempt */
} EndedClaims;

/* The outcome of one job; answer is a string constant */
typedef struct JobOutcome
{
	pg_uuid_t	id;
	int			attempt;
	const char *answer;
} JobOutcome;

extern JobEnd job_end_arguments(FunctionCallInfo fcinfo, int n);
extern EndedClaims claim_arguments(FunctionCallInfo fcinfo, int attempt);
extern const char *end_job(const JobEnd *ending, const EndedClaims *claim);
extern JobOutcome *end_jobs(const JobEnd *ending, const EndedClaims *claims, int *count);
extern const char *outcome_of_job(Datum job_id, NullableDatum attempt,
								  const JobOutcome *outcomes, int count);
extern void count_ended_jobs(NullableDatum queue, QueueCounter what, int64 count);

/*
 * SQL: worker $2 holds the job of queue $1.  With "status = 'running'", the planner
 * may choose the index of running jobs instead of the primary key.
 */
#define HELD(job) job "queue = $1 AND " job "worker = $2 AND " job "status <> 'new'"

/* SQL: the result of an upload whose job gave it none */
#define UPLOAD_FAILURE(message, code) \
	"jsonb_build_object('Failure', jsonb_build_object('message', " message ", 'code', '" code "'))"

#define JOB_FAILED(error) \
	UPLOAD_FAILURE("coalesce(nullif(" error ", ''), 'the job failed')", "job-failed")

/* SQL: end the uploads of the ended jobs with a result, unless they have one */
#define END_UPLOADS(ended, result) \
	"UPDATE pictrepo.uploads u SET result = " result \
	" FROM " ended " WHERE u.id = " ended ".upload AND u.result IS NULL"

/*
 * SQL: retry jobs, or move them to dead_jobs.  The query locks the rows, and returns
 * (id, queue, again, run_at, error); again: retry the job.  The upload of a dead
 * job gets a Failure as its result.  Otherwise its client would wait for ever.
 */
#define END_JOBS(query) \
	"WITH ended AS MATERIALIZED (" query ")," \
	" retried AS (UPDATE pictrepo.job_queue j" \
	" SET status = 'new', worker = NULL, heartbeat = NULL, session = NULL," \
	" retry = j.retry - 1, failures = j.failures + 1, run_at = e.run_at, error = e.error," \
	" returned_at = clock_timestamp()" \
	" FROM ended e WHERE e.again AND j.id = e.id)," \
	" died AS (DELETE FROM pictrepo.job_queue j USING ended e" \
	" WHERE NOT e.again AND j.id = e.id" \
	" RETURNING j.id, j.queue, j.job, j.priority, j.queue_time, j.attempt," \
	" j.unique_key, j.upload, e.error)," \
	" stored AS (INSERT INTO pictrepo.dead_jobs AS d" \
	" (id, queue, job, priority, queue_time, died_at, attempt, unique_key, upload, error)" \
	" SELECT id, queue, job, priority, queue_time, clock_timestamp(), attempt," \
	" unique_key, upload, error FROM died" \
	" ON CONFLICT (id) DO UPDATE SET died_at = excluded.died_at, error = excluded.error)," \
	" failed_uploads AS (" END_UPLOADS("died", JOB_FAILED("died.error")) ")"

/* SQL: move dead jobs, which the query has locked, back to their queues */
#define REVIVE_JOBS(query) \
	"WITH dead AS (" query ")," \
	" revived AS (INSERT INTO pictrepo.job_queue" \
	" (id, queue, job, priority, queue_time, run_at, attempt, unique_key, upload, error, retry)" \
	" SELECT id, queue, job, priority, queue_time, clock_timestamp(), attempt, unique_key, upload, error," \
	" coalesce((SELECT retries FROM pictrepo.queues q WHERE q.queue = dead.queue), " DEFAULT_RETRIES ")" \
	" FROM dead ON CONFLICT DO NOTHING RETURNING id)" \
	" DELETE FROM pictrepo.dead_jobs d USING revived WHERE d.id = revived.id"

#endif

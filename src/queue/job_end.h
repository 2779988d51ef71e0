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

/* The outcome of one job; answer is a string constant */
typedef struct JobOutcome
{
	pg_uuid_t	id;
	const char *answer;
} JobOutcome;

extern JobEnd job_end_arguments(FunctionCallInfo fcinfo, int n);
extern const char *end_job(const JobEnd *ending, NullableDatum queue,
						   NullableDatum worker, NullableDatum job_id);
extern JobOutcome *end_jobs(const JobEnd *ending, NullableDatum queue, NullableDatum worker,
							NullableDatum job_ids, int *count);
extern const char *outcome_of_job(Datum job_id, const JobOutcome *outcomes, int count);
extern void count_ended_jobs(NullableDatum queue, QueueCounter what, int64 count);

/* SQL: the result of an upload whose job is dead */
#define JOB_FAILED(error) \
	"jsonb_build_object('Failure', jsonb_build_object(" \
	"'message', coalesce(nullif(" error ", ''), 'the job failed'), 'code', 'job-failed'))"

/*
 * SQL: retry jobs, or move them to dead_jobs.  The query locks the rows, and returns
 * (id, queue, again, run_at, error); again: retry the job.  The upload of a dead
 * job gets a Failure as its result.  Otherwise its client would wait for ever.
 */
#define END_JOBS(query) \
	"WITH ended AS MATERIALIZED (" query ")," \
	" retried AS (UPDATE pictrepo.job_queue j" \
	" SET status = 'new', worker = NULL, heartbeat = NULL, session = NULL," \
	" retry = j.retry - 1, run_at = e.run_at, error = e.error, returned_at = clock_timestamp()" \
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
	" failed_uploads AS (UPDATE pictrepo.uploads u SET result = " JOB_FAILED("d.error") \
	" FROM died d WHERE u.id = d.upload AND u.result IS NULL)"

#endif

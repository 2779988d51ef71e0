/*-------------------------------------------------------------------------
 *
 * queue.h
 *		What the two halves of the queue share: giving out and ending jobs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_QUEUE_H
#define PICTREPO_QUEUE_H

#include "fmgr.h"

/* what a queue does that was not told otherwise; literals for SQL */
#define DEFAULT_RETRIES "5"
#define DEFAULT_BACKOFF "'1 second'"
#define DEFAULT_BACKOFF_MAX "'5 minutes'"

#define RETRIES_MAX 1000000

typedef enum JobResult
{
	RESULT_SUCCESS,
	RESULT_FAILURE,
	RESULT_ABORTED,
} JobResult;

typedef struct Ending
{
	JobResult	result;
	NullableDatum error;
} Ending;

extern Ending ending_arguments(FunctionCallInfo fcinfo, int n);
extern const char *end_job(const Ending *ending, NullableDatum queue,
						   NullableDatum worker, NullableDatum job_id);
extern void reap_jobs(NullableDatum queue);

#endif

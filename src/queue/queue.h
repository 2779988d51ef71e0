/*-------------------------------------------------------------------------
 *
 * queue.h
 *		What the parts of the queue share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_QUEUE_H
#define PICTREPO_QUEUE_H

#include "fmgr.h"

#include "engine/shared.h"

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

/* queue id job unique_key queue_time run_at priority retry upload; see push */
extern bool push_job(const NullableDatum *args);

extern Ending ending_arguments(FunctionCallInfo fcinfo, int n);
extern const char *end_job(const Ending *ending, NullableDatum queue,
						   NullableDatum worker, NullableDatum job_id);
extern uint64 reap_jobs(NullableDatum queue);
extern uint64 reap_silent_pulses(void);
extern uint64 rescue_jobs(NullableDatum queue);

/* for the background worker */
extern uint64 prune_dead_jobs(void);
extern uint64 sweep_queues(void);

extern QueueState *queue_state(NullableDatum queue);
extern bool queue_is_unconfigured(NullableDatum queue);

#endif

/*-------------------------------------------------------------------------
 *
 * queue.h
 *		Functions that the files of the queue share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_QUEUE_H
#define PICTREPO_QUEUE_H

#include "fmgr.h"

#include "shmem/shmem.h"

/* for queues without a configuration, as literals for SQL */
#define DEFAULT_RETRIES "5"
#define DEFAULT_BACKOFF "'1 second'"
#define DEFAULT_BACKOFF_MAX "'5 minutes'"

/*
 * push.c.  Arguments: queue, id, job, unique_key, queue_time, run_at, priority,
 * retry, upload, as in push.
 */
extern bool push_job(const NullableDatum *args);
extern void push_jobs(const char *queue, Datum *jobs, int count);	/* jsonb */

/* queue_config.c */
typedef enum QueueTurn
{
	TURN_NOT_NEEDED,
	TURN_TAKEN,					/* other pops wait until this transaction ends,
								 * or calls queue_turn_release */
	TURN_MISSED,				/* it is another transaction's */
} QueueTurn;

extern void queue_config_hold(NullableDatum queue);
extern bool queue_is_unconfigured(NullableDatum queue);
extern int	queue_room(NullableDatum queue, QueueSlot *slot, int wanted, int ended, QueueTurn *turn);
extern void queue_turn_release(NullableDatum queue);

/* reap.c */
extern uint64 reap_silent_workers(NullableDatum queue);
extern uint64 reap_silent_heartbeats(void);
extern uint64 reap_ended_sessions(NullableDatum queue);

/* stats.c */
extern int64 job_count(void);
extern bool know_job_count(void);
extern void known_queue_lengths(NullableDatum *queues, NullableDatum *lengths);

/* dead_jobs.c, sweep.c */
extern uint64 prune_dead_jobs(void);
extern uint64 sweep_queues(void);
extern uint64 bring_jobs_forward(void);

#endif

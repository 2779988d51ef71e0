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

#include "shmem/shmem.h"

/* what a queue does that was not told otherwise; literals for SQL */
#define DEFAULT_RETRIES "5"
#define DEFAULT_BACKOFF "'1 second'"
#define DEFAULT_BACKOFF_MAX "'5 minutes'"

/* push.c: queue id job unique_key queue_time run_at priority retry upload; see push */
extern bool push_job(const NullableDatum *args);

/* queue_config.c */
extern bool queue_is_unconfigured(NullableDatum queue);
extern int	room_in_queue(NullableDatum queue, QueueState *state, int wanted, bool *has_turn);
extern void pass_turn(NullableDatum queue);

/* reap.c */
extern uint64 reap_jobs(NullableDatum queue);
extern uint64 reap_silent_pulses(void);
extern uint64 rescue_jobs(NullableDatum queue);

/* dead_jobs.c, sweep.c */
extern uint64 prune_dead_jobs(void);
extern uint64 sweep_queues(void);

#endif

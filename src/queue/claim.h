/*-------------------------------------------------------------------------
 *
 * claim.h
 *		Claiming the ready jobs of a queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_CLAIM_H
#define PICTREPO_CLAIM_H

#include "fmgr.h"

#include "queue/queue.h"
#include "shmem/shmem.h"

/* the columns that a pop returns: the first ones of those that a claim returns */
#define POP_COLUMNS 4

typedef struct PopCall
{
	NullableDatum queue;
	NullableDatum worker;
	NullableDatum session;		/* the claim ends with this session; NULL: it
								 * does not */
	int			wanted;			/* claim so many jobs at most */
	int			ended;			/* jobs of the queue that this call has ended */
	bool		waits;			/* it will wait if no job is ready */
	FunctionCallInfo fcinfo;
	void		(*take) (struct PopCall *pop);	/* takes the claimed rows from
												 * the last statement */
	NullableDatum row[POP_COLUMNS]; /* for take_row */

	/* claim_jobs sets these */
	uint64		claimed;
	QueueSlot  *slot;			/* NULL: not in shared memory */
	QueueTurn	turn;			/* see queue_room */
	TimestampTz now;			/* a job is due if its run_at is not later */
} PopCall;

extern uint64 claim_jobs(PopCall *pop);

#endif

/*-------------------------------------------------------------------------
 *
 * claim.h
 *		Claiming jobs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_CLAIM_H
#define PICTREPO_CLAIM_H

#include "fmgr.h"

#include "shmem/shmem.h"

/* columns that a pop gives away, of those that a claim returns */
#define POP_COLUMNS 4

typedef struct Pop
{
	NullableDatum queue;
	NullableDatum worker;
	NullableDatum session;		/* the claim ends with it */
	int			wanted;
	bool		waits;
	FunctionCallInfo fcinfo;
	void		(*take) (struct Pop *pop);	/* the rows of a claim */
	NullableDatum row[POP_COLUMNS]; /* for take_row */
	uint64		claimed;
	QueueState *state;			/* NULL: not in shared memory */
	bool		has_turn;		/* of a queue with a limit */
	TimestampTz now;			/* jobs are due */
} Pop;

extern uint64 claim_jobs(Pop *pop);

#endif

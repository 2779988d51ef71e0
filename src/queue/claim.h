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

typedef struct PopCall
{
	NullableDatum queue;
	NullableDatum worker;
	NullableDatum session;		/* the claim ends with it */
	int			wanted;
	bool		waits;
	FunctionCallInfo fcinfo;
	void		(*take) (struct PopCall *pop);	/* the rows of a claim */
	NullableDatum row[POP_COLUMNS]; /* for take_row */
	uint64		claimed;
	QueueSlot  *state;			/* NULL: not in shared memory */
	bool		has_turn;		/* of a queue with a limit */
	TimestampTz now;			/* jobs are due */
} PopCall;

extern uint64 claim_jobs(PopCall *pop);

#endif

/*-------------------------------------------------------------------------
 *
 * low_water_mark.h
 *		Where a queue's first ready job is, so that pops need not look for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_LOW_WATER_MARK_H
#define PICTREPO_LOW_WATER_MARK_H

#include "shmem/shmem.h"

/* What one pop knows of the cursor */
typedef struct CursorView
{
	QueueState *queue;			/* NULL: there is no cursor to use or to mend */
	TimestampTz now;			/* before the snapshot of the pop */
	uint64		late;			/* jobs that had come late by then */
	uint64		full_look;		/* its number; 0: it is not for others */
	Bounds		bounds;
} CursorView;

extern bool read_cursor(CursorView *view, QueueState *queue);
extern void begin_full_look(CursorView *view, QueueState *queue);
extern void end_full_look(CursorView *view);
extern bool add_level(Bounds *bounds, const JobPosition *job);
extern void raise_bound(const CursorView *view, const JobPosition *bound);

/* Under the queue's mutex, at the end of a transaction */
extern void lower_bounds(Cursor *cursor, const Bounds *jobs);
extern void forget_bounds(Cursor *cursor);

#endif

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
typedef struct LowWaterMarkView
{
	QueueSlot  *queue;			/* NULL: there is no cursor to use or to mend */
	TimestampTz now;			/* before the snapshot of the pop */
	uint64		late;			/* jobs that had come late by then */
	uint64		full_scan;		/* its number; 0: it is not for others */
	ReadyBounds bounds;
} LowWaterMarkView;

extern bool low_water_marks_read(LowWaterMarkView *view, QueueSlot *queue);
extern void full_scan_begin(LowWaterMarkView *view, QueueSlot *queue);
extern void full_scan_end(LowWaterMarkView *view);
extern bool ready_bounds_add(ReadyBounds *bounds, const JobPosition *job);
extern void low_water_mark_raise(const LowWaterMarkView *view, const JobPosition *bound);

/* Under the queue's mutex, at the end of a transaction */
extern void low_water_marks_lower(LowWaterMarks *cursor, const ReadyBounds *jobs);
extern void low_water_marks_forget(LowWaterMarks *cursor);

#endif

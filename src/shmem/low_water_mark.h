/*-------------------------------------------------------------------------
 *
 * low_water_mark.h
 *		Where the first ready jobs of a queue are, so that pops begin there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_LOW_WATER_MARK_H
#define PICTREPO_LOW_WATER_MARK_H

#include "shmem/shmem.h"

/* What one pop knows of the marks */
typedef struct LowWaterMarkView
{
	QueueSlot  *queue;			/* NULL: the pop uses and changes no marks */
	TimestampTz now;			/* before the snapshot of the pop */
	MonotonicTime scan_began;	/* the same, of a full scan */
	uint64		late;			/* number of jobs that had come late by then */
	uint64		full_scan;		/* its number; 0: other pops do not use it */
	ReadyBounds bounds;
} LowWaterMarkView;

extern bool low_water_marks_read(LowWaterMarkView *view, QueueSlot *queue);
extern void full_scan_begin(LowWaterMarkView *view, QueueSlot *queue);
extern void full_scan_end(LowWaterMarkView *view);
extern void ready_bounds_add(ReadyBounds *bounds, const JobPosition *job);
extern void low_water_mark_raise(const LowWaterMarkView *view, const JobPosition *bound);

/* At the end of a transaction, with the queue's lock held */
extern void low_water_marks_lower(LowWaterMarks *marks, const ReadyBounds *jobs);
extern void low_water_marks_forget(LowWaterMarks *marks);

#endif

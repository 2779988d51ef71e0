/*-------------------------------------------------------------------------
 *
 * schedules.h
 *		What the queue's schedules are to the background worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SCHEDULES_H
#define PICTREPO_SCHEDULES_H

#include "datatype/timestamp.h"

/* within begin_call and end_call, or what is like it; how many were pushed */
extern uint64 push_due_jobs(void);
extern TimestampTz next_due_schedule(void);

#endif

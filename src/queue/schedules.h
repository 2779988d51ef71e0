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

/* within repo_call_begin and repo_call_end, or what is like it; how many were pushed */
extern uint64 schedules_run(void);
extern TimestampTz schedules_next_run(void);

#endif

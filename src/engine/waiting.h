/*-------------------------------------------------------------------------
 *
 * waiting.h
 *		Blocking until something is there or the time is up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_WAITING_H
#define PICTREPO_WAITING_H

#include "datatype/timestamp.h"

typedef enum WaitedFor
{
	WAIT_FOR_JOB,
	WAIT_FOR_UPLOAD,
	WAIT_FOR_VARIANT,
} WaitedFor;

typedef struct Wait
{
	WaitedFor	what;
	TimestampTz end;
	long		pause;			/* ms until the next look */
} Wait;

extern void begin_wait(Wait *wait, WaitedFor what, int64 microseconds);
extern bool wait_a_moment(Wait *wait);

#endif

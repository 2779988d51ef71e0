/*-------------------------------------------------------------------------
 *
 * monotonic.h
 *		Time by a clock that is never set.
 *
 * The wall clock is set by people and by NTP, and jumps when a virtual machine
 * goes on.  So it says when something happened, and never how long ago.  Whatever
 * lasts, expires or is repeated within the server goes by the monotonic clock: its
 * times mean the same in every process, until the machine restarts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_MONOTONIC_H
#define PICTREPO_MONOTONIC_H

#include "datatype/timestamp.h"

typedef int64 MonotonicTime;	/* us */

#define MONOTONIC_NEVER PG_INT64_MAX

extern MonotonicTime monotonic_now(void);
extern long monotonic_ms_until(MonotonicTime time);
extern MonotonicTime monotonic_look_at(TimestampTz time);

#endif

/*-------------------------------------------------------------------------
 *
 * monotonic.c
 *		Time by a clock that is never set.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "portability/instr_time.h"
#include "utils/timestamp.h"

#include "common/monotonic.h"

/* A process that sleeps until a wall-clock time looks at the clock this often. */
#define LOOK_INTERVAL USECS_PER_SEC

MonotonicTime
monotonic_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (MonotonicTime) INSTR_TIME_GET_MICROSEC(now);
}

/* Rounded up, for WaitLatch; 0: the time has come. */
long
monotonic_ms_until(MonotonicTime time)
{
	MonotonicTime now = monotonic_now();

	if (time <= now)
		return 0;
	return Min((time - now - 1) / 1000 + 1, INT_MAX);
}

/*
 * When to look whether a time of the wall clock has come.  The clock may be set
 * until then, so this is soon, and perhaps too early.
 */
MonotonicTime
monotonic_look_at(TimestampTz time)
{
	TimestampTz now = GetCurrentTimestamp();

	if (TIMESTAMP_IS_NOEND(time))
		return MONOTONIC_NEVER;
	if (time <= now)
		return monotonic_now();
	return monotonic_now() + Min(time - now, LOOK_INTERVAL);
}

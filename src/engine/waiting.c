/*-------------------------------------------------------------------------
 *
 * waiting.c
 *		Blocking until something is there or the time is up.
 *
 * The caller looks, then waits a moment, then looks again with a new snapshot.
 * The pauses grow from 1 ms to pictrepo.poll_interval, so that a short wait is
 * answered soon and a long one costs little.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "engine/compat.h"
#include "engine/settings.h"
#include "engine/waiting.h"

static uint32
wait_event(WaitedFor what)
{
	static const char *const names[] PG_USED_FOR_ASSERTS_ONLY = {
		[WAIT_FOR_JOB] = "PictrepoJob",
		[WAIT_FOR_UPLOAD] = "PictrepoUpload",
		[WAIT_FOR_VARIANT] = "PictrepoVariant",
	};
	static uint32 events[lengthof(names)];

	if (events[what] == 0)
		events[what] = extension_wait_event(names[what]);
	return events[what];
}

void
begin_wait(Wait *wait, WaitedFor what, int64 microseconds)
{
	wait->what = what;
	wait->end = GetCurrentTimestamp() + microseconds;
	wait->pause = 1;
}

/* Sleep until it is time to look again; false when the time is up. */
bool
wait_a_moment(Wait *wait)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wait->end);

	if (left <= 0)
		return false;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(left, wait->pause), wait_event(wait->what));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	wait->pause = Min(wait->pause * 2, poll_interval);
	return true;
}

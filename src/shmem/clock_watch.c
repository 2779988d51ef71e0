/*-------------------------------------------------------------------------
 *
 * clock_watch.c
 *		Noticing that the wall clock was set, or that the server stood still.
 *
 * Rows have times of the wall clock.  When it is set forward, the last heartbeat
 * of a living worker looks old.  When it is set back, the last heartbeat of a
 * dead one lies in the future.  And while all of the server stands still, as on
 * a laptop that sleeps, nobody can send a heartbeat.  After any of these, each
 * worker must have a full timeout in which it can send the next one.
 *
 * Whoever is about to judge heartbeats looks at both clocks first, and compares
 * with the last look.  The launcher looks all the time, so a pause between two
 * looks of anybody means that the server stood still.  Without shared memory
 * each process has only its own looks, and its own sleeps that lasted too long.
 *
 * A step or a pause that is small beside a timeout does not matter to it.  So the
 * watch keeps the time of the last one for each size, in powers of two.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/timestamp.h"

#include "shmem/clock_watch.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"

/* the smallest step and the smallest pause */
#define LEAST_DISTURBANCE USECS_PER_SEC

/* the offset of the clocks stays as it is while it is less wrong than this */
#define OFFSET_TOLERANCE (100 * INT64CONST(1000))

/* Used without shared memory */
static ClockWatch own_watch;

static ClockWatch *
begin_access(LWLockMode mode)
{
	if (shmem == NULL)
		return &own_watch;
	LWLockAcquire(shmem->clock_lock, mode);
	return &shmem->clock_watch;
}

static void
end_access(void)
{
	if (shmem != NULL)
		LWLockRelease(shmem->clock_lock);
}

/* ----- looking ----- */

/* The number of the largest size that is not larger: 1 s, 2 s, 4 s and so on. */
static int
size_class(int64 us)
{
	int			class = 0;

	while (class < DISTURBANCE_SIZES - 1 && us >= LEAST_DISTURBANCE << (class + 1))
		class++;
	return class;
}

static void
note(MonotonicTime *last, int64 size, MonotonicTime now)
{
	if (size >= LEAST_DISTURBANCE)
		for (int i = size_class(size); i >= 0; i--)
			last[i] = now;
}

/* The launcher looks even while nobody else does.  Its latch is read without the lock. */
static bool
is_always_watched(void)
{
	return shmem != NULL && shmem->launcher_latch != NULL;
}

/* True: the wall clock was set back. */
static bool
compare_with_last_look(ClockWatch *watch, MonotonicTime now, int64 offset)
{
	int64		step = offset - watch->offset;

	note(watch->stepped, llabs(step), now);
	if (is_always_watched())
		note(watch->paused, now - watch->last_look, now);
	if (step > -LEAST_DISTURBANCE)
		return false;
	watch->set_back = now;
	return true;
}

/* The jobs that were ready are not due any more: ask the workers to change that. */
static void
report_set_back(void)
{
	for (int i = 0; shmem != NULL && i < DATABASES_MAX; i++)
		if (OidIsValid(shmem->databases[i].database))
			worker_request(&shmem->databases[i], WORKER_REQ_CLOCK);
}

/* Compare the clocks with those of the last look.  A standby judges nobody, and does not look. */
void
clock_watch_look(void)
{
	ClockWatch *watch;
	MonotonicTime now;
	int64		offset;
	bool		set_back = false;

	if (RecoveryInProgress())
		return;
	watch = begin_access(LW_EXCLUSIVE);
	now = monotonic_now();
	offset = GetCurrentTimestamp() - now;
	if (!watch->begun)
	{
		watch->begun = true;
		watch->began = now;
		watch->offset = offset;
	}
	else
		set_back = compare_with_last_look(watch, now, offset);
	watch->last_look = now;
	if (llabs(offset - watch->offset) >= OFFSET_TOLERANCE)
		watch->offset = offset;
	end_access();
	if (set_back)
		report_set_back();
}

/* This process has slept, and should have woken up at the given time. */
void
clock_watch_woke(MonotonicTime planned)
{
	MonotonicTime now = monotonic_now();

	if (shmem == NULL && planned != MONOTONIC_NEVER)
		note(own_watch.paused, now - planned, now);
}

/* ----- what was noticed ----- */

/* Did one happen within the time?  It counts from an eighth to a fourth of the time on. */
static bool
happened(const MonotonicTime *last, int64 us)
{
	MonotonicTime at = last[size_class(us / 4)];

	return at != 0 && at > monotonic_now() - us;
}

/*
 * Could a living worker be seen for so long?  Pauses are noticed from 1 s on, so
 * with a shorter timeout they do not count.
 */
bool
clock_watch_undisturbed(int64 us)
{
	ClockWatch *watch;
	bool		disturbed;

	clock_watch_look();
	watch = begin_access(LW_SHARED);
	disturbed = happened(watch->stepped, us) ||
		(us >= LEAST_DISTURBANCE && happened(watch->paused, us));
	end_access();
	return !disturbed;
}

/* Have the clocks been watched for so long?  With shared memory, since the server accepts writes. */
bool
clock_watch_lasts(int64 us)
{
	ClockWatch *watch;
	bool		lasts;

	clock_watch_look();
	watch = begin_access(LW_SHARED);
	lasts = watch->begun && watch->began <= monotonic_now() - us;
	end_access();
	return lasts;
}

bool
clock_watch_set_back(MonotonicTime since)
{
	MonotonicTime at = begin_access(LW_SHARED)->set_back;

	end_access();
	return at > since;
}

/* ----- times to show and to compare with ----- */

/*
 * What to add to a time of the monotonic clock for one of the wall clock.  It
 * changes only when the wall clock is set or has drifted away, so that a time
 * looks the same whenever it is shown.
 */
int64
clock_watch_offset(void)
{
	ClockWatch *watch = begin_access(LW_SHARED);
	bool		begun = watch->begun;
	int64		offset = watch->offset;

	end_access();
	if (begun)
		return offset;
	return GetCurrentTimestamp() - monotonic_now();
}

TimestampTz
clock_watch_show(MonotonicTime time)
{
	return time + clock_watch_offset();
}

/*
 * Rows that are older have outlived a retention.  After a large step of the clock
 * everything may look that old: then nothing is, until the retention has passed.
 */
NullableDatum
retention_cutoff(int seconds)
{
	int64		us = seconds * USECS_PER_SEC;
	ClockWatch *watch;
	bool		stepped;

	clock_watch_look();
	watch = begin_access(LW_SHARED);
	stepped = happened(watch->stepped, us);
	end_access();
	return (NullableDatum) {
		.value = TimestampTzGetDatum(stepped ? DT_NOBEGIN : GetCurrentTimestamp() - us)
	};
}

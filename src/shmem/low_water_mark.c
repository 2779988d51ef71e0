/*-------------------------------------------------------------------------
 *
 * low_water_mark.c
 *		Where a queue's first ready job is, so that pops need not look for it.
 *
 * Jobs that are gone leave dead index entries at the front of their queue,
 * for as long as some snapshot could see them; a pop that begins at the front
 * wades through them all.  The cursor has, for each priority, a lower bound of
 * the ready jobs: pops begin there, and raise it behind what they claimed.
 *
 * A job that becomes ready lowers the bound when its transaction commits.  What
 * a pop must not raise the bound over are jobs that were committed after its
 * snapshot was taken.  Those that are older than LOW_WATER_MARK_LAG by then have come
 * late and are written down one by one; all others are not older, and no bound
 * gets closer to the present than that.
 *
 * The cursor is a hint.  A pop that finds nothing with it looks at everything,
 * and so does one from time to time: a full look.  What is committed while it
 * looks is gathered beside and added at its end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "shmem/database_slot.h"
#include "shmem/low_water_mark.h"
#include "shmem/shmem.h"

#define LOW_WATER_MARK_LAG (10 * INT64CONST(1000))

/* a full look that was not ended after this time never will be */
#define FULL_SCAN_LASTS (60 * USECS_PER_SEC)

/* full looks come this often, and take at most one part in so many of the time */
#define FULL_SCAN_INTERVAL USECS_PER_SEC
#define FULL_SCAN_SHARE 50

/* Within one priority. */
static bool
comes_before(const JobPosition *a, const JobPosition *b)
{
	if (a->run_at != b->run_at)
		return a->run_at < b->run_at;
	return memcmp(&a->id, &b->id, UUID_LEN) < 0;
}

static int
find_level(const ReadyBounds *bounds, int32 priority)
{
	int			i = 0;

	while (i < bounds->levels && bounds->first[i].priority > priority)
		i++;
	return i;
}

static bool
has_level(const ReadyBounds *bounds, int i, int32 priority)
{
	return i < bounds->levels && bounds->first[i].priority == priority;
}

/* A bound for the job's priority; false: there is no place for one more. */
bool
ready_bounds_add(ReadyBounds *bounds, const JobPosition *job)
{
	int			i = find_level(bounds, job->priority);

	if (has_level(bounds, i, job->priority))
	{
		if (comes_before(job, &bounds->first[i]))
			bounds->first[i] = *job;
		return true;
	}
	if (bounds->levels == LOW_WATER_MARK_LEVELS)
	{
		bounds->complete = false;
		return false;
	}
	memmove(&bounds->first[i + 1], &bounds->first[i],
			(bounds->levels - i) * sizeof(JobPosition));
	bounds->first[i] = *job;
	bounds->levels++;
	return true;
}

static void
lower_bound(LowWaterMarks *cursor, const JobPosition *job, TimestampTz now)
{
	ReadyBounds *bounds = &cursor->bounds;
	int			i = find_level(bounds, job->priority);

	if (cursor->full_scan != 0)
		ready_bounds_add(&cursor->found, job);
	if (job->run_at < now - LOW_WATER_MARK_LAG ||
		(has_level(bounds, i, job->priority) && comes_before(job, &bounds->first[i])))
		cursor->came_late[cursor->late++ % LATE_JOBS_KEPT] = *job;
	if (bounds->complete)
		ready_bounds_add(bounds, job);
}

/* Jobs have become ready, of which these are the first of their priorities. */
void
low_water_marks_lower(LowWaterMarks *cursor, const ReadyBounds *jobs)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!jobs->complete)
		low_water_marks_forget(cursor);
	for (int i = 0; i < jobs->levels; i++)
		lower_bound(cursor, &jobs->first[i], now);
}

/* Only a full look will find out where jobs are. */
void
low_water_marks_forget(LowWaterMarks *cursor)
{
	memset(&cursor->bounds, 0, sizeof(ReadyBounds));
	cursor->full_scan = 0;
	cursor->late += LATE_JOBS_KEPT + 1;
}

/* For tests: what a broken cursor could look like. */
static void
corrupt(ReadyBounds *bounds)
{
	JobPosition *first;

	if (bounds->levels == 0)
		return;
	first = &bounds->first[pg_prng_uint64_range(&pg_global_prng_state, 0, bounds->levels - 1)];
	switch (pg_prng_uint64_range(&pg_global_prng_state, 0, 4))
	{
		case 0:
			first->run_at += pg_prng_uint64_range(&pg_global_prng_state, 0, 10 * USECS_PER_SEC);
			break;
		case 1:
			first->run_at -= pg_prng_uint64_range(&pg_global_prng_state, 0, 10 * USECS_PER_SEC);
			break;
		case 2:
			bounds->levels--;
			break;
		case 3:
			first->id.data[0] ^= 0xff;
			break;
		default:
			break;
	}
}

/*
 * Before a pop takes its snapshot.  False: there is no cursor, or it is time
 * for a full look.  Jobs of prepared transactions become ready unnoticed.
 */
bool
low_water_marks_read(LowWaterMarkView *view, QueueSlot *queue)
{
	bool		usable;

	view->queue = queue;
	view->full_scan = 0;
	if (queue == NULL || guc_cursor_mode == LOW_WATER_MARKS_OFF ||
		pg_atomic_read_u32(&my_database_slot()->prepared) != 0)
		return false;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	view->now = GetCurrentTimestamp();
	view->late = queue->low_water_marks.late;
	view->bounds = queue->low_water_marks.bounds;
	usable = view->bounds.complete && view->now < queue->low_water_marks.next_full_scan;
	LWLockRelease(&queue->lock);

	if (guc_cursor_mode == LOW_WATER_MARKS_CORRUPT)
		corrupt(&view->bounds);
	return usable;
}

/* Before a full look takes its snapshot. */
void
full_scan_begin(LowWaterMarkView *view, QueueSlot *queue)
{
	static uint64 number = 0;

	memset(view, 0, sizeof(*view));
	view->queue = guc_cursor_mode == LOW_WATER_MARKS_OFF ? NULL : queue;
	view->bounds.complete = true;
	if (view->queue == NULL)
		return;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	view->now = GetCurrentTimestamp();
	if (queue->low_water_marks.full_scan == 0 ||
		queue->low_water_marks.full_scan_began < view->now - FULL_SCAN_LASTS)
	{
		view->full_scan = ((uint64) MyProcPid << 32) + ++number;
		queue->low_water_marks.full_scan = view->full_scan;
		queue->low_water_marks.full_scan_began = view->now;
		memset(&queue->low_water_marks.found, 0, sizeof(ReadyBounds));
		queue->low_water_marks.found.complete = true;
	}
	view->late = queue->low_water_marks.late;
	LWLockRelease(&queue->lock);
}

/* The bounds of the view are what the full look saw: they become everybody's. */
void
full_scan_end(LowWaterMarkView *view)
{
	LowWaterMarks *cursor;
	ReadyBounds bounds = view->bounds;
	TimestampTz end = GetCurrentTimestamp();

	if (view->full_scan == 0)
		return;
	for (int i = 0; i < bounds.levels; i++)
		bounds.first[i].run_at = Min(bounds.first[i].run_at, view->now - LOW_WATER_MARK_LAG);

	cursor = &view->queue->low_water_marks;
	LWLockAcquire(&view->queue->lock, LW_EXCLUSIVE);
	if (cursor->full_scan == view->full_scan)
	{
		for (int i = 0; i < cursor->found.levels; i++)
			ready_bounds_add(&bounds, &cursor->found.first[i]);
		bounds.complete = bounds.complete && cursor->found.complete;
		cursor->bounds = bounds;
		cursor->full_scan = 0;
		cursor->next_full_scan = end +
			Max(FULL_SCAN_INTERVAL, (end - view->now) * FULL_SCAN_SHARE);
	}
	LWLockRelease(&view->queue->lock);
}

/*
 * Under the mutex: keep a bound below the jobs that came late since the view
 * was taken; false: there were too many.
 */
static bool
keep_below_late_jobs(const LowWaterMarks *cursor, const LowWaterMarkView *view, JobPosition *bound)
{
	if (cursor->late - view->late > LATE_JOBS_KEPT)
		return false;
	for (uint64 i = view->late; i < cursor->late; i++)
	{
		const JobPosition *job = &cursor->came_late[i % LATE_JOBS_KEPT];

		if (job->priority == bound->priority && comes_before(job, bound))
			*bound = *job;
	}
	return true;
}

/*
 * Of the jobs that the pop could see with this priority, none before the
 * given one is ready any more.
 */
void
low_water_mark_raise(const LowWaterMarkView *view, const JobPosition *bound)
{
	JobPosition closest = *bound;
	LowWaterMarks *cursor;
	int			i;

	if (view->queue == NULL)
		return;
	if (closest.run_at > view->now - LOW_WATER_MARK_LAG)
	{
		closest.run_at = view->now - LOW_WATER_MARK_LAG;
		memset(&closest.id, 0, UUID_LEN);
	}

	cursor = &view->queue->low_water_marks;
	LWLockAcquire(&view->queue->lock, LW_EXCLUSIVE);
	i = find_level(&cursor->bounds, closest.priority);
	if (has_level(&cursor->bounds, i, closest.priority) &&
		keep_below_late_jobs(cursor, view, &closest) &&
		comes_before(&cursor->bounds.first[i], &closest))
		cursor->bounds.first[i] = closest;
	LWLockRelease(&view->queue->lock);
}

/*-------------------------------------------------------------------------
 *
 * low_water_mark.c
 *		Where the first ready jobs of a queue are, so that pops begin there.
 *
 * Deleted jobs leave dead index entries at the front of their queue for as long
 * as a snapshot could see them.  A pop that begins at the front reads all of
 * these entries.  The low-water marks of a queue are lower bounds of its ready
 * jobs, one for each priority.  A pop begins at the bound, and raises it to the
 * last job that it claimed.
 *
 * A commit that makes a job ready lowers the bound.  A pop must not raise the
 * bound past jobs that were committed after its snapshot.  Of these jobs, the
 * ones that are older than LOW_WATER_MARK_LAG at their commit come late: the
 * queue keeps the positions of the latest of them.  All other such jobs are
 * newer than the lag, and no bound comes closer to the present than the lag.
 *
 * The marks are a hint.  A pop that finds nothing with them scans the whole
 * queue, and from time to time another pop does: a full scan.  Commits that
 * happen during a full scan collect their jobs, and the end of the scan adds
 * these to what the scan saw.
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

/* a full scan that has not ended after this time never will */
#define FULL_SCAN_LASTS (60 * USECS_PER_SEC)

/* full scans run this often, and take at most 1/FULL_SCAN_SHARE of the time */
#define FULL_SCAN_INTERVAL USECS_PER_SEC
#define FULL_SCAN_SHARE 50

/* The order of jobs within one priority. */
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

/* Lower the bound of the job's priority.  Without room for one more priority, the bounds are not complete. */
void
ready_bounds_add(ReadyBounds *bounds, const JobPosition *job)
{
	int			i = find_level(bounds, job->priority);

	if (has_level(bounds, i, job->priority))
	{
		if (comes_before(job, &bounds->first[i]))
			bounds->first[i] = *job;
		return;
	}
	if (bounds->levels == LOW_WATER_MARK_LEVELS)
	{
		bounds->complete = false;
		return;
	}
	memmove(&bounds->first[i + 1], &bounds->first[i],
			(bounds->levels - i) * sizeof(JobPosition));
	bounds->first[i] = *job;
	bounds->levels++;
}

static void
lower_bound(LowWaterMarks *marks, const JobPosition *job, TimestampTz now)
{
	ReadyBounds *bounds = &marks->bounds;
	int			i = find_level(bounds, job->priority);

	if (marks->full_scan != 0)
		ready_bounds_add(&marks->found, job);
	if (job->run_at < now - LOW_WATER_MARK_LAG ||
		(has_level(bounds, i, job->priority) && comes_before(job, &bounds->first[i])))
		marks->came_late[marks->late++ % LATE_JOBS_KEPT] = *job;
	if (bounds->complete)
		ready_bounds_add(bounds, job);
}

/* A transaction made jobs ready; these are the first of each priority. */
void
low_water_marks_lower(LowWaterMarks *marks, const ReadyBounds *jobs)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!jobs->complete)
		low_water_marks_forget(marks);
	for (int i = 0; i < jobs->levels; i++)
		lower_bound(marks, &jobs->first[i], now);
}

/* After this, only a full scan finds out where the ready jobs are. */
void
low_water_marks_forget(LowWaterMarks *marks)
{
	memset(&marks->bounds, 0, sizeof(ReadyBounds));
	marks->full_scan = 0;
	marks->late += LATE_JOBS_KEPT + 1;
}

#ifdef PICTREPO_INJECTION

/* What broken marks could look like. */
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

#endif

/*
 * Before a pop takes its snapshot.  False: the pop cannot use the marks, or it
 * is time for a full scan.  Prepared transactions make jobs ready without
 * lowering the marks.
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
	usable = view->bounds.complete && monotonic_now() < queue->low_water_marks.next_full_scan;
	LWLockRelease(&queue->lock);

#ifdef PICTREPO_INJECTION
	if (guc_cursor_mode == LOW_WATER_MARKS_CORRUPT)
		corrupt(&view->bounds);
#endif
	return usable;
}

/*
 * Before a full scan takes its snapshot.  A prepared transaction has made the marks
 * of its queues unknown.  They stay so while it exists, because it may commit after
 * this scan.
 */
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
	view->scan_began = monotonic_now();
	if (pg_atomic_read_u32(&my_database_slot()->prepared) == 0 &&
		(queue->low_water_marks.full_scan == 0 ||
		 queue->low_water_marks.full_scan_began < view->scan_began - FULL_SCAN_LASTS))
	{
		view->full_scan = ((uint64) MyProcPid << 32) + ++number;
		queue->low_water_marks.full_scan = view->full_scan;
		queue->low_water_marks.full_scan_began = view->scan_began;
		memset(&queue->low_water_marks.found, 0, sizeof(ReadyBounds));
		queue->low_water_marks.found.complete = true;
	}
	view->late = queue->low_water_marks.late;
	LWLockRelease(&queue->lock);
}

/* The bounds of the view are what the full scan saw: they become the queue's. */
void
full_scan_end(LowWaterMarkView *view)
{
	LowWaterMarks *marks;
	ReadyBounds bounds = view->bounds;
	MonotonicTime end = monotonic_now();

	if (view->full_scan == 0)
		return;
	for (int i = 0; i < bounds.levels; i++)
		bounds.first[i].run_at = Min(bounds.first[i].run_at, view->now - LOW_WATER_MARK_LAG);

	marks = &view->queue->low_water_marks;
	LWLockAcquire(&view->queue->lock, LW_EXCLUSIVE);
	if (marks->full_scan == view->full_scan)
	{
		for (int i = 0; i < marks->found.levels; i++)
			ready_bounds_add(&bounds, &marks->found.first[i]);
		bounds.complete = bounds.complete && marks->found.complete;
		marks->bounds = bounds;
		marks->full_scan = 0;
		marks->next_full_scan = end +
			Max(FULL_SCAN_INTERVAL, (end - view->scan_began) * FULL_SCAN_SHARE);
	}
	LWLockRelease(&view->queue->lock);
}

/*
 * Keep a bound below the jobs that came late since the view was taken; false:
 * more came than the queue keeps.  The caller holds the queue's lock.
 */
static bool
keep_below_late_jobs(const LowWaterMarks *marks, const LowWaterMarkView *view, JobPosition *bound)
{
	if (marks->late - view->late > LATE_JOBS_KEPT)
		return false;
	for (uint64 i = view->late; i < marks->late; i++)
	{
		const JobPosition *job = &marks->came_late[i % LATE_JOBS_KEPT];

		if (job->priority == bound->priority && comes_before(job, bound))
			*bound = *job;
	}
	return true;
}

/*
 * Of the jobs with this priority that the pop could see, none before the given
 * position is ready any more.
 */
void
low_water_mark_raise(const LowWaterMarkView *view, const JobPosition *bound)
{
	JobPosition closest = *bound;
	LowWaterMarks *marks;
	int			i;

	if (view->queue == NULL)
		return;
	if (closest.run_at > view->now - LOW_WATER_MARK_LAG)
	{
		closest.run_at = view->now - LOW_WATER_MARK_LAG;
		memset(&closest.id, 0, UUID_LEN);
	}

	marks = &view->queue->low_water_marks;
	LWLockAcquire(&view->queue->lock, LW_EXCLUSIVE);
	i = find_level(&marks->bounds, closest.priority);
	if (has_level(&marks->bounds, i, closest.priority) &&
		keep_below_late_jobs(marks, view, &closest) &&
		comes_before(&marks->bounds.first[i], &closest))
		marks->bounds.first[i] = closest;
	LWLockRelease(&view->queue->lock);
}

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
 * snapshot was taken.  Those that are older than CURSOR_LAG by then have come
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
#include "sqlfunc/result.h"
#include "xact/pending.h"

#define CURSOR_LAG (10 * INT64CONST(1000))

/* a full look that was not ended after this time never will be */
#define FULL_LOOK_LASTS (60 * USECS_PER_SEC)

/* full looks come this often, and take at most one part in so many of the time */
#define FULL_LOOK_INTERVAL USECS_PER_SEC
#define FULL_LOOK_SHARE 50

/* Within one priority. */
static bool
comes_before(const JobPosition *a, const JobPosition *b)
{
	if (a->run_at != b->run_at)
		return a->run_at < b->run_at;
	return memcmp(&a->id, &b->id, UUID_LEN) < 0;
}

static int
find_level(const Bounds *bounds, int32 priority)
{
	int			i = 0;

	while (i < bounds->levels && bounds->first[i].priority > priority)
		i++;
	return i;
}

static bool
has_level(const Bounds *bounds, int i, int32 priority)
{
	return i < bounds->levels && bounds->first[i].priority == priority;
}

/* A bound for the job's priority; false: there is no place for one more. */
bool
add_level(Bounds *bounds, const JobPosition *job)
{
	int			i = find_level(bounds, job->priority);

	if (has_level(bounds, i, job->priority))
	{
		if (comes_before(job, &bounds->first[i]))
			bounds->first[i] = *job;
		return true;
	}
	if (bounds->levels == CURSOR_LEVELS)
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
lower_bound(Cursor *cursor, const JobPosition *job, TimestampTz now)
{
	Bounds	   *bounds = &cursor->bounds;
	int			i = find_level(bounds, job->priority);

	if (cursor->full_look != 0)
		add_level(&cursor->found, job);
	if (job->run_at < now - CURSOR_LAG ||
		(has_level(bounds, i, job->priority) && comes_before(job, &bounds->first[i])))
		cursor->came_late[cursor->late++ % CURSOR_LATE] = *job;
	if (bounds->complete)
		add_level(bounds, job);
}

/* Jobs have become ready, of which these are the first of their priorities. */
void
lower_bounds(Cursor *cursor, const Bounds *jobs)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!jobs->complete)
		forget_bounds(cursor);
	for (int i = 0; i < jobs->levels; i++)
		lower_bound(cursor, &jobs->first[i], now);
}

/* Only a full look will find out where jobs are. */
void
forget_bounds(Cursor *cursor)
{
	memset(&cursor->bounds, 0, sizeof(Bounds));
	cursor->full_look = 0;
	cursor->late += CURSOR_LATE + 1;
}

/* For tests: what a broken cursor could look like. */
static void
corrupt(Bounds *bounds)
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
read_cursor(CursorView *view, QueueState *queue)
{
	bool		usable;

	view->queue = queue;
	view->full_look = 0;
	if (queue == NULL || cursor_mode == CURSOR_OFF ||
		pg_atomic_read_u32(&my_database()->prepared) != 0)
		return false;

	SpinLockAcquire(&queue->mutex);
	view->now = GetCurrentTimestamp();
	view->late = queue->cursor.late;
	view->bounds = queue->cursor.bounds;
	usable = view->bounds.complete && view->now < queue->cursor.next_full_look;
	SpinLockRelease(&queue->mutex);

	if (cursor_mode == CURSOR_CORRUPT)
		corrupt(&view->bounds);
	return usable;
}

/* Before a full look takes its snapshot. */
void
begin_full_look(CursorView *view, QueueState *queue)
{
	static uint64 number = 0;

	memset(view, 0, sizeof(*view));
	view->queue = cursor_mode == CURSOR_OFF ? NULL : queue;
	view->bounds.complete = true;
	if (view->queue == NULL)
		return;

	SpinLockAcquire(&queue->mutex);
	view->now = GetCurrentTimestamp();
	if (queue->cursor.full_look == 0 ||
		queue->cursor.full_look_began < view->now - FULL_LOOK_LASTS)
	{
		view->full_look = ((uint64) MyProcPid << 32) + ++number;
		queue->cursor.full_look = view->full_look;
		queue->cursor.full_look_began = view->now;
		memset(&queue->cursor.found, 0, sizeof(Bounds));
		queue->cursor.found.complete = true;
	}
	view->late = queue->cursor.late;
	SpinLockRelease(&queue->mutex);
}

/* The bounds of the view are what the full look saw: they become everybody's. */
void
end_full_look(CursorView *view)
{
	Cursor	   *cursor;
	Bounds		bounds = view->bounds;
	TimestampTz end = GetCurrentTimestamp();

	if (view->full_look == 0)
		return;
	for (int i = 0; i < bounds.levels; i++)
		bounds.first[i].run_at = Min(bounds.first[i].run_at, view->now - CURSOR_LAG);

	cursor = &view->queue->cursor;
	SpinLockAcquire(&view->queue->mutex);
	if (cursor->full_look == view->full_look)
	{
		for (int i = 0; i < cursor->found.levels; i++)
			add_level(&bounds, &cursor->found.first[i]);
		bounds.complete = bounds.complete && cursor->found.complete;
		cursor->bounds = bounds;
		cursor->full_look = 0;
		cursor->next_full_look = end +
			Max(FULL_LOOK_INTERVAL, (end - view->now) * FULL_LOOK_SHARE);
	}
	SpinLockRelease(&view->queue->mutex);
}

/*
 * Under the mutex: keep a bound below the jobs that came late since the view
 * was taken; false: there were too many.
 */
static bool
mind_late_jobs(const Cursor *cursor, const CursorView *view, JobPosition *bound)
{
	if (cursor->late - view->late > CURSOR_LATE)
		return false;
	for (uint64 i = view->late; i < cursor->late; i++)
	{
		const JobPosition *job = &cursor->came_late[i % CURSOR_LATE];

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
raise_bound(const CursorView *view, const JobPosition *bound)
{
	JobPosition closest = *bound;
	Cursor	   *cursor;
	int			i;

	if (view->queue == NULL)
		return;
	if (closest.run_at > view->now - CURSOR_LAG)
	{
		closest.run_at = view->now - CURSOR_LAG;
		memset(&closest.id, 0, UUID_LEN);
	}

	cursor = &view->queue->cursor;
	SpinLockAcquire(&view->queue->mutex);
	i = find_level(&cursor->bounds, closest.priority);
	if (has_level(&cursor->bounds, i, closest.priority) &&
		mind_late_jobs(cursor, view, &closest) &&
		comes_before(&cursor->bounds.first[i], &closest))
		cursor->bounds.first[i] = closest;
	SpinLockRelease(&view->queue->mutex);
}

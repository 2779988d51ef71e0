/*-------------------------------------------------------------------------
 *
 * wait.c
 *		Blocking until something is there or the time is up.
 *
 * With shared memory a session joins a wait queue and sleeps until a commit
 * wakes it (wait_queue.c).  Without shared memory, or when all waiters are in
 * use, it polls: the pauses grow from 1 ms to pictrepo.poll_interval.  So a
 * short wait ends soon, and a long one costs little.
 *
 * The session leaves the wait queue however the wait ends: by a result, by an
 * error, or by the end of the session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/uuid.h"

#include "common/compat.h"
#include "common/guc.h"
#include "common/injection_points.h"
#include "common/monotonic.h"
#include "shmem/clock_watch.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/wait.h"
#include "shmem/wait_queue.h"
#include "shmem/worker_slot.h"

/* time between two checks while commits may not wake waiters */
#define SAFETY_INTERVAL (USECS_PER_SEC / 2)

typedef struct WaitState
{
	const WaitSpec *spec;
	MonotonicTime end;
	long		pause;			/* ms, when polling */
	Waiter	   *waiter;			/* NULL: polls */
	bool		unsafe;			/* it might not be woken since its check began */
	WakeUp		wake_up;		/* what made it check */
} WaitState;

/*
 * The wait of this session that has a waiter.  A check may run a user's trigger
 * that waits, too: that inner wait polls.
 */
static WaitState *current_wait = NULL;

static uint32
wait_event(WaitKind what)
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

/* ----- joining and leaving a wait queue ----- */

static void
leave(WaitState *wait)
{
	if (wait->waiter == NULL)
		return;
	wait_queue_leave(wait->waiter, wait->spec->queue, wait->wake_up);
	if (wait->spec->queue != NULL)
		queue_slot_unpin(wait->spec->queue);
	waiter_release(wait->waiter);
	wait->waiter = NULL;
	current_wait = NULL;
}

static void
leave_at_exit(int code, Datum unused)
{
	if (current_wait != NULL)
		leave(current_wait);
}

/*
 * One callback for the session.  A callback for each wait could not be cancelled:
 * a wait may commit, and other code may add callbacks of its own at that commit,
 * so that ours would not be the latest any more.
 */
static void
register_exit_callback(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(leave_at_exit, (Datum) 0);
	registered = true;
}

static void
append_name(WaitInfo *info, const char *bytes, int length)
{
	memcpy(info->name + info->length, bytes, length);
	info->length += length;
}

/* What view waiting shows of the wait. */
static void
describe(const WaitState *wait, WaitInfo *info)
{
	const WaitSpec *spec = wait->spec;

	info->pid = MyProcPid;
	info->database = MyDatabaseId;
	info->what = spec->what;
	info->since = wait->end - spec->microseconds;
	info->length = 0;
	if (spec->what == WAIT_FOR_VARIANT)
	{
		bytea	   *hash = DatumGetByteaPP(spec->hash.value);

		append_name(info, VARDATA_ANY(hash), VARSIZE_ANY_EXHDR(hash));
	}
	info->hash_length = info->length;
	if (spec->what == WAIT_FOR_UPLOAD)
		append_name(info, (char *) DatumGetUUIDP(spec->name.value)->data, UUID_LEN);
	else
	{
		text	   *name = DatumGetTextPP(spec->name.value);

		append_name(info, VARDATA_ANY(name),
					pg_mbcliplen(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name),
								 WAIT_NAME_MAX - info->length));
	}
}

/* Join the wait queue, if this session can be woken. */
static void
join(WaitState *wait)
{
	WaitInfo	info;

	if (current_wait != NULL || my_database_slot() == NULL)
		return;
	if (wait->spec->what == WAIT_FOR_JOB && wait->spec->queue == NULL)
		return;
	register_exit_callback();
	describe(wait, &info);
	wait->waiter = waiter_allocate(&info);
	if (wait->waiter == NULL)
		return;
	current_wait = wait;
	if (wait->spec->queue != NULL)
	{
		/*
		 * the transaction has pinned it, too, and may end before the wait
		 * does
		 */
		pg_atomic_fetch_add_u32(&wait->spec->queue->pins, 1);
		wait_queue_join(wait->waiter, wait->spec->queue);
	}
	else
		wait_queue_join_keyed(wait->waiter, wait->spec->key);
}

/* ----- sleeping ----- */

/* May what the session waits for come without waking it?  Asked before each check. */
static bool
commits_may_not_wake(void)
{
	return pg_atomic_read_u32(&my_database_slot()->prepared) != 0 || !worker_healthy(my_database_slot());
}

/* When to check again if the session is not woken before. */
static MonotonicTime
next_check(WaitState *wait, MonotonicTime now, MonotonicTime again)
{
	MonotonicTime next = Min(wait->end, again);

	if (wait->waiter == NULL)
	{
		next = Min(next, now + wait->pause * INT64CONST(1000));
		wait->pause = Min(wait->pause * 2, guc_poll_interval);
	}
	else if (wait->unsafe)
		next = Min(next, now + SAFETY_INTERVAL);
	return next;
}

/*
 * Sleep until the latch is set.  A client that has gone would never take what
 * this session waits for, so the end of its connection wakes the session, too.
 */
static void
sleep_on_latch(long milliseconds, uint32 event)
{
	WaitEvent	happened;

	if (MyProcPort == NULL || !WaitEventSetCanReportClosed())
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 milliseconds, event);
	else
	{
		ModifyWaitEvent(FeBeWaitSet, FEBE_SOCKET_POSITION, WL_SOCKET_CLOSED, NULL);
		if (WaitEventSetWait(FeBeWaitSet, milliseconds, &happened, 1, event) > 0)
		{
			if (happened.events & WL_POSTMASTER_DEATH)
				proc_exit(1);
			if (happened.events & WL_SOCKET_CLOSED)
				InterruptPending = ClientConnectionLost = true;
		}
	}
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Sleep until a reason to check; false: the time is up. */
static bool
sleep_until_woken(WaitState *wait, MonotonicTime again)
{
	MonotonicTime now = monotonic_now();
	MonotonicTime next = next_check(wait, now, again);

	for (;; now = monotonic_now())
	{
		MonotonicTime until = next;

		if (wait->waiter != NULL)
			wait->wake_up = wait_queue_prepare_sleep(wait->waiter, wait->spec->queue, &until);
		if (wait->wake_up != WAKE_UP_NONE)
			return true;
		if (now >= next)
			return now < wait->end;
		sleep_on_latch(monotonic_ms_until(until), wait_event(wait->spec->what));
		clock_watch_woke(until);
	}
}

/*
 * A check runs statements, whose results stay in memory until SPI_finish.  With a
 * connection of its own, a long wait does not grow.
 */
static bool
check_again(WaitState *wait, WaitCheck check, void *what, MonotonicTime *again)
{
	MemoryContext context = MemoryContextSwitchTo(wait->spec->memory);
	bool		found;

	wait->unsafe = wait->waiter != NULL && commits_may_not_wake();
	SPI_connect();
	found = check(what, again);
	SPI_finish();
	MemoryContextSwitchTo(context);
	return found;
}

/* The last check is when the time is up: what came without waking it counts, too. */
static bool
check_and_sleep(WaitState *wait, WaitCheck check, void *what)
{
	for (;;)
	{
		MonotonicTime again = MONOTONIC_NEVER;

		if (check_again(wait, check, what, &again))
		{
			/* this wake-up is used; one to relay is for the next waiter, too */
			if (wait->wake_up == WAKE_UP_CHECK)
				wait->wake_up = WAKE_UP_NONE;
			return true;
		}
		wait->wake_up = WAKE_UP_NONE;
		if (wait->spec->before_sleep)
		{
			wait->spec->before_sleep();
			INJECT(wait_rested);
		}
		if (!sleep_until_woken(wait, again))
			return check_again(wait, check, what, &again);
		INJECT(wait_called);
	}
}

/*
 * Check, and wait while it is not there; returns whether it is.  A first check
 * that succeeds needs no waiter.
 */
bool
wait_until(const WaitSpec *spec, WaitCheck check, void *what)
{
	WaitState	wait = {.spec = spec, .pause = 1, .wake_up = WAKE_UP_NONE};
	MonotonicTime again = MONOTONIC_NEVER;
	volatile bool found = false;

	wait.end = monotonic_now() + spec->microseconds;
	if (check(what, &again))
		return true;
	if (spec->microseconds == 0)
		return false;

	join(&wait);
	PG_TRY();
	{
		INJECT(wait_joined);
		found = check_and_sleep(&wait, check, what);
	}
	PG_FINALLY();
	{
		leave(&wait);
	}
	PG_END_TRY();
	return found;
}

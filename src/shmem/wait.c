/*-------------------------------------------------------------------------
 *
 * wait.c
 *		Blocking until something is there or the time is up.
 *
 * With shared memory a backend stands in a line and sleeps until it is called
 * (wakeup.c).  Without, or when all places are taken, it looks from time to
 * time: the pauses grow from 1 ms to pictrepo.poll_interval, so that a short
 * wait is answered soon and a long one costs little.
 *
 * However the wait ends, the place is given back: by an error as by the end of
 * the session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/compat.h"
#include "common/guc.h"
#include "common/injection_points.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "shmem/wait.h"
#include "shmem/wait_queue.h"
#include "shmem/worker_slot.h"

/* looks of a waiter that nobody may call, because something is amiss */
#define SAFETY_INTERVAL USECS_PER_SEC

typedef struct WaitState
{
	const WaitSpec *rules;
	TimestampTz end;
	long		pause;			/* ms, when polling */
	Waiter	   *waiter;			/* NULL: polls */
	WakeUp		owed;			/* the call that made it look */
} WaitState;

/*
 * Who stands in a line in this session.  A look may run somebody's trigger that
 * waits as well: that one polls.
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

/* ----- a place in a line ----- */

static void
leave(WaitState *wait)
{
	if (wait->waiter == NULL)
		return;
	wait_queue_leave(wait->waiter, wait->rules->queue, wait->owed);
	if (wait->rules->queue != NULL)
		queue_slot_unpin(wait->rules->queue);
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
 * Once for the session: a wait may commit, and a commit may have callbacks of
 * its own to add, so that one for each wait would not be the latest any more.
 */
static void
register_exit_callback(void)
{
	static bool promised = false;

	if (!promised)
		before_shmem_exit(leave_at_exit, (Datum) 0);
	promised = true;
}

static void
add_name(WaitInfo *awaited, const char *bytes, int length)
{
	memcpy(awaited->name + awaited->length, bytes, length);
	awaited->length += length;
}

/* What others see of it, see view waiting. */
static void
describe(const WaitState *wait, WaitInfo *awaited)
{
	const WaitSpec *rules = wait->rules;

	awaited->pid = MyProcPid;
	awaited->database = MyDatabaseId;
	awaited->what = rules->what;
	awaited->since = wait->end - rules->microseconds;
	awaited->length = 0;
	if (rules->what == WAIT_FOR_VARIANT)
	{
		bytea	   *hash = DatumGetByteaPP(rules->hash.value);

		add_name(awaited, VARDATA_ANY(hash), VARSIZE_ANY_EXHDR(hash));
	}
	awaited->hash_length = awaited->length;
	if (rules->what == WAIT_FOR_UPLOAD)
		add_name(awaited, (char *) DatumGetUUIDP(rules->name.value)->data, UUID_LEN);
	else
	{
		text	   *name = DatumGetTextPP(rules->name.value);

		add_name(awaited, VARDATA_ANY(name),
				 pg_mbcliplen(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name),
							  WAIT_NAME_MAX - awaited->length));
	}
}

static void
enter_wait_queue(WaitState *wait)
{
	WaitInfo	awaited;

	if (current_wait != NULL || my_database_slot() == NULL)
		return;
	if (wait->rules->what == WAIT_FOR_JOB && wait->rules->queue == NULL)
		return;
	register_exit_callback();
	describe(wait, &awaited);
	wait->waiter = waiter_allocate(&awaited);
	if (wait->waiter == NULL)
		return;
	current_wait = wait;
	if (wait->rules->queue != NULL)
	{
		/* pinned by the transaction, which may end before the wait does */
		pg_atomic_fetch_add_u32(&wait->rules->queue->pins, 1);
		wait_queue_join(wait->waiter, wait->rules->queue);
	}
	else
		wait_queue_join_keyed(wait->waiter, wait->rules->key);
}

/* ----- sleeping ----- */

/* Is something amiss, so that what this one waits for could come unnoticed? */
static bool
needs_polling(void)
{
	return pg_atomic_read_u32(&my_database_slot()->prepared) != 0 || !worker_healthy(my_database_slot());
}

/* When to look again, called or not. */
static TimestampTz
next_check(WaitState *wait, TimestampTz now, TimestampTz again)
{
	TimestampTz next = Min(wait->end, again);

	if (wait->waiter == NULL)
	{
		next = Min(next, now + wait->pause * INT64CONST(1000));
		wait->pause = Min(wait->pause * 2, guc_poll_interval);
	}
	else if (needs_polling())
		next = Min(next, now + SAFETY_INTERVAL);
	return next;
}

/*
 * Sleep until the latch is set.  A client that has gone would never take what
 * this backend waits for, so its end is a reason to wake up, too.
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

/* Sleep until there is reason to look; false: the time is up. */
static bool
sleep_until_woken(WaitState *wait, TimestampTz again)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = next_check(wait, now, again);

	for (;; now = GetCurrentTimestamp())
	{
		TimestampTz until = next;

		if (wait->waiter != NULL)
			wait->owed = wait_queue_prepare_sleep(wait->waiter, wait->rules->queue, now, &until);
		if (wait->owed != WAKE_UP_NONE)
			return true;
		if (now >= next)
			return now < wait->end;
		sleep_on_latch(TimestampDifferenceMilliseconds(now, until),
					   wait_event(wait->rules->what));
	}
}

static bool
check_and_sleep(WaitState *wait, WaitCheck look, void *what)
{
	for (;;)
	{
		TimestampTz again = DT_NOEND;

		if (look(what, &again))
		{
			/* one call was for this one, but others may be due as well */
			if (wait->owed == WAKE_UP_CHECK)
				wait->owed = WAKE_UP_NONE;
			return true;
		}
		wait->owed = WAKE_UP_NONE;
		if (wait->rules->rest)
		{
			wait->rules->rest();
			INJECT(wait_rested);
		}
		if (!sleep_until_woken(wait, again))
			return false;
		INJECT(wait_called);
	}
}

/*
 * Look, and wait while it is not there; returns whether it is.  Who finds it
 * at once needs no place.
 */
bool
wait_until(const WaitSpec *rules, WaitCheck look, void *what)
{
	WaitState	wait = {.rules = rules, .pause = 1, .owed = WAKE_UP_NONE};
	TimestampTz again = DT_NOEND;
	volatile bool found = false;

	wait.end = GetCurrentTimestamp() + rules->microseconds;
	if (look(what, &again))
		return true;
	if (rules->microseconds == 0)
		return false;

	enter_wait_queue(&wait);
	PG_TRY();
	{
		INJECT(wait_joined);
		found = check_and_sleep(&wait, look, what);
	}
	PG_FINALLY();
	{
		leave(&wait);
	}
	PG_END_TRY();
	return found;
}

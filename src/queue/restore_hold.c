/*-------------------------------------------------------------------------
 *
 * restore_hold.c
 *		QueueRepo: the time for which an administrator keeps the upkeep away.
 *
 * pre_restore() writes the end of this time into table restore_hold.  So every
 * session knows of it, without shared memory and after a crash, too.  The
 * row remains after post_restore(): workers get a full heartbeat timeout from then
 * on, before their jobs are taken away.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "queue/restore_hold.h"
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/pending.h"

#define HOLD_MAX (7 * USECS_PER_DAY)

/* ----- for the upkeep ----- */

STATEMENT(hold_within, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.restore_hold WHERE held_until > clock_timestamp() - $1", INTERVALOID);

/* Was the upkeep kept away at any time within the last milliseconds? */
bool
restore_hold_within(int milliseconds)
{
	NullableDatum interval = not_null(interval_result(milliseconds * INT64CONST(1000)));

	return statement_run(&hold_within, &interval) > 0;
}

STATEMENT(end_of_hold, STMT_READ_ONLY,
		  "SELECT to_char(held_until, 'YYYY-MM-DD HH24:MI:SSOF') FROM pictrepo.restore_hold WHERE held_until > clock_timestamp()");

/* What keeps the upkeep away, for a person to read; NULL: nothing. */
char *
upkeep_held_by(void)
{
	int			process;

	if (statement_run(&end_of_hold, NULL) > 0)
		return psprintf("pre_restore() until %s", TextDatumGetCString(result_value(0, 1).value));
	if (!restore_guard_find(&process))
		return NULL;
	return process != 0 ? psprintf("restore by process %d", process) : pstrdup("restore by a prepared transaction");
}

PG_FUNCTION_INFO_V1(pictrepo_upkeep_held_by);

/*
 * upkeep_held_by() -> text
 *
 * What keeps the upkeep away: pre_restore() or a restore; NULL: nothing.
 */
Datum
pictrepo_upkeep_held_by(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	MemoryContext answer = CurrentMemoryContext;
	char	   *held_by;

	repo_call_begin(&call, fcinfo);
	held_by = upkeep_held_by();
	if (held_by != NULL)
		held_by = MemoryContextStrdup(answer, held_by);
	repo_call_end(&call);
	if (held_by == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(CStringGetTextDatum(held_by));
}

/* ----- before and after a restore ----- */

STATEMENT(begin_hold, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.restore_hold AS h (held_until) VALUES (clock_timestamp() + $1)"
		  " ON CONFLICT (only_row) DO UPDATE SET held_until = excluded.held_until RETURNING held_until",
		  INTERVALOID);

/* How long the upkeep is kept away; NULL: as the setting says. */
static NullableDatum
hold_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		return not_null(interval_result(guc_restore_timeout * USECS_PER_SEC));
	if (duration_argument(fcinfo, n) > HOLD_MAX)
		bad_argument(fcinfo, n, "The duration is longer than 7 days.", NULL);
	return fcinfo->args[n];
}

PG_FUNCTION_INFO_V1(pictrepo_pre_restore);

/*
 * pre_restore(duration interval) -> timestamptz
 *
 * Keep the upkeep of this database away until post_restore(), or for the duration
 * at most: 0 to 7 days; NULL: pictrepo.restore_timeout.  Waits for a task that runs.
 * Returns the end of the duration.
 */
Datum
pictrepo_pre_restore(PG_FUNCTION_ARGS)
{
	NullableDatum duration = hold_argument(fcinfo, 0);

	restore_guard_enter_transaction();
	return return_value(fcinfo, &begin_hold, &duration);
}

STATEMENT(end_hold, STMT_READ_WRITE,
		  "UPDATE pictrepo.restore_hold SET held_until = clock_timestamp() WHERE held_until > clock_timestamp()");

STATEMENT(switched_triggers, STMT_READ_WRITE,
		  "SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.tgrelid::regclass, t.tgname)"
		  " FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid"
		  " WHERE p.pronamespace = 'pictrepo'::regnamespace AND c.relnamespace = p.pronamespace"
		  " AND t.tgenabled = 'O' ORDER BY 1");

/* pg_restore --disable-triggers leaves triggers that do not fire always any more. */
static void
repair_triggers(void)
{
	uint64		number = statement_run(&switched_triggers, NULL);
	char	  **commands = palloc(number * sizeof(char *));

	for (uint64 i = 0; i < number; i++)
		commands[i] = TextDatumGetCString(result_value(i, 1).value);
	for (uint64 i = 0; i < number; i++)
		SPI_execute(commands[i], false, 0);
}

PG_FUNCTION_INFO_V1(pictrepo_post_restore);

/*
 * post_restore() -> bool
 *
 * The restore has ended: let the upkeep go on, make the triggers fire always
 * again, and count the rows anew at the next call.  False: pre_restore() was not
 * called, or its time is over.
 */
Datum
pictrepo_post_restore(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	bool		held;

	repo_call_begin(&call, fcinfo);
	held = statement_run(&end_hold, NULL) > 0;
	repair_triggers();
	repo_call_end(&call);
	if (my_database_slot() != NULL)
	{
		pending_forget_counts();
		pending_worker_request(WORKER_REQ_NOTIFY | WORKER_REQ_SESSIONS | WORKER_REQ_SCHEDULES);
	}
	PG_RETURN_BOOL(held);
}

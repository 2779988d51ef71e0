/*-------------------------------------------------------------------------
 *
 * status.c
 *		Functions that report the state of the repo: health_check, and those
 *		below status() and the view waiting.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/advisory_locks.h"
#include "common/guc.h"
#include "common/server_processes.h"
#include "queue/restore_hold.h"
#include "shmem/clock_watch.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_health_check);

STATEMENT(write_health, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.settings (key, value) VALUES ('health-value', $1)"
		  " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
		  BYTEAOID);

STATEMENT(read_health, STMT_READ_WRITE,
		  "SELECT s.value = $1, e.extversion, coalesce((SELECT '; failing: ' || string_agg(duty, ', ' ORDER BY duty)"
		  " FROM pictrepo.maintenance WHERE last_error IS NOT NULL), '')"
		  " FROM pictrepo.settings s, pg_catalog.pg_extension e"
		  " WHERE s.key = 'health-value' AND e.extname = 'pictrepo'",
		  BYTEAOID);

/*
 * health_check() -> text
 *
 * Write a value, read it back, and return the versions of the library and the
 * schema, whether the library is preloaded and a worker runs, which tasks of the
 * worker fail, and what keeps the upkeep away, if anything does.  Error 58030 if the
 * value was not read back.
 */
Datum
pictrepo_health_check(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	MemoryContext answer = CurrentMemoryContext;
	text	   *result;
	char	   *schema;
	char	   *failing;
	char	   *held_by;
	NullableDatum now = not_null(PointerGetDatum(cstring_to_text(timestamptz_to_str(GetCurrentTimestamp()))));

	repo_call_begin(&call, fcinfo);
	statement_run(&write_health, &now);
	if (statement_run(&read_health, &now) != 1 || !DatumGetBool(result_value(0, 1).value))
		ereport(ERROR,
				errcode(ERRCODE_IO_ERROR),
				errmsg("health check failed"),
				errdetail("The value that was written could not be read back."));
	schema = TextDatumGetCString(result_value(0, 2).value);
	failing = TextDatumGetCString(result_value(0, 3).value);
	held_by = upkeep_held_by();
	MemoryContextSwitchTo(answer);
	result = cstring_to_text(psprintf("ok; library %s; schema %s; preload %s; worker %s%s%s%s",
									  PICTREPO_VERSION, schema,
									  preloaded ? "on" : "off",
									  worker_start_time() != DT_NOEND ? "on" : "off",
									  failing,
									  held_by != NULL ? "; upkeep held by " : "",
									  held_by != NULL ? held_by : ""));
	repo_call_end(&call);
	PG_RETURN_TEXT_P(result);
}

PG_FUNCTION_INFO_V1(pictrepo_server_state);

/*
 * server_state() -> (library text, preload bool, room bool, worker_since timestamptz,
 *		transfer_lock int)
 *
 * The state that status() cannot query with SQL.  preload: shared_preload_libraries
 * contains the library.  room: shared memory has a slot for this database.
 * worker_since NULL: the database has no worker.  transfer_lock is the value of
 * pg_locks.objsubid.
 */
Datum
pictrepo_server_state(PG_FUNCTION_ARGS)
{
	TimestampTz worker_since = worker_start_time();

	return form_row(fcinfo, ARGS(not_null(CStringGetTextDatum(PICTREPO_VERSION)),
								 not_null(BoolGetDatum(preloaded)),
								 not_null(BoolGetDatum(!database_slots_full())),
								 worker_since == DT_NOEND ? NULL_ARG : not_null(TimestampTzGetDatum(worker_since)),
								 not_null(Int32GetDatum(TRANSFER_LOCK_CLASS))));
}

PG_FUNCTION_INFO_V1(pictrepo_status);

STATEMENT(old_status, STMT_READ_ONLY,
		  "SELECT item, value, advice FROM pg_catalog.pg_extension, LATERAL (VALUES"
		  " ('library', '" PICTREPO_VERSION "', NULL),"
		  " ('schema', extversion, 'ALTER EXTENSION pictrepo UPDATE'),"
		  " ('worker', 'none', 'starts when the library and the schema have the same version'))"
		  " AS old (item, value, advice) WHERE extname = 'pictrepo'");

/*
 * status() -> setof (item text, value text, advice text)
 *
 * The function of version 0.1.0: tells to update the extension.  Later versions
 * have an SQL function.
 */
Datum
pictrepo_status(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &old_status, NULL);
}

/* Copy the entry of a waiter, which other sessions change at any time. */
static WaitInfo
copy_wait_info(int n)
{
	WaitInfo	awaited;

	LWLockAcquire(shmem->waiter_lock, LW_SHARED);
	awaited = waiters[n].info;
	LWLockRelease(shmem->waiter_lock);
	return awaited;
}

static Datum
name_of_awaited(const WaitInfo *awaited)
{
	if (awaited->what == WAIT_FOR_UPLOAD)
	{
		Datum		id = UUIDPGetDatum((const pg_uuid_t *) awaited->name);

		return CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(uuid_out, id)));
	}
	return PointerGetDatum(cstring_to_text_with_len(awaited->name + awaited->hash_length,
													awaited->length - awaited->hash_length));
}

static void
add_waiting_session(FunctionCallInfo fcinfo, const WaitInfo *awaited)
{
	static const char *const kinds[] = {
		[WAIT_FOR_JOB] = "job",
		[WAIT_FOR_UPLOAD] = "upload",
		[WAIT_FOR_VARIANT] = "variant",
	};
	bytea	   *hash = (bytea *) cstring_to_text_with_len(awaited->name, awaited->hash_length);

	rows_add(fcinfo, ARGS(not_null(Int32GetDatum(awaited->pid)),
						  not_null(CStringGetTextDatum(kinds[awaited->what])),
						  not_null(name_of_awaited(awaited)),
						  awaited->what == WAIT_FOR_VARIANT ? not_null(PointerGetDatum(hash)) : NULL_ARG,
						  not_null(TimestampTzGetDatum(clock_watch_show(awaited->since)))));
}

PG_FUNCTION_INFO_V1(pictrepo_waiting_sessions);

/*
 * waiting_sessions()
 *		-> setof (pid int, waits_for text, name text, hash bytea, since timestamptz)
 *
 * The sessions of this database that are in a wait queue.  waits_for: 'job',
 * 'upload' or 'variant'.  name: of the queue, the upload or the variant.  hash NULL:
 * the session does not wait for a variant.  No rows without shared memory.
 */
Datum
pictrepo_waiting_sessions(PG_FUNCTION_ARGS)
{
	rows_begin(fcinfo);
	for (int i = 0; shmem != NULL && i < guc_max_waiters; i++)
	{
		WaitInfo	awaited = copy_wait_info(i);

		CHECK_FOR_INTERRUPTS();
		if (awaited.pid != 0 && awaited.database == MyDatabaseId)
			add_waiting_session(fcinfo, &awaited);
	}
	PG_RETURN_NULL();
}

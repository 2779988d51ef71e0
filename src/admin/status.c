/*-------------------------------------------------------------------------
 *
 * status.c
 *		What runs, and how it is doing.
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
		  "SELECT s.value = $1, e.extversion,"
		  " EXISTS (SELECT FROM pg_catalog.pg_stat_activity"
		  " WHERE datname = current_database() AND backend_type = 'pictrepo worker')"
		  " FROM pictrepo.settings s, pg_catalog.pg_extension e"
		  " WHERE s.key = 'health-value' AND e.extname = 'pictrepo'",
		  BYTEAOID);

/*
 * health_check() -> text
 *
 * Write a value, read it back, and say what runs.  58030 when something else
 * comes back.
 */
Datum
pictrepo_health_check(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	MemoryContext answer = CurrentMemoryContext;
	text	   *said;
	NullableDatum now = not_null(PointerGetDatum(cstring_to_text(timestamptz_to_str(GetCurrentTimestamp()))));

	repo_call_begin(&call, fcinfo);
	statement_run(&write_health, &now);
	if (statement_run(&read_health, &now) != 1 || !DatumGetBool(result_value(0, 1).value))
		ereport(ERROR,
				errcode(ERRCODE_IO_ERROR),
				errmsg("health check failed"),
				errdetail("What was written did not come back."));
	MemoryContextSwitchTo(answer);
	said = cstring_to_text(psprintf("ok; library %s; schema %s; preload %s; worker %s",
									PICTREPO_VERSION,
									TextDatumGetCString(result_value(0, 2).value),
									preloaded ? "on" : "off",
									DatumGetBool(result_value(0, 3).value) ? "on" : "off"));
	repo_call_end(&call);
	PG_RETURN_TEXT_P(said);
}

PG_FUNCTION_INFO_V1(pictrepo_status);

#define ITEM(name, value) "SELECT '" name "', " value ", NULL"
#define ITEM_ADVISED(name, value, advice) "SELECT '" name "', " value ", " advice
#define ITEM_WITH_ADVICE(name, value, condition, advice) \
	"SELECT '" name "', " value ", CASE WHEN " condition " THEN '" advice "' END"

/* This goes through the queue, as queue_stats does. */
STATEMENT(status_items, STMT_READ_ONLY | STMT_WHOLE_TABLE,
		  "WITH server AS (SELECT pg_is_in_recovery() AS standby, e.extversion,"
		  " CASE WHEN e.extversion = $1 THEN NULL"
		  " WHEN e.extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'pictrepo')"
		  " THEN 'restart the server: it has another library in memory than is installed'"
		  " ELSE 'ALTER EXTENSION pictrepo UPDATE' END AS change,"
		  " (SELECT min(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
		  " WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.mode = 'ShareLock'"
		  " AND l.objsubid = " CppAsString2(RESTORE_LOCK_CLASS) ") AS restorer,"
		  " (SELECT min(a.backend_start) FROM pg_stat_activity a"
		  " WHERE a.datname = current_database() AND a.backend_type = 'pictrepo worker') AS worker"
		  " FROM pg_extension e WHERE e.extname = 'pictrepo'),"
		  " queues AS (SELECT coalesce(sum(ready), 0) AS ready, coalesce(sum(scheduled), 0) AS scheduled,"
		  " coalesce(sum(running), 0) AS running, coalesce(sum(dead), 0) AS dead, max(oldest_age) AS oldest,"
		  " sum(waiting) AS waiting, string_agg(queue, ', ' ORDER BY queue) FILTER (WHERE paused) AS paused"
		  " FROM pictrepo.queue_stats),"
		  " duties AS (SELECT max(last_run) AS last_run,"
		  " string_agg(duty || ': ' || last_error, '; ' ORDER BY duty) AS error FROM pictrepo.maintenance),"
		  " schedules AS (SELECT count(*) AS number,"
		  " string_agg(name || ': ' || error, '; ' ORDER BY name) AS error FROM pictrepo.schedules),"
		  /* what was asked for and is done by the worker alone */
		  " asked AS (SELECT nullif(concat_ws(', ', CASE WHEN number > 0 THEN 'schedules' END,"
		  " (SELECT string_agg(name, ', ' ORDER BY name) FROM pg_settings WHERE setting <> '0' AND name IN"
		  " ('pictrepo.dead_job_retention', 'pictrepo.variant_retention', 'pictrepo.proxy_retention',"
		  " 'pictrepo.sample_interval'))), '') AS asked FROM schedules),"
		  /* from and to pict-rs's tables, under way or to be gone on with */
		  " transfers AS (SELECT string_agg(format('%s %s: %s of %s rows', direction, schema, read, rows), '; ') AS all,"
		  " string_agg(format('CALL pictrepo.%s_pictrs(%L) goes on where it stopped', direction, schema), '; ')"
		  " FILTER (WHERE NOT held) AS advice"
		  " FROM (SELECT direction, schema, sum(rows_read) AS read, sum(source_rows) AS rows,"
		  " EXISTS (SELECT FROM pg_locks l JOIN pg_namespace n ON n.oid = l.objid"
		  " JOIN pg_database d ON d.oid = l.database"
		  " WHERE d.datname = current_database() AND n.nspname = t.schema AND l.granted"
		  " AND l.locktype = 'object' AND l.classid = 'pg_namespace'::regclass"
		  " AND l.objsubid = " CppAsString2(TRANSFER_LOCK_CLASS) ") AS held"
		  " FROM pictrepo.transfers t GROUP BY direction, schema HAVING count(finished) < count(*)"
		  " ORDER BY direction, schema) unfinished),"
		  " sizes AS (SELECT string_agg(name, ', ' ORDER BY name) AS set FROM pg_settings"
		  " WHERE source <> 'default' AND name IN"
		  " ('pictrepo.max_running_jobs', 'pictrepo.max_waiters', 'pictrepo.max_queues')) "
		  
		  ITEM("library", "$1")
		  " UNION ALL "
		  ITEM_ADVISED("schema", "extversion", "change")
		  " FROM server UNION ALL "
		  ITEM("server", "CASE WHEN standby THEN 'standby: reads only' ELSE 'primary' END")
		  " FROM server UNION ALL "
		  ITEM_ADVISED("preload", "CASE WHEN $2 THEN 'on' ELSE 'off' END",
		  "CASE WHEN NOT $2 THEN"
		  " 'shared_preload_libraries = ''pictrepo'' and a restart: workers wake at once,"
		  " heartbeats write nothing, counts and pops stay fast, and upkeep runs by itself'"
		  " || coalesce('; until then nothing comes of ' || set, '') END")
		  " FROM sizes UNION ALL "
		  ITEM_ADVISED("worker", "coalesce('since ' || worker, CASE WHEN standby THEN 'after promotion' ELSE 'none' END)",
		  "CASE WHEN restorer IS NOT NULL THEN"
		  " format('it waits for the restore by process %s, until that session ends', restorer)"
		  " WHEN worker IS NOT NULL OR standby OR NOT $2 THEN NULL"
		  " WHEN $3 THEN 'the server has no room for one more: all works as without preload'"
		  " WHEN change IS NOT NULL THEN 'comes when library and schema are of one version'"
		  " ELSE 'see the server log; max_worker_processes may be used up' END")
		  " FROM server UNION ALL "
		  ITEM_ADVISED("upkeep", "coalesce(error, 'last ' || last_run, CASE WHEN worker IS NOT NULL THEN 'by the worker'"
		  " ELSE 'by those who call run_maintenance' END)",
		  "CASE WHEN error IS NOT NULL THEN 'see pictrepo.maintenance and the server log'"
		  " WHEN worker IS NULL AND NOT standby AND NOT $2 THEN"
		  " 'without preload nothing happens by itself for ' || asked || ': preload,"
		  " start_worker() after each start of the server, or run_maintenance() from time to time' END")
		  " FROM duties, server, asked UNION ALL "
		  ITEM("images", "pictrepo.size()::text")
		  " UNION ALL "
		  ITEM("jobs", "format('%s ready, %s scheduled, %s running', ready, scheduled, running)")
		  " FROM queues UNION ALL "
		  ITEM_WITH_ADVICE("oldest ready job", "coalesce('due for ' || date_trunc('second', oldest), 'none')",
		  "oldest > '5 minutes' AND coalesce(waiting, 0) = 0",
		  "nobody waits for jobs: are there enough workers? see pictrepo.queue_stats")
		  " FROM queues UNION ALL "
		  ITEM("waiting sessions", "coalesce(waiting::text, CASE WHEN $2 THEN '0' ELSE 'not known without preload' END)")
		  " FROM queues UNION ALL "
		  ITEM_WITH_ADVICE("dead jobs", "dead::text", "dead > 0",
		  "see pictrepo.dead_jobs; requeue_dead(id) tries one again")
		  " FROM queues UNION ALL "
		  ITEM_WITH_ADVICE("paused queues", "coalesce(paused, 'none')", "paused IS NOT NULL", "resume_queue(queue)")
		  " FROM queues UNION ALL "
		  ITEM_WITH_ADVICE("schedules", "coalesce(error, number::text)", "error IS NOT NULL",
		  "see pictrepo.schedules")
		  " FROM schedules UNION ALL "
		  ITEM("uploads under way", "(SELECT count(*) FROM pictrepo.uploads)::text")
		  " UNION ALL "
		  ITEM("store migration", "CASE WHEN pictrepo.is_continuing_migration() THEN 'under way' ELSE 'none' END")
		  " UNION ALL "
		  ITEM_ADVISED("import, export", "coalesce(transfers.all, 'none')", "CASE WHEN NOT standby THEN advice END")
		  " FROM transfers, server",
		  TEXTOID, BOOLOID, BOOLOID);

/*
 * status() -> setof (item text, value text, advice text)
 *
 * advice NULL: nothing to do.
 */
Datum
pictrepo_status(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &status_items,
					   ARGS(not_null(CStringGetTextDatum(PICTREPO_VERSION)), not_null(BoolGetDatum(preloaded)),
							not_null(BoolGetDatum(database_slots_full()))));
}

/* As it is at this moment: places are taken and given back all the time. */
static WaitInfo
awaited_at(int place)
{
	WaitInfo	awaited;

	LWLockAcquire(shmem->waiter_lock, LW_SHARED);
	awaited = waiters[place].info;
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
give_awaited(FunctionCallInfo fcinfo, const WaitInfo *awaited)
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
						  not_null(TimestampTzGetDatum(awaited->since))));
}

PG_FUNCTION_INFO_V1(pictrepo_waiting_sessions);

/*
 * waiting_sessions()
 *		-> setof (pid int, waits_for text, name text, hash bytea, since timestamptz)
 *
 * Who waits in this database and has a place in a line; no row without shared
 * memory.  hash NULL: it waits for no variant.
 */
Datum
pictrepo_waiting_sessions(PG_FUNCTION_ARGS)
{
	rows_begin(fcinfo);
	for (int i = 0; shmem != NULL && i < guc_max_waiters; i++)
	{
		WaitInfo	awaited = awaited_at(i);

		CHECK_FOR_INTERRUPTS();
		if (awaited.pid != 0 && awaited.database == MyDatabaseId)
			give_awaited(fcinfo, &awaited);
	}
	PG_RETURN_NULL();
}

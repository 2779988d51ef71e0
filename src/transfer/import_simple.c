/*-------------------------------------------------------------------------
 *
 * import_simple.c
 *		Import: storing lines of all kinds but images, one row each.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/statement.h"
#include "transfer/import_simple.h"
#include "xact/pending.h"

/* $1 is the content of the line as jsonb. */

STATEMENT(insert_details, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.details (identifier, details) VALUES ($1 ->> 'identifier', $1 -> 'details')"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_details, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.details WHERE identifier = $1 ->> 'identifier' AND details = $1 -> 'details'",
		  JSONBOID);

STATEMENT(insert_setting, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.settings (key, value) VALUES ($1 ->> 'key', decode($1 ->> 'value', 'hex'))"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_setting, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.settings WHERE key = $1 ->> 'key' AND value = decode($1 ->> 'value', 'hex')",
		  JSONBOID);

STATEMENT(insert_migration, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.store_migrations (old_identifier, new_identifier)"
		  " VALUES ($1 ->> 'old_identifier', $1 ->> 'new_identifier') ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_migration, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.store_migrations WHERE old_identifier = $1 ->> 'old_identifier'"
		  " AND new_identifier = $1 ->> 'new_identifier'",
		  JSONBOID);

/*
 * Uploads and jobs have ids of their own.  A row with the same id is the same upload
 * or job, even if it has changed since the export.
 */
STATEMENT(insert_upload, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.uploads (id, created_at, result) VALUES (($1 ->> 'id')::uuid,"
		  " coalesce(($1 ->> 'created_at')::timestamptz, now()), nullif($1 -> 'result', 'null'))"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_upload, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.uploads WHERE id = ($1 ->> 'id')::uuid", JSONBOID);

STATEMENT(insert_queue, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.queues (queue, retries, backoff, backoff_max, max_running, paused)"
		  " VALUES ($1 ->> 'queue', ($1 ->> 'retries')::int, ($1 ->> 'backoff')::interval,"
		  " ($1 ->> 'backoff_max')::interval, ($1 ->> 'max_running')::int,"
		  " coalesce(($1 ->> 'paused')::bool, false)) ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_queue, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.queues WHERE queue = $1 ->> 'queue' AND"
		  " (retries, backoff, backoff_max, max_running, paused) IS NOT DISTINCT FROM"
		  " (($1 ->> 'retries')::int, ($1 ->> 'backoff')::interval, ($1 ->> 'backoff_max')::interval,"
		  " ($1 ->> 'max_running')::int, coalesce(($1 ->> 'paused')::bool, false))",
		  JSONBOID);

STATEMENT(insert_schedule, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.schedules (name, queue, job, every, cron, time_zone, priority, retry,"
		  " first_run, next_run, last_run, error)"
		  " VALUES ($1 ->> 'name', $1 ->> 'queue', $1 -> 'job', ($1 ->> 'every')::interval, $1 ->> 'cron',"
		  " $1 ->> 'time_zone', coalesce(($1 ->> 'priority')::int, 0), ($1 ->> 'retry')::int,"
		  " ($1 ->> 'first_run')::timestamptz, ($1 ->> 'next_run')::timestamptz,"
		  " ($1 ->> 'last_run')::timestamptz, $1 ->> 'error') ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_schedule, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.schedules WHERE name = $1 ->> 'name' AND"
		  " (queue, job, every, cron, time_zone, priority, retry) IS NOT DISTINCT FROM"
		  " ($1 ->> 'queue', $1 -> 'job', ($1 ->> 'every')::interval, $1 ->> 'cron', $1 ->> 'time_zone',"
		  " coalesce(($1 ->> 'priority')::int, 0), ($1 ->> 'retry')::int)",
		  JSONBOID);

STATEMENT(insert_job, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.job_queue (id, queue, job, priority, run_at, queue_time, attempt, retry,"
		  " failures, unique_key, upload, error)"
		  " SELECT ($1 ->> 'id')::uuid, $1 ->> 'queue', $1 -> 'job', coalesce(($1 ->> 'priority')::int, 0),"
		  " coalesce(($1 ->> 'run_at')::timestamptz, now()), coalesce(($1 ->> 'queue_time')::timestamptz, now()),"
		  " coalesce(($1 ->> 'attempt')::int, 0), coalesce(($1 ->> 'retry')::int, 5),"
		  " coalesce(($1 ->> 'failures')::int, 0), $1 ->> 'unique_key', ($1 ->> 'upload')::uuid, $1 ->> 'error'"
		  " WHERE NOT EXISTS (SELECT FROM pictrepo.dead_jobs WHERE id = ($1 ->> 'id')::uuid)"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(insert_dead_job, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, died_at, attempt,"
		  " unique_key, upload, error)"
		  " SELECT ($1 ->> 'id')::uuid, $1 ->> 'queue', $1 -> 'job', coalesce(($1 ->> 'priority')::int, 0),"
		  " coalesce(($1 ->> 'queue_time')::timestamptz, now()), coalesce(($1 ->> 'died_at')::timestamptz, now()),"
		  " coalesce(($1 ->> 'attempt')::int, 0), $1 ->> 'unique_key', ($1 ->> 'upload')::uuid, $1 ->> 'error'"
		  " WHERE NOT EXISTS (SELECT FROM pictrepo.job_queue WHERE id = ($1 ->> 'id')::uuid)"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

/* No row: the job was not inserted because another one has its unique key. */
STATEMENT(same_job, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.job_queue WHERE id = ($1 ->> 'id')::uuid"
		  " UNION ALL SELECT FROM pictrepo.dead_jobs WHERE id = ($1 ->> 'id')::uuid",
		  JSONBOID);

STATEMENT(insert_block, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.blocked (hash, blocked_at) VALUES (decode($1 ->> 'hash', 'hex'),"
		  " coalesce(($1 ->> 'blocked_at')::timestamptz, now())) ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_block, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.blocked WHERE hash = decode($1 ->> 'hash', 'hex')", JSONBOID);

/* For each kind, the INSERT, and a query that returns a row if the repo has the same */
static const struct
{
	SqlStatement *insert;
	SqlStatement *same;
}			simple_kinds[LINE_KINDS] = {
	[LINE_DETAILS] = {&insert_details, &same_details},
	[LINE_SETTING] = {&insert_setting, &same_setting},
	[LINE_MIGRATION] = {&insert_migration, &same_migration},
	[LINE_UPLOAD] = {&insert_upload, &same_upload},
	[LINE_QUEUE] = {&insert_queue, &same_queue},
	[LINE_SCHEDULE] = {&insert_schedule, &same_schedule},
	[LINE_JOB] = {&insert_job, &same_job},
	[LINE_DEAD_JOB] = {&insert_dead_job, &same_job},
	[LINE_BLOCKED] = {&insert_block, &same_block},
};

const char *
import_simple(const ExportLine *line, NullableDatum content)
{
	if (statement_run(simple_kinds[line->kind].insert, &content) > 0)
	{
		if (line->kind == LINE_SCHEDULE && my_database_slot() != NULL)
			pending_worker_request(WORKER_REQ_SCHEDULES);
		return "stored";
	}
	return statement_run(simple_kinds[line->kind].same, &content) > 0 ? "exists" : "conflict";
}

/*-------------------------------------------------------------------------
 *
 * schedules.c
 *		QueueRepo: schedules, which push a job repeatedly.
 *
 * A schedule is a row with the time of its next run.  When it is due, the background
 * worker, or a session that calls run_schedules, pushes its job and sets the next
 * run to the first time after now.  So after a downtime, one run stands for all the
 * missed ones.  The job has a unique key, so it is not pushed while the previous one
 * is alive.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/cron.h"
#include "common/limits.h"
#include "common/uuid.h"
#include "queue/queue.h"
#include "queue/schedules.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"
#include "xact/pending.h"

/* ----- creating and removing schedules ----- */

PG_FUNCTION_INFO_V1(pictrepo_schedule_job);

/*
 * If the schedule exists and its timing is the same, its next run stays.  So a
 * client can call schedule_job each time it starts.  interval_send compares
 * intervals exactly: 1 day and 24 hours are equal, but 1 day is not always 24 hours
 * long.
 */
STATEMENT(upsert_schedule, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.schedules AS s"
		  " (name, queue, job, every, cron, time_zone, priority, retry, first_run, next_run)"
		  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
		  " ON CONFLICT (name) DO UPDATE SET queue = $2, job = $3, every = $4, cron = $5,"
		  " time_zone = $6, priority = $7, retry = $8, error = NULL,"
		  " (first_run, next_run) ="
		  " (SELECT CASE WHEN same THEN s.first_run ELSE $9 END, CASE WHEN same THEN s.next_run ELSE $10 END"
		  " FROM (SELECT s.error IS NULL AND s.time_zone = $6 AND s.cron IS NOT DISTINCT FROM $5"
		  " AND interval_send(s.every) IS NOT DISTINCT FROM interval_send($4)) AS timing (same))"
		  " RETURNING next_run",
		  TEXTOID, TEXTOID, JSONBOID, INTERVALOID, TEXTOID, TEXTOID, INT4OID, INT4OID,
		  TIMESTAMPTZOID, TIMESTAMPTZOID);

/* An interval from 1 second to 10 years, without negative parts. */
static NullableDatum
every_argument(FunctionCallInfo fcinfo, int n)
{
	int64		microseconds = duration_argument(fcinfo, n);
	Interval   *every = PG_GETARG_INTERVAL_P(n);
	const char *shown = DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)));

	if (every->month < 0 || every->day < 0 || every->time < 0)
		bad_argument(fcinfo, n, psprintf("The value is %s; no part of it may be negative.", shown), NULL);
	if (microseconds < USECS_PER_SEC ||
		microseconds > 10 * MONTHS_PER_YEAR * DAYS_PER_MONTH * USECS_PER_DAY)
		bad_argument(fcinfo, n,
					 psprintf("The value is %s; it must be between 1 second and 10 years.", shown), NULL);
	return fcinfo->args[n];
}

/* A cron expression of at most CRON_MAX bytes. */
static Cron
cron_argument(FunctionCallInfo fcinfo, int n)
{
	Cron		cron;
	const char *wrong = cron_parse(TextDatumGetCString(text_argument(fcinfo, n, CRON_MAX).value), &cron);

	if (wrong != NULL)
		bad_argument(fcinfo, n, wrong,
					 "Fields are minute, hour, day of month, month and day of week, as in"
					 " \"30 4 * * mon-fri\"; shorthands are @hourly, @daily, @weekly,"
					 " @monthly and @yearly.");
	return cron;
}

/*
 * schedule_job(name text, queue text, job jsonb, every interval, cron text,
 *				priority int, retry int) -> timestamptz
 *
 * Create or replace a schedule, and return the time of its next run.
 *
 * Either every or cron is given, and the other one is NULL.  every: the time between
 * runs, 1 second to 10 years; the first run is now.  cron: a cron expression, in the
 * session's time zone.  retry: 0 to 1,000,000; NULL: the retries of the queue.
 * Error 22023 for any other timing.
 */
Datum
pictrepo_schedule_job(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz first = now;
	NullableDatum args[10] = {
		text_argument(fcinfo, 0, SCHEDULE_NAME_MAX), key_argument(fcinfo, 1),
		document_argument(fcinfo, 2), NULL_ARG, NULL_ARG,
		not_null(CStringGetTextDatum(pg_get_timezone_name(session_timezone))),
		any_argument(fcinfo, 5),
		PG_ARGISNULL(6) ? NULL_ARG : limit_argument(fcinfo, 6, 0, RETRIES_MAX)
	};

	if (PG_ARGISNULL(3) == PG_ARGISNULL(4))
		bad_argument(fcinfo, 3, "Exactly one of the arguments \"every\" and \"cron\" must be given.", NULL);
	if (!PG_ARGISNULL(3))
		args[3] = every_argument(fcinfo, 3);
	else
	{
		Cron		cron = cron_argument(fcinfo, 4);

		args[4] = fcinfo->args[4];
		first = cron_next(&cron, now, session_timezone);
	}
	args[8] = not_null(TimestampTzGetDatum(now));
	args[9] = not_null(TimestampTzGetDatum(first));
	if (my_database_slot() != NULL)
		pending_worker_request(WORKER_REQ_SCHEDULES);
	return return_value(fcinfo, &upsert_schedule, args);
}

PG_FUNCTION_INFO_V1(pictrepo_unschedule_job);

STATEMENT(delete_schedule, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.schedules WHERE name = $1", TEXTOID);

/*
 * unschedule_job(name text) -> bool
 *
 * Remove a schedule.  False: the schedule does not exist.
 */
Datum
pictrepo_unschedule_job(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_schedule,
						ARGS(text_argument(fcinfo, 0, SCHEDULE_NAME_MAX)));
}

PG_FUNCTION_INFO_V1(pictrepo_next_run);

/*
 * next_run(cron text, after timestamptz) -> timestamptz
 *
 * The first time after another time that matches a cron expression, in the session's
 * time zone.  Error 22023 for an invalid expression.
 */
Datum
pictrepo_next_run(PG_FUNCTION_ARGS)
{
	Cron		cron = cron_argument(fcinfo, 0);
	TimestampTz after = DatumGetTimestampTz(time_argument(fcinfo, 1).value);

	PG_RETURN_TIMESTAMPTZ(cron_next(&cron, after, session_timezone));
}

/* ----- running schedules ----- */

/*
 * Lock the schedules that are due, and those whose last run is more than a period
 * or an hour in the future.  The latter happens if the clock was set back; waiting
 * until it has caught up would be worse than running a period twice.
 *
 * Two sessions never run the same schedule: one of them has the lock.
 *
 * push is false if the previous job is alive.  This includes a job that another
 * transaction has completed but not yet committed.
 */
STATEMENT(lock_due_schedules, STMT_READ_WRITE,
		  "SELECT name, queue, job, every, cron, time_zone, priority, retry, first_run,"
		  " next_run <= $1 AND NOT EXISTS (SELECT FROM pictrepo.job_queue"
		  " WHERE unique_key = 'schedule:' || name), 'schedule:' || name"
		  " FROM (SELECT *, tableoid, ctid FROM pictrepo.schedules"
		  " WHERE next_run <= $1 OR last_run > $1 + interval '1 hour'"
		  " OR last_run + (last_run - $1) > next_run ORDER BY name OFFSET 0) due"
		  " WHERE " TRY_LOCK_NO_KEY("due"),
		  TIMESTAMPTZOID);

STATEMENT(set_next_run, STMT_READ_WRITE,
		  "UPDATE pictrepo.schedules SET next_run = $2, error = $3,"
		  " last_run = CASE WHEN $4 OR last_run > $5 THEN $5 ELSE last_run END"
		  " WHERE name = $1",
		  TEXTOID, TIMESTAMPTZOID, TEXTOID, BOOLOID, TIMESTAMPTZOID);

/* A row of lock_due_schedules: the columns in their order */
typedef struct ScheduleRow
{
	NullableDatum name;
	NullableDatum queue;
	NullableDatum job;
	NullableDatum every;
	NullableDatum cron;
	NullableDatum time_zone;
	NullableDatum priority;
	NullableDatum retry;
	NullableDatum first_run;
	NullableDatum push;
	NullableDatum unique_key;
} ScheduleRow;

static void
read_schedule(SPITupleTable *due, uint64 row, ScheduleRow *schedule)
{
	NullableDatum *column = (NullableDatum *) schedule;

	for (int i = 0; i < (int) (sizeof(ScheduleRow) / sizeof(NullableDatum)); i++)
		column[i].value = SPI_getbinval(due->vals[row], due->tupdesc, i + 1, &column[i].isnull);
}

/*
 * The first run after now.  The row may have an invalid cron expression, or a time
 * zone that the server no longer has.  This must not stop other schedules.  So it
 * is not an error: the schedule's next run is infinity, and *error says why.
 */
static TimestampTz
next_time(const ScheduleRow *schedule, TimestampTz now, const char **error)
{
	char	   *zone_name = TextDatumGetCString(schedule->time_zone.value);
	pg_tz	   *zone = pg_tzset(zone_name);
	Cron		cron;

	*error = NULL;
	if (zone == NULL)
	{
		*error = psprintf("Time zone \"%s\" is not recognized.", zone_name);
		return DT_NOEND;
	}
	if (schedule->cron.isnull)
		return interval_next(DatumGetIntervalP(schedule->every.value),
							 DatumGetTimestampTz(schedule->first_run.value), now, zone);
	*error = cron_parse(TextDatumGetCString(schedule->cron.value), &cron);
	return *error != NULL ? DT_NOEND : cron_next(&cron, now, zone);
}

typedef struct ScheduleRun
{
	ScheduleRow schedule;
	TimestampTz now;
	const char *refusal;		/* why its job cannot be pushed; NULL: it can */
	bool		pushed;
} ScheduleRun;

static bool
push_scheduled_job(const ScheduleRow *schedule, NullableDatum now)
{
	pg_uuid_t	id;

	uuid_mint(&id);
	return push_job(ARGS(schedule->queue, not_null(UUIDPGetDatum(&id)), schedule->job,
						 schedule->unique_key, now, NULL_ARG,
						 schedule->priority, schedule->retry, NULL_ARG));
}

/* Push the job, unless the previous one is alive, and set the next run. */
static void
run_schedule(void *arg)
{
	ScheduleRun *run = arg;
	const ScheduleRow *schedule = &run->schedule;
	NullableDatum now = not_null(TimestampTzGetDatum(run->now));
	const char *error;
	TimestampTz next = next_time(schedule, run->now, &error);

	if (error == NULL)
		error = run->refusal;
	run->pushed = error == NULL && DatumGetBool(schedule->push.value) && push_scheduled_job(schedule, now);
	statement_run(&set_next_run,
				  ARGS(schedule->name, not_null(TimestampTzGetDatum(next)),
					   error != NULL ? not_null(CStringGetTextDatum(error)) : NULL_ARG,
					   not_null(BoolGetDatum(run->pushed)), now));
}

/*
 * Run one schedule, which holds up no other one.  Was its job pushed?  If another
 * transaction has pushed a job with the same unique key, and is still open, the
 * schedule stays due.  If the job is refused, by a user's trigger for example, the
 * schedule tries again at its next run.
 */
static bool
try_schedule(ScheduleRun *run)
{
	ErrorData  *error;

	if (row_try(run_schedule, run, &error))
		return run->pushed;
	if (!error_is_lock(error))
	{
		run->refusal = pstrdup(error->message);
		log_failed_row(error);
		(void) row_try(run_schedule, run, &error);
	}
	return false;
}

/* Run the schedules that are due.  Returns how many jobs were pushed. */
uint64
schedules_run(void)
{
	NullableDatum now = not_null(TimestampTzGetDatum(GetCurrentTimestamp()));
	uint64		count = statement_run(&lock_due_schedules, &now);
	SPITupleTable *due = SPI_tuptable;
	uint64		pushed = 0;

	for (uint64 row = 0; row < count; row++)
	{
		ScheduleRun run = {.now = DatumGetTimestampTz(now.value)};

		read_schedule(due, row, &run.schedule);
		pushed += try_schedule(&run);
	}
	return pushed;
}

/*
 * At least 100 ms from now: otherwise the worker would loop while another session
 * has locked a schedule that is due.
 */
STATEMENT(earliest_run, STMT_READ_WRITE,
		  "SELECT greatest(coalesce(min(next_run), 'infinity'), clock_timestamp() + interval '100 ms')"
		  " FROM pictrepo.schedules");

/* When the background worker must run the schedules again. */
TimestampTz
schedules_next_run(void)
{
	statement_run(&earliest_run, NULL);
	return DatumGetTimestampTz(result_value(0, 1).value);
}

PG_FUNCTION_INFO_V1(pictrepo_run_schedules);

/*
 * run_schedules() -> bigint
 *
 * Run the schedules that are due.  Returns how many jobs were pushed.
 */
Datum
pictrepo_run_schedules(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	uint64		pushed;

	repo_call_begin(&call, fcinfo);
	pushed = schedules_run();
	repo_call_end(&call);
	PG_RETURN_INT64((int64) pushed);
}

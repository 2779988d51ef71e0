-- QueueRepo: schedules, which push a job repeatedly.

-- Each run updates next_run.  The column has no index, because an update would
-- then add an index entry, and the table is small.
CREATE TABLE pictrepo.schedules (
	name text COLLATE "C" PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 70),
	queue text COLLATE "C" NOT NULL CHECK (octet_length(queue) BETWEEN 1 AND 80),
	job jsonb NOT NULL,
	every interval CHECK (every BETWEEN '1 second' AND '10 years'
		AND least(extract(year FROM every), extract(month FROM every), extract(day FROM every),
			extract(hour FROM every), extract(minute FROM every), extract(second FROM every)) >= 0),
	cron text CHECK (octet_length(cron) BETWEEN 1 AND 500),
	time_zone text NOT NULL DEFAULT current_setting('TimeZone') CHECK (octet_length(time_zone) BETWEEN 1 AND 255),
	priority int NOT NULL DEFAULT 0,
	retry int CHECK (retry >= 0),
	first_run timestamptz NOT NULL DEFAULT now() CHECK (isfinite(first_run)),
	next_run timestamptz NOT NULL,
	last_run timestamptz,
	error text,
	CHECK ((every IS NULL) <> (cron IS NULL))
);
COMMENT ON TABLE pictrepo.schedules IS 'schedules, which push a job repeatedly';
COMMENT ON COLUMN pictrepo.schedules.name IS
	'name, 1 to 70 bytes; a job of the schedule has the unique key schedule:<name>';
COMMENT ON COLUMN pictrepo.schedules.queue IS 'queue of the job';
COMMENT ON COLUMN pictrepo.schedules.job IS 'job to push';
COMMENT ON COLUMN pictrepo.schedules.every IS
	'time between two runs, 1 second to 10 years, without a negative part; NULL if cron is set';
COMMENT ON COLUMN pictrepo.schedules.cron IS
	'times of the runs: minute, hour, day of month, month, day of week; NULL if every is set';
COMMENT ON COLUMN pictrepo.schedules.time_zone IS
	'time zone of the run times. schedule_job stores the time zone of its session';
COMMENT ON COLUMN pictrepo.schedules.priority IS 'priority of the job';
COMMENT ON COLUMN pictrepo.schedules.retry IS 'retries of the job; NULL for those of the queue';
COMMENT ON COLUMN pictrepo.schedules.first_run IS
	'time from which every counts: each run is a multiple of every later. Not used with cron';
COMMENT ON COLUMN pictrepo.schedules.next_run IS
	'time of the next run; infinity if the schedule never runs again';
COMMENT ON COLUMN pictrepo.schedules.last_run IS 'time when a job was last pushed; NULL if none was';
COMMENT ON COLUMN pictrepo.schedules.error IS 
	'reason why the schedule stopped, or why its last run pushed no job; NULL if neither';

CREATE FUNCTION pictrepo.schedule_job(name text, queue text, job jsonb, every interval = NULL,
	cron text = NULL, priority int = 0, retry int = NULL) RETURNS timestamptz
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_schedule_job';
COMMENT ON FUNCTION pictrepo.schedule_job(text, text, jsonb, interval, text, int, int) IS
	'create or replace a schedule, which pushes a job repeatedly. Returns the time of the next run. '
	'Exactly one of every and cron must be given. '
	'every: time between two runs, 1 second to 10 years; the first run is now. '
	'cron: minute, hour, day of month, month and day of week of the runs, or a shorthand like @daily. '
	'Run times use the time zone of the session. priority, retry: as in push. '
	'A replaced schedule keeps its next run if its times stay the same. '
	'A run pushes no job while the previous job waits or runs';

CREATE FUNCTION pictrepo.unschedule_job(name text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_unschedule_job';
COMMENT ON FUNCTION pictrepo.unschedule_job(text) IS
	'remove a schedule. Returns false if the schedule does not exist. A job that it has pushed stays';

CREATE FUNCTION pictrepo.run_schedules() RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_run_schedules';
COMMENT ON FUNCTION pictrepo.run_schedules() IS
	'push a job for each schedule that is due, unless a job of the schedule waits or runs. '
	'Returns the number of pushed jobs. Call it regularly if no background worker runs';

CREATE FUNCTION pictrepo.next_run(cron text, after timestamptz) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_next_run';
COMMENT ON FUNCTION pictrepo.next_run(text, timestamptz) IS
	'first time after a given time that matches a cron text, in the time zone of the session; infinity if '
	'the calendar ends before. Error 22023: the cron text is invalid; the detail says why';

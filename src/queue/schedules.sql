-- QueueRepo: jobs that are pushed again and again.

-- There are few, and each run changes next_run: without an index on it, that
-- costs no index entries.
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
COMMENT ON TABLE pictrepo.schedules IS 'jobs that are pushed again and again';
COMMENT ON COLUMN pictrepo.schedules.name IS 'name, 1 to 70 bytes; its jobs have the unique key schedule:<name>';
COMMENT ON COLUMN pictrepo.schedules.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.schedules.job IS 'what to do';
COMMENT ON COLUMN pictrepo.schedules.every IS 'time from one run to the next, 1 second to 10 years, no part of it negative; NULL: cron says when';
COMMENT ON COLUMN pictrepo.schedules.cron IS 'when to run: minute, hour, day of month, month, day of week; NULL: every says when';
COMMENT ON COLUMN pictrepo.schedules.time_zone IS 'by whose clocks; that of the session which scheduled it';
COMMENT ON COLUMN pictrepo.schedules.priority IS 'priority of its jobs';
COMMENT ON COLUMN pictrepo.schedules.retry IS 'retries of its jobs; NULL: as the queue has it';
COMMENT ON COLUMN pictrepo.schedules.first_run IS 'where the grid of every begins';
COMMENT ON COLUMN pictrepo.schedules.next_run IS 'when it is due; infinity: never again';
COMMENT ON COLUMN pictrepo.schedules.last_run IS 'when a job was last pushed; NULL: not yet';
COMMENT ON COLUMN pictrepo.schedules.error IS 'why it does not run any more; NULL: it runs';

CREATE FUNCTION pictrepo.schedule_job(name text, queue text, job jsonb, every interval = NULL,
	cron text = NULL, priority int = 0, retry int = NULL) RETURNS timestamptz
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_schedule_job';
COMMENT ON FUNCTION pictrepo.schedule_job(text, text, jsonb, interval, text, int, int) IS
	'push a job again and again, either every so often, from now on, or when the cron text says; when it runs next. '
	'It replaces a schedule of that name, and goes by the clocks of the session''s time zone. '
	'priority and retry are as in push. One job of a schedule is there at a time';

CREATE FUNCTION pictrepo.unschedule_job(name text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_unschedule_job';
COMMENT ON FUNCTION pictrepo.unschedule_job(text) IS
	'push it no more; a job that was pushed stays. False: no such schedule';

CREATE FUNCTION pictrepo.run_schedules() RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_run_schedules';
COMMENT ON FUNCTION pictrepo.run_schedules() IS
	'push the jobs that are due, where the last one of their schedule is done; how many. '
	'For any timer, where the background worker does not run';

CREATE FUNCTION pictrepo.next_run(cron text, after timestamptz) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_next_run';
COMMENT ON FUNCTION pictrepo.next_run(text, timestamptz) IS
	'the first time after a given one that a cron text allows; infinity: the calendar ends first. '
	'It goes by the clocks of the session''s time zone. Error 22023: it is not a cron text, and the detail says why';

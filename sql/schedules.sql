-- Schedules: when they run, and what a run does.
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';

-- the first n times of a cron text after a time
CREATE FUNCTION times(cron text, after timestamptz, n int = 3) RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		after = pictrepo.next_run(cron, after);
		RETURN NEXT after;
	END LOOP;
END $$;

-- lists, ranges, steps, names, shorthands; 2024-02-28 was a Wednesday
SELECT cron, array_agg(to_char(t, 'MM-DD HH24:MI Dy')) AS times
FROM unnest(ARRAY['* * * * *', '*/15 * * * *', '5,50 * * * *', '10-12 * * * *', '50-59/4 * * * *', '0 9-17/4 * * *',
	'30 4 * * mon-fri', '0 0 * * SUN', '0 0 * * 7', '0 0 * * 0', '0 0 * * fri-sun', '0 0 * * 5-7', '0 0 * * sat,Mon',
	'0 0 1 jan,JUL *', '0 0 29 * *', '0 0 31 * *', '59 23 31 12 *', '0 0 1 */6 *', '  0	12 1-7/3,20 *	*  ', '00 08 01 01 *',
	'@hourly', '@daily', '@weekly', '@monthly', ' @Yearly ']) WITH ORDINALITY AS c (cron, n),
	LATERAL times(cron, '2024-02-28 23:50:30') t
GROUP BY cron, n ORDER BY n;

-- a day of month or a weekday matches if both are given; with * in one of them, the other must match
SELECT cron, array_agg(to_char(t, 'MM-DD Dy')) AS times
FROM unnest(ARRAY['0 0 13 * fri', '0 0 13 * *', '0 0 * * fri', '0 0 */10 * fri', '0 0 13 * */5']) WITH ORDINALITY AS c (cron, n),
	LATERAL times(cron, '2024-08-31', 4) t
GROUP BY cron, n ORDER BY n;

-- strictly after a time, to the microsecond; ends of months and years; leap years, far in the future, too
SELECT pictrepo.next_run('0 12 * * *', '2024-01-01 12:00'), pictrepo.next_run('0 12 * * *', '2024-01-01 11:59:59.999999'),
	pictrepo.next_run('0 12 * * *', '2024-01-01 12:00:00.000001');
SELECT pictrepo.next_run('0 12 * * *', '1969-12-31 11:59:59.5'), pictrepo.next_run('* * * * *', '1969-12-31 23:58:59.5'),
	pictrepo.next_run('0 0 1 1 *', '1999-12-31 23:59:59.999999');
SELECT t FROM times('0 0 29 2 *', '1896-02-28 12:00') t;
SELECT t FROM times('0 0 29 2 */7', '2024-01-01') t;
SELECT t FROM times('0 0 31 12 *', '2024-12-31') t;
SELECT pictrepo.next_run('0 0 1 1 *', '4714-11-24 00:00:00 BC'), pictrepo.next_run('@daily', '294276-12-30 01:00'),
	pictrepo.next_run('@daily', '294276-12-31 01:00'), pictrepo.next_run('* * * * *', '294276-12-31 23:59:59.999999');

-- 2024 in Berlin: the hour from 02:00 does not exist on 31 March, and comes twice on 27 October
SET timezone = 'Europe/Berlin';
SELECT t FROM times('30 2 * * *', '2024-03-30') t;
SELECT t FROM times('*/20 2 * * *', '2024-03-31') t;
SELECT t FROM times('0 2,3 * * *', '2024-03-31') t;
SELECT t FROM times('0 */2 * * *', '2024-03-31') t;
SELECT t FROM times('30 * * * *', '2024-03-31 01:00', 2) t;
SELECT t FROM times('0 3 31 3 *', '2024-03-31 00:00', 2) t;
SELECT t FROM times('30 2 * * *', '2024-10-26') t;
SELECT t FROM times('*/30 2 * * *', '2024-10-27') t;
SELECT t FROM times('0 1-3 * * *', '2024-10-27') t;
SELECT t FROM times('*/30 * * * *', '2024-10-27 01:45', 5) t;
-- a time within the second of the two hours
SELECT pictrepo.next_run('30 2 * * *', '2024-10-27 02:10+01'), pictrepo.next_run('30 * * * *', '2024-10-27 02:10+01'),
	pictrepo.next_run('30 2 * * *', '2024-10-27 02:29:59.999999+02'), pictrepo.next_run('30 2 * * *', '2024-10-27 02:30+02');
-- the rules of a POSIX time zone have no end
SET timezone = 'CET-1CEST,M3.5.0,M10.5.0/3';
SELECT t FROM times('30 2 * * *', '2100-03-27 00:00') t;

-- other zones: a shift of half an hour, a shift at midnight, a skipped day, local mean time, a fixed offset
SET timezone = 'Australia/Lord_Howe';
SELECT t FROM times('15 2 * * *', '2024-10-05 12:00', 2) t;
SELECT t FROM times('*/15 * * * *', '2024-04-07 01:20', 6) t;
SET timezone = 'America/Sao_Paulo';
SELECT t FROM times('@daily', '2018-11-03', 2) t;
SELECT t FROM times('30 23 * * *', '2018-02-17', 2) t;
SET timezone = 'Pacific/Apia';
SELECT t FROM times('0 12 * * *', '2011-12-28 13:00') t;
SELECT t FROM times('0 12 30 12 *', '2011-12-28', 2) t;
SELECT t FROM times('0 * 30 12 *', '2011-12-28', 1) t;
SET timezone = 'Europe/Berlin';
SELECT t FROM times('0 0 * * *', '1893-03-30 12:00') t;
SET timezone = '<+0330>-03:30';
SELECT t FROM times('0 0 * * *', '2024-01-01', 1) t;
SET timezone = 'UTC';

-- every run of a year: a daily text matches once a day, and an hourly text each hour
SET timezone = 'America/New_York';
SELECT count(*), count(DISTINCT t::date), min(t), max(t) FROM times('15 1 * * *', '2023-12-31 12:00', 366) t;
SELECT count(*), count(DISTINCT t::date), min(t), max(t) FROM times('15 2 * * *', '2023-12-31 12:00', 366) t;
SELECT count(*) FILTER (WHERE t <> '2024-01-01 00:15'::timestamptz + (n - 1) * interval '3600 s') AS odd
FROM times('15 * * * *', '2024-01-01', 8784) WITH ORDINALITY AS t (t, n);
SET timezone = 'UTC';

-- errors in a cron text
CREATE FUNCTION wrong(cron text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	why text;
BEGIN
	PERFORM pictrepo.next_run(cron, 'epoch');
	RETURN 'nothing';
EXCEPTION WHEN invalid_parameter_value OR string_data_right_truncation THEN
	GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || why;
END $$;
SELECT left(cron, 20) AS cron, wrong(cron) FROM unnest(ARRAY['', ' ', '*', '* * * *', '* * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *',
	'* * 32 * *', '* * * 0 *', '* * * 13 *', '* * * * 8', '-1 * * * *', '+1 * * * *', '1.5 * * * *', '001 * * * *',
	'99999999999 * * * *', '1,,2 * * * *', ', * * * *', '1- * * * *', '-1-2 * * * *', '1-2-3 * * * *', '5-1 * * * *', '*-5 * * * *',
	'** * * * *', '*/0 * * * *', '*/60 * * * *', '*/ * * * *', '/5 * * * *', '5/15 * * * *', '*/2/3 * * * *', '1-9/x * * * *', 'mon * * * *',
	'* * * mon *', '* * * * monday', '* * * * jan', '* * * * sat-mon', '* * ? * *', '* * L * *', '* * * * 5#3', '0 0 30 2 *',
	'0 0 30,31 feb *', '0 0 31 4,6,9,11 *', '0 0 31 2 fri', '@', '@reboot', '@daily x', '@dail', '@dailyx', 'daily',
	'* * * * ' || repeat('y', 200), '* ' || repeat('x', 500)]) WITH ORDINALITY AS c (cron, n) ORDER BY n;
SELECT pictrepo.next_run('0 0 30 2 *', 'epoch');
SELECT pictrepo.next_run('0 25 * * *', 'epoch');
SELECT pictrepo.next_run(NULL, 'epoch');
SELECT pictrepo.next_run('@daily', NULL);
SELECT pictrepo.next_run('@daily', 'infinity');

-- The rest is one transaction, because a background worker could otherwise run the
-- schedules first.
\set ON_ERROR_ROLLBACK on
BEGIN;

-- every: the first run is now, and each further run follows at a multiple of it
SELECT pictrepo.schedule_job('tidy', 'cleanup', '"tidy"', '1 hour') BETWEEN now() AND clock_timestamp() AS now;
SELECT pictrepo.run_schedules(), pictrepo.run_schedules() AS again;
SELECT queue, job, priority, retry, unique_key, state FROM pictrepo.jobs;
SELECT name, every, cron, next_run - first_run AS later, last_run >= first_run AS ran, error FROM pictrepo.schedules;

-- missed runs make one run, and later runs stay at multiples of every
CREATE FUNCTION ran(zone text, every interval, cron text, first timestamptz, next timestamptz)
RETURNS TABLE (pushed bigint, next_run timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE pictrepo.job_queue, pictrepo.schedules;
	INSERT INTO pictrepo.schedules (name, queue, job, every, cron, time_zone, first_run, next_run)
		VALUES ('x', 'q', '1', ran.every, ran.cron, zone, first, next);
	pushed = pictrepo.run_schedules();
	SELECT s.next_run INTO next_run FROM pictrepo.schedules s;
	RETURN NEXT;
END $$;
SELECT pushed, next_run > now() AND next_run <= now() + interval '95 s' AS soon, extract(epoch FROM next_run - '2020-01-01 00:00:07') % 90 AS off
FROM ran('UTC', '90 s', NULL, '2020-01-01 00:00:07', '2020-01-01 00:00:07');
SELECT pictrepo.run_schedules() AS again;
SELECT pictrepo.queue_length('q');
SELECT pushed, next_run > now() AND next_run <= now() + interval '61 minutes' AS soon, extract(minute FROM next_run) AS minute
FROM ran('UTC', NULL, '20 * * * *', now(), '2020-01-01');
SELECT pictrepo.run_schedules() AS again;
SELECT pictrepo.queue_length('q');

-- Run n is at first + n * every, in the time zone: months end with their last day, and days keep the time of day.
SELECT zone, every, pushed, next_run = (SELECT min(t) FROM generate_series(0, 9999) n,
		LATERAL (SELECT (first AT TIME ZONE zone + n * every) AT TIME ZONE zone) g (t) WHERE t > now()) AS as_told
FROM (VALUES ('Europe/Berlin', '2019-12-31 02:30+01'::timestamptz, interval '1 mon'),
	('Europe/Berlin', '2020-02-29 12:00+01', '1 year'), ('Europe/Berlin', '2020-02-29 00:00+01', '10 years'),
	('Europe/Berlin', '2024-03-31 02:00+01', '1 day'), ('UTC', '2020-01-31 23:59:59.999999', '2 mons 10 days'),
	('America/New_York', '2020-01-31 02:30-05', '7 days'), ('Asia/Tokyo', '1999-12-31 23:59:59.999999', '1 mon'),
	('UTC', now() - interval '9 years', '10 years')) v (zone, first, every), LATERAL ran(zone, every, NULL, first, first) r
WHERE pushed = 1;
SELECT pushed, next_run = first + interval '25 hours' AS as_told
FROM (SELECT date_trunc('second', now()) - interval '1 hour') f (first), LATERAL ran('UTC', '1 day 2 hours', NULL, first - interval '1 hour', first) r;

-- a clock that is set back: a run waits for its time, unless the last run is far in the future
SELECT pushed, next_run FROM ran('UTC', '1 day', NULL, '2020-01-01', '2200-01-01');
SELECT next_run FROM pictrepo.schedules;
UPDATE pictrepo.schedules SET last_run = now() + interval '30 minutes';
SELECT pictrepo.run_schedules(), next_run FROM pictrepo.schedules;
UPDATE pictrepo.schedules SET last_run = '2199-12-31';
SELECT pictrepo.run_schedules();
SELECT next_run > now() AND next_run <= now() + interval '25 hours' AS soon, last_run BETWEEN now() - interval '1 minute' AND clock_timestamp() AS now FROM pictrepo.schedules;
UPDATE pictrepo.schedules SET first_run = '2200-01-01 00:00:01', next_run = '2200-01-01 00:00:01', last_run = '2199-12-31';
SELECT pictrepo.run_schedules();
SELECT next_run > now() AND next_run <= now() + interval '25 hours' AS soon, extract(second FROM next_run) FROM pictrepo.schedules;
-- infinite times in a row
UPDATE pictrepo.schedules SET next_run = 'infinity', last_run = NULL;
SELECT pictrepo.run_schedules(), next_run FROM pictrepo.schedules;
UPDATE pictrepo.schedules SET next_run = '-infinity', last_run = '-infinity';
SELECT pictrepo.run_schedules();
SELECT next_run > now() AND next_run <= now() + interval '25 hours' AS soon FROM pictrepo.schedules;
TRUNCATE pictrepo.job_queue, pictrepo.schedules;

-- a live job prevents the next push; the schedule still advances
SELECT pictrepo.schedule_job('busy', 'work', '1', '1 hour') IS NOT NULL AS scheduled, pictrepo.run_schedules();
UPDATE pictrepo.schedules SET next_run = first_run, last_run = '2020-01-01';
SELECT pictrepo.run_schedules();
SELECT pictrepo.queue_length('work');
SELECT next_run > now() AS moved_on, last_run FROM pictrepo.schedules;
SELECT pictrepo.complete_job('work', NULL, id) FROM pictrepo.pop('work');
UPDATE pictrepo.schedules SET next_run = first_run;
SELECT pictrepo.run_schedules();
SELECT pictrepo.queue_length('work');
TRUNCATE pictrepo.job_queue, pictrepo.schedules;

-- priority and retries of the schedule, or else of the queue
SELECT pictrepo.configure_queue('configured', retries := 9);
SELECT count(pictrepo.schedule_job(name, queue, to_jsonb(name), '1 day', NULL, priority, retry)) FROM (VALUES
	('a', 'configured', 0, NULL), ('b', 'configured', -5, 0), ('c', 'plain', 7, NULL), (repeat('n', 70), 'plain', 8, 3)) v (name, queue, priority, retry);
SELECT pictrepo.run_schedules();
SELECT job, queue, priority, retry, octet_length(unique_key) FROM pictrepo.jobs ORDER BY unique_key;
SELECT job FROM pictrepo.pop('plain', max_jobs := 2);
TRUNCATE pictrepo.job_queue, pictrepo.schedules, pictrepo.queues;

-- schedule_job replaces a schedule of the same name; with the same times, the next run stays
SELECT pictrepo.schedule_job('s', 'a', '1', '1 day') AS run \gset
SELECT pictrepo.run_schedules();
SELECT pictrepo.schedule_job('s', 'b', '2', '1 day', priority := 3, retry := 4) = :'run'::timestamptz + interval '1 day' AS same;
SELECT queue, job, priority, retry, last_run IS NOT NULL AS ran FROM pictrepo.schedules;
SELECT pictrepo.run_schedules();
SELECT pictrepo.schedule_job('s', 'b', '2', '24 hours') > :'run' AS now;
SELECT pictrepo.schedule_job('s', 'b', '2', cron := '0 0 1 1 *') = date_trunc('year', now()) + interval '1 year' AS new_year;
SELECT every, cron FROM pictrepo.schedules;
UPDATE pictrepo.schedules SET next_run = '2001-01-01';
SELECT pictrepo.schedule_job('s', 'b', '3', cron := '0 0 1 1 *');
SELECT pictrepo.schedule_job('s', 'b', '3', cron := '@yearly') > now() AS anew;
-- run times use the time zone of the session that called schedule_job, whichever session runs it
SET timezone = 'Asia/Tokyo';
SELECT extract(hour FROM pictrepo.schedule_job('s', 'b', '3', cron := '0 9 * * *') AT TIME ZONE 'UTC') AS utc;
SET timezone = 'UTC';
UPDATE pictrepo.schedules SET next_run = '2001-01-01';
SELECT pictrepo.run_schedules() AS key_held;
SELECT time_zone, extract(hour FROM next_run) AS utc FROM pictrepo.schedules;
SELECT extract(hour FROM pictrepo.schedule_job('s', 'b', '3', cron := '0 9 * * *')) AS utc, (SELECT count(*) FROM pictrepo.schedules);
SET timezone = 3.5;
SELECT pictrepo.schedule_job('half', 'b', '3', cron := '0 9 * * *') > now();
SET timezone = 'UTC';
SELECT time_zone, next_run::time AS utc FROM pictrepo.schedules WHERE name = 'half';
UPDATE pictrepo.schedules SET next_run = '2001-01-01';
SELECT pictrepo.run_schedules();
SELECT name, next_run::time AS utc, error FROM pictrepo.schedules ORDER BY name;
SELECT pictrepo.unschedule_job('half'), pictrepo.unschedule_job('half') AS again;
SELECT pictrepo.queue_length('b') AS jobs_stay;
TRUNCATE pictrepo.job_queue, pictrepo.schedules;

-- an invalid row stops with an error, and the other schedules run
INSERT INTO pictrepo.schedules (name, queue, job, cron, time_zone, next_run) VALUES
	('a', 'q', '1', 'nonsense', 'UTC', '2001-01-01'), ('b', 'q', '2', '0 0 31 2 *', 'UTC', '2001-01-01'),
	('c', 'q', '3', '0 0 * * *', 'Mars/Olympus', '2001-01-01'), ('d', 'q', '4', '@hourly', 'UTC', '2001-01-01');
INSERT INTO pictrepo.schedules (name, queue, job, every, next_run) VALUES ('e', 'q', '5', '1 hour', '2001-01-01');
SELECT pictrepo.run_schedules(), pictrepo.run_schedules() AS again;
SELECT job FROM pictrepo.jobs ORDER BY job;
SELECT name, isfinite(next_run) AS runs, last_run IS NOT NULL AS ran, error FROM pictrepo.schedules ORDER BY name;
SELECT pictrepo.schedule_job('c', 'q', '3', cron := '0 0 * * *') > now() AS mended;
SELECT pictrepo.schedule_job('a', 'q', '1', '1 day') BETWEEN now() AND clock_timestamp() AS mended;
SELECT name, isfinite(next_run) AS runs, error IS NULL AS fine FROM pictrepo.schedules ORDER BY name;
TRUNCATE pictrepo.job_queue, pictrepo.schedules;

-- the table refuses other invalid rows
\set VERBOSITY terse
INSERT INTO pictrepo.schedules (name, queue, job, next_run) VALUES ('x', 'q', '1', now());
INSERT INTO pictrepo.schedules (name, queue, job, next_run, every, cron) VALUES ('x', 'q', '1', now(), '1 day', '@daily');
INSERT INTO pictrepo.schedules (name, queue, job, next_run, every) VALUES ('x', 'q', '1', now(), '0');
INSERT INTO pictrepo.schedules (name, queue, job, next_run, every) VALUES ('x', 'q', '1', now(), '1 mon -1 day');
INSERT INTO pictrepo.schedules (name, queue, job, next_run, every) VALUES ('x', 'q', '1', now(), '1 day -1 ms');
INSERT INTO pictrepo.schedules (name, queue, job, next_run, every) VALUES ('x', 'q', '1', now(), '121 mons');
INSERT INTO pictrepo.schedules (name, queue, job, next_run, every, first_run) VALUES ('x', 'q', '1', now(), '1 day', 'infinity');
INSERT INTO pictrepo.schedules (name, queue, job, next_run, every) VALUES (repeat('x', 71), 'q', '1', now(), '1 day');
\set VERBOSITY default

-- the longest and the shortest interval
SELECT pictrepo.schedule_job('x', 'q', '1', '10 years') IS NOT NULL, pictrepo.schedule_job('y', 'q', '1', '1 s') IS NOT NULL;
SELECT pictrepo.run_schedules();
SELECT next_run = first_run + every AS as_told FROM pictrepo.schedules WHERE name = 'x';
TRUNCATE pictrepo.job_queue, pictrepo.schedules;

-- errors
SELECT pictrepo.schedule_job(NULL, 'q', '1', '1 day');
SELECT pictrepo.schedule_job('', 'q', '1', '1 day');
SELECT pictrepo.schedule_job(repeat('x', 71), 'q', '1', '1 day');
SELECT pictrepo.schedule_job('x', NULL, '1', '1 day');
SELECT pictrepo.schedule_job('x', repeat('q', 81), '1', '1 day');
SELECT pictrepo.schedule_job('x', 'q', NULL, '1 day');
SELECT pictrepo.schedule_job('x', 'q', '1');
SELECT pictrepo.schedule_job('x', 'q', '1', '1 day', '@daily');
SELECT pictrepo.schedule_job('x', 'q', '1', '999 ms');
SELECT pictrepo.schedule_job('x', 'q', '1', '10 years 1 s');
SELECT pictrepo.schedule_job('x', 'q', '1', '-1 day');
SELECT pictrepo.schedule_job('x', 'q', '1', '2 mons -1 day');
SELECT pictrepo.schedule_job('x', 'q', '1', cron := '0 0 30 feb *');
SELECT pictrepo.schedule_job('x', 'q', '1', cron := '0 0 * * funday');
SELECT pictrepo.schedule_job('x', 'q', '1', cron := '');
SELECT pictrepo.schedule_job('x', 'q', '1', '1 day', priority := NULL);
SELECT pictrepo.schedule_job('x', 'q', '1', '1 day', retry := -1);
SELECT pictrepo.unschedule_job(NULL);
SELECT pictrepo.unschedule_job('');
SELECT count(*) FROM pictrepo.schedules;

DROP FUNCTION times, wrong, ran;
COMMIT;

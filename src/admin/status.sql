-- The state of the repo: health_check(), and status() for a person to read.

CREATE FUNCTION pictrepo.health_check() RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_health_check';
COMMENT ON FUNCTION pictrepo.health_check() IS
	'write a value and read it back. Returns the versions of library and schema, whether preload and the '
	'worker are on, the tasks of the worker that fail, and what keeps the upkeep away, if anything does. '
	'Error 58030: the value was not read back';

CREATE FUNCTION pictrepo.server_state(OUT library text, OUT preload bool, OUT room bool,
	OUT worker_since timestamptz, OUT transfer_lock int)
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_server_state';
COMMENT ON FUNCTION pictrepo.server_state() IS
	'state that status() gets from the library. '
	'library: version of the library; '
	'preload: whether shared_preload_libraries contains it; '
	'room: whether shared memory has room for this database; '
	'worker_since: start of the background worker of this database; NULL if none runs; '
	'transfer_lock: pg_locks.objsubid of the lock that an import or export holds';

CREATE FUNCTION pictrepo.status(OUT item text, OUT value text, OUT advice text) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 16
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
WITH
	-- The versions of the library in memory and of the schema in this database
	server AS (
		SELECT state.*, extversion AS schema, pg_is_in_recovery() AS standby,
			CASE
				WHEN extversion = library THEN NULL
				WHEN extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'pictrepo')
					THEN 'restart the server: the library in memory is not the installed version'
				ELSE 'ALTER EXTENSION pictrepo UPDATE'
			END AS change
		FROM pg_extension, pictrepo.server_state() state
		WHERE extname = 'pictrepo'
	),
	-- Settings that have no effect without preload
	sizes AS (
		SELECT string_agg(name, ', ' ORDER BY name) AS names
		FROM pg_settings
		WHERE source <> 'default'
			AND name IN ('pictrepo.max_running_jobs', 'pictrepo.max_waiters', 'pictrepo.max_queues')
	),
	-- Triggers of pictrepo that do not fire in each session
	triggers AS (
		SELECT string_agg(format('%s on %s', tgname, tgrelid::regclass), ', ' ORDER BY tgname) AS names,
			bool_or(tgenabled <> 'O') AS disabled
		FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid JOIN pg_class c ON c.oid = tgrelid
		WHERE pronamespace = 'pictrepo'::regnamespace AND relnamespace = pronamespace AND tgenabled <> 'A'
	),
	-- The last runs of maintenance, by the worker or by run_maintenance()
	maintenance AS (
		SELECT max(last_run) AS last_run,
			string_agg(format('%s since %s: %s', duty, failing_since, last_error), '; ' ORDER BY duty)
				FILTER (WHERE last_error IS NOT NULL) AS error,
			min(held_by) AS held_by
		FROM pictrepo.maintenance
	),
	schedules AS (
		SELECT count(*) AS number, string_agg(name || ': ' || error, '; ' ORDER BY name) AS error
		FROM pictrepo.schedules
	),
	-- Configured features that need the worker
	wanted AS (
		SELECT nullif(concat_ws(', ', CASE WHEN number > 0 THEN 'schedules' END, (
			SELECT string_agg(name, ', ' ORDER BY name)
			FROM pg_settings
			WHERE setting <> '0' AND name IN ('pictrepo.dead_job_retention', 'pictrepo.variant_retention',
				'pictrepo.proxy_retention', 'pictrepo.sample_interval'))), '') AS names
		FROM schedules
	),
	-- Sums of all queues.  queue_stats reads every job.
	queues AS (
		SELECT coalesce(sum(ready), 0) AS ready, coalesce(sum(scheduled), 0) AS scheduled,
			coalesce(sum(running), 0) AS running, coalesce(sum(dead), 0) AS dead,
			max(oldest_age) AS oldest, sum(waiting) AS waiting,
			string_agg(queue, ', ' ORDER BY queue) FILTER (WHERE paused) AS paused
		FROM pictrepo.queue_stats
	),
	uploads AS (
		SELECT count(*) AS number FROM pictrepo.uploads
	),
	-- Imports and exports that are not finished.  If no session runs one, it must be called again.
	unfinished AS (
		SELECT direction, schema, sum(rows_read) AS done, sum(source_rows) AS all
		FROM pictrepo.transfers
		GROUP BY direction, schema
		HAVING count(finished) < count(*)
		ORDER BY direction, schema
	),
	transfer_locks AS (
		SELECT nspname AS schema
		FROM server, pg_locks l JOIN pg_database d ON d.oid = l.database JOIN pg_namespace n ON n.oid = l.objid
		WHERE datname = current_database() AND granted
			AND locktype = 'object' AND classid = 'pg_namespace'::regclass AND objsubid = transfer_lock
	),
	transfers AS (
		SELECT string_agg(format('%s %s: %s of %s rows', direction, schema, done, u.all), '; ') AS progress,
			string_agg(format('CALL pictrepo.%s_pictrs(%L) continues where it stopped', direction, schema), '; ')
				FILTER (WHERE schema NOT IN (SELECT l.schema FROM transfer_locks l)) AS resume
		FROM unfinished u
	)
SELECT items.*
FROM server, sizes, triggers, maintenance, schedules, wanted, queues, uploads, transfers, LATERAL (VALUES
	('library', library, NULL),

	('schema', server.schema, change),

	('server', CASE WHEN standby THEN 'standby: reads only' ELSE 'primary' END, NULL),

	('preload', CASE WHEN preload THEN 'on' ELSE 'off' END,
		CASE WHEN NOT preload THEN
			'set shared_preload_libraries = ''pictrepo'' and restart the server: then workers wake at once,'
			' heartbeats write no rows, counts and pops stay fast, and a background worker does the upkeep'
			|| coalesce('; until then these settings have no effect: ' || sizes.names, '')
		END),

	('worker', coalesce('since ' || worker_since, CASE WHEN standby THEN 'none until promotion' ELSE 'none' END),
		CASE
			WHEN worker_since IS NOT NULL OR standby OR NOT preload THEN NULL
			WHEN NOT room THEN 'shared memory has no room for this database: the functions work as without preload'
			WHEN change IS NOT NULL THEN 'starts when the library and the schema have the same version'
			ELSE 'see the server log; max_worker_processes may be used up'
		END),

	('upkeep', coalesce('held by ' || held_by, maintenance.error, 'last ' || last_run,
			CASE WHEN worker_since IS NOT NULL THEN 'by the worker' ELSE 'by sessions that call run_maintenance' END),
		CASE
			WHEN held_by LIKE 'pre_restore%' THEN 'nothing is done until then; post_restore() ends it'
			WHEN held_by IS NOT NULL
				THEN 'nothing is done until its session ends, or for pictrepo.restore_timeout after its last rows'
			WHEN maintenance.error IS NOT NULL THEN 'see pictrepo.maintenance and the server log'
			WHEN worker_since IS NULL AND NOT standby AND NOT preload
				THEN 'no worker runs for ' || wanted.names || ': set shared_preload_libraries,'
				' call start_worker() after each start of the server, or call run_maintenance() regularly'
		END),

	('triggers', coalesce('changed: ' || triggers.names, 'on'),
		CASE
			WHEN disabled THEN
				'ALTER TABLE ... ENABLE ALWAYS TRIGGER for each of them: until then changes may wake no session,'
				' and counts are read from the tables'
			WHEN triggers.names IS NOT NULL THEN
				'SELECT pictrepo.post_restore() makes them fire always again: until then changes by'
				' session_replication_role = replica wake no session, and counts are read from the tables'
		END),

	('images', pictrepo.size()::text, NULL),

	('jobs', format('%s ready, %s scheduled, %s running', ready, scheduled, running), NULL),

	('oldest ready job', coalesce('due for ' || date_trunc('second', oldest), 'none'),
		CASE WHEN oldest > '5 minutes' AND coalesce(waiting, 0) = 0
			THEN 'no session waits for jobs: run more workers; see pictrepo.queue_stats' END),

	('waiting sessions',
		coalesce(waiting::text, CASE WHEN preload THEN '0' ELSE 'unknown without preload' END), NULL),

	('dead jobs', dead::text,
		CASE WHEN dead > 0 THEN 'see pictrepo.dead_jobs; requeue_dead(id) tries one again' END),

	('paused queues', coalesce(paused, 'none'), CASE WHEN paused IS NOT NULL THEN 'resume_queue(queue)' END),

	('schedules', coalesce(schedules.error, schedules.number::text),
		CASE WHEN schedules.error IS NOT NULL THEN 'see pictrepo.schedules' END),

	('uploads under way', uploads.number::text, NULL),

	('store migration',
		CASE WHEN pictrepo.is_continuing_migration() THEN 'under way' ELSE 'none' END, NULL),

	('import, export', coalesce(progress, 'none'), CASE WHEN NOT standby THEN resume END)
) AS items (item, value, advice)
$$;
COMMENT ON FUNCTION pictrepo.status() IS
	'the state of the repo for a person to read, one item in each row. '
	'advice: what to do about the item; NULL: nothing';

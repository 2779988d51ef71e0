-- The background worker of a database.

CREATE FUNCTION pictrepo.start_worker() RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_start_worker';
COMMENT ON FUNCTION pictrepo.start_worker() IS
	'start a background worker for this database, on a server that does not start one itself. '
	'Returns false if one runs. '
	'Error 53400: max_worker_processes is used up, or too many databases use pictrepo';

CREATE FUNCTION pictrepo.run_maintenance(duty text = NULL) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_run_maintenance';
COMMENT ON FUNCTION pictrepo.run_maintenance(text) IS
	'run tasks of the background worker in this session. '
	'duty: a task that view maintenance lists, except notify; NULL: every task except notify. '
	'Returns the number of processed rows. pg_stat_activity shows the current task';

CREATE FUNCTION pictrepo.maintenance_status(OUT duty text, OUT every interval,
	OUT last_run timestamptz, OUT duration interval, OUT rows bigint, OUT runs bigint,
	OUT errors bigint, OUT last_error text, OUT failing_since timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_maintenance_status';
COMMENT ON FUNCTION pictrepo.maintenance_status() IS 'rows of view maintenance';

CREATE VIEW pictrepo.maintenance AS
	SELECT *, (SELECT pictrepo.upkeep_held_by()) AS held_by FROM pictrepo.maintenance_status();
COMMENT ON VIEW pictrepo.maintenance IS
	'tasks of the background worker of this database, with their runs since the server started';
COMMENT ON COLUMN pictrepo.maintenance.duty IS 'name of the task';
COMMENT ON COLUMN pictrepo.maintenance.every IS 'longest time between two runs; NULL if the task never runs';
COMMENT ON COLUMN pictrepo.maintenance.last_run IS
	'start of the last run; NULL if the task has not run, or without shared_preload_libraries';
COMMENT ON COLUMN pictrepo.maintenance.duration IS 'duration of the last run; NULL if last_run is NULL';
COMMENT ON COLUMN pictrepo.maintenance.rows IS 'number of rows that the runs processed';
COMMENT ON COLUMN pictrepo.maintenance.runs IS 'number of runs';
COMMENT ON COLUMN pictrepo.maintenance.errors IS 'number of runs that had an error';
COMMENT ON COLUMN pictrepo.maintenance.last_error IS
	'error of the last run; NULL if it succeeded. The server log has it once, and again when its cause changes';
COMMENT ON COLUMN pictrepo.maintenance.failing_since IS
	'start of the first run with an error after the last one without; NULL if the last run succeeded';
COMMENT ON COLUMN pictrepo.maintenance.held_by IS
	'what keeps the worker from its tasks: pre_restore() or a restore; NULL: nothing';

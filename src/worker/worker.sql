-- The background worker of this database.

CREATE FUNCTION pictrepo.start_worker() RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_start_worker';
COMMENT ON FUNCTION pictrepo.start_worker() IS
	'start a background worker for this database where the server does not; false: one runs. '
	'Error 53400: max_worker_processes is used up';

CREATE FUNCTION pictrepo.run_maintenance(duty text = NULL) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_run_maintenance';
COMMENT ON FUNCTION pictrepo.run_maintenance(text) IS
	'do now what the background worker does from time to time; how many rows were done. '
	'duty: one that view maintenance lists, but for notify; NULL: all of them. pg_stat_activity shows which';

CREATE FUNCTION pictrepo.maintenance_status(OUT duty text, OUT every interval,
	OUT last_run timestamptz, OUT duration interval, OUT rows bigint, OUT runs bigint,
	OUT errors bigint, OUT last_error text) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_maintenance_status';
COMMENT ON FUNCTION pictrepo.maintenance_status() IS 'what view maintenance shows';

CREATE VIEW pictrepo.maintenance AS SELECT * FROM pictrepo.maintenance_status();
COMMENT ON VIEW pictrepo.maintenance IS 'what the background worker of this database does, since the server started';
COMMENT ON COLUMN pictrepo.maintenance.duty IS 'what it does';
COMMENT ON COLUMN pictrepo.maintenance.every IS 'at least this often; NULL: never';
COMMENT ON COLUMN pictrepo.maintenance.last_run IS 'when it was begun last; NULL: not yet, or without shared_preload_libraries';
COMMENT ON COLUMN pictrepo.maintenance.duration IS 'how long that took';
COMMENT ON COLUMN pictrepo.maintenance.rows IS 'rows done, in all';
COMMENT ON COLUMN pictrepo.maintenance.runs IS 'runs, in all';
COMMENT ON COLUMN pictrepo.maintenance.errors IS 'runs that ended in an error';
COMMENT ON COLUMN pictrepo.maintenance.last_error IS 'what the last run ended in; NULL: it went well';

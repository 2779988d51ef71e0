-- Waiting sessions.

CREATE FUNCTION pictrepo.waiting_sessions(OUT pid int, OUT waits_for text, OUT name text,
	OUT hash bytea, OUT since timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_waiting_sessions';
COMMENT ON FUNCTION pictrepo.waiting_sessions() IS 'rows of view waiting';

CREATE VIEW pictrepo.waiting AS SELECT * FROM pictrepo.waiting_sessions();
COMMENT ON VIEW pictrepo.waiting IS
	'sessions of this database that sleep until another session wakes them. '
	'A session that polls is not listed. '
	'A session polls without shared_preload_libraries, on a standby, or beyond pictrepo.max_waiters';
COMMENT ON COLUMN pictrepo.waiting.pid IS 'process ID of the session, as in pg_stat_activity';
COMMENT ON COLUMN pictrepo.waiting.waits_for IS 'job, upload or variant';
COMMENT ON COLUMN pictrepo.waiting.name IS
	'name of the queue, ID of the upload, or variant; a long variant is truncated';
COMMENT ON COLUMN pictrepo.waiting.hash IS
	'hash of the variant; NULL if the session waits for a job or an upload';
COMMENT ON COLUMN pictrepo.waiting.since IS 'time when the session began to wait';

-- Who waits.

CREATE FUNCTION pictrepo.waiting_sessions(OUT pid int, OUT waits_for text, OUT name text,
	OUT hash bytea, OUT since timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_waiting_sessions';
COMMENT ON FUNCTION pictrepo.waiting_sessions() IS 'what view waiting shows';

CREATE VIEW pictrepo.waiting AS SELECT * FROM pictrepo.waiting_sessions();
COMMENT ON VIEW pictrepo.waiting IS
	'sessions that wait in this database until they are called; not those that look from time to time: '
	'all without shared_preload_libraries, on a standby or beyond pictrepo.max_waiters';
COMMENT ON COLUMN pictrepo.waiting.pid IS 'its process, as in pg_stat_activity';
COMMENT ON COLUMN pictrepo.waiting.waits_for IS 'job, upload or variant';
COMMENT ON COLUMN pictrepo.waiting.name IS 'the queue, the id of the upload or the variant, a long one cut off';
COMMENT ON COLUMN pictrepo.waiting.hash IS 'the hash of the variant; NULL: it waits for something else';
COMMENT ON COLUMN pictrepo.waiting.since IS 'when it was called';

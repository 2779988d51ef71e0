-- Restores: keeping the upkeep away while rows are loaded.

CREATE TABLE pictrepo.restore_hold (
	only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
	held_until timestamptz NOT NULL
);
COMMENT ON TABLE pictrepo.restore_hold IS 'until when pre_restore() keeps the upkeep away; at most one row';
COMMENT ON COLUMN pictrepo.restore_hold.only_row IS 'always true';
COMMENT ON COLUMN pictrepo.restore_hold.held_until IS 'time from which the upkeep goes on';

CREATE FUNCTION pictrepo.pre_restore(duration interval = NULL) RETURNS timestamptz
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_pre_restore';
COMMENT ON FUNCTION pictrepo.pre_restore(interval) IS
	'keep the upkeep of this database away while rows are loaded: the background worker runs no task, and no '
	'job is taken from its worker. Waits for a task that runs, and returns the time when the upkeep goes on '
	'at the latest. Another call begins a new duration. '
	'duration: 0 to 7 days; NULL: pictrepo.restore_timeout';

CREATE FUNCTION pictrepo.post_restore() RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_post_restore';
COMMENT ON FUNCTION pictrepo.post_restore() IS
	'let the upkeep go on after pre_restore(). Returns false if nothing kept it away. '
	'The next calls of size() and queue_length() count again. Triggers of pictrepo that fire in ordinary '
	'sessions only, as pg_restore --disable-triggers leaves them, fire always again';

CREATE FUNCTION pictrepo.upkeep_held_by() RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_upkeep_held_by';
COMMENT ON FUNCTION pictrepo.upkeep_held_by() IS
	'what keeps the upkeep away: pre_restore(), or a session that restores a dump; NULL: nothing';

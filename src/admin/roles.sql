-- Privileges of roles.  PUBLIC has none; see footer.sql.

CREATE FUNCTION pictrepo.grant_access(role name, level text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_grant_access';
COMMENT ON FUNCTION pictrepo.grant_access(name, text) IS
	'grant a role access to pictrepo. '
	'level: reader (read and serve images, query the views), writer (make every call of an image host) or '
	'admin (configure queues, schedule and requeue jobs, run maintenance, query the tables, export and '
	'import). Each level includes the levels before it. Error 42704: the role does not exist';

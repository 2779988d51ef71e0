-- Who may call what. Nothing is granted to PUBLIC; see footer.sql.

CREATE FUNCTION pictrepo.grant_access(role name, level text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_grant_access';
COMMENT ON FUNCTION pictrepo.grant_access(name, text) IS
	'let a role use pictrepo. '
	'level: reader (look), writer (all that an image host does) or admin (configure queues, schedule, requeue, see the tables, export and import). '
	'Each may do what the one before may. Error 42704: no such role';

-- StoreMigrationRepo: which files have moved from one store to another.

CREATE TABLE pictrepo.store_migrations (
	old_identifier text COLLATE "C" PRIMARY KEY CHECK (octet_length(old_identifier) BETWEEN 1 AND 1024),
	new_identifier text COLLATE "C" NOT NULL CHECK (octet_length(new_identifier) BETWEEN 1 AND 1024)
);
COMMENT ON TABLE pictrepo.store_migrations IS 'files that have moved while a store migration goes on';
COMMENT ON COLUMN pictrepo.store_migrations.old_identifier IS 'path in the old store';
COMMENT ON COLUMN pictrepo.store_migrations.new_identifier IS 'path in the new store';

CREATE FUNCTION pictrepo.is_continuing_migration() RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_is_continuing_migration';
COMMENT ON FUNCTION pictrepo.is_continuing_migration() IS 'has a store migration begun and not been cleared?';

CREATE FUNCTION pictrepo.mark_migrated(old_identifier text, new_identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_mark_migrated';
COMMENT ON FUNCTION pictrepo.mark_migrated(text, text) IS
	'note that a file has moved; false: that is noted already';

CREATE FUNCTION pictrepo.is_migrated(old_identifier text) RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_is_migrated';
COMMENT ON FUNCTION pictrepo.is_migrated(text) IS 'has a file moved?';

CREATE FUNCTION pictrepo.clear() RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_clear';
COMMENT ON FUNCTION pictrepo.clear() IS 'end a store migration: forget its marks; how many there were';

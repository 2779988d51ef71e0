-- StoreMigrationRepo: files that have moved from one store to another.

CREATE TABLE pictrepo.store_migrations (
	old_identifier text COLLATE "C" PRIMARY KEY CHECK (octet_length(old_identifier) BETWEEN 1 AND 1024),
	new_identifier text COLLATE "C" NOT NULL CHECK (octet_length(new_identifier) BETWEEN 1 AND 1024)
);
COMMENT ON TABLE pictrepo.store_migrations IS
	'files that have moved to the new store during a store migration';
COMMENT ON COLUMN pictrepo.store_migrations.old_identifier IS 'path in the old store';
COMMENT ON COLUMN pictrepo.store_migrations.new_identifier IS 'path in the new store';

CREATE FUNCTION pictrepo.is_continuing_migration() RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_is_continuing_migration';
COMMENT ON FUNCTION pictrepo.is_continuing_migration() IS
	'check whether any file is marked as moved, which means that a store migration has begun and not ended';

CREATE FUNCTION pictrepo.mark_migrated(old_identifier text, new_identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_mark_migrated';
COMMENT ON FUNCTION pictrepo.mark_migrated(text, text) IS
	'mark a file as moved to the new store. Returns false if the file is marked already';

CREATE FUNCTION pictrepo.is_migrated(old_identifier text) RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_is_migrated';
COMMENT ON FUNCTION pictrepo.is_migrated(text) IS 'check whether a file is marked as moved';

CREATE FUNCTION pictrepo.clear() RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_clear';
COMMENT ON FUNCTION pictrepo.clear() IS
	'end a store migration: remove every mark. Returns the number of removed marks';

-- AliasRepo: the names under which content is served, and who may delete them.

CREATE TABLE pictrepo.aliases (
	alias text COLLATE "C" PRIMARY KEY CHECK (octet_length(alias) BETWEEN 1 AND 255),
	hash bytea NOT NULL REFERENCES pictrepo.hashes ON DELETE CASCADE,
	delete_token text COLLATE "C" NOT NULL CHECK (octet_length(delete_token) BETWEEN 1 AND 255),
	accessed timestamptz CHECK (isfinite(accessed)),
	created_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(created_at))
);
CREATE INDEX aliases_hash_index ON pictrepo.aliases (hash);
CREATE INDEX aliases_created_index ON pictrepo.aliases (created_at, alias);

COMMENT ON TABLE pictrepo.aliases IS 'names under which content is served';
COMMENT ON COLUMN pictrepo.aliases.alias IS 'the name; a UUID in it is in lower case with hyphens';
COMMENT ON COLUMN pictrepo.aliases.hash IS 'the content';
COMMENT ON COLUMN pictrepo.aliases.delete_token IS 'secret that allows to delete the alias';
COMMENT ON COLUMN pictrepo.aliases.accessed IS
	'when it was last served, NULL: not known; where the alias stands for a proxied url, proxies.accessed says so instead. Not indexed, so that an update touches no index';
COMMENT ON COLUMN pictrepo.aliases.created_at IS 'when it was made';
COMMENT ON INDEX pictrepo.aliases_hash_index IS 'the aliases of a hash';
COMMENT ON INDEX pictrepo.aliases_created_index IS 'aliases that were made between two times';

CREATE FUNCTION pictrepo.create_alias(alias text, delete_token text, hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_alias';
COMMENT ON FUNCTION pictrepo.create_alias(text, text, bytea) IS
	'store an alias of a hash; false: it exists and stays as it is. '
	'Both are 1 to 255 bytes; an alias or token that is a UUID is kept in its usual form. Error 23503: no such hash';

CREATE FUNCTION pictrepo.delete_token(alias text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_delete_token';
COMMENT ON FUNCTION pictrepo.delete_token(text) IS
	'the delete token of an alias; NULL: no such alias';

CREATE FUNCTION pictrepo.check_delete_token(alias text, delete_token text) RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_check_delete_token';
COMMENT ON FUNCTION pictrepo.check_delete_token(text, text) IS
	'is this the delete token of the alias? NULL: no such alias. '
	'Compared in constant time; UUIDs are compared as such';

CREATE FUNCTION pictrepo.hash(alias text) RETURNS bytea
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash';
COMMENT ON FUNCTION pictrepo.hash(text) IS 'the hash of an alias; NULL: no such alias';

CREATE FUNCTION pictrepo.aliases_for_hash(hash bytea) RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_aliases_for_hash';
COMMENT ON FUNCTION pictrepo.aliases_for_hash(bytea) IS
	'the aliases of a hash, in byte order. No row: it has none, or is not stored';

CREATE FUNCTION pictrepo.cleanup_alias(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cleanup_alias';
COMMENT ON FUNCTION pictrepo.cleanup_alias(text) IS
	'remove an alias with its proxies and access time; false: no such alias. '
	'The image stays, even without an alias: delete_alias takes it along';

CREATE FUNCTION pictrepo.identifier_from_alias(alias text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_identifier_from_alias';
COMMENT ON FUNCTION pictrepo.identifier_from_alias(text) IS
	'the identifier of the content that an alias names; NULL: no such alias';

CREATE FUNCTION pictrepo.aliases_from_alias(alias text) RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_aliases_from_alias';
COMMENT ON FUNCTION pictrepo.aliases_from_alias(text) IS
	'all aliases of the content that an alias names, itself included, in byte order. No row: no such alias';

-- AliasRepo: the names under which images are served, and their delete tokens.

CREATE TABLE pictrepo.aliases (
	alias text COLLATE "C" PRIMARY KEY CHECK (octet_length(alias) BETWEEN 1 AND 255),
	hash bytea NOT NULL REFERENCES pictrepo.hashes ON DELETE CASCADE,
	delete_token text COLLATE "C" NOT NULL CHECK (octet_length(delete_token) BETWEEN 1 AND 255),
	accessed timestamptz CHECK (isfinite(accessed)),
	created_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(created_at))
);
CREATE INDEX aliases_hash_index ON pictrepo.aliases (hash);
CREATE INDEX aliases_created_index ON pictrepo.aliases (created_at, alias);

COMMENT ON TABLE pictrepo.aliases IS 'names under which images are served';
COMMENT ON COLUMN pictrepo.aliases.alias IS
	'name, 1 to 255 bytes; a UUID, with or without an extension, is in lower case with hyphens';
COMMENT ON COLUMN pictrepo.aliases.hash IS 'hash of the image';
COMMENT ON COLUMN pictrepo.aliases.delete_token IS 'secret that a client must present to delete the alias';
COMMENT ON COLUMN pictrepo.aliases.accessed IS
	'time when the alias was last served; NULL if not recorded. '
	'For the alias of a proxied URL, proxies.accessed has the time instead. '
	'The column has no index, which keeps its updates cheap';
COMMENT ON COLUMN pictrepo.aliases.created_at IS 'time when the alias was created';
COMMENT ON INDEX pictrepo.aliases_hash_index IS 'finds the aliases of a hash';
COMMENT ON INDEX pictrepo.aliases_created_index IS 'finds aliases by the time when they were created';

CREATE FUNCTION pictrepo.create_alias(alias text, delete_token text, hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_alias';
COMMENT ON FUNCTION pictrepo.create_alias(text, text, bytea) IS
	'create an alias of a hash. Returns false if the alias exists; it then stays as it is. '
	'alias, delete_token: 1 to 255 bytes each; a UUID is stored in lower case with hyphens. '
	'Error 23503: the hash is not stored';

CREATE FUNCTION pictrepo.delete_token(alias text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_delete_token';
COMMENT ON FUNCTION pictrepo.delete_token(text) IS
	'delete token of an alias; NULL if the alias does not exist';

CREATE FUNCTION pictrepo.check_delete_token(alias text, delete_token text) RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_check_delete_token';
COMMENT ON FUNCTION pictrepo.check_delete_token(text, text) IS
	'check whether a text is the delete token of an alias. Returns NULL if the alias does not exist. '
	'The comparison takes constant time and accepts every spelling of a UUID';

CREATE FUNCTION pictrepo.hash(alias text) RETURNS bytea
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash';
COMMENT ON FUNCTION pictrepo.hash(text) IS 'hash of an alias; NULL if the alias does not exist';

CREATE FUNCTION pictrepo.aliases_for_hash(hash bytea) RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_aliases_for_hash';
COMMENT ON FUNCTION pictrepo.aliases_for_hash(bytea) IS
	'aliases of a hash, in byte order. Returns no row if the hash has no alias or is not stored';

CREATE FUNCTION pictrepo.cleanup_alias(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cleanup_alias';
COMMENT ON FUNCTION pictrepo.cleanup_alias(text) IS
	'remove an alias with its proxies and its access time. Returns false if the alias does not exist. '
	'The image stays, even without an alias; delete_alias also removes the image with its last alias';

CREATE FUNCTION pictrepo.identifier_from_alias(alias text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_identifier_from_alias';
COMMENT ON FUNCTION pictrepo.identifier_from_alias(text) IS
	'the identifier of the image that an alias names. NULL if the alias does not exist';

CREATE FUNCTION pictrepo.aliases_from_alias(alias text) RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_aliases_from_alias';
COMMENT ON FUNCTION pictrepo.aliases_from_alias(text) IS
	'every alias of the image that an alias names, this alias included, in byte order. No row if the alias does not exist';

-- FullRepo: health, and what follows from an alias.

CREATE FUNCTION pictrepo.health_check() RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_health_check';
COMMENT ON FUNCTION pictrepo.health_check() IS
	'write, read back and say what runs: library and schema version, preload, worker. '
	'Error 58030: what was written did not come back';

CREATE FUNCTION pictrepo.identifier_from_alias(alias text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_identifier_from_alias';
COMMENT ON FUNCTION pictrepo.identifier_from_alias(text) IS
	'the identifier of the content that an alias names; NULL: no such alias';

CREATE FUNCTION pictrepo.aliases_from_alias(alias text) RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_aliases_from_alias';
COMMENT ON FUNCTION pictrepo.aliases_from_alias(text) IS
	'all aliases of the content that an alias names, itself included, in byte order. No row: no such alias';

CREATE FUNCTION pictrepo.status(OUT item text, OUT value text, OUT advice text) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 15 AS 'MODULE_PATHNAME', 'pictrepo_status';
COMMENT ON FUNCTION pictrepo.status() IS
	'how this repo is doing, for a person to read: what runs, what is stored, what waits; advice where something wants looking after';

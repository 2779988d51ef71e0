-- Lines: the whole repo as JSON, one line per thing that stands alone.

CREATE FUNCTION pictrepo.export() RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 100000 AS 'MODULE_PATHNAME', 'pictrepo_export';
COMMENT ON FUNCTION pictrepo.export() IS
	'the whole repo as lines of JSON, delete tokens included. '
	'Variant claims are left out, and a running job comes as one that is ready';

CREATE FUNCTION pictrepo.import(line text) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_import';
COMMENT ON FUNCTION pictrepo.import(text) IS
	'store what a line of export() says, where it is missing; what is there stays. '
	'The answer is stored, merged (a part was missing), exists (nothing was), conflict (a part was left out: something else has its name) or blocked. '
	'A line has at most 64 MiB. Error 22P02: it is not JSON';

CREATE FUNCTION pictrepo.import_lines(lines text[], first_line bigint = 1,
	OUT line bigint, OUT outcome text, OUT sqlstate text, OUT error text) RETURNS SETOF record
	LANGUAGE C ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_import_lines';
COMMENT ON FUNCTION pictrepo.import_lines(text[], bigint) IS
	'import line by line; one that is broken comes back with its number and what is wrong, and keeps no other from being stored. '
	'first_line: the number of the first one. pg_stat_activity shows how far it is';

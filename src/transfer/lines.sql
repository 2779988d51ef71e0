-- Lines: the whole repo as JSON, one line per independent object.

CREATE FUNCTION pictrepo.export() RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 100000 AS 'MODULE_PATHNAME', 'pictrepo_export';
COMMENT ON FUNCTION pictrepo.export() IS
	'whole repo as lines of JSON, with delete tokens. '
	'It leaves out variant claims, and exports a running job as a ready one. '
	'An image with very many aliases, URLs or variants takes several lines';

CREATE FUNCTION pictrepo.import(line text) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_import';
COMMENT ON FUNCTION pictrepo.import(text) IS
	'store the object in a line of export(), or its missing parts. Existing data stays as it is. '
	'Returns stored, merged (missing parts were added), exists (nothing was missing), conflict (a part was '
	'not added, because other data has its name) or blocked (the content is blocked). '
	'line: at most 64 MiB, or 6 times pictrepo.max_document_size if that is more. '
	'Error 22P02: the line is not JSON, or nested more deeply than the setting max_stack_depth allows';

CREATE FUNCTION pictrepo.import_lines(lines text[], first_line bigint = 1,
	OUT line bigint, OUT outcome text, OUT sqlstate text, OUT error text) RETURNS SETOF record
	LANGUAGE C ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_import_lines';
COMMENT ON FUNCTION pictrepo.import_lines(text[], bigint) IS
	'import many lines. '
	'Returns a row for each line, with its number and either the outcome that import returns or the error. '
	'A broken line does not prevent the others from being stored. first_line: number of the first line. '
	'pg_stat_activity shows the progress';

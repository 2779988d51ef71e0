-- DetailsRepo: properties of stored files.

CREATE TABLE pictrepo.details (
	identifier text COLLATE "C" PRIMARY KEY CHECK (octet_length(identifier) BETWEEN 1 AND 1024),
	details jsonb NOT NULL
);
COMMENT ON TABLE pictrepo.details IS 'properties of stored files';
COMMENT ON COLUMN pictrepo.details.identifier IS 'path of the file in the store';
COMMENT ON COLUMN pictrepo.details.details IS
	'JSON object: width, height, frames, content_type, created_at, format and any other members';

CREATE FUNCTION pictrepo.relate_details(identifier text, details jsonb) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_details';
COMMENT ON FUNCTION pictrepo.relate_details(text, jsonb) IS
	'store the details of a file. Returns false if the file has details; they then stay as they are. '
	'details: a JSON object. '
	'Its members width, height, frames, content_type, created_at and format, if present, must have the form '
	'that pict-rs uses. It may be nested as deeply as the setting max_stack_depth allows';

CREATE FUNCTION pictrepo.details(identifier text) RETURNS jsonb
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_details';
COMMENT ON FUNCTION pictrepo.details(text) IS 'details of a file; NULL if it has none';

CREATE FUNCTION pictrepo.cleanup_details(identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cleanup_details';
COMMENT ON FUNCTION pictrepo.cleanup_details(text) IS
	'remove the details of a file. Returns false if it had none';

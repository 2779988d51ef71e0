-- DetailsRepo: what is known of a stored file.

CREATE TABLE pictrepo.details (
	identifier text COLLATE "C" PRIMARY KEY CHECK (octet_length(identifier) BETWEEN 1 AND 1024),
	details jsonb NOT NULL
);
COMMENT ON TABLE pictrepo.details IS 'what is known of a stored file';
COMMENT ON COLUMN pictrepo.details.identifier IS 'path of the file in the store';
COMMENT ON COLUMN pictrepo.details.details IS 'width, height, frames, content_type, created_at, format and whatever else was given';

CREATE FUNCTION pictrepo.relate_details(identifier text, details jsonb) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_details';
COMMENT ON FUNCTION pictrepo.relate_details(text, jsonb) IS
	'store the details of a file, a JSON object; false: there are some and they stay. '
	'Members that pict-rs knows must be as it has them: width, height, frames, content_type, created_at, format';

CREATE FUNCTION pictrepo.details(identifier text) RETURNS jsonb
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_details';
COMMENT ON FUNCTION pictrepo.details(text) IS 'the details of a file; NULL: none';

CREATE FUNCTION pictrepo.cleanup_details(identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cleanup_details';
COMMENT ON FUNCTION pictrepo.cleanup_details(text) IS
	'remove the details of a file; false: there were none';

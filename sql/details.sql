-- DetailsRepo: properties of stored files.
SELECT pictrepo.relate_details('a.png', '{"width": 800, "height": 600, "frames": null, "content_type": "image/png",
	"created_at": "2024-02-29T12:00:00.123456789Z", "format": {"Image": "png"}, "else": [1, {"x": "ü"}]}');
SELECT pictrepo.relate_details('a.png', '{}');
SELECT pictrepo.details('a.png');
SELECT pictrepo.details('b.png');
SELECT pictrepo.cleanup_details('a.png');
SELECT pictrepo.cleanup_details('a.png');

-- valid members of pict-rs
SELECT bool_and(pictrepo.relate_details('ok' || n, details)) FROM unnest(ARRAY[
	'{}', '{"width": 1, "height": 65535}', '{"frames": 1}', '{"frames": 4294967295}',
	'{"content_type": "image/svg+xml; charset=utf-8"}', '{"content_type": "video/webm"}',
	'{"created_at": "1999-12-31T23:59:59+14:00"}', '{"created_at": "2000-02-29T00:00:00.1-00:30"}',
	'{"created_at": "2024-01-01t00:00:00z"}',
	'{"format": {"Image": "avif"}}', '{"format": {"Image": "jxl"}}', '{"format": {"Animation": "apng"}}',
	'{"format": {"Video": "Webm"}}', '{"Width": 0, "other": {"width": 0}}']::jsonb[]) WITH ORDINALITY u (details, n);

-- invalid members
CREATE FUNCTION try(details jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	detail text;
BEGIN
	answer := pictrepo.relate_details('try', details);
	PERFORM pictrepo.cleanup_details('try');
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END $$;
SELECT try(details) FROM unnest(ARRAY[
	'[]', '"text"', 'null', '1',
	'{"width": 0}', '{"width": 65536}', '{"width": -1}', '{"width": 1.0}', '{"width": "1"}', '{"width": null}',
	'{"width": 99999999999999999999}', '{"height": true}',
	'{"frames": 0}', '{"frames": []}', '{"frames": 4294967296}',
	'{"content_type": "png"}', '{"content_type": "/png"}', '{"content_type": "image/"}', '{"content_type": "image/png x"}',
	'{"content_type": 7}', '{"content_type": null}',
	'{"created_at": "2024-02-30T00:00:00Z"}', '{"created_at": "2023-02-29T00:00:00Z"}', '{"created_at": "2024-01-01"}',
	'{"created_at": "2024-01-01T24:00:00Z"}', '{"created_at": "2024-01-01T00:00:00"}', '{"created_at": "2024-01-01T00:00:00.Z"}',
	'{"created_at": "1999-12-31T23:59:60Z"}', '{"created_at": "2000-02-29 00:00:00Z"}',
	'{"created_at": "2024-13-01T00:00:00Z"}', '{"created_at": "2024-01-01T00:00:00Z "}', '{"created_at": 1700000000}',
	'{"format": "png"}', '{"format": {"Image": "gif"}}', '{"format": {"Animation": "png"}}', '{"format": {"Video": "mp4"}}',
	'{"format": {"Image": "png", "Video": "Mp4"}}', '{"format": {}}', '{"format": {"Sound": "ogg"}}']::jsonb[]) details;
-- a detail truncates a long value at a character boundary
SELECT try(jsonb_build_object('format', repeat('ü', 1000)));

-- limits of depth and size; a document may be as deep as the server can read, but no deeper than its stack allows
SELECT try(('{"x": ' || repeat('[', 5000) || repeat(']', 5000) || '}')::jsonb);
SELECT try(('{"x": ' || repeat('{"a":[', 2500) || '"[[[[]]]]\\"' || repeat(']}', 2500) || '}')::jsonb);
CREATE TEMP TABLE deep AS SELECT ('{"x": ' || repeat('[', 5000) || repeat(']', 5000) || '}')::jsonb AS details;
SET max_stack_depth = '500kB';
SELECT try(details) FROM deep;
RESET max_stack_depth;
SELECT try(jsonb_build_object('x', repeat('["', 100000)));
SELECT try(jsonb_build_object('x', repeat('x', 1000000)));
SELECT try(jsonb_build_object('x', repeat('x', 1048576)));
SET pictrepo.max_document_size = '1kB';
SELECT try(jsonb_build_object('x', repeat('x', 2000)));
RESET pictrepo.max_document_size;
DROP FUNCTION try;
\set VERBOSITY sqlstate
SELECT pictrepo.relate_details('a.png', '{"width": ');
\set VERBOSITY default

-- errors
SELECT pictrepo.relate_details(NULL, '{}');
SELECT pictrepo.relate_details('a', NULL);
SELECT pictrepo.relate_details('', '{}');
SELECT pictrepo.relate_details(repeat('a', 1025), '{}');
SELECT pictrepo.details(NULL);
SELECT pictrepo.cleanup_details(NULL);
TRUNCATE pictrepo.details;

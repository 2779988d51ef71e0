-- UploadRepo: uploads that are processed in the background.
SELECT pictrepo.create_upload() AS upload \gset

-- without a result, wait returns NULL after the timeout
SELECT pictrepo.wait(:'upload', '0'), pictrepo.wait(:'upload', '10 ms');
SELECT pictrepo.complete_upload(:'upload', '{"Success": {"alias": "cat.png", "token": "secret"}}');
SELECT pictrepo.wait(:'upload', '1 hour');
SELECT pictrepo.wait(:'upload', '1 hour') AS does_not_consume;
SELECT pictrepo.claim(:'upload');
SELECT pictrepo.claim(:'upload');
SELECT pictrepo.complete_upload(:'upload', '1');
DO $$
BEGIN
	PERFORM pictrepo.wait('00000000-0000-7000-8000-000000000000', '1 hour');
EXCEPTION WHEN no_data_found THEN
	RAISE NOTICE '% %', SQLSTATE, SQLERRM;
END $$;

-- a result is any JSON except null; results of pict-rs are checked
CREATE FUNCTION try(result jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	upload uuid := pictrepo.create_upload();
	answer text;
	detail text;
BEGIN
	answer := pictrepo.complete_upload(upload, result);
	ASSERT pictrepo.wait(upload, '1 hour') = result;
	PERFORM pictrepo.claim(upload);
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END $$;
SELECT try(result) FROM unnest(ARRAY[
	'false', '0', '""', '[]', '{}', '{"success": null}',
	'{"Success": {"alias": "a", "token": "t", "more": 1}}', '{"Failure": {"message": "m", "code": "c"}}',
	'{"Failure": {"message": "", "code": ""}}',
	'null',
	'{"Success": null}', '{"Success": {"alias": "a"}}', '{"Success": {"alias": 1, "token": "t"}}',
	'{"Success": {"alias": "", "token": "t"}}', '{"Success": {"alias": "a", "token": ["secret"]}}',
	'{"Failure": "m"}', '{"Failure": {"message": "m"}}', '{"Failure": {"message": "m", "code": 7}}',
	'{"Success": {"alias": "a", "token": "t"}, "Failure": {"message": "m", "code": "c"}}']::jsonb[]) result;
SELECT try(jsonb_build_object('Success', jsonb_build_object('alias', 'a', 'token', repeat('secret', 100))));
DROP FUNCTION try;

-- uploads that were not claimed in time are removed
SELECT pictrepo.create_upload() AS late \gset
UPDATE pictrepo.uploads SET created_at = now() - interval '25 hours' WHERE id = :'late';
SELECT pictrepo.create_upload() AS upload \gset
SELECT pictrepo.claim(:'late') AS late, pictrepo.claim(:'upload') AS in_time;

-- an upload whose job dies gets a Failure
SELECT pictrepo.create_upload() AS upload \gset
SELECT pictrepo.push('process', '{}', retry := 0, upload := :'upload') IS NOT NULL AS pushed;
SELECT pictrepo.complete_job('process', NULL, id, 'failure', 'not an image') FROM pictrepo.pop('process');
SELECT pictrepo.wait(:'upload', '1 hour');
SELECT pictrepo.claim(:'upload');
TRUNCATE pictrepo.dead_jobs;
-- of an error without text nothing is told, and of a long one the beginning is kept
SELECT pictrepo.create_upload() AS upload \gset
SELECT pictrepo.create_upload() AS other \gset
SELECT pictrepo.push('process', '{}', retry := 0, upload := :'upload') IS NOT NULL, pictrepo.push('process', '{}', retry := 0, upload := :'other') IS NOT NULL;
SELECT pictrepo.complete_job('process', NULL, id, 'failure', '') FROM pictrepo.pop('process');
SELECT pictrepo.complete_job('process', NULL, id, 'aborted', 'a' || repeat('ü', 2000000)) FROM pictrepo.pop('process');
SELECT pictrepo.wait(:'upload', '1 hour');
SELECT left(message, 2) AS message, length(message), octet_length(message) FROM (SELECT pictrepo.wait(:'other', '1 hour') #>> '{Failure,message}') w (message);
SELECT left(error, 2) AS error, octet_length(error) FROM pictrepo.dead_jobs ORDER BY error;
SELECT pictrepo.claim(:'upload'), pictrepo.claim(:'other');
TRUNCATE pictrepo.dead_jobs;

-- errors
SELECT pictrepo.wait(NULL, '1 s');
SELECT pictrepo.wait(:'upload', NULL);
SELECT pictrepo.wait(:'upload', '-1 s');
SELECT pictrepo.claim(NULL);
SELECT pictrepo.complete_upload(NULL, '1');
SELECT pictrepo.complete_upload(:'upload', NULL);
TRUNCATE pictrepo.uploads;

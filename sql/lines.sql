--
-- Lines: the whole repo as JSON lines, and back
--
\pset null '(null)'
SET timezone = 'UTC';
SET intervalstyle = 'sql_standard';

CREATE PROCEDURE empty() LANGUAGE plpgsql AS $$ BEGIN
	DELETE FROM pictrepo.hashes; DELETE FROM pictrepo.details; DELETE FROM pictrepo.settings;
	DELETE FROM pictrepo.store_migrations; DELETE FROM pictrepo.uploads; DELETE FROM pictrepo.queues;
	DELETE FROM pictrepo.schedules; DELETE FROM pictrepo.job_queue; DELETE FROM pictrepo.dead_jobs;
	DELETE FROM pictrepo.blocked;
END $$;
CALL empty();

-- a repo with a row in every table, and values that are hard to write in JSON
SELECT pictrepo.create_hash_with_timestamp('\x01', E'one "quoted" \\ \x01\x1f\t\n\x7f/ü\U0001f600\ufffd.png', '2001-02-03 04:05:06.000007Z');
SELECT pictrepo.relate_motion_identifier('\x01', 'one.mp4'), pictrepo.relate_blurhash('\x01', 'LEHV6nWB2yk8');
SELECT pictrepo.create_hash_with_timestamp('\x02ff', 'two.png', '4713-01-02 BC');
SELECT pictrepo.create_hash_with_timestamp('\x03', 'three.png', '294276-12-31 23:59:59.999999Z');
SELECT pictrepo.create_alias(alias, 'token of ' || alias, '\x01') FROM unnest('{one.png,proxied.png}'::text[]) AS alias;
SELECT pictrepo.create_alias('two.png', 'secret', '\x02ff');
UPDATE pictrepo.aliases SET created_at = '2002-01-01';
SELECT pictrepo.relate_url('https://example.org/' || n, 'proxied.png') FROM generate_series(1, 2) n;
SELECT pictrepo.set_accessed_alias('proxied.png', '2001-01-01'), pictrepo.set_accessed_alias('one.png', '2001-01-02');
SELECT pictrepo.remove_alias_access('proxied.png');
SELECT pictrepo.relate_variant_identifier('\x01', variant, variant || '.png'),
	pictrepo.set_accessed_variant('\x01', variant, '2003-01-01')
	FROM unnest('{thumb,small}'::text[]) AS variant;
SELECT pictrepo.remove_variant_access('\x01', 'small');
SELECT pictrepo.relate_details(pictrepo.identifier('\x01'), '{"width": 640, "exact": [1e30, 99999999999999999999.5, 0.10, -0, null], "\u00fc\n": "\ud83d\ude00"}');
SELECT pictrepo.relate_details('one.mp4', '{"frames": 7}'), pictrepo.relate_details('thumb.png', '{"height": 1}');
SELECT pictrepo.relate_details('orphan.png', '{"width": 1}');
SELECT pictrepo.set('404-alias', 'one.png'), pictrepo.set('empty', ''), pictrepo.set('bytes', '\x0001fe22');
SELECT pictrepo.mark_migrated('old', 'new');
SELECT pictrepo.block_hash('\x02ff'), pictrepo.block_hash('\x09');
UPDATE pictrepo.blocked SET blocked_at = '2001-01-01';
SELECT pictrepo.configure_queue('q', retries => 2, backoff => '1 day 02:03:04.5', max_running => 10, paused => true);
INSERT INTO pictrepo.schedules (name, queue, job, every, time_zone, first_run, next_run)
	VALUES ('daily', 'q', '"daily"', '1 mon 1 day', 'Europe/Berlin', '2101-01-01', '2101-02-02');
INSERT INTO pictrepo.schedules (name, queue, job, cron, time_zone, retry, first_run, next_run, last_run, error)
	VALUES ('never', 'q', 'null', '0 0 30 2 *', 'UTC', 0, '2001-01-01', 'infinity', '2001-01-01', 'why');
INSERT INTO pictrepo.uploads (id, created_at, result) VALUES
	('00000000-0000-0000-0000-000000000000', '2001-01-01', NULL),
	('01900000-0000-7000-8000-000000000004', '2001-01-01', '{"Failure": {"message": "m", "code": "c"}}');
INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt, run_at, queue_time)
	VALUES ('01900000-0000-7000-8000-000000000001', 'q', '{"n": 99999999999999999999}', 'running',
		'11111111-1111-1111-1111-111111111111', '2001-01-01', 1, '2001-01-01', '2001-01-01');
INSERT INTO pictrepo.job_queue (id, queue, job, priority, run_at, queue_time, unique_key, failures, upload, error)
	VALUES ('01900000-0000-7000-8000-000000000002', 'q', 'null', -7, '2001-01-01', '2001-01-01', 'key', 3,
		'01900000-0000-7000-8000-000000000004', '');
INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, died_at, attempt, error)
	VALUES ('01900000-0000-7000-8000-000000000003', 'q', '"dead"', 1, '2001-01-01', '2001-01-01', 3, 'why');

-- export does not depend on the time zone and styles of the session
\a
SELECT pictrepo.export();
\a
CREATE TEMP TABLE lines AS SELECT line, number FROM pictrepo.export() WITH ORDINALITY AS e (line, number);
SET timezone = 'Asia/Tokyo';
SET intervalstyle = 'postgres_verbose';
SET datestyle = 'SQL, DMY';
SELECT count(*) AS different FROM (SELECT line FROM lines EXCEPT SELECT pictrepo.export()) AS d;
RESET datestyle;
SELECT current_setting('intervalstyle') AS style;
SET intervalstyle = 'postgres';
SET timezone = 'UTC';

-- export reads only as many lines as the query needs
SELECT pictrepo.export() LIMIT 1;

-- the contents of every table
CREATE FUNCTION contents() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT 'hash ' || h::text FROM pictrepo.hashes h UNION ALL SELECT 'alias ' || a::text FROM pictrepo.aliases a
	UNION ALL SELECT 'proxy ' || p::text FROM pictrepo.proxies p UNION ALL SELECT 'variant ' || v::text FROM pictrepo.variants v
	UNION ALL SELECT 'details ' || d::text FROM pictrepo.details d UNION ALL SELECT 'setting ' || s::text FROM pictrepo.settings s
	UNION ALL SELECT 'migration ' || m::text FROM pictrepo.store_migrations m UNION ALL SELECT 'upload ' || u::text FROM pictrepo.uploads u
	UNION ALL SELECT 'queue ' || q::text FROM pictrepo.queues q UNION ALL SELECT 'schedule ' || s::text FROM pictrepo.schedules s
	UNION ALL SELECT 'job ' || j::text FROM pictrepo.job_queue j UNION ALL SELECT 'dead ' || d::text FROM pictrepo.dead_jobs d
	UNION ALL SELECT 'blocked ' || b::text FROM pictrepo.blocked b ORDER BY 1
$$;
-- import into the same repo changes nothing
CREATE TEMP TABLE before AS SELECT * FROM contents();
SELECT number, pictrepo.import(line) AS outcome FROM lines ORDER BY number;
SELECT count(*) AS changed FROM (TABLE before EXCEPT SELECT * FROM contents()) AS d;
SELECT count(*) AS came FROM (SELECT * FROM contents() EXCEPT TABLE before) AS d;

-- import into an empty repo brings everything back, except claims on jobs
CALL empty();
SELECT * FROM pictrepo.export();
SELECT number, pictrepo.import(line) AS outcome FROM lines ORDER BY number;
SELECT * FROM contents() EXCEPT TABLE before;
TABLE before EXCEPT SELECT * FROM contents();
SELECT pictrepo.export() EXCEPT SELECT line FROM lines;
SELECT line FROM lines EXCEPT SELECT pictrepo.export();
SELECT DISTINCT outcome FROM lines, pictrepo.import_lines(ARRAY[lines.line]);

-- import into a repo with other data adds the missing parts; existing data stays
CALL empty();
SELECT outcome FROM pictrepo.ingest('\x01', 'other.png', '{"width": 5}', 'one.png', 'other token', '2010-01-01');
SELECT outcome FROM pictrepo.ingest('\x0a', 'ten.png', '{}', 'two.png', 'ten''s token', '2010-01-01');
SELECT pictrepo.set('404-alias', 'two.png'), pictrepo.set('empty', '');
SELECT pictrepo.push('q', '1', unique_key => 'key') IS NOT NULL AS pushed;
SELECT number, outcome FROM (SELECT array_agg(line ORDER BY number) AS all FROM lines) l, pictrepo.import_lines(l.all) i (number, outcome) ORDER BY 1;
SELECT identifier, created_at, motion_identifier, blurhash FROM pictrepo.hashes ORDER BY hash;
SELECT alias, hash, delete_token, accessed FROM pictrepo.aliases ORDER BY alias;
SELECT url, alias, accessed FROM pictrepo.proxies ORDER BY url;
SELECT hash, variant, identifier, accessed FROM pictrepo.variants ORDER BY variant;
SELECT * FROM pictrepo.details ORDER BY 1;
SELECT count(*) AS queued_for_removal FROM pictrepo.job_queue WHERE queue = 'cleanup';

-- import of an image in parts
CALL empty();
\set image '{"image": {"hash": "0A", "identifier": "ten.png", "aliases": [{"alias": "ten.png", "delete_token": "t"}]}}'
\set more '{"image": {"hash": "0a", "identifier": "ten.png", "blurhash": "B", "details": {"width": 1}, "aliases": [{"alias": "{11111111-1111-1111-1111-AAAAAAAAAAAA}.png", "delete_token": "t", "urls": [{"url": "u", "accessed": "2001-01-01T00:00:00+01:00"}]}], "variants": [{"variant": "v", "identifier": "v.png", "details": {}}]}}'
SELECT pictrepo.import(:'image'), pictrepo.import(:'image');
SELECT pictrepo.import(:'more'), pictrepo.import(:'more');
SELECT identifier, motion_identifier, blurhash, created_at = now() AS created_now FROM pictrepo.hashes;
SELECT alias, delete_token FROM pictrepo.aliases ORDER BY alias;
SELECT url, alias, accessed FROM pictrepo.proxies;
SELECT pictrepo.import('{"image": {"hash": "0b", "identifier": "eleven.png"}}') AS without_alias;
SELECT pictrepo.import('{"image": {"hash": "0b", "identifier": "eleven.png", "aliases": null, "variants": []}}') AS without_alias;
SELECT pictrepo.import('{"image": {"hash": "0c", "identifier": "12.png", "aliases": [{"alias": "ten.png", "delete_token": "t"}]}}') AS none_is_free, pictrepo.identifier('\x0c');
SELECT pictrepo.import('{"image": {"hash": "0c", "identifier": "12.png", "aliases": [{"alias": "12.png", "delete_token": "t", "urls": [{"url": "u"}, {"url": "w"}]}]}}') AS a_url_is_taken, pictrepo.related('w'), pictrepo.related('u');
SELECT pictrepo.import('{"image": {"hash": "0a", "identifier": "ten.png", "variants": [{"variant": "v", "identifier": "w.png", "details": {"width": 9}}]}}') AS other_variant, pictrepo.details('w.png');
SELECT pictrepo.import('{"image": {"hash": "0a", "identifier": "ten.png", "details": {"width": 2}}}') AS other_details;
SELECT pictrepo.block_hash('\x0a'), pictrepo.block_hash('\x0d');
SELECT pictrepo.import('{"image": {"hash": "0a", "identifier": "ten.png", "motion_identifier": "m", "aliases": [{"alias": "13.png", "delete_token": "t"}]}}') AS blocked, pictrepo.hash('13.png'), pictrepo.motion_identifier('\x0a');
SELECT pictrepo.import('{"image": {"hash": "0d", "identifier": "13.png"}}') AS blocked, pictrepo.identifier('\x0d');
SELECT count(*) AS queued_for_removal FROM pictrepo.job_queue;

-- a completed job comes back; a dead job stays dead, and a requeued job stays alive
CALL empty();
\set job '{"job": {"id": "01900000-0000-7000-8000-000000000001", "queue": "q", "job": {"a": 1e30}}}'
\set dead_job '{"dead_job": {"id": "01900000-0000-7000-8000-000000000001", "queue": "q", "job": 1}}'
SELECT pictrepo.import(:'job'), pictrepo.import(:'job'), pictrepo.import(:'dead_job');
SELECT job, attempt FROM pictrepo.pop('q');
SELECT pictrepo.complete_job('q', NULL, '01900000-0000-7000-8000-000000000001');
SELECT pictrepo.import(:'dead_job'), pictrepo.import(:'dead_job'), pictrepo.import(:'job');
SELECT pictrepo.requeue_dead('01900000-0000-7000-8000-000000000001');
SELECT pictrepo.import(:'dead_job');

-- broken lines
CALL empty();
SELECT pictrepo.import(NULL);
SELECT pictrepo.import('');
SELECT pictrepo.import('{"setting"');
SELECT pictrepo.import('{} {}');
SELECT pictrepo.import('[]');
SELECT pictrepo.import('{}');
SELECT pictrepo.import('{"picture": {}}');
SELECT pictrepo.import('{"setting": {"key": "a", "value": ""}, "queue": {"queue": "q"}}');
SELECT pictrepo.import('{"pictrepo": {"version": 2}}');
SELECT pictrepo.import('{"setting": 1}');
SELECT pictrepo.import('{"setting": {"key": "a"}}');
SELECT pictrepo.import('{"setting": {"key": "a", "value": null}}');
SELECT pictrepo.import('{"setting": {"key": "a", "value": "f"}}');
SELECT pictrepo.import('{"setting": {"key": "a", "value": "", "other": 1}}');
SELECT pictrepo.import(format('{"setting": {"key": "%s", "value": ""}}', repeat('a', 81)));
SELECT pictrepo.import(format('{"setting": {"key": "a", "value": "%s"}}', repeat('ab', 65537)));
SELECT pictrepo.import('{"setting": {"key": "a\u0000", "value": ""}}');
SELECT pictrepo.import('{"image": {"hash": "", "identifier": "a"}}');
SELECT pictrepo.import('{"image": {"hash": "01", "identifier": "a", "details": {"width": 0}}}');
SELECT pictrepo.import('{"image": {"hash": "01", "identifier": "a", "details": {"big": 1e200000}}}');
SELECT pictrepo.import('{"image": {"hash": "01", "identifier": "a", "created_at": "2001-02-30T00:00:00Z"}}');
SELECT pictrepo.import('{"image": {"hash": "01", "identifier": "a", "created_at": "now"}}');
SELECT pictrepo.import('{"image": {"hash": "01", "identifier": "a", "created_at": "infinity"}}');
SELECT pictrepo.import('{"image": {"hash": "01", "identifier": "a", "aliases": [{"alias": "a", "delete_token": "b"}, {"alias": "c", "delete_token": ["secret"]}]}}');
SELECT pictrepo.import('{"image": {"hash": "01", "identifier": "a", "aliases": {"alias": "a", "delete_token": "b"}}}');
SELECT pictrepo.import('{"queue": {"queue": "q", "backoff": "P1Y"}}');
SELECT pictrepo.import('{"queue": {"queue": "q", "backoff": "PP"}}');
SELECT pictrepo.import('{"queue": {"queue": "q", "paused": "yes"}}');
SELECT pictrepo.import('{"schedule": {"name": "s", "queue": "q", "job": 1, "cron": "99 * * * *", "time_zone": "UTC", "first_run": "2001-01-01T00:00:00Z", "next_run": "2001-01-01T00:00:00Z"}}');
SELECT pictrepo.import('{"schedule": {"name": "s", "queue": "q", "job": 1, "time_zone": "UTC", "first_run": "2001-01-01T00:00:00Z", "next_run": "2001-01-01T00:00:00Z"}}');
SELECT pictrepo.import('{"job": {"id": "1", "queue": "q", "job": 1}}');
SELECT pictrepo.import('{"job": {"id": "01900000-0000-7000-8000-000000000001", "queue": "q", "job": 1, "retry": -1}}');
SELECT pictrepo.import('{"job": {"id": "01900000-0000-7000-8000-000000000001", "queue": "q", "job": 1, "priority": 1.5}}');
SELECT pictrepo.import('{"upload": {"id": "01900000-0000-7000-8000-000000000001", "result": {"Success": {"alias": "a"}}}}');
SELECT pictrepo.import('{"bytes": "7b7d"}');
SELECT pictrepo.import(format('{"details": {"identifier": "d", "details": {"a": %s}}}', repeat('[', 63) || repeat(']', 63)));
SELECT pictrepo.import(format('{"details": {"identifier": "e", "details": {"a": %s}}}', repeat('[', 5000) || repeat(']', 5000)));
SELECT pictrepo.import('{"job": {"id": "01900000-0000-7000-8000-000000000001", "queue": "q", "job": ' || repeat('[', 3000) || repeat(']', 3000) || '}}');
SELECT pictrepo.import(repeat('[', 100000));
SELECT pictrepo.import(repeat(' ', 67108865));
SELECT left(contents, 40) FROM contents() WHERE contents NOT LIKE 'job%';

-- whatever is stored comes back in: errors of any length, jobs of any depth, documents that have become too large,
-- an alias with so many URLs and an image with so many aliases that they take several lines
CALL empty();
CREATE FUNCTION fail(error text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
	PERFORM pictrepo.push('fail', '1', retry => 0, upload => pictrepo.create_upload());
	RETURN (SELECT pictrepo.complete_job('fail', NULL, id, 'failure', error) FROM pictrepo.pop('fail')); END $$;
SELECT fail(''), fail('x' || repeat('ü', 35000000));
SELECT pictrepo.push('deep', (repeat('[', 11000) || repeat(']', 11000))::jsonb) IS NOT NULL AS deep;
SELECT pictrepo.create_hash('\x01', 'one.png'), pictrepo.relate_details('one.png', jsonb_build_object('x', repeat(E'\x01', 300000))),
	pictrepo.relate_variant_identifier('\x01', 'v', 'v.png'), pictrepo.relate_details('v.png', jsonb_build_object('x', repeat('"', 300000))),
	pictrepo.create_alias('one.png', 't', '\x01');
INSERT INTO pictrepo.proxies (digest, url, alias) SELECT sha256(url::bytea), url, 'one.png'
	FROM (SELECT repeat('u', 65000) || n FROM generate_series(1, 70) n) u (url);
INSERT INTO pictrepo.aliases (alias, delete_token, hash) SELECT n || repeat('a', 245), repeat('t', 255), '\x01' FROM generate_series(1, 10000) n;
CREATE TEMP TABLE large AS SELECT line, number FROM pictrepo.export() WITH ORDINALITY AS e (line, number);
SELECT count(*), max(octet_length(line)) < 20000000 AS short FROM large WHERE line LIKE '{"image"%';
CALL empty();
SET pictrepo.max_document_size = 1;
SELECT pictrepo.import(line) AS outcome, count(*) FROM large GROUP BY outcome ORDER BY outcome;
SELECT DISTINCT pictrepo.import(line) AS again FROM large;
RESET pictrepo.max_document_size;
SELECT count(*) AS different FROM (SELECT md5(line) FROM pictrepo.export() AS line) e (line) FULL JOIN (SELECT md5(line) FROM large) l (line) USING (line)
	WHERE e.line IS NULL OR l.line IS NULL;
SELECT count(*) AS urls, count(DISTINCT alias) AS aliases FROM pictrepo.proxies;
DROP FUNCTION fail;
CALL empty();

-- import_lines: a broken line does not prevent the others from being stored
CALL empty();
SELECT * FROM pictrepo.import_lines(ARRAY[:'image', '{"image": ', NULL, '{"image": {"hash": "01"}}', :'job', :'image'], 100);
SELECT pictrepo.hash('ten.png'), count(*) AS jobs FROM pictrepo.job_queue;
SELECT * FROM pictrepo.import_lines(ARRAY[:'image', :'job']);
SELECT * FROM pictrepo.import_lines('{}');
SELECT * FROM pictrepo.import_lines(NULL);
SELECT * FROM pictrepo.import_lines('{a}', NULL);
SELECT * FROM pictrepo.import_lines('{a}', 9223372036854775807);
SELECT * FROM pictrepo.import_lines('{a,b}', 9223372036854775807);
SELECT * FROM pictrepo.import_lines('{{a},{b}}');

-- an error that concerns every line stops the call, and nothing is stored
CALL empty();
BEGIN READ ONLY;
SELECT * FROM pictrepo.import_lines(ARRAY[:'image', '{}']);
ROLLBACK;

-- an error of a trigger concerns one line
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON pictrepo.hashes FOR EACH ROW WHEN (NEW.hash = '\x0a') EXECUTE FUNCTION refuse();
SELECT * FROM pictrepo.import_lines(ARRAY[:'image', :'job']);
DROP FUNCTION refuse CASCADE;

CALL empty();
DROP FUNCTION contents;
DROP PROCEDURE empty;
RESET timezone;

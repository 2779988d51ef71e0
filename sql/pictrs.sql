-- Import from and export to the tables of pict-rs
--
\pset null '(null)'
SET timezone = 'Asia/Kathmandu';
SET client_min_messages = warning;

-- remove the rows of other scripts
TRUNCATE pictrepo.hashes, pictrepo.variants, pictrepo.aliases, pictrepo.proxies, pictrepo.details, pictrepo.settings,
	pictrepo.store_migrations, pictrepo.uploads, pictrepo.job_queue, pictrepo.variant_claims;

-- The tables of pict-rs 0.5.  Uploads and heartbeats have times in the future, because
-- the background worker would otherwise expire the uploads and reap the jobs.
CREATE SCHEMA "pict rs";
SET search_path = "pict rs";
CREATE TABLE hashes (
	hash text PRIMARY KEY,
	identifier text NOT NULL UNIQUE,
	motion_identifier text UNIQUE,
	created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
	blurhash text
);
CREATE INDEX ordered_hash_index ON hashes (created_at, hash);
CREATE TABLE variants (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	hash text NOT NULL REFERENCES hashes (hash),
	variant text NOT NULL,
	identifier text NOT NULL,
	accessed timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX hash_variant_index ON variants (hash, variant);
CREATE TABLE aliases (
	alias text PRIMARY KEY,
	hash text NOT NULL REFERENCES hashes (hash),
	token text NOT NULL
);
CREATE INDEX aliases_hash_index ON aliases (hash);
CREATE TABLE proxies (
	url text PRIMARY KEY,
	alias text NOT NULL REFERENCES aliases (alias),
	accessed timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE details (identifier text PRIMARY KEY, json jsonb NOT NULL);
CREATE TABLE settings (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE store_migrations (old_identifier text PRIMARY KEY, new_identifier text NOT NULL UNIQUE);
CREATE TABLE uploads (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), result jsonb, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TYPE job_status AS ENUM ('new', 'running');
CREATE TABLE job_queue (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	queue text NOT NULL,
	job jsonb NOT NULL,
	worker uuid UNIQUE,
	status job_status NOT NULL DEFAULT 'new',
	queue_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
	heartbeat timestamp,
	unique_key text UNIQUE,
	retry integer NOT NULL DEFAULT 5
);
CREATE INDEX heartbeat_index ON job_queue (heartbeat);
CREATE INDEX queue_time_index ON job_queue (queue_time);
CREATE TABLE keyed_notifications (key text PRIMARY KEY, heartbeat timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX keyed_notifications_heartbeat_index ON keyed_notifications (heartbeat);
CREATE TABLE refinery_schema_history (version integer PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255));

-- a hash of pict-rs: SHA-256, size, format
CREATE FUNCTION h(n int) RETURNS text LANGUAGE sql IMMUTABLE AS
	$$ SELECT encode(sha256(n::text::bytea) || substr(int8send(n), 3) || '\x07', 'base64') $$;
CREATE FUNCTION u(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
	$$ SELECT lpad(n::text, 32, '0')::uuid $$;

INSERT INTO hashes
	SELECT h(n), n || '.png', CASE WHEN n % 5 = 0 THEN n || '.mp4' END,
		'2001-02-03 04:05:06.000001'::timestamp + n * '1 day'::interval,
		CASE WHEN n % 3 = 0 THEN 'LEHV6nWB2yk8' END
	FROM generate_series(1, 20) n;
INSERT INTO hashes VALUES ('AQ==', 'ü'' "\', NULL, '4713-01-01 00:00:00 BC'), (encode('\xfbff', 'base64'), repeat('i', 1024), NULL, '294276-12-31 23:59:59.999999');
INSERT INTO variants
	SELECT u(n), h(n), 'thumbnail.256.webp', n || '.webp', '2001-01-01 00:00:00.123456' FROM generate_series(1, 10) n;
INSERT INTO variants SELECT u(100 + n), h(1), 'blur.' || n, n || '.blur' FROM generate_series(1, 3) n;
INSERT INTO aliases SELECT u(n) || '.png', h(n), u(1000 + n) FROM generate_series(1, 20) n;
INSERT INTO aliases VALUES ('a name.tar.gz', h(1), 'old token'), (u(30)::text, h(1), upper('aaaaaaaa-0000-0000-0000-000000000000'));
INSERT INTO proxies SELECT 'https://example.org/' || n, u(n) || '.png', '2002-01-01 00:00:00.5' FROM generate_series(1, 4) n;
INSERT INTO proxies VALUES ('https://example.org/ü?a=b&c=%20', u(1) || '.png', '2002-01-01');
INSERT INTO details SELECT n || '.png', '{"width": 640, "height": 480, "frames": null, "content_type": "image/png", "created_at": "2024-02-29T12:00:00.123456789Z", "format": {"Image": "png"}}' FROM generate_series(1, 20) n;
INSERT INTO details VALUES ('extra', '{"ü": [1e2, null, "\\ \""]}');
INSERT INTO settings VALUES ('last-path', '00ff10'), ('empty', ''), ('store-migration-progress', encode('{"a": 1}', 'hex'));
INSERT INTO store_migrations SELECT 'old' || n, 'new' || n FROM generate_series(1, 3) n;
INSERT INTO uploads VALUES
	(u(1), NULL, '2100-01-01 00:00:00.000001'),
	(u(2), '{"Success": {"alias": "a.png", "token": "secret"}}', '2100-01-01'),
	(u(3), '{"Failure": {"message": "no", "code": "bad-image"}}', '2100-01-01');
INSERT INTO job_queue VALUES
	(u(1), 'process', '{"Ingest": {"identifier": "1.png"}}', NULL, 'new', '2001-01-01 00:00:00.000001', NULL, NULL, 5),
	(u(2), 'process', '"last"', NULL, 'new', '2001-01-02', NULL, 'key', 1),
	(u(3), 'process', '"held"', u(77), 'running', '2001-01-03', '2100-01-01 00:00:00.25', 'held', 5),
	(u(4), 'cleanup', '"failed"', NULL, 'running', '2001-01-04', '2100-01-01', NULL, 4),
	(u(5), 'cleanup', 'null', NULL, 'new', '2099-01-01', NULL, NULL, 2147483647),
	(u(6), 'process', jsonb_build_object('Ingest', jsonb_build_object('identifier', '6.png', 'upload_id', u(1))), NULL, 'new', '2001-01-06', NULL, NULL, 5),
	(u(7), 'process', '{"Ingest": {"identifier": "7.png", "upload_id": "no UUID"}}', NULL, 'new', '2001-01-07', NULL, NULL, 5);
INSERT INTO keyed_notifications VALUES (h(2) || 'resize.100', '2100-01-01 00:00:00.75'), (h(2) || '/', '2100-01-01');
RESET search_path;

-- an import copies every row
CALL pictrepo.import_pictrs('pict rs', 3);
SELECT relation, source_rows, rows_read, stored, same, different, bad, target_rows, finished >= started AS finished
	FROM pictrepo.transfers ORDER BY relation;
TABLE pictrepo.transfer_errors;

-- the data is the same as in pict-rs
SELECT pictrepo.size();
SELECT h.identifier, pictrepo.hash_format(h.hash), pictrepo.hash_size(h.hash), h.created_at AT TIME ZONE 'UTC' AS created_at, h.motion_identifier, h.blurhash
	FROM pictrepo.hashes h ORDER BY h.created_at LIMIT 6;
SELECT identifier, details ->> 'width' AS width FROM pictrepo.serve('00000000-0000-0000-0000-000000000007.png');
SELECT identifier FROM pictrepo.serve('{00000000-0000-0000-0000-000000000007}.png');
SELECT * FROM pictrepo.variants(pictrepo.hash('a name.tar.gz'));
SELECT pictrepo.variant_accessed_at(pictrepo.hash('a name.tar.gz'), 'thumbnail.256.webp') AT TIME ZONE 'UTC' AS accessed;
SELECT pictrepo.aliases_for_hash(pictrepo.hash('a name.tar.gz'));
SELECT pictrepo.check_delete_token('00000000-0000-0000-0000-000000000030', 'AAAAAAAA000000000000000000000000');
SELECT bool_and(a.created_at = h.created_at) FROM pictrepo.aliases a JOIN pictrepo.hashes h USING (hash);
SELECT pictrepo.related('https://example.org/ü?a=b&c=%20');
SELECT count(*), min(accessed) AT TIME ZONE 'UTC' AS accessed FROM pictrepo.older_aliases('2003-01-01');
SELECT pictrepo.get('last-path'), pictrepo.get('empty'), convert_from(pictrepo.get('store-migration-progress'), 'UTF8');
SELECT pictrepo.is_migrated('old2'), pictrepo.is_continuing_migration();
SELECT pictrepo.wait('00000000-0000-0000-0000-000000000002', '0');
SELECT right(id::text, 1) AS id, queue, job, right(upload::text, 1) AS upload, state, run_at AT TIME ZONE 'UTC' <= now() AT TIME ZONE 'UTC' AS due, attempt, retry, right(worker::text, 2) AS worker, unique_key
	FROM pictrepo.jobs ORDER BY id;
SELECT pictrepo.push('process', '1', 'key');
SELECT pictrepo.queue_length('process'), pictrepo.queue_length();
SELECT variant, worker, heartbeat AT TIME ZONE 'UTC' AS heartbeat FROM pictrepo.variant_claims ORDER BY variant;

-- a second import stores nothing
CALL pictrepo.import_pictrs('pict rs');
SELECT sum(rows_read), sum(same) FROM pictrepo.transfers;

-- an export writes the same rows
CALL pictrepo.export_pictrs('back', 4);
SELECT relation, source_rows, rows_read, stored, same, different, bad, target_rows
	FROM pictrepo.transfers WHERE direction = 'export' ORDER BY relation;
TABLE pictrepo.transfer_errors;
CREATE FUNCTION differences(one text, other text) RETURNS TABLE (relation text, only_there bigint, only_here bigint)
LANGUAGE plpgsql AS $$
DECLARE
	columns text;
	missing text := 'SELECT count(*) FROM (SELECT %3$s FROM %1$I.%4$I EXCEPT ALL SELECT %3$s FROM %2$I.%4$I) m';
BEGIN
	FOREACH relation IN ARRAY '{hashes,variants,aliases,proxies,details,settings,store_migrations,uploads,job_queue,keyed_notifications}'::text[] LOOP
		SELECT string_agg(attname || '::text', ', ' ORDER BY attname) INTO columns FROM pg_attribute
			WHERE attrelid = format('%I.%I', one, relation)::regclass AND attnum > 0;
		EXECUTE format(missing, one, other, columns, relation) INTO only_there;
		EXECUTE format(missing, other, one, columns, relation) INTO only_here;
		RETURN NEXT;
	END LOOP;
END $$;
SELECT * FROM differences('pict rs', 'back');
CALL pictrepo.export_pictrs('back');
SELECT * FROM differences('pict rs', 'back');
\d back.job_queue

-- its tables are those of pict-rs, with their indexes and constraints, and with the migrations that made them
CREATE FUNCTION structure(schema text) RETURNS TABLE (item text) LANGUAGE sql AS $$
	SELECT replace(replace(structure, '"' || schema || '"', schema), schema || '.', '') FROM (
		SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = quote_ident(schema)::regnamespace
		UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = quote_ident(schema)::regnamespace
		UNION ALL SELECT concat_ws(' ', relname, attname, atttypid::regtype, atttypmod, attnotnull, pg_get_expr(adbin, adrelid))
			FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
			WHERE relnamespace = quote_ident(schema)::regnamespace AND relkind = 'r') AS items (structure)
$$;
SELECT count(*) > 50 AS much FROM structure('back');
SELECT * FROM structure('pict rs') EXCEPT SELECT * FROM structure('back');
SELECT * FROM structure('back') EXCEPT SELECT * FROM structure('pict rs');
SELECT version, name, checksum FROM back.refinery_schema_history ORDER BY version;
SELECT bool_and(applied_on ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$' AND applied_on::timestamptz <= now()) FROM back.refinery_schema_history;

-- an import of the exported tables, and another export
TRUNCATE pictrepo.hashes, pictrepo.variants, pictrepo.aliases, pictrepo.proxies, pictrepo.details, pictrepo.settings,
	pictrepo.store_migrations, pictrepo.uploads, pictrepo.job_queue, pictrepo.variant_claims;
CALL pictrepo.import_pictrs('back');
DROP SCHEMA back CASCADE;
CALL pictrepo.export_pictrs('back');
SELECT * FROM differences('pict rs', 'back');

-- an export of values that pict-rs cannot store
SELECT pictrepo.relate_variant_identifier('\x01', 'own', 'own.webp'), pictrepo.remove_variant_access('\x01', 'own'),
	pictrepo.remove_alias_access('00000000-0000-0000-0000-000000000002.png');
INSERT INTO pictrepo.job_queue (id, queue, job, retry, priority, status, worker, heartbeat)
	VALUES ('00000000-0000-0000-0000-000000000009', 'q', '1', 0, 7, 'running', '00000000-0000-0000-0000-000000000077', '2100-01-01'),
		('00000000-0000-0000-0000-000000000010', 'q', '1', 2147483647, 7, 'new', NULL, NULL);
DROP SCHEMA back CASCADE;
CALL pictrepo.export_pictrs('back');
SELECT * FROM differences('pict rs', 'back') WHERE only_there + only_here > 0;
SELECT id IS NOT NULL AS has_id, identifier, now() AT TIME ZONE 'UTC' - accessed < '1 day' AS now FROM back.variants WHERE variant = 'own';
SELECT now() AT TIME ZONE 'UTC' - accessed < '1 day' AS now FROM back.proxies WHERE alias = '00000000-0000-0000-0000-000000000002.png';
SELECT right(id::text, 2) AS id, status, retry FROM back.job_queue WHERE queue = 'q' ORDER BY id;
DELETE FROM pictrepo.job_queue WHERE queue = 'q';

-- a schema in which pict-rs has made a table gets no history: nobody knows of which version it is
CREATE SCHEMA half;
CREATE TABLE half.settings (key text PRIMARY KEY, value text NOT NULL);
CALL pictrepo.export_pictrs('half');
SELECT to_regclass('half.refinery_schema_history'), to_regclass('half.hashes');
DROP SCHEMA half CASCADE;

-- a worker of pict-rs has one job; no row is left out for it
INSERT INTO pictrepo.job_queue (id, queue, job, retry, status, worker, heartbeat)
	SELECT "pict rs".u(n), 'q', '1', 1, 'running', "pict rs".u(78), '2100-01-01' FROM generate_series(40, 42) n;
DROP SCHEMA back CASCADE;
CALL pictrepo.export_pictrs('back');
SELECT right(id::text, 2) AS id, status, right(worker::text, 2) AS worker, heartbeat FROM back.job_queue WHERE queue = 'q' ORDER BY id;
DELETE FROM pictrepo.job_queue WHERE queue = 'q';

-- two images with the same file: pict-rs takes one of them; the other one and what belongs to it is named
SELECT pictrepo.create_hash('\x4343', '1.png'), pictrepo.create_alias('twin.png', 'secret', '\x4343');
CALL pictrepo.export_pictrs('back');
SELECT relation, key, message FROM pictrepo.transfer_errors WHERE direction = 'export' ORDER BY relation;
SELECT pictrepo.cleanup_hash('\x4343');

-- another import stores new rows, leaves changed ones as they are, and says in what they differ
INSERT INTO "pict rs".hashes VALUES ("pict rs".h(21), '21.png');
INSERT INTO "pict rs".aliases VALUES ('new.png', "pict rs".h(21), 'token');
UPDATE "pict rs".settings SET value = '01' WHERE key = 'last-path';
DELETE FROM "pict rs".store_migrations WHERE old_identifier = 'old1';
CALL pictrepo.import_pictrs('pict rs', batch => 7);
SELECT identifier FROM pictrepo.serve('new.png');
SELECT pictrepo.get('last-path'), pictrepo.is_migrated('old1');
SELECT relation, key, message FROM pictrepo.transfer_errors WHERE schema = 'pict rs' ORDER BY relation;

-- an alias, a URL or a variant that is something else here is a conflict; the same in the other direction
INSERT INTO "pict rs".hashes VALUES ("pict rs".h(22), '22.png'), ("pict rs".h(23), '23.png');
INSERT INTO "pict rs".aliases VALUES ('ours.png', "pict rs".h(22), 'their secret'), ('same.png', "pict rs".h(23), 'secret');
INSERT INTO "pict rs".proxies VALUES ('https://example.org/ours', 'ours.png');
INSERT INTO "pict rs".variants (id, hash, variant, identifier) VALUES ("pict rs".u(301), "pict rs".h(1), 'ours', 'theirs.webp');
SELECT pictrepo.create_hash('\x4444', 'ours.png'), pictrepo.create_alias('ours.png', 'secret', '\x4444'), pictrepo.create_alias('same.png', 'secret', '\x4444'),
	pictrepo.relate_url('https://example.org/ours', 'same.png');
SELECT pictrepo.relate_variant_identifier(pictrepo.hash('00000000-0000-0000-0000-000000000001.png'), 'ours', 'ours.webp');
CALL pictrepo.import_pictrs('pict rs', 3);
SELECT relation, different FROM pictrepo.transfers WHERE schema = 'pict rs' AND different > 0 ORDER BY relation;
SELECT relation, key, message FROM pictrepo.transfer_errors WHERE schema = 'pict rs' ORDER BY relation, place;
SELECT pictrepo.hash('ours.png'), count(*) AS without_alias FROM pictrepo.orphans WHERE kind = 'hash' AND length(name) = 78;
CALL pictrepo.export_pictrs('pict rs', 3);
SELECT relation, key, message FROM pictrepo.transfer_errors WHERE schema = 'pict rs' AND direction = 'export' ORDER BY relation, place;
SELECT pictrepo.cleanup_hash('\x4444'), pictrepo.remove_variant(pictrepo.hash('00000000-0000-0000-0000-000000000001.png'), 'ours'),
	pictrepo.cleanup_hash(decode("pict rs".h(22), 'base64')), pictrepo.cleanup_hash(decode("pict rs".h(23), 'base64'));
DELETE FROM "pict rs".proxies WHERE alias IN ('ours.png', 'same.png');
DELETE FROM "pict rs".aliases WHERE alias IN ('ours.png', 'same.png');
DELETE FROM "pict rs".variants WHERE variant = 'ours';
DELETE FROM "pict rs".hashes WHERE identifier IN ('22.png', '23.png', 'ours.png');

-- bad rows are not stored, each with a reason; the other rows are
CREATE SCHEMA bad;
CALL pictrepo.export_pictrs('bad', resume => false);
TRUNCATE pictrepo.hashes, pictrepo.variants, pictrepo.aliases, pictrepo.proxies, pictrepo.details, pictrepo.settings,
	pictrepo.store_migrations, pictrepo.uploads, pictrepo.job_queue, pictrepo.variant_claims;
SELECT format('ALTER TABLE %s DROP CONSTRAINT %s', conrelid::regclass, conname) FROM pg_constraint WHERE connamespace = 'bad'::regnamespace AND contype = 'u' ORDER BY 1 \gexec
ALTER TYPE bad.job_status ADD VALUE 'odd';
ALTER TABLE bad.variants ALTER hash DROP NOT NULL;
SET search_path = bad, "pict rs";
INSERT INTO hashes (hash, identifier) VALUES ('no base64!', 'a'), ('', 'a'), ('AR==', 'a'), ('AQ', 'a'), (E'A\nQ==', 'a'), ('_w==', 'a'),
	(replace(encode(decode(repeat('00', 129), 'hex'), 'base64'), E'\n', ''), 'a'), ('Ag==', ''), ('Aw==', repeat('x', 1025));
INSERT INTO hashes VALUES ('BA==', 'a', '', now(), NULL), ('BQ==', 'a', NULL, 'infinity', NULL), ('Bg==', 'a', NULL, '-infinity', NULL),
	('Bw==', 'a', NULL, now(), repeat('x', 1025));
INSERT INTO variants (id, hash, variant, identifier, accessed) VALUES
	(u(201), 'Ag==', 'of a bad hash', 'a', now()), (u(202), 'no base64!', 'a', 'a', now()), (u(203), h(1), '', 'a', now()),
	(u(204), h(1), repeat('x', 1025), 'a', now()), (u(205), h(1), 'a', '', now()), (u(206), h(1), 'b', 'b', 'infinity'),
	(u(207), NULL, 'c', 'c', now());
INSERT INTO aliases VALUES ('', h(1), 'secret'), (repeat('ü', 128), h(1), 'secret'), ('a', 'Ag==', 'secret'), ('b', h(1), ''),
	('c', h(1), repeat('secret', 50)), ('AAAAAAAA-0000-0000-0000-00000000000A.png', h(1), 'secret'),
	('{00000000-0000-0000-0000-000000000001}.png', h(1), 'secret');
INSERT INTO proxies VALUES ('', u(1) || '.png', now()), ('https://example.org/a', 'a', now()),
	('https://example.org/' || repeat('long', 200), '{00000000-0000-0000-0000-000000000001}.png', now()), ('https://example.org/b', u(1) || '.png', 'infinity');
INSERT INTO details VALUES ('', '{}'), ('a', '[]'), ('b', '{"width": 0}'), ('c', '{"width": "10"}'), ('d', '{"frames": -1}'), ('e', '{"created_at": "today"}'),
	('f', '{"format": {"Image": "bmp"}}'), (repeat('x', 1025), '{}'), ('g', 'null'), ('h', (repeat('[', 100) || repeat(']', 100))::jsonb);
INSERT INTO settings VALUES ('a', 'f'), ('b', 'xy'), ('c', '0 0'), ('d', repeat('00', 65537)), (repeat('k', 81), '00'), ('upper', 'AB');
INSERT INTO store_migrations VALUES ('', 'a'), ('a', ''), (repeat('x', 1025), 'b');
INSERT INTO uploads VALUES (u(10), 'null', '2100-01-01'), (u(11), '{"Success": {"alias": 1, "token": "secret"}}', '2100-01-01'),
	(u(12), '{"Failure": "secret"}', '2100-01-01'), (u(13), NULL, 'infinity');
INSERT INTO job_queue (id, queue, job, status, worker, heartbeat, queue_time, retry, unique_key) VALUES
	(u(20), '', '1', 'new', NULL, NULL, now(), 5, NULL), (u(21), repeat('q', 81), '1', 'new', NULL, NULL, now(), 5, NULL),
	(u(22), 'q', '1', 'new', NULL, NULL, now(), 0, NULL), (u(23), 'q', '1', 'new', NULL, NULL, now(), -2147483648, NULL),
	(u(24), 'q', '1', 'running', u(1), NULL, now(), 5, NULL), (u(25), 'q', '1', 'running', u(1), 'infinity', now(), 5, NULL),
	(u(26), 'q', '1', 'new', NULL, NULL, '-infinity', 5, NULL), (u(27), 'q', '1', 'new', NULL, NULL, now(), 5, ''),
	(u(28), 'q', '1', 'new', NULL, NULL, now(), 5, repeat('k', 81)), (u(29), 'q', '1', 'new', NULL, NULL, now(), 5, 'taken');
INSERT INTO job_queue (id, queue, job, status) VALUES (u(31), 'q', '1', 'odd');
INSERT INTO job_queue (id, queue, job) VALUES (u(30), 'q', to_jsonb(repeat('long', 300000)));
INSERT INTO keyed_notifications VALUES ('', now()), ('short', now()), (h(1), now()), (h(99) || 'of no hash', now()), (h(1) || 'x', 'infinity'), (repeat('!', 60), now());
RESET search_path;
SELECT pictrepo.push('other', '1', 'taken') IS NOT NULL AS pushed;
CALL pictrepo.import_pictrs('bad', 1000);
SELECT relation, key, message FROM pictrepo.transfer_errors WHERE schema = 'bad' ORDER BY relation, key COLLATE "C", message;
SELECT relation, source_rows, stored, same, different, bad, target_rows FROM pictrepo.transfers WHERE schema = 'bad' AND direction = 'import' ORDER BY relation;
SELECT pictrepo.get('upper');
-- the size of a batch does not change the result
CREATE TEMP TABLE before AS SELECT relation, key, message FROM pictrepo.transfer_errors WHERE schema = 'bad';
CALL pictrepo.import_pictrs('bad', 2);
SELECT count(*) FROM (TABLE before EXCEPT SELECT relation, key, message FROM pictrepo.transfer_errors) x;
SELECT count(*) FROM pictrepo.transfer_errors e WHERE e::text LIKE '%secret%';

-- rows that do not fit into the target tables are not stored
SELECT pictrepo.set('long', decode(repeat('00', 60), 'hex')), pictrepo.create_hash('\x4242', '1.png'), pictrepo.create_alias('alias of it', 'secret', '\x4242'),
	pictrepo.relate_url('https://example.org/' || string_agg(md5(n::text), ''), 'alias of it')
	FROM generate_series(1, 1000) n;
DROP SCHEMA back CASCADE;
CREATE SCHEMA back;
CREATE TABLE back.settings (key varchar(80) PRIMARY KEY, value varchar(80) NOT NULL);
CREATE TABLE back.hashes (hash varchar(128) PRIMARY KEY, identifier text NOT NULL UNIQUE, motion_identifier text, created_at timestamp NOT NULL, blurhash varchar(60));
CALL pictrepo.export_pictrs('back');
SELECT relation, key, regexp_replace(message, '(index row).*', '\1 ...') AS message
	FROM pictrepo.transfer_errors WHERE schema = 'back' ORDER BY relation, key COLLATE "C";

-- tables that are not those of pict-rs
CALL pictrepo.import_pictrs('nowhere');
CALL pictrepo.import_pictrs('pg_catalog');
CALL pictrepo.import_pictrs('pictrepo');
CALL pictrepo.export_pictrs('pictrepo');
CALL pictrepo.export_pictrs('pg_catalog');
CALL pictrepo.export_pictrs('pg_new');
CALL pictrepo.export_pictrs('information_schema');
CREATE SCHEMA odd;
CREATE TABLE odd.hashes (hash varchar PRIMARY KEY, identifier text, motion_identifier text, created_at timestamptz, blurhash text);
CALL pictrepo.export_pictrs('odd');
CALL pictrepo.import_pictrs('odd');
ALTER TABLE odd.hashes DROP COLUMN blurhash, ALTER created_at TYPE timestamp;
CALL pictrepo.export_pictrs('odd');
SELECT count(*) FROM pg_class WHERE relnamespace = 'odd'::regnamespace AND relkind = 'r';

-- errors
CALL pictrepo.import_pictrs(NULL);
CALL pictrepo.import_pictrs('');
CALL pictrepo.import_pictrs(repeat('x', 64));
CALL pictrepo.import_pictrs('bad', 0);
CALL pictrepo.import_pictrs('bad', 100001);
CALL pictrepo.import_pictrs('bad', NULL);
CALL pictrepo.import_pictrs('bad', resume => NULL);
BEGIN;
CALL pictrepo.import_pictrs('bad');
ROLLBACK;
BEGIN;
CALL pictrepo.export_pictrs('bad');
ROLLBACK;
DO $$
DECLARE n bigint; b bool;
BEGIN
	CALL pictrepo.import_pictrs('bad', 1, true, n, n, n, n, b);
EXCEPTION WHEN others THEN
	RAISE WARNING '% %', SQLSTATE, SQLERRM;
END $$;
CREATE FUNCTION atomic() RETURNS void LANGUAGE plpgsql AS $$
DECLARE n bigint; b bool;
BEGIN
	CALL pictrepo.import_pictrs('bad', 1, true, n, n, n, n, b);
END $$;
SELECT atomic();
SET default_transaction_read_only = on;
CALL pictrepo.import_pictrs('bad');
RESET default_transaction_read_only;

-- a call in a block that may commit
DO $$
DECLARE stored bigint; same bigint; different bigint; bad bigint; counts_agree bool;
BEGIN
	CALL pictrepo.import_pictrs('pict rs', 5, true, stored, same, different, bad, counts_agree);
	RAISE WARNING '% % % % %', stored, same, different, bad, counts_agree;
END $$;

DROP FUNCTION atomic(), differences(text, text), structure(text);
DROP SCHEMA "pict rs", back, bad, odd CASCADE;
RESET timezone;
TRUNCATE pictrepo.hashes, pictrepo.variants, pictrepo.aliases, pictrepo.proxies, pictrepo.details, pictrepo.settings,
	pictrepo.store_migrations, pictrepo.uploads, pictrepo.job_queue, pictrepo.variant_claims, pictrepo.transfers, pictrepo.transfer_errors;

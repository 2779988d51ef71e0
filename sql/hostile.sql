-- A caller's own operators, functions, types and temporary tables change nothing.
CREATE ROLE regress_pictrepo_evil;
CREATE SCHEMA evil AUTHORIZATION regress_pictrepo_evil;
SELECT pictrepo.grant_access('regress_pictrepo_evil', 'writer');
DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO regress_pictrepo_evil', current_database()); END $$;

SET ROLE regress_pictrepo_evil;
CREATE TABLE evil.caught (what text, who name);
CREATE FUNCTION evil.catch(what text) RETURNS void LANGUAGE sql
	AS $$ INSERT INTO evil.caught VALUES (what, current_user) $$;

-- operators that shadow those of pg_catalog
CREATE FUNCTION evil.eq(bytea, bytea) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('=(bytea)'); RETURN true; END $$;
CREATE FUNCTION evil.eq(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('=(text)'); RETURN true; END $$;
CREATE FUNCTION evil.eq(uuid, uuid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('=(uuid)'); RETURN true; END $$;
CREATE FUNCTION evil.lt(timestamptz, timestamptz) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('<'); RETURN true; END $$;
CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = bytea, RIGHTARG = bytea);
CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = uuid, RIGHTARG = uuid);
CREATE OPERATOR evil.< (FUNCTION = evil.lt, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE OPERATOR evil.<= (FUNCTION = evil.lt, LEFTARG = timestamptz, RIGHTARG = timestamptz);

-- functions and types that shadow those of pg_catalog
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('clock_timestamp'); RETURN 'epoch'; END $$;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('now'); RETURN 'epoch'; END $$;
CREATE FUNCTION evil.random() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('random'); RETURN 1; END $$;
CREATE FUNCTION evil.max(timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('max'); RETURN $1; END $$;
CREATE FUNCTION evil.url_digest(text) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.catch('url_digest'); RETURN '\x00'; END $$;
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz CHECK (false);
CREATE TYPE evil.job_status AS ENUM ('stolen');

-- temporary tables with the names of pictrepo's tables, which would get the rows
CREATE TEMP TABLE hashes (hash bytea, identifier pg_catalog.text, created_at pg_catalog.timestamptz);
CREATE TEMP TABLE aliases (alias pg_catalog.text, delete_token pg_catalog.text, hash bytea);
CREATE TEMP TABLE job_queue (id uuid, queue pg_catalog.text, job jsonb, status pg_catalog.text);
SET search_path = evil, pg_temp, pictrepo, pg_catalog;

-- most functions, first called under that search_path
SELECT create_hash('\xaa', 'a.png'), create_hash('\xbb', 'b.png');
SELECT create_alias('a.png'::pg_catalog.text, 'token'::pg_catalog.text, '\xaa'::bytea);
SELECT check_delete_token('a.png'::pg_catalog.text, 'wrong'::pg_catalog.text);
SELECT relate_url('https://example.com/'::pg_catalog.text, 'a.png'::pg_catalog.text), accessed_alias('a.png'::pg_catalog.text);
SELECT count(*) FROM older_aliases('infinity'::pg_catalog.timestamptz);
SELECT relate_variant_identifier('\xaa', 'v'::pg_catalog.text, 'i'::pg_catalog.text),
	claim_variant_processing_rights('\xaa', 'w'::pg_catalog.text), accessed_variant('\xaa', 'v'::pg_catalog.text);
SELECT relate_details('a.png'::pg_catalog.text, '{}'), mark_migrated('a'::pg_catalog.text, 'b'::pg_catalog.text), clear();
SELECT set('k'::pg_catalog.text, 'v'), get('k'::pg_catalog.text), remove('k'::pg_catalog.text);
SELECT push('q'::pg_catalog.text, '1', 'key'::pg_catalog.text) AS id \gset
SELECT job FROM pop('q'::pg_catalog.text, max_jobs := 5);
SELECT complete_job('q'::pg_catalog.text, NULL, :'id'::uuid, 'failure'::pg_catalog.text);
SELECT queue_length('q'::pg_catalog.text), array_length((hash_page(NULL::pg_catalog.text, 5)).hashes, 1), pictrepo.size();
SELECT claim(create_upload());
SELECT cleanup_hash('\xaa');
SELECT identifier('\xaa'), identifier('\xbb');

-- none of the hostile objects was used, and user and search_path are unchanged
SELECT * FROM evil.caught;
SELECT count(*) FROM pg_temp.hashes;
SELECT current_user, current_setting('search_path');

RESET search_path;
RESET ROLE;
SELECT pictrepo.cleanup_hash('\xbb'), pictrepo.cleanup_details('a.png');
TRUNCATE pictrepo.job_queue;

-- a trigger of the database owner runs with the owner's privileges, under its own
-- search_path setting
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
	RAISE NOTICE '% under %', current_user = 'regress_pictrepo_evil', current_setting('search_path');
	PERFORM set_config('regress.noted', said, false) FROM notes;
	RETURN NEW;
END $$;
CREATE TABLE public.notes AS SELECT 'yes' AS said;
CREATE TRIGGER note AFTER INSERT ON pictrepo.hashes FOR EACH ROW EXECUTE FUNCTION public.note();
SET ROLE regress_pictrepo_evil;
SELECT pictrepo.create_hash('\xaa', 'a.png');
RESET ROLE;
SELECT current_setting('regress.noted', true) AS noted, current_setting('search_path');
DROP TRIGGER note ON pictrepo.hashes;
DROP FUNCTION public.note;
DROP TABLE public.notes;
SELECT pictrepo.cleanup_hash('\xaa');

-- in code without schema names, names refer to pg_catalog, whatever search_path and
-- temporary tables the caller has; in the first run of a statement, which plans it,
-- and in the second
CREATE SCHEMA careless;
CREATE FUNCTION careless.upper(text) RETURNS text LANGUAGE sql AS $$ SELECT 'shadowed' $$;
CREATE FUNCTION public.careless() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% of % is %', TG_OP, TG_TABLE_NAME,
		CASE WHEN EXISTS (SELECT FROM pg_am) THEN upper('sure') ELSE 'shadowed' END;
	RETURN NULL;
END $$;
CREATE FUNCTION public.careful(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN upper($1) <> 'shadowed';
END $$;
GRANT USAGE ON SCHEMA careless TO regress_pictrepo_evil;
CREATE FUNCTION public.tour() RETURNS text LANGUAGE plpgsql SET search_path = careless, pg_catalog AS $$
BEGIN
	PERFORM pictrepo.push('q', '1', retry => n) FROM generate_series(1, 2) n;
	PERFORM pictrepo.complete_job('q', NULL, id) FROM pictrepo.pop('q', max_jobs => 2);
	PERFORM pictrepo.create_hash('\xaa', 'a.png');
	PERFORM pictrepo.relate_variant_identifier('\xaa', 'v', 'v.png');
	PERFORM pictrepo.cleanup_hash('\xaa');
	RETURN upper('done');
END $$;
SET ROLE regress_pictrepo_evil;
SELECT public.tour() FROM generate_series(1, 3);
RESET ROLE;
CREATE TRIGGER careless AFTER INSERT OR UPDATE OR DELETE ON pictrepo.job_queue FOR EACH ROW EXECUTE FUNCTION public.careless();
SET ROLE regress_pictrepo_evil;
CREATE TEMP TABLE pg_am (amname pg_catalog.name);
SELECT public.tour() FROM generate_series(1, 2);
RESET ROLE;
DROP TRIGGER careless ON pictrepo.job_queue;
-- a trigger that a cascade fires
CREATE TRIGGER careless AFTER DELETE ON pictrepo.variants FOR EACH ROW EXECUTE FUNCTION public.careless();
SET ROLE regress_pictrepo_evil;
SELECT public.tour() FROM generate_series(1, 2);
RESET ROLE;
DROP TRIGGER careless ON pictrepo.variants;
-- triggers that other foreign key actions fire
CREATE TABLE public.posts (image bytea DEFAULT NULL REFERENCES pictrepo.hashes ON DELETE SET NULL);
CREATE TABLE public.pages (image bytea DEFAULT NULL REFERENCES pictrepo.hashes ON DELETE SET DEFAULT);
CREATE TRIGGER careless AFTER UPDATE ON public.posts FOR EACH ROW EXECUTE FUNCTION public.careless();
CREATE TRIGGER careless AFTER UPDATE ON public.pages FOR EACH ROW EXECUTE FUNCTION public.careless();
CREATE FUNCTION public.refer() RETURNS text LANGUAGE plpgsql SET search_path = careless, pg_catalog AS $$
BEGIN
	PERFORM pictrepo.create_hash('\xaa', 'a.png');
	INSERT INTO public.posts VALUES ('\xaa');
	INSERT INTO public.pages VALUES ('\xaa');
	PERFORM pictrepo.cleanup_hash('\xaa');
	RETURN upper('done');
END $$;
SELECT public.refer() FROM generate_series(1, 2);
DROP TABLE public.posts, public.pages;
DROP FUNCTION public.refer;
CREATE DOMAIN public.careful_text AS text DEFAULT '' CHECK (public.careful(VALUE));
ALTER TABLE pictrepo.variants ADD COLUMN note public.careful_text;
SET ROLE regress_pictrepo_evil;
SELECT public.tour() FROM generate_series(1, 2);
RESET ROLE;
ALTER TABLE pictrepo.variants DROP COLUMN note;
DROP DOMAIN public.careful_text;
ALTER TABLE pictrepo.job_queue ADD CONSTRAINT careful CHECK (public.careful(queue));
SET ROLE regress_pictrepo_evil;
SELECT public.tour() FROM generate_series(1, 2);
RESET ROLE;
ALTER TABLE pictrepo.job_queue DROP CONSTRAINT careful;
CREATE UNIQUE INDEX careful ON pictrepo.job_queue ((1)) WHERE NOT public.careful(queue);
SET ROLE regress_pictrepo_evil;
SELECT public.tour() FROM generate_series(1, 2);
RESET ROLE;
DROP INDEX pictrepo.careful;
CREATE FUNCTION public.loud(text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'when %', upper('sure');
	RETURN false;
END $$;
CREATE TRIGGER loud BEFORE UPDATE ON pictrepo.job_queue FOR EACH ROW WHEN (public.loud(NEW.queue))
	EXECUTE FUNCTION suppress_redundant_updates_trigger();
SET ROLE regress_pictrepo_evil;
SELECT public.tour() FROM generate_series(1, 2);
RESET ROLE;
DROP TRIGGER loud ON pictrepo.job_queue;
CREATE RULE careless AS ON INSERT TO pictrepo.job_queue DO ALSO SELECT public.careful(NEW.queue);
SET ROLE regress_pictrepo_evil;
SELECT public.tour() FROM generate_series(1, 2);
RESET ROLE;
DROP RULE careless ON pictrepo.job_queue;
SET ROLE regress_pictrepo_evil;
SELECT public.tour() FROM generate_series(1, 2);
RESET ROLE;
DROP FUNCTION public.tour, public.careless, public.careful, public.loud;
DROP FUNCTION careless.upper;
DROP SCHEMA careless;
TRUNCATE pictrepo.job_queue;

-- push works on an altered table
\set VERBOSITY terse
ALTER TABLE pictrepo.job_queue ADD COLUMN a int DEFAULT 7, ADD COLUMN b text, ADD COLUMN c uuid;
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed;
ALTER TABLE pictrepo.job_queue DROP COLUMN b, ALTER COLUMN a SET DEFAULT 8, ALTER COLUMN c SET DEFAULT gen_random_uuid();
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed;
ALTER TABLE pictrepo.job_queue ADD COLUMN d text DEFAULT 'long', ADD COLUMN e text GENERATED ALWAYS AS (queue || '!') STORED,
	ADD CONSTRAINT even CHECK (priority % 2 = 0);
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed;
SELECT pictrepo.push('q', '1', priority => 3);
ALTER TABLE pictrepo.job_queue ALTER COLUMN c DROP DEFAULT, ALTER COLUMN d DROP DEFAULT, DROP COLUMN e;
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed;
SELECT pictrepo.push('q', '1', priority => 3);
SELECT a, c IS NOT NULL AS c, d, status, attempt, retry, run_at = queue_time AS due FROM pictrepo.job_queue ORDER BY id;
CREATE DOMAIN public.given AS int NOT NULL;
BEGIN;
TRUNCATE pictrepo.job_queue;
ALTER TABLE pictrepo.job_queue ADD COLUMN f public.given;
SELECT pictrepo.push('q', '1');
ROLLBACK;
DROP DOMAIN public.given;
ALTER TABLE pictrepo.job_queue ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
BEGIN READ ONLY;
SELECT pictrepo.push('q', '1');
ROLLBACK;
BEGIN;
ALTER TABLE pictrepo.job_queue RENAME COLUMN upload TO uploaded;
SELECT pictrepo.push('q', '1');
ROLLBACK;
ALTER TABLE pictrepo.job_queue DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY, DROP COLUMN a, DROP COLUMN c, DROP COLUMN d, DROP CONSTRAINT even;
BEGIN READ ONLY;
SELECT pictrepo.push('q', '1');
ROLLBACK;
ALTER TABLE pictrepo.job_queue RENAME TO moved;
CREATE VIEW pictrepo.job_queue AS TABLE pictrepo.moved;
ALTER VIEW pictrepo.job_queue ALTER status SET DEFAULT 'new', ALTER attempt SET DEFAULT 0;
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed FROM generate_series(1, 2);
DROP VIEW pictrepo.job_queue;
ALTER TABLE pictrepo.moved RENAME TO job_queue;
-- a row with a NULL queue, which the altered table allows, causes an error and no crash
BEGIN;
ALTER TABLE pictrepo.job_queue ALTER queue DROP NOT NULL;
INSERT INTO pictrepo.job_queue (id, queue, job) VALUES (gen_random_uuid(), NULL, '1');
ROLLBACK;
SELECT count(*), pictrepo.queue_length('q') FROM pictrepo.job_queue;
SELECT count(*) FROM pictrepo.pop('q', max_jobs => 10);
TRUNCATE pictrepo.job_queue;
\set VERBOSITY default

-- serve works on altered tables
SELECT outcome FROM pictrepo.ingest('\xaa', 'a file', '{"width": 1}', 'a.png', 'token');
PREPARE served AS SELECT alias, served.* FROM unnest('{a.png,B.PNG}'::text[]) alias,
	pictrepo.serve(alias) served;
EXECUTE served;
CREATE TABLE public.more () INHERITS (pictrepo.aliases);
INSERT INTO public.more VALUES ('B.PNG', '\xaa', 'token');
EXECUTE served;
DROP TABLE public.more;
EXECUTE served;
ALTER TABLE pictrepo.details DROP CONSTRAINT details_pkey;
CREATE UNIQUE INDEX partly ON pictrepo.details (identifier) WHERE identifier <> 'a file';
EXECUTE served;
CREATE UNIQUE INDEX wide ON pictrepo.details (identifier) INCLUDE (details);
EXECUTE served;
DROP INDEX pictrepo.partly, pictrepo.wide;
-- an index with another comparison
CREATE FUNCTION public.compare(text, text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF current_setting('search_path') ~ 'careless' THEN
		RAISE NOTICE 'compared under the search_path of the caller';
	END IF;
	RETURN bttextcmp(lower($1) COLLATE "C", lower($2) COLLATE "C");
END $$;
CREATE FUNCTION public.same(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT lower($1) = lower($2) $$;
CREATE OPERATOR public.=== (FUNCTION = public.same, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR CLASS public.lower_ops FOR TYPE text USING btree AS OPERATOR 3 public.===, FUNCTION 1 public.compare(text, text);
CREATE UNIQUE INDEX lower ON pictrepo.details (identifier public.lower_ops);
UPDATE pictrepo.details SET identifier = 'A FILE';
EXECUTE served;
ALTER TABLE pictrepo.details ADD PRIMARY KEY (identifier);
SET search_path = careless;
SELECT pictrepo.relate_details('b file', '{}') FROM generate_series(1, 3);
RESET search_path;
DROP OPERATOR CLASS public.lower_ops USING btree CASCADE;
DROP OPERATOR FAMILY public.lower_ops USING btree;
DROP OPERATOR public.=== (text, text);
DROP FUNCTION public.compare, public.same;
UPDATE pictrepo.details SET identifier = 'a file' WHERE identifier = 'A FILE';
EXECUTE served;
ALTER TABLE pictrepo.details ADD COLUMN first int DEFAULT 1;
EXECUTE served;
ALTER TABLE pictrepo.details DROP COLUMN first;
ALTER TABLE pictrepo.hashes RENAME COLUMN blurhash TO blurred;
\set VERBOSITY sqlstate
EXECUTE served;
\set VERBOSITY default
ALTER TABLE pictrepo.hashes RENAME COLUMN blurred TO blurhash;
EXECUTE served;
-- renamed tables
ALTER TABLE pictrepo.details RENAME TO moved;
ALTER TABLE pictrepo.job_queue RENAME TO moved_queue;
\set VERBOSITY sqlstate
EXECUTE served;
SELECT pictrepo.push('q', '1');
\set VERBOSITY default
ALTER TABLE pictrepo.moved RENAME TO details;
ALTER TABLE pictrepo.moved_queue RENAME TO job_queue;
EXECUTE served;
-- a NULL key, and a key that is not unique yet
ALTER TABLE pictrepo.hashes ALTER identifier DROP NOT NULL;
UPDATE pictrepo.hashes SET identifier = NULL;
EXECUTE served;
UPDATE pictrepo.hashes SET identifier = 'a file';
ALTER TABLE pictrepo.hashes ALTER identifier SET NOT NULL;
ALTER TABLE pictrepo.aliases ALTER hash DROP NOT NULL;
UPDATE pictrepo.aliases SET hash = NULL;
EXECUTE served;
UPDATE pictrepo.aliases SET hash = '\xaa';
ALTER TABLE pictrepo.aliases ALTER hash SET NOT NULL;
ALTER TABLE pictrepo.details DROP CONSTRAINT details_pkey;
ALTER TABLE pictrepo.details ADD PRIMARY KEY (identifier) DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO pictrepo.details VALUES ('a file', '{"width": 2}');
EXECUTE served;
ROLLBACK;
ALTER TABLE pictrepo.details DROP CONSTRAINT details_pkey;
ALTER TABLE pictrepo.details ADD PRIMARY KEY (identifier);
EXECUTE served;
-- a function whose owner has no privileges on the table
\set VERBOSITY terse
CREATE ROLE regress_pictrepo_poor;
GRANT USAGE ON SCHEMA pictrepo TO regress_pictrepo_poor;
BEGIN;
ALTER FUNCTION pictrepo.serve OWNER TO regress_pictrepo_poor;
EXECUTE served;
ROLLBACK;
BEGIN;
ALTER FUNCTION pictrepo.push OWNER TO regress_pictrepo_poor;
SELECT pictrepo.push('q', '1', retry => 0);
ROLLBACK;
\set VERBOSITY default
DROP OWNED BY regress_pictrepo_poor;
DROP ROLE regress_pictrepo_poor;
DEALLOCATE served;
SELECT count(*) FROM pictrepo.purge('a.png');
SELECT pictrepo.cleanup_details('b file');
TRUNCATE pictrepo.job_queue;

-- trigger functions accept only rows of pictrepo's tables
CREATE TRIGGER odd AFTER INSERT ON pictrepo.uploads EXECUTE FUNCTION pictrepo.upload_changed();
SELECT pictrepo.create_upload();
DROP TRIGGER odd ON pictrepo.uploads;
CREATE TABLE public.odd (id int, queue int);
CREATE TRIGGER odd AFTER INSERT ON public.odd FOR EACH ROW EXECUTE FUNCTION pictrepo.job_changed();
INSERT INTO public.odd VALUES (1, 1);
CREATE TRIGGER odd BEFORE DELETE ON pictrepo.uploads FOR EACH ROW EXECUTE FUNCTION pictrepo.upload_changed();
SELECT pictrepo.claim(pictrepo.create_upload());
DROP TRIGGER odd ON pictrepo.uploads;
CREATE TRIGGER odd AFTER INSERT ON pictrepo.uploads FOR EACH ROW EXECUTE FUNCTION pictrepo.job_changed();
SELECT pictrepo.create_upload();
DROP TRIGGER odd ON pictrepo.uploads;
DROP TABLE public.odd;
TRUNCATE pictrepo.uploads;

SET client_min_messages = warning;
DROP SCHEMA evil CASCADE;
DROP OWNED BY regress_pictrepo_evil;
DROP ROLE regress_pictrepo_evil;

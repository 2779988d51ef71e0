-- Installation: the extension, its schema, and what a new database has.
CREATE EXTENSION pictrepo;

-- but not into a schema that somebody else could tamper with
DROP EXTENSION pictrepo;
DROP SCHEMA pictrepo;
CREATE ROLE regress_pictrepo_owner;
CREATE SCHEMA pictrepo AUTHORIZATION regress_pictrepo_owner;
\set VERBOSITY terse
CREATE EXTENSION pictrepo;
\set VERBOSITY default
DROP SCHEMA pictrepo;
DROP ROLE regress_pictrepo_owner;
CREATE EXTENSION pictrepo;

SELECT extrelocatable, extnamespace::regnamespace FROM pg_extension WHERE extname = 'pictrepo';

-- the schema is fixed
CREATE SCHEMA elsewhere;
ALTER EXTENSION pictrepo SET SCHEMA elsewhere;
DROP SCHEMA elsewhere;

-- every table is in the dump
SELECT c.oid::regclass
FROM pg_class c, pg_extension e
WHERE c.relnamespace = 'pictrepo'::regnamespace AND c.relkind = 'r'
	AND e.extname = 'pictrepo' AND c.oid <> ALL (e.extconfig);

-- everything is the extension's, and nothing else is there
SELECT p.oid::regprocedure
FROM pg_proc p
WHERE p.pronamespace = 'pictrepo'::regnamespace
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
		AND d.objid = p.oid AND d.deptype = 'e');

-- readers are stable and parallel safe, writers volatile and unsafe
SELECT p.oid::regprocedure, provolatile, proparallel
FROM pg_proc p
WHERE p.pronamespace = 'pictrepo'::regnamespace AND prorettype <> 'trigger'::regtype
	AND (provolatile, proparallel) NOT IN (('i', 's'), ('s', 's'), ('v', 'u'));

-- Functions that PostgreSQL would take for a cast: a type of the same name,
-- but a row type, would turn pictrepo.hash('x') into one.
SELECT t.typname
FROM pg_type t
WHERE t.typnamespace = 'pictrepo'::regnamespace AND t.typrelid = 0 AND t.typelem = 0
	AND EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = t.typnamespace AND p.proname = t.typname);

-- settings and their defaults, but for those that preloading changes
SELECT name, setting, unit, context FROM pg_settings
WHERE name LIKE 'pictrepo.%' AND name !~ 'notify$|max_(running_jobs|waiters|queues)$' ORDER BY name;
SET pictrepo.no_such_setting = 1;

-- gone but for its schema, and back, with plans of the first life in memory
SELECT pictrepo.create_hash('\x01', 'a'), pictrepo.size();
SELECT pictrepo.size();
DROP EXTENSION pictrepo;
SELECT count(*) FROM pg_class WHERE relnamespace = 'pictrepo'::regnamespace;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace;
CREATE EXTENSION pictrepo;
SELECT pictrepo.size();

-- Installation: the extension, its schema, its objects and settings.
CREATE EXTENSION pictrepo;

-- no installation into a schema whose owner is not a superuser
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

-- the extension cannot move to another schema
CREATE SCHEMA elsewhere;
ALTER EXTENSION pictrepo SET SCHEMA elsewhere;
DROP SCHEMA elsewhere;

-- pg_dump dumps every table of users; two belong to the server itself
SELECT c.oid::regclass
FROM pg_class c, pg_extension e
WHERE c.relnamespace = 'pictrepo'::regnamespace AND c.relkind = 'r'
	AND e.extname = 'pictrepo' AND c.oid <> ALL (e.extconfig) ORDER BY c.oid::regclass::text;

-- every function in the schema belongs to the extension
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

-- No function has the name of a type, except a row type: pictrepo.hash('x') would
-- then be a cast.
SELECT t.typname
FROM pg_type t
WHERE t.typnamespace = 'pictrepo'::regnamespace AND t.typrelid = 0 AND t.typelem = 0
	AND EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = t.typnamespace AND p.proname = t.typname);

-- settings and their defaults, except those that depend on preloading
SELECT name, setting, unit, context FROM pg_settings
WHERE name LIKE 'pictrepo.%' AND name !~ 'notify$|max_(running_jobs|waiters|queues)$' ORDER BY name;
SET pictrepo.no_such_setting = 1;

-- the extension is dropped and created again, with plans of the first one in memory
SELECT pictrepo.create_hash('\x01', 'a');
SELECT pictrepo.size();
DROP EXTENSION pictrepo;
SELECT count(*) FROM pg_class WHERE relnamespace = 'pictrepo'::regnamespace;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace;
CREATE EXTENSION pictrepo;
SELECT pictrepo.size();

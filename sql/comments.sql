-- Every object has a comment.
SELECT c.oid::regclass FROM pg_class c
WHERE c.relnamespace = 'pictrepo'::regnamespace AND c.relkind IN ('r', 'v', 'S', 'c')
	AND obj_description(coalesce(nullif(c.reltype, 0), 0), CASE c.relkind WHEN 'c' THEN 'pg_type' END) IS NULL
	AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT c.oid::regclass, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'pictrepo'::regnamespace AND c.relkind IN ('r', 'v', 'c')
	AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL;
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'pictrepo'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT t.oid::regtype FROM pg_type t
WHERE t.typnamespace = 'pictrepo'::regnamespace AND t.typtype IN ('e', 'd') AND obj_description(t.oid, 'pg_type') IS NULL;
SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'pictrepo'::regnamespace AND NOT tgisinternal AND obj_description(t.oid, 'pg_trigger') IS NULL;
SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'pictrepo'::regnamespace AND NOT i.indisprimary AND obj_description(i.indexrelid, 'pg_class') IS NULL;

-- The comment of a function explains these arguments.
SELECT p.oid::regprocedure, name FROM pg_proc p, unnest(p.proargnames) AS name
WHERE p.pronamespace = 'pictrepo'::regnamespace
	AND name IN ('worker', 'timeout', 'wait', 'max', 'max_jobs', 'page_limit', 'result', 'max_running', 'level', 'duty')
	AND obj_description(p.oid, 'pg_proc') !~ format('\y%s( NULL)?:', name)
	AND p.proname <> 'maintenance_status';

-- the queries above have objects to check
SELECT count(*) > 10 AS relations FROM pg_class WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('r', 'v', 'c');
SELECT count(*) > 60 AS functions FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace;
SELECT count(*) > 30 AS arguments FROM pg_proc p, unnest(p.proargnames) AS name
WHERE p.pronamespace = 'pictrepo'::regnamespace AND obj_description(p.oid, 'pg_proc') ~ format('\y%s( NULL)?:', name);

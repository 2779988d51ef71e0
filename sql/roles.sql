-- Privileges of roles.
CREATE ROLE regress_pictrepo_reader;
CREATE ROLE regress_pictrepo_writer;
CREATE ROLE regress_pictrepo_admin;

-- PUBLIC has no privileges
SET ROLE regress_pictrepo_reader;
SELECT pictrepo.size();
RESET ROLE;
SELECT p.oid::regprocedure FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'pictrepo'::regnamespace AND a.grantee = 0;
SELECT t.oid::regtype FROM pg_type t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
WHERE t.typnamespace = 'pictrepo'::regnamespace AND a.grantee = 0 AND t.typelem = 0
	AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c');
SELECT c.oid::regclass FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'pictrepo'::regnamespace AND a.grantee = 0;

SELECT pictrepo.grant_access('regress_pictrepo_reader', 'reader');
SELECT pictrepo.grant_access('regress_pictrepo_writer', 'writer');
SELECT pictrepo.grant_access('regress_pictrepo_admin', 'admin');
SELECT pictrepo.grant_access('regress_pictrepo_admin', 'admin') AS again;

-- functions that each level adds
CREATE VIEW levels AS
SELECT p.proname, min(level) AS level FROM pg_proc p,
	(VALUES (1, 'regress_pictrepo_reader'), (2, 'regress_pictrepo_writer'), (3, 'regress_pictrepo_admin')) l (level, role)
WHERE p.pronamespace = 'pictrepo'::regnamespace AND has_function_privilege(l.role, p.oid, 'EXECUTE')
GROUP BY 1;
-- a stable or immutable function is for readers, a volatile one for writers; these are the exceptions
SELECT level, string_agg(proname, ' ' ORDER BY proname COLLATE "C") FROM levels JOIN pg_proc p USING (proname)
WHERE p.pronamespace = 'pictrepo'::regnamespace AND level <> CASE provolatile WHEN 'v' THEN 2 ELSE 1 END
GROUP BY 1 ORDER BY 1;
SELECT proname FROM pg_proc WHERE pronamespace = 'pictrepo'::regnamespace AND proname NOT IN (SELECT proname FROM levels)
ORDER BY proname COLLATE "C";
SELECT role, string_agg(relname, ' ' ORDER BY relname COLLATE "C")
FROM pg_class, unnest('{regress_pictrepo_reader, regress_pictrepo_writer, regress_pictrepo_admin}'::name[]) role
WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('r', 'v')
	AND has_table_privilege(role, oid, 'SELECT')
GROUP BY 1 ORDER BY 1;
SELECT count(*) AS may_write FROM pg_class, unnest('{regress_pictrepo_reader, regress_pictrepo_writer, regress_pictrepo_admin}'::name[]) role
WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('r', 'v')
	AND has_table_privilege(role, oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
DROP VIEW levels;

-- a writer needs no privileges on the tables
SET ROLE regress_pictrepo_writer;
SELECT pictrepo.create_hash('\xaa', 'a.png'), pictrepo.create_alias('a.png', 'token', '\xaa');
SELECT pictrepo.push('q', '1') IS NOT NULL AS pushed;
SELECT job FROM pictrepo.pop('q');
SELECT pictrepo.complete_job('q', NULL, id) FROM pictrepo.jobs;
SELECT pictrepo.cleanup_hash('\xaa');
SELECT current_user, current_setting('search_path');
SELECT * FROM pictrepo.hashes;
SELECT pictrepo.pause_queue('q');
SELECT pictrepo.grant_access('regress_pictrepo_writer', 'admin');
SET ROLE regress_pictrepo_reader;
SELECT pictrepo.size(), pictrepo.hash('a.png');
SELECT pictrepo.create_hash('\xaa', 'a.png');
SELECT pictrepo.delete_token('a.png');
SET ROLE regress_pictrepo_admin;
SELECT pictrepo.pause_queue('q'), pictrepo.resume_queue('q');
SELECT count(*) FROM pictrepo.hashes;
DELETE FROM pictrepo.hashes;
RESET ROLE;
TRUNCATE pictrepo.queues;

-- an error in a call restores user and search_path
SET ROLE regress_pictrepo_writer;
DO $$
BEGIN
	PERFORM pictrepo.create_alias('x', 't', '\xbb');
EXCEPTION WHEN foreign_key_violation THEN
	RAISE NOTICE '% % %', SQLSTATE, current_user, current_setting('search_path');
END $$;
RESET ROLE;

-- errors
SELECT pictrepo.grant_access('regress_pictrepo_nobody', 'reader');
SELECT pictrepo.grant_access('public', 'reader');
SELECT pictrepo.grant_access('regress_pictrepo_reader', 'owner');
SELECT pictrepo.grant_access(NULL, 'reader');
SELECT pictrepo.grant_access('regress_pictrepo_reader', NULL);

DROP OWNED BY regress_pictrepo_reader, regress_pictrepo_writer, regress_pictrepo_admin;
DROP ROLE regress_pictrepo_reader, regress_pictrepo_writer, regress_pictrepo_admin;

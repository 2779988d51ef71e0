-- A new function gets no privileges for PUBLIC, as at CREATE EXTENSION.  The
-- functions of the old version keep theirs.
DO LANGUAGE plpgsql $$
DECLARE
	function regprocedure;
BEGIN
	FOR function IN
		SELECT p.oid FROM pg_catalog.pg_proc p
		WHERE p.pronamespace OPERATOR(pg_catalog.=) 'pictrepo'::pg_catalog.regnamespace
			AND p.proacl IS NULL
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', function);
	END LOOP;
END
$$;

-- Roles that grant_access() has given a level get it on the new objects, too.  What
-- an extension script grants counts as part of the extension, and pg_dump would leave
-- it out.  So this restores pg_init_privs.
DO LANGUAGE plpgsql $$
DECLARE
	schema oid = 'pictrepo'::pg_catalog.regnamespace;
	objects oid[] = ARRAY(
		SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace OPERATOR(pg_catalog.=) schema
		UNION ALL SELECT oid FROM pg_catalog.pg_class WHERE relnamespace OPERATOR(pg_catalog.=) schema
		UNION ALL SELECT schema);
	initial pg_catalog.pg_init_privs[];
	role record;
BEGIN
	SELECT pg_catalog.array_agg(i) INTO initial FROM pg_catalog.pg_init_privs i
	WHERE i.objoid OPERATOR(pg_catalog.=) ANY (objects);
	FOR role IN
		SELECT r.rolname AS name, (pg_catalog.array_agg(k.level ORDER BY k.place DESC))[1] AS level
		FROM (VALUES
			(1, 'reader', 'pictrepo.size()'),
			(2, 'writer', 'pictrepo.create_upload()'),
			(3, 'admin', 'pictrepo.pause_queue(text)')) k (place, level, function)
			JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) k.function::pg_catalog.regprocedure
			CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
			JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee
		WHERE a.grantee OPERATOR(pg_catalog.<>) p.proowner
		GROUP BY r.rolname
	LOOP
		PERFORM pictrepo.grant_access(role.name, role.level);
		-- PostgreSQL 17 keeps a role for the sake of its initial privileges.
		DELETE FROM pg_catalog.pg_shdepend d
		WHERE d.deptype OPERATOR(pg_catalog.=) 'i' AND d.objid OPERATOR(pg_catalog.=) ANY (objects)
			AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
			AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.quote_ident(role.name)::pg_catalog.regrole
			AND d.dbid OPERATOR(pg_catalog.=)
				(SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database());
	END LOOP;
	DELETE FROM pg_catalog.pg_init_privs WHERE objoid OPERATOR(pg_catalog.=) ANY (objects);
	INSERT INTO pg_catalog.pg_init_privs SELECT i.* FROM pg_catalog.unnest(initial) i;
END
$$;

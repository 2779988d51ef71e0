\echo Use "CREATE EXTENSION pictrepo" to load this file. \quit

-- The owner of the schema could drop or replace the objects in it, and must
-- therefore be a superuser.  The schema can exist already: a restored dump creates
-- it before the extension.
DO LANGUAGE plpgsql $$
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_namespace n
		JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
		WHERE n.nspname OPERATOR(pg_catalog.=) 'pictrepo')
	THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'schema "pictrepo" belongs to a role that is not a superuser',
			HINT = 'Drop or rename the schema first.';
	END IF;
END
$$;

COMMENT ON SCHEMA pictrepo IS 'pictrepo: metadata repo and job queue of an image host';

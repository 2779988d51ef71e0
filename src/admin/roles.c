/*-------------------------------------------------------------------------
 *
 * roles.c
 *		grant_access(): privileges of roles on the functions and relations.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

static const char *const levels[] = {"reader", "writer", "admin"};

/*
 * The functions up to a level, in one string for GRANT.  A reader may call the
 * functions that are not volatile.  These are exceptions:
 *
 * - delete_token and wait return secret delete tokens, and need level writer.
 * - variant_waiter only reads.  It is volatile because it must see new rows.
 * - serve, serve_url and serve_variant are volatile because they set access times.
 * - grant_access, lock_row and the trigger functions are granted to no one.
 */
STATEMENT(functions_of_level, STMT_READ_WRITE,
		  "SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p"
		  " WHERE p.pronamespace = 'pictrepo'::regnamespace"
		  " AND p.prorettype <> 'trigger'::regtype AND p.proname NOT IN ('grant_access', 'lock_row')"
		  " AND $1 >= CASE"
		  " WHEN p.proname IN ('configure_queue', 'pause_queue', 'resume_queue', 'drop_queue',"
		  " 'requeue_dead', 'delete_dead', 'cancel_job', 'cancel_jobs', 'update_job',"
		  " 'start_worker', 'run_maintenance', 'recount', 'pre_restore', 'post_restore', 'schedule_job', 'unschedule_job',"
		  " 'export', 'import', 'import_lines', 'import_pictrs', 'export_pictrs') THEN 2"
		  " WHEN p.proname = 'variant_waiter' OR p.proname LIKE 'serve%' THEN 0"
		  " WHEN p.provolatile = 'v' OR p.proname = 'delete_token' THEN 1"
		  " ELSE 0 END",
		  INT4OID);

/* The relations up to a level: views and samples for every level, tables for admin. */
STATEMENT(relations_of_level, STMT_READ_WRITE,
		  "SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c"
		  " WHERE c.relnamespace = 'pictrepo'::regnamespace"
		  " AND (c.relkind = 'v' OR c.relname LIKE '%samples'"
		  " OR (c.relkind IN ('r', 'p') AND $1 >= 2))",
		  INT4OID);

static int
level_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *name = text_to_cstring(DatumGetTextPP(key_argument(fcinfo, n).value));

	for (int i = 0; i < (int) lengthof(levels); i++)
		if (strcmp(name, levels[i]) == 0)
			return i;
	bad_argument(fcinfo, n,
				 psprintf("The value is \"%s\"; it must be reader, writer or admin.", name), NULL);
}

/* Run GRANT privilege ON objects TO role; the statement lists the objects. */
static void
grant_list(const char *privilege, SqlStatement *list, int level, const char *role)
{
	NullableDatum arg = not_null(Int32GetDatum(level));
	NullableDatum objects;

	statement_run(list, &arg);
	objects = result_value(0, 1);
	if (!objects.isnull)
		SPI_execute(psprintf("GRANT %s %s TO %s", privilege,
							 TextDatumGetCString(objects.value), role), false, 0);
}

PG_FUNCTION_INFO_V1(pictrepo_grant_access);

/*
 * grant_access(role name, level text) -> void
 *
 * Grant a role the privileges of a level and of the levels before it: 'reader',
 * 'writer' or 'admin'.  Error 42704 if the role does not exist, 22023 for another
 * level.
 */
Datum
pictrepo_grant_access(PG_FUNCTION_ARGS)
{
	char	   *role_name = NameStr(*DatumGetName(any_argument(fcinfo, 0).value));
	int			level = level_argument(fcinfo, 1);
	const char *role = quote_identifier(role_name);
	RepoCall	call;

	(void) get_role_oid(role_name, false);
	repo_call_begin(&call, fcinfo);
	SPI_execute(psprintf("GRANT USAGE ON SCHEMA pictrepo TO %s", role), false, 0);
	grant_list("EXECUTE ON ROUTINE", &functions_of_level, level, role);
	grant_list("SELECT ON TABLE", &relations_of_level, level, role);
	repo_call_end(&call);
	PG_RETURN_VOID();
}

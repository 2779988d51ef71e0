/*-------------------------------------------------------------------------
 *
 * statement.c
 *		SQL statements with saved plans, run with the extension owner's rights.
 *
 * An SqlStatement keeps its plan until the backend ends.  The plan cache
 * replans it after DDL.
 *
 * During a call, the current user is the owner of the SQL function, and
 * statements run with a search_path of pg_catalog and pg_temp.  Callers
 * therefore need no privileges on the tables, and they cannot replace a name
 * in our SQL by one of their own.  SECURITY DEFINER and SET search_path do the
 * same, but a procedure that is declared with them cannot commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "sqlfunc/search_path.h"
#include "sqlfunc/statement.h"

static Oid
function_owner(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	/* DROP EXTENSION can run while pop_wait, a procedure, holds no lock */
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("function with OID %u does not exist", function));
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * For a call that takes the fast path in most cases: search_path is safe only
 * while a statement runs.
 */
void
repo_call_begin_fast(RepoCall *call, FunctionCallInfo fcinfo)
{
	GetUserIdAndSecContext(&call->caller, &call->caller_context);
	SetUserIdAndSecContext(function_owner(fcinfo->flinfo->fn_oid),
						   call->caller_context | SECURITY_LOCAL_USERID_CHANGE);
	call->search_path = SEARCH_PATH_KEPT;
	SPI_connect();
}

/*
 * After an error, the end of the (sub)transaction restores the user, the
 * settings and SPI.  repo_call_end is needed only without an error.
 */
void
repo_call_begin(RepoCall *call, FunctionCallInfo fcinfo)
{
	repo_call_begin_fast(call, fcinfo);
	call->search_path = search_path_make_safe();
}

void
repo_call_end(RepoCall *call)
{
	SPI_finish();
	search_path_restore(call->search_path);
	SetUserIdAndSecContext(call->caller, call->caller_context);
}

/* Something that a statement names is missing: most likely, the schema is older. */
static void
hint_at_version(void *arg)
{
	int			sqlstate = geterrcode();

	if (sqlstate == ERRCODE_UNDEFINED_COLUMN || sqlstate == ERRCODE_UNDEFINED_TABLE ||
		sqlstate == ERRCODE_UNDEFINED_FUNCTION)
		errhint("If pictrepo.status() shows a schema that is older than the library, run ALTER EXTENSION pictrepo UPDATE.");
}

static SPIPlanPtr
prepare(const SqlStatement *statement)
{
	ErrorContextCallback callback = {.callback = hint_at_version, .previous = error_context_stack};
	SPIPlanPtr	plan;

	error_context_stack = &callback;
	plan = SPI_prepare_cursor(statement->sql, statement->nargs, (Oid *) statement->argtypes,
							  CURSOR_OPT_GENERIC_PLAN);
	error_context_stack = callback.previous;
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed for \"%s\": %s",
			 statement->sql, SPI_result_code_string(SPI_result));
	return plan;
}

/*
 * Plans are always generic.  The best plan for our statements does not depend
 * on the values, and planning in each call would be too slow.
 */
static SPIPlanPtr
saved_plan(SqlStatement *statement)
{
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = prepare(statement);

		SPI_keepplan(plan);
		statement->plan = plan;
	}
	return statement->plan;
}

static void
turn_off(const char *setting)
{
	(void) set_config_option(setting, "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Make the next run plan the statement again, for the current size of the
 * tables.  For rare statements that read whole tables.
 */
void
statement_forget_plan(SqlStatement *statement)
{
	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = NULL;
}

/*
 * Change the settings for planning.  Returns the GUC nest level for
 * end_planning, or 0 if the saved plan is valid.
 *
 * A statement is planned while its table may be small, and the plan is used
 * when the table is large.  Without sequential and bitmap scans the planner
 * chooses the plan for a large table.  A statement that needs such a scan
 * nevertheless gets a very high cost; JIT is off because the server would
 * compile the plan, which takes longer than running it.
 */
static int
begin_planning(const SqlStatement *statement)
{
	int			guc_level;

	if (statement->plan != NULL && SPI_plan_is_valid(statement->plan))
		return 0;
	guc_level = NewGUCNestLevel();
	turn_off("jit");
	if ((statement->flags & STMT_WHOLE_TABLE) == 0)
	{
		turn_off("enable_seqscan");
		turn_off("enable_bitmapscan");
	}
	return guc_level;
}

static void
end_planning(int guc_level)
{
	if (guc_level > 0)
		AtEOXact_GUC(true, guc_level);
}

/* Make the two arrays that SPI takes. */
static void
split_args(const SqlStatement *statement, const NullableDatum *args,
		   Datum *values, char *nulls)
{
	for (int i = 0; i < statement->nargs; i++)
	{
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
}

/*
 * A statement that may write sees what is committed now, at any isolation level: to
 * decide by an older snapshot would be to answer for a state that is gone.  A read
 * keeps the snapshot of the calling query.
 */
static int
execute(SqlStatement *statement, Datum *values, char *nulls)
{
	bool		read_only = (statement->flags & STMT_READ_ONLY) != 0;
	SPIPlanPtr	plan = saved_plan(statement);

	return SPI_execute_snapshot(plan, values, nulls,
								read_only ? InvalidSnapshot : GetLatestSnapshot(),
								InvalidSnapshot, read_only, true, 0);
}

/* The foreign keys whose parents our statements find, and lock, before they insert. */
static const char *const foreign_keys[] = {
	"aliases_hash_fkey", "proxies_alias_fkey", "variant_claims_hash_fkey", "variants_hash_fkey"
};

static bool
is_own_foreign_key(const char *constraint)
{
	for (int i = 0; constraint != NULL && i < (int) lengthof(foreign_keys); i++)
		if (strcmp(constraint, foreign_keys[i]) == 0)
			return true;
	return false;
}

/*
 * Called in PG_CATCH.  Under REPEATABLE READ and SERIALIZABLE, the server checks a
 * foreign key with the transaction's snapshot.  It does not find a parent that was
 * committed since, though the statement has.  Only a new transaction can do better.
 */
static void
raise_for_unseen_parent(MemoryContext context)
{
	ErrorData  *error;

	if (geterrcode() != ERRCODE_FOREIGN_KEY_VIOLATION)
		return;
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (!is_own_foreign_key(error->constraint_name))
		return;
	FlushErrorState();
	ereport(ERROR,
			errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			errmsg("could not serialize access due to concurrent update"),
			errdetail("The row to which foreign key \"%s\" refers is newer than the transaction's snapshot.",
					  error->constraint_name));
}

static int
execute_beside_snapshot(SqlStatement *statement, Datum *values, char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	int			result;

	PG_TRY();
	{
		result = execute(statement, values, nulls);
	}
	PG_CATCH();
	{
		raise_for_unseen_parent(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return result;
}

/*
 * Run a statement.  Returns the number of rows that it returned or changed.
 * The rows are in SPI_tuptable until the next statement or repo_call_end.
 */
uint64
statement_run(SqlStatement *statement, const NullableDatum *args)
{
	Datum		values[STATEMENT_MAX_ARGS];
	char		nulls[STATEMENT_MAX_ARGS];
	int			search_path = search_path_make_safe();
	int			result;
	int			guc_level;

	split_args(statement, args, values, nulls);
	guc_level = begin_planning(statement);
	if (IsolationUsesXactSnapshot())
		result = execute_beside_snapshot(statement, values, nulls);
	else
		result = execute(statement, values, nulls);
	end_planning(guc_level);
	search_path_restore(search_path);
	if (result < 0)
		elog(ERROR, "SPI_execute_snapshot failed for \"%s\": %s",
			 statement->sql, SPI_result_code_string(result));
	return SPI_processed;
}

/*
 * Open a portal for the rows of a statement that only reads.  The call must have
 * begun with repo_call_begin.
 */
Portal
statement_open_portal(SqlStatement *statement, const NullableDatum *args)
{
	Datum		values[STATEMENT_MAX_ARGS];
	char		nulls[STATEMENT_MAX_ARGS];
	int			guc_level;
	Portal		portal;

	Assert((statement->flags & STMT_READ_ONLY) != 0);
	split_args(statement, args, values, nulls);
	guc_level = begin_planning(statement);
	portal = SPI_cursor_open(NULL, saved_plan(statement), values, nulls, true);
	end_planning(guc_level);
	return portal;
}

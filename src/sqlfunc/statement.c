/*-------------------------------------------------------------------------
 *
 * statement.c
 *		SQL statements with saved plans, run with the extension owner's rights.
 *
 * Each Statement keeps its plan for the life of the backend; the plan cache
 * replans it after DDL.  While a call runs, the current user is the owner of
 * the called function; and search_path is empty of everything but pg_catalog
 * wherever a name is looked up: while a statement is planned, and while code of
 * others may run.  So callers need no rights on the tables and cannot shadow
 * anything in our SQL.  This is SECURITY DEFINER with SET search_path, done
 * here because a procedure declared so could not commit.
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

#include "sqlfunc/statement.h"

static Oid
function_owner(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("function with OID %u does not exist", function));
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
set_safe_search_path(void)
{
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * An error needs no repo_call_end: the end of the (sub)transaction puts the user,
 * the settings and SPI back.
 */
void
repo_call_begin(RepoCall *call, FunctionCallInfo fcinfo)
{
	GetUserIdAndSecContext(&call->caller, &call->caller_context);
	SetUserIdAndSecContext(function_owner(fcinfo->flinfo->fn_oid),
						   call->caller_context | SECURITY_LOCAL_USERID_CHANGE);
	call->guc_level = 0;
	SPI_connect();
}

/* For those that make SQL of their own, or go through a cursor. */
void
repo_call_begin_with_path(RepoCall *call, FunctionCallInfo fcinfo)
{
	repo_call_begin(call, fcinfo);
	call->guc_level = NewGUCNestLevel();
	set_safe_search_path();
}

void
repo_call_end(RepoCall *call)
{
	SPI_finish();

	/* puts search_path back; what a trigger SET for the session stays */
	if (call->guc_level > 0)
		AtEOXact_GUC(true, call->guc_level);
	SetUserIdAndSecContext(call->caller, call->caller_context);
}

/*
 * Plans are always generic: every statement here is written so that the best
 * plan does not depend on the values, and planning must not be paid per call.
 */
static SPIPlanPtr
saved_plan(SqlStatement *statement)
{
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare_cursor(statement->sql, statement->nargs,
											  statement->argtypes,
											  CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL)
			ereport(ERROR,
					errcode(ERRCODE_INTERNAL_ERROR),
					errmsg("could not prepare a pictrepo statement: %s",
						   SPI_result_code_string(SPI_result)));
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	return statement->plan;
}

static void
set_for_planning(const char *setting)
{
	(void) set_config_option(setting, "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * For what is run rarely and goes through whole tables: the next run has a plan
 * for the tables as they are then.
 */
void
statement_forget_plan(SqlStatement *statement)
{
	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = NULL;
}

/*
 * A plan may be made while a table is small, and used when it is large.  So it
 * is made as for a large one; returns the level to go back to, 0 when there is
 * a plan.  What cannot do without a scan that is off looks so expensive that
 * the server would compile it, which takes longer than to run it.
 */
static int
begin_planning(const SqlStatement *statement)
{
	int			guc_level;

	if (statement->plan != NULL && SPI_plan_is_valid(statement->plan))
		return 0;
	guc_level = NewGUCNestLevel();
	set_for_planning("jit");
	if ((statement->flags & STMT_WHOLE_TABLE) == 0)
	{
		set_for_planning("enable_seqscan");
		set_for_planning("enable_bitmapscan");
	}
	return guc_level;
}

static void
end_planning(int guc_level)
{
	if (guc_level > 0)
		AtEOXact_GUC(true, guc_level);
}

/* SPI wants values and nulls apart. */
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

static uint64
run_with(SqlStatement *statement, const NullableDatum *args, Snapshot snapshot)
{
	Datum		values[STATEMENT_MAX_ARGS];
	char		nulls[STATEMENT_MAX_ARGS];
	int			path_level = NewGUCNestLevel();
	int			result;
	int			guc_level;

	set_safe_search_path();
	split_args(statement, args, values, nulls);
	guc_level = begin_planning(statement);
	result = SPI_execute_snapshot(saved_plan(statement), values, nulls, snapshot,
								  InvalidSnapshot, (statement->flags & STMT_READ_ONLY) != 0, true, 0);
	end_planning(guc_level);
	AtEOXact_GUC(true, path_level);
	if (result < 0)
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not run a pictrepo statement: %s",
					   SPI_result_code_string(result)));
	return SPI_processed;
}

/*
 * Run a statement; returns how many rows it gave or changed.  The rows are in
 * SPI_tuptable until the next statement or repo_call_end.
 */
uint64
statement_run(SqlStatement *statement, const NullableDatum *args)
{
	return run_with(statement, args, InvalidSnapshot);
}

/*
 * The same, of what is committed by now whatever the isolation level.  For
 * decisions that are taken with a lock held.
 */
uint64
statement_run_latest(SqlStatement *statement, const NullableDatum *args)
{
	return run_with(statement, args, GetLatestSnapshot());
}

/*
 * Before a call looks once more, as what it found went away meanwhile.  With
 * one snapshot for the whole transaction it would find the same for ever.
 */
void
check_can_retry(void)
{
	CHECK_FOR_INTERRUPTS();
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent update"));
}

/*
 * A portal over the statement's rows, in a call that has a safe search_path.
 */
Portal
statement_open_portal(SqlStatement *statement, const NullableDatum *args)
{
	Datum		values[STATEMENT_MAX_ARGS];
	char		nulls[STATEMENT_MAX_ARGS];
	int			guc_level;
	Portal		portal;

	split_args(statement, args, values, nulls);
	guc_level = begin_planning(statement);
	portal = SPI_cursor_open(NULL, saved_plan(statement), values, nulls, (statement->flags & STMT_READ_ONLY) != 0);
	end_planning(guc_level);
	return portal;
}

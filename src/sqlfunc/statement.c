/*-------------------------------------------------------------------------
 *
 * statements.c
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
 * To set a search_path, and to look the caller's up again afterwards, takes
 * longer than many a statement.  So a plan that is ready is run by the executor
 * without it, and without SPI, whose plans depend on the path.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "engine/arguments.h"
#include "engine/compat.h"
#include "engine/foreign.h"
#include "engine/statements.h"

/* rows that a set-returning call holds in memory at a time */
#define ROWS_AT_A_TIME 1000

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

static void
set_safe_path(void)
{
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * An error needs no end_call: the end of the (sub)transaction puts the user,
 * the settings and SPI back.
 */
void
begin_call(RepoCall *call, FunctionCallInfo fcinfo)
{
	GetUserIdAndSecContext(&call->caller, &call->caller_context);
	SetUserIdAndSecContext(function_owner(fcinfo->flinfo->fn_oid),
						   call->caller_context | SECURITY_LOCAL_USERID_CHANGE);
	call->guc_level = 0;
	SPI_connect();
}

/* For those that make SQL of their own, or go through a cursor. */
void
begin_call_with_path(RepoCall *call, FunctionCallInfo fcinfo)
{
	begin_call(call, fcinfo);
	call->guc_level = NewGUCNestLevel();
	set_safe_path();
}

void
end_call(RepoCall *call)
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
saved_plan(Statement *statement)
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

static CachedPlanSource *
plan_source(const Statement *statement)
{
	return linitial(SPI_plan_get_plan_sources(statement->plan));
}

static void
let_go_of_ready(Statement *statement)
{
	CachedPlan *ready = statement->ready;

	statement->ready = NULL;
	if (ready != NULL)
		ReleaseCachedPlan(ready, NULL);
}

/*
 * After the plan cache has made or checked the plan: hold it, if it is one
 * statement that is the same for whoever runs it and whenever.
 */
static void
hold_ready(Statement *statement)
{
	CachedPlanSource *source = plan_source(statement);
	CachedPlan *plan = source->gplan;

	if (plan == statement->ready)
		return;
	let_go_of_ready(statement);
	if (plan == NULL || !plan->is_saved || plan->dependsOnRole || source->dependsOnRLS ||
		TransactionIdIsValid(plan->saved_xmin) ||
		list_length(SPI_plan_get_plan_sources(statement->plan)) != 1 ||
		list_length(plan->stmt_list) != 1)
		return;
	plan->refcount++;
	statement->ready = plan;
}

static bool
runs_foreign_code(const PlannedStmt *planned)
{
	ListCell   *cell;

	foreach(cell, planned->rtable)
		if (has_foreign_code(lfirst_node(RangeTblEntry, cell)->relid))
			return true;
	return false;
}

/*
 * The plan, with its tables locked, when it can be run as it is; else NULL.
 * As in the plan cache, what invalidates a plan is heard of with the locks.
 */
static PlannedStmt *
ready_plan(const Statement *statement)
{
	CachedPlanSource *source;
	PlannedStmt *planned;
	ListCell   *cell;

	if (statement->ready == NULL)
		return NULL;
	planned = linitial_node(PlannedStmt, statement->ready->stmt_list);
	foreach(cell, planned->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (OidIsValid(entry->relid))
			LockRelationOid(entry->relid, entry->rellockmode);
	}
	source = plan_source(statement);
	if (!source->is_valid || source->gplan != statement->ready || !statement->ready->is_valid ||
		runs_foreign_code(planned))
		return NULL;
	return planned;
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
forget_plan(Statement *statement)
{
	let_go_of_ready(statement);
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
begin_planning(const Statement *statement)
{
	int			guc_level;

	if (statement->plan != NULL && SPI_plan_is_valid(statement->plan))
		return 0;
	guc_level = NewGUCNestLevel();
	set_for_planning("jit");
	if (!statement->whole_table)
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
split_args(const Statement *statement, const NullableDatum *args,
		   Datum *values, char *nulls)
{
	for (int i = 0; i < statement->nargs; i++)
	{
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
}

/* As the server's own cursors and SPI do it: the names are pg_catalog's. */
static uint64
run_by_spi(Statement *statement, const NullableDatum *args, Snapshot snapshot)
{
	Datum		values[STATEMENT_MAX_ARGS];
	char		nulls[STATEMENT_MAX_ARGS];
	int			path_level = NewGUCNestLevel();
	int			result;
	int			guc_level;

	set_safe_path();
	split_args(statement, args, values, nulls);
	guc_level = begin_planning(statement);
	result = SPI_execute_snapshot(saved_plan(statement), values, nulls, snapshot,
								  InvalidSnapshot, statement->reads, true, 0);
	end_planning(guc_level);
	AtEOXact_GUC(true, path_level);
	if (result < 0)
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not run a pictrepo statement: %s",
					   SPI_result_code_string(result)));
	return SPI_processed;
}

/* ----- running a plan that is ready ----- */

/* Keeps the rows as SPI does */
typedef struct RowKeeper
{
	DestReceiver receiver;
	MemoryContext context;
	SPITupleTable *rows;
} RowKeeper;

static void
begin_keeping(DestReceiver *receiver, int operation, TupleDesc tupdesc)
{
	RowKeeper  *keeper = (RowKeeper *) receiver;
	MemoryContext before = MemoryContextSwitchTo(keeper->context);
	SPITupleTable *rows = palloc0_object(SPITupleTable);

	rows->tupdesc = CreateTupleDescCopy(tupdesc);
	rows->alloced = 8;
	rows->vals = palloc_array(HeapTuple, rows->alloced);
	keeper->rows = rows;
	MemoryContextSwitchTo(before);
}

static bool
keep_row(TupleTableSlot *slot, DestReceiver *receiver)
{
	RowKeeper  *keeper = (RowKeeper *) receiver;
	MemoryContext before = MemoryContextSwitchTo(keeper->context);
	SPITupleTable *rows = keeper->rows;

	if (rows->numvals >= rows->alloced)
	{
		rows->alloced *= 2;
		rows->vals = repalloc_huge(rows->vals, rows->alloced * sizeof(HeapTuple));
	}
	rows->vals[rows->numvals++] = ExecCopySlotHeapTuple(slot);
	MemoryContextSwitchTo(before);
	return true;
}

static void
end_keeping(DestReceiver *receiver)
{
}

static ParamListInfo
params_of(const Statement *statement, const NullableDatum *args)
{
	ParamListInfo params;

	if (statement->nargs == 0)
		return NULL;
	params = makeParamList(statement->nargs);
	for (int i = 0; i < statement->nargs; i++)
	{
		ParamExternData *param = &params->params[i];

		param->value = args[i].value;
		param->isnull = args[i].isnull;
		param->pflags = PARAM_FLAG_CONST;
		param->ptype = statement->argtypes[i];
	}
	return params;
}

/* The snapshots that SPI takes. */
static void
push_snapshot(const Statement *statement, Snapshot snapshot)
{
	if (!statement->reads)
		CommandCounterIncrement();
	if (snapshot == InvalidSnapshot)
		PushActiveSnapshot(statement->reads && ActiveSnapshotSet() ?
						   GetActiveSnapshot() : GetTransactionSnapshot());
	else if (statement->reads)
		PushActiveSnapshot(snapshot);
	else
	{
		PushCopiedSnapshot(snapshot);
		UpdateActiveSnapshotCommandId();
	}
}

static void
say_statement(void *statement)
{
	errcontext("SQL statement \"%s\"", ((const Statement *) statement)->sql);
}

/* Run the plan, with what it needs meanwhile in the current memory context. */
static void
execute(const Statement *statement, PlannedStmt *planned, const NullableDatum *args, Snapshot snapshot,
		MemoryContext rows)
{
	RowKeeper	keeper = {
		.receiver = {
			.receiveSlot = keep_row,
			.rStartup = begin_keeping,
			.rShutdown = end_keeping,
			.rDestroy = end_keeping,
			.mydest = DestSPI
		},
		.context = rows
	};
	ErrorContextCallback context = {
		.callback = say_statement, .arg = unconstify(Statement *, statement), .previous = error_context_stack
	};
	QueryDesc  *query;

	error_context_stack = &context;
	push_snapshot(statement, snapshot);
	query = CreateQueryDesc(planned, statement->sql, GetActiveSnapshot(), InvalidSnapshot,
							&keeper.receiver, params_of(statement, args), NULL, 0);
	ExecutorStart(query, 0);
	run_executor(query);
	ExecutorFinish(query);
	SPI_processed = query->estate->es_processed;
	SPI_tuptable = keeper.rows;
	ExecutorEnd(query);
	FreeQueryDesc(query);
	PopActiveSnapshot();
	if (!statement->reads)
		CommandCounterIncrement();
	error_context_stack = context.previous;
}

/* A call may go on after an error, and run thousands more: nothing is left behind. */
static uint64
run_ready(Statement *statement, PlannedStmt *planned, const NullableDatum *args, Snapshot snapshot)
{
	CachedPlan *plan = statement->ready;
	MemoryContext callers = CurrentMemoryContext;
	MemoryContext own = AllocSetContextCreate(callers, "pictrepo statement", ALLOCSET_SMALL_SIZES);

	/* a trigger may come by here and find that the plan is no longer good */
	plan->refcount++;
	MemoryContextSwitchTo(own);
	PG_TRY();
	{
		execute(statement, planned, args, snapshot, callers);
	}
	PG_CATCH();
	{
		ReleaseCachedPlan(plan, NULL);
		MemoryContextSwitchTo(callers);
		MemoryContextDelete(own);
		PG_RE_THROW();
	}
	PG_END_TRY();
	ReleaseCachedPlan(plan, NULL);
	MemoryContextSwitchTo(callers);
	MemoryContextDelete(own);
	return SPI_processed;
}

static uint64
run_with(Statement *statement, const NullableDatum *args, Snapshot snapshot)
{
	PlannedStmt *planned = ready_plan(statement);
	uint64		rows;

	if (planned != NULL)
		return run_ready(statement, planned, args, snapshot);
	rows = run_by_spi(statement, args, snapshot);
	hold_ready(statement);
	return rows;
}

/*
 * Run a statement; returns how many rows it gave or changed.  The rows are in
 * SPI_tuptable until the next statement or end_call.
 */
uint64
run_statement(Statement *statement, const NullableDatum *args)
{
	return run_with(statement, args, InvalidSnapshot);
}

/*
 * The same, of what is committed by now whatever the isolation level.  For
 * decisions that are taken with a lock held.
 */
uint64
run_latest(Statement *statement, const NullableDatum *args)
{
	return run_with(statement, args, GetLatestSnapshot());
}

/*
 * Before a call looks once more, as what it found went away meanwhile.  With
 * one snapshot for the whole transaction it would find the same for ever.
 */
void
look_again(void)
{
	CHECK_FOR_INTERRUPTS();
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent update"));
}

/* A value of the last statement's result; columns count from 1. */
NullableDatum
result_value(uint64 row, int column)
{
	NullableDatum result;

	result.value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
								 column, &result.isnull);
	return result;
}

/* The same, copied so that it outlives end_call. */
NullableDatum
kept_value(uint64 row, int column)
{
	NullableDatum result = result_value(row, column);
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, column - 1);

	if (!result.isnull)
		result.value = SPI_datumTransfer(result.value, attribute->attbyval,
										 attribute->attlen);
	return result;
}

/* bool: did the statement find or change anything? */
Datum
answer_whether(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args)
{
	return BoolGetDatum(DatumGetInt64(answer_count(fcinfo, statement, args)) > 0);
}

/* bigint: how many rows did it find or change? */
Datum
answer_count(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args)
{
	RepoCall	call;
	uint64		rows;

	begin_call(&call, fcinfo);
	rows = run_statement(statement, args);
	end_call(&call);
	return Int64GetDatum((int64) rows);
}

Datum
answer_count_locked(FunctionCallInfo fcinfo, Statement *lock, Statement *statement, const NullableDatum *args)
{
	RepoCall	call;
	uint64		rows = 0;

	begin_call(&call, fcinfo);
	if (run_statement(lock, args) > 0)
		rows = run_statement(statement, args);
	end_call(&call);
	return Int64GetDatum((int64) rows);
}

Datum
answer_created(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args,
			   Statement *parent_exists, int n)
{
	RepoCall	call;
	bool		created;

	begin_call(&call, fcinfo);
	created = run_statement(statement, args) > 0;
	if (!created && run_statement(parent_exists, &args[n]) == 0)
		unknown_parent(fcinfo, n);
	end_call(&call);
	PG_RETURN_BOOL(created);
}

/* The first column of the first row; NULL when there is no row. */
Datum
answer_value(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args)
{
	RepoCall	call;
	NullableDatum result = NULL_ARG;

	begin_call(&call, fcinfo);
	if (run_statement(statement, args) > 0)
		result = kept_value(0, 1);
	end_call(&call);
	fcinfo->isnull = result.isnull;
	return result.isnull ? (Datum) 0 : result.value;
}

/* Made by the server already where the function stands in FROM */
static TupleDesc
result_row_type(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *from = (ReturnSetInfo *) fcinfo->resultinfo;
	TupleDesc	tupdesc;

	if (from != NULL && IsA(from, ReturnSetInfo) && from->expectedDesc != NULL)
		return from->expectedDesc;
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("return type must be a row type"));
	return tupdesc;
}

/* The server wants values and nulls apart. */
static void
take_apart(const NullableDatum *columns, int count, Datum *values, bool *nulls)
{
	Assert(count <= STATEMENT_MAX_ARGS);
	for (int i = 0; i < count; i++)
	{
		values[i] = columns[i].value;
		nulls[i] = columns[i].isnull;
	}
}

/* A value of the function's composite type; columns in its order. */
Datum
form_row(FunctionCallInfo fcinfo, const NullableDatum *columns)
{
	TupleDesc	tupdesc = BlessTupleDesc(result_row_type(fcinfo));
	Datum		values[STATEMENT_MAX_ARGS];
	bool		nulls[STATEMENT_MAX_ARGS];

	take_apart(columns, tupdesc->natts, values, nulls);
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

/* The first row as the function's composite type; NULL when there is none. */
Datum
answer_row(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args)
{
	RepoCall	call;
	NullableDatum columns[STATEMENT_MAX_ARGS] = {NULL_ARG};
	bool		found;

	begin_call(&call, fcinfo);
	found = run_statement(statement, args) > 0;
	for (int i = 0; found && i < SPI_tuptable->tupdesc->natts; i++)
		columns[i] = kept_value(0, i + 1);
	end_call(&call);
	if (!found)
		PG_RETURN_NULL();
	return form_row(fcinfo, columns);
}

/* Before begin_call: get ready to return rows through a tuplestore. */
void
begin_rows(FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
}

/* Add the last statement's result to the rows that the function returns. */
void
give_result_rows(FunctionCallInfo fcinfo)
{
	Tuplestorestate *rows = ((ReturnSetInfo *) fcinfo->resultinfo)->setResult;

	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rows, SPI_tuptable->vals[i]);
}

/* Add one row to them, with the columns in the order of the function's result. */
void
give_row(FunctionCallInfo fcinfo, const NullableDatum *columns)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[STATEMENT_MAX_ARGS];
	bool		nulls[STATEMENT_MAX_ARGS];

	take_apart(columns, result->setDesc->natts, values, nulls);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * All rows of the statement.  They pass through memory a batch at a time, and
 * the tuplestore goes to disk beyond work_mem: memory stays flat.
 */
Datum
answer_rows(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args)
{
	RepoCall	call;
	Datum		values[STATEMENT_MAX_ARGS];
	char		nulls[STATEMENT_MAX_ARGS];
	Portal		portal;
	int			guc_level;

	begin_rows(fcinfo);
	begin_call_with_path(&call, fcinfo);
	split_args(statement, args, values, nulls);
	guc_level = begin_planning(statement);
	portal = SPI_cursor_open(NULL, saved_plan(statement), values, nulls, statement->reads);
	end_planning(guc_level);
	do
	{
		SPI_cursor_fetch(portal, true, ROWS_AT_A_TIME);
		give_result_rows(fcinfo);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	end_call(&call);
	PG_RETURN_NULL();
}

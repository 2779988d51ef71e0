/*-------------------------------------------------------------------------
 *
 * result.c
 *		What repo functions return.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/tuplestore.h"

#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/row_count.h"

/* rows that a set-returning call holds in memory at a time */
#define ROWS_AT_A_TIME 1000

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
	Portal		portal;

	begin_rows(fcinfo);
	begin_call_with_path(&call, fcinfo);
	portal = open_portal(statement, args);
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

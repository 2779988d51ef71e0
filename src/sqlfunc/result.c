/*-------------------------------------------------------------------------
 *
 * result.c
 *		Results of SQL functions, made from the rows of a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

/* rows that a set-returning function fetches at a time */
#define ROWS_AT_A_TIME 1000

NullableDatum
result_value(uint64 row, int column)
{
	NullableDatum result;

	result.value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
								 column, &result.isnull);
	return result;
}

/* The same, as a copy that is valid after repo_call_end. */
NullableDatum
result_value_copy(uint64 row, int column)
{
	NullableDatum result = result_value(row, column);
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, column - 1);

	if (!result.isnull)
		result.value = SPI_datumTransfer(result.value, attribute->attbyval,
										 attribute->attlen);
	return result;
}

Datum
interval_result(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return IntervalPGetDatum(interval);
}

/* Returns bool: did the statement find or change a row? */
Datum
return_found(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args)
{
	return BoolGetDatum(DatumGetInt64(return_count(fcinfo, statement, args)) > 0);
}

/* Returns bigint: the number of rows that the statement found or changed. */
Datum
return_count(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args)
{
	RepoCall	call;
	uint64		rows;

	repo_call_begin(&call, fcinfo);
	rows = statement_run(statement, args);
	repo_call_end(&call);
	return Int64GetDatum((int64) rows);
}

Datum
return_inserted(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args,
				bool (*parent_exists) (NullableDatum key), int n)
{
	RepoCall	call;
	bool		inserted;

	repo_call_begin(&call, fcinfo);
	inserted = statement_run(statement, args) > 0;
	if (!inserted && !parent_exists(args[n]))
		parent_missing(fcinfo, n);
	repo_call_end(&call);
	PG_RETURN_BOOL(inserted);
}

/* Returns the first column of the first row, or NULL without a row. */
Datum
return_value(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args)
{
	RepoCall	call;
	NullableDatum result = NULL_ARG;

	repo_call_begin(&call, fcinfo);
	if (statement_run(statement, args) > 0)
		result = result_value_copy(0, 1);
	repo_call_end(&call);
	fcinfo->isnull = result.isnull;
	return result.isnull ? (Datum) 0 : result.value;
}

/* In FROM, the executor has already built the row type. */
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

/* Make the two arrays that the server takes. */
static void
split_columns(const NullableDatum *columns, int count, Datum *values, bool *nulls)
{
	Assert(count <= STATEMENT_MAX_ARGS);
	for (int i = 0; i < count; i++)
	{
		values[i] = columns[i].value;
		nulls[i] = columns[i].isnull;
	}
}

/* Returns a row of the function's result type, from its columns in order. */
Datum
form_row(FunctionCallInfo fcinfo, const NullableDatum *columns)
{
	TupleDesc	tupdesc = BlessTupleDesc(result_row_type(fcinfo));
	Datum		values[STATEMENT_MAX_ARGS];
	bool		nulls[STATEMENT_MAX_ARGS];

	split_columns(columns, tupdesc->natts, values, nulls);
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

/* Returns the first row as the function's result type, or NULL without a row. */
Datum
return_row(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args)
{
	RepoCall	call;
	NullableDatum columns[STATEMENT_MAX_ARGS] = {NULL_ARG};
	bool		found;

	repo_call_begin(&call, fcinfo);
	found = statement_run(statement, args) > 0;
	for (int i = 0; found && i < SPI_tuptable->tupdesc->natts; i++)
		columns[i] = result_value_copy(0, i + 1);
	repo_call_end(&call);
	if (!found)
		PG_RETURN_NULL();
	return form_row(fcinfo, columns);
}

/* Prepare to return rows in a tuplestore; call this before repo_call_begin. */
void
rows_begin(FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
}

/* Add the rows of the last statement to the rows that the function returns. */
void
rows_add_result(FunctionCallInfo fcinfo)
{
	Tuplestorestate *rows = ((ReturnSetInfo *) fcinfo->resultinfo)->setResult;

	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rows, SPI_tuptable->vals[i]);
}

/* Add one row, from its columns in order. */
void
rows_add(FunctionCallInfo fcinfo, const NullableDatum *columns)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[STATEMENT_MAX_ARGS];
	bool		nulls[STATEMENT_MAX_ARGS];

	split_columns(columns, result->setDesc->natts, values, nulls);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Returns all rows of the statement.  Memory stays small: rows are fetched in
 * batches, and the tuplestore spills to disk beyond work_mem.
 */
Datum
return_rows(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args)
{
	RepoCall	call;
	Portal		portal;

	rows_begin(fcinfo);
	repo_call_begin(&call, fcinfo);
	portal = statement_open_portal(statement, args);
	do
	{
		SPI_cursor_fetch(portal, true, ROWS_AT_A_TIME);
		rows_add_result(fcinfo);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	repo_call_end(&call);
	PG_RETURN_NULL();
}

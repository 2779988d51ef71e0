/*-------------------------------------------------------------------------
 *
 * result.h
 *		Results of SQL functions, made from the rows of a statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_RESULT_H
#define PICTREPO_RESULT_H

#include "sqlfunc/args.h"
#include "sqlfunc/statement.h"

/* A value in the result of the last statement; columns count from 1 */
extern NullableDatum result_value(uint64 row, int column);
extern NullableDatum result_value_copy(uint64 row, int column);

/* An interval without days and months */
extern Datum interval_result(int64 microseconds);

/* Run a statement in a repo call, and return its result */
extern Datum return_found(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);
extern Datum return_count(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);
extern Datum return_value(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);
extern Datum return_row(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);
extern Datum return_rows(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);

/*
 * Run INSERT ... SELECT ... FROM parent FOR KEY SHARE ON CONFLICT DO NOTHING.
 * Returns true, or false if the row exists.  Raises 23503 if the parent does
 * not exist; argument n is the parent's key.
 */
extern Datum return_inserted(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args,
							 bool (*parent_exists) (NullableDatum key), int n);

/* For functions that return rows or a row and run more than one statement */
extern void rows_begin(FunctionCallInfo fcinfo);
extern void rows_add_result(FunctionCallInfo fcinfo);
extern void rows_add(FunctionCallInfo fcinfo, const NullableDatum *columns);
extern Datum form_row(FunctionCallInfo fcinfo, const NullableDatum *columns);

#endif

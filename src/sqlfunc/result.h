/*-------------------------------------------------------------------------
 *
 * result.h
 *		What repo functions return.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_RESULT_H
#define PICTREPO_RESULT_H

#include "sqlfunc/args.h"
#include "sqlfunc/statement.h"

/* Values of the last statement's result */
extern NullableDatum result_value(uint64 row, int column);
extern NullableDatum result_value_copy(uint64 row, int column);

/* An interval that has no days or months */
extern Datum interval_result(int64 microseconds);

/* Whole calls: connect, run, answer */
extern Datum return_found(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);
extern Datum return_count(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);
extern Datum return_value(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);
extern Datum return_row(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);
extern Datum return_rows(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args);

/*
 * For statements that insert a row below a parent, in the form INSERT ...
 * SELECT ... FROM parent FOR KEY SHARE ON CONFLICT DO NOTHING: true, false (it
 * exists), or 23503 when the parent that argument n names is not there.
 */
extern Datum return_inserted(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args,
							 bool (*parent_exists) (NullableDatum key), int n);

/* The pieces of a set-returning call that does more than run one statement */
extern void rows_begin(FunctionCallInfo fcinfo);
extern void rows_add_result(FunctionCallInfo fcinfo);
extern void rows_add(FunctionCallInfo fcinfo, const NullableDatum *columns);
extern Datum form_row(FunctionCallInfo fcinfo, const NullableDatum *columns);

#endif

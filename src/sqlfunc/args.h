/*-------------------------------------------------------------------------
 *
 * args.h
 *		Taking and checking the arguments of repo functions.
 *
 * Each function returns the checked argument, ready for a statement, or raises
 * the contract's error: NULL 22004, malformed 22023, too long 22001.  The
 * message names the argument as the SQL declaration does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ARGS_H
#define PICTREPO_ARGS_H

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "common/compat.h"
#include "common/limits.h"
#include "common/page_slug.h"
#include "json/json_check.h"

#define ARGS(...) ((NullableDatum[]) {__VA_ARGS__})
#define NULL_ARG ((NullableDatum) {.isnull = true})

static inline NullableDatum
not_null(Datum value)
{
	NullableDatum result = {.value = value};

	return result;
}

/* values of a type as an array without nulls */
extern NullableDatum array_of(Datum *values, int count, Oid type);

/* that long before now */
extern NullableDatum seconds_ago(int seconds);

/* anything but NULL, as it is */
extern NullableDatum any_argument(FunctionCallInfo fcinfo, int n);

/* text of 1 to most bytes */
extern NullableDatum text_argument(FunctionCallInfo fcinfo, int n, int most);

#define identifier_argument(fcinfo, n) text_argument(fcinfo, n, IDENTIFIER_MAX)
#define variant_argument(fcinfo, n) text_argument(fcinfo, n, VARIANT_MAX)
#define url_argument(fcinfo, n) text_argument(fcinfo, n, URL_MAX)
#define key_argument(fcinfo, n) text_argument(fcinfo, n, KEY_MAX)

extern NullableDatum bytes_argument(FunctionCallInfo fcinfo, int n, int least, int most);
extern NullableDatum hash_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum alias_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum token_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum time_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum document_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum checked_document_argument(FunctionCallInfo fcinfo, int n, JsonCheck check);
extern bool document_passes(Datum document, JsonCheck check, JsonCheckError *error);
extern NullableDatum worker_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum limit_argument(FunctionCallInfo fcinfo, int n, int least, int most);
extern Datum *array_argument(FunctionCallInfo fcinfo, int n, Oid type, int *count, bool **nulls);
extern int64 duration_argument(FunctionCallInfo fcinfo, int n);
extern PagePosition slug_argument(FunctionCallInfo fcinfo, int n);

/* for checks of one caller only: an error 22023 about argument n */
pg_noreturn extern void bad_argument(FunctionCallInfo fcinfo, int n, const char *detail, const char *hint);
extern const char *argument_name(FunctionCallInfo fcinfo, int n);
extern void check_document_size(FunctionCallInfo fcinfo, int n, Datum document);
extern void check_text(FunctionCallInfo fcinfo, int n, Datum value, int most);
pg_noreturn extern void parent_missing(FunctionCallInfo fcinfo, int n);

#endif

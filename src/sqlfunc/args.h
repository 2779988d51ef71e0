/*-------------------------------------------------------------------------
 *
 * args.h
 *		Checks of the arguments of SQL functions.
 *
 * A function *_argument(fcinfo, n, ...) checks argument n of the call; the
 * first argument is 0.  It returns the value, ready for a statement, or raises
 * an error.  The error names the argument as the SQL declaration does.
 *
 * This table is the only description of the limits and of their SQLSTATEs.
 * The comment of an SQL function elsewhere names only the errors that are not
 * in it.
 *
 *	function				limit								otherwise
 *	----------------------	----------------------------------	---------
 *	any of them				not null, except as noted below		22004
 *
 *	text_argument			at least 1 byte						22023
 *							at most max bytes					22001
 *	identifier_argument		text of 1 to 1,024 bytes			the same
 *	variant_argument		text of 1 to 1,024 bytes			the same
 *	url_argument			text of 1 to 65,536 bytes			the same
 *	key_argument			text of 1 to 80 bytes: a queue, a	the same
 *							unique key, the key of a setting
 *	alias_argument			text of 1 to 255 bytes, counted		the same
 *							in the normal form
 *	token_argument			text of 1 to 255 bytes; the error	the same
 *							does not show the value
 *
 *	bytes_argument			at least min bytes					22023
 *							at most max bytes					22001
 *	hash_argument			bytea of 1 to 128 bytes				the same
 *
 *	document_argument		at most the setting					22001
 *							max_document_size, as jsonb
 *	checked_document_argument
 *							the same							22001
 *							nested as deeply as the setting		22P02
 *							max_stack_depth allows
 *							the members that the check wants	22023
 *
 *	limit_argument			integer from min to max				22023
 *	time_argument			finite timestamptz					22023
 *	duration_argument		interval that is not negative		22023
 *	slug_argument			slug of a page						22023
 *	array_argument			at most one dimension				22023
 *							no null elements, unless the		22004
 *							caller asks for them
 *	worker_argument			NULL means the session's own id		none
 *
 * The sizes are those of common/limits.h.
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

/* Argument n, which the last release does not declare; until the upgrade it is NULL. */
static inline NullableDatum
new_argument(FunctionCallInfo fcinfo, int n)
{
	return n < PG_NARGS() ? fcinfo->args[n] : NULL_ARG;
}

/* Values of a type as an array without nulls */
extern NullableDatum array_of(Datum *values, int count, Oid type);

/* The time that many seconds before now */

extern NullableDatum any_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum text_argument(FunctionCallInfo fcinfo, int n, int max);

#define identifier_argument(fcinfo, n) text_argument(fcinfo, n, IDENTIFIER_MAX)
#define variant_argument(fcinfo, n) text_argument(fcinfo, n, VARIANT_MAX)
#define url_argument(fcinfo, n) text_argument(fcinfo, n, URL_MAX)
#define key_argument(fcinfo, n) text_argument(fcinfo, n, KEY_MAX)

extern NullableDatum alias_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum token_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum bytes_argument(FunctionCallInfo fcinfo, int n, int min, int max);
extern NullableDatum hash_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum document_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum checked_document_argument(FunctionCallInfo fcinfo, int n, JsonCheck check);
extern NullableDatum limit_argument(FunctionCallInfo fcinfo, int n, int min, int max);
extern NullableDatum time_argument(FunctionCallInfo fcinfo, int n);
extern int64 duration_argument(FunctionCallInfo fcinfo, int n);
extern PagePosition slug_argument(FunctionCallInfo fcinfo, int n);
extern Datum *array_argument(FunctionCallInfo fcinfo, int n, Oid type, int *count, bool **nulls);
extern NullableDatum worker_argument(FunctionCallInfo fcinfo, int n);

/* The same checks for values that are part of an argument */
extern void check_text(FunctionCallInfo fcinfo, int n, Datum value, int max);
extern void check_element_count(FunctionCallInfo fcinfo, int n, int count, int other, int expected);
extern void check_document_size(FunctionCallInfo fcinfo, int n, Datum document);
extern bool document_passes(Datum document, JsonCheck check, JsonCheckError *error);

/* For the checks of a single caller: raise 22023 for argument n */
pg_noreturn extern void bad_argument(FunctionCallInfo fcinfo, int n, const char *detail, const char *hint);

/* Raise 23503: argument n is the key of a row that does not exist */
pg_noreturn extern void parent_missing(FunctionCallInfo fcinfo, int n);

extern const char *argument_name(FunctionCallInfo fcinfo, int n);

#endif

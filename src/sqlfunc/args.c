/*-------------------------------------------------------------------------
 *
 * args.c
 *		Checks of the arguments of SQL functions.
 *
 * args.h lists the limits and the SQLSTATEs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/limits.h"
#include "common/page_slug.h"
#include "common/shown_text.h"
#include "common/uuid.h"
#include "json/json_check.h"
#include "sqlfunc/args.h"
#include "sqlfunc/json_stack.h"

NullableDatum
array_of(Datum *values, int count, Oid type)
{
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return not_null(PointerGetDatum(construct_array(values, count, type, length, by_value, align)));
}

/* The name of an argument in the SQL declaration.  Slow: for errors only. */
const char *
argument_name(FunctionCallInfo fcinfo, int n)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID,
										ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Oid		   *types;
	char	  **names = NULL;
	char	   *modes;
	int			count = 0;

	if (HeapTupleIsValid(tuple))
	{
		count = get_func_arg_info(tuple, &types, &names, &modes);
		ReleaseSysCache(tuple);
	}
	if (names == NULL || n >= count)
		return psprintf("$%d", n + 1);
	return names[n];
}

/* The beginning of a text or bytea value, readable. */
static char *
excerpt(Oid type, Datum value)
{
	struct varlena *start = PG_DETOAST_DATUM_SLICE(value, 0, SHOWN_MAX * MAX_MULTIBYTE_CHAR_LEN);
	const char *bytes = VARDATA_ANY(start);
	int			length = VARSIZE_ANY_EXHDR(start);

	if (type == BYTEAOID)
	{
		char	   *hex;

		length = Min(length, SHOWN_MAX / 2 - 1);
		hex = palloc(2 + 2 * length + 1);
		memcpy(hex, "\\x", 2);
		hex[2 + hex_encode(bytes, length, hex + 2)] = '\0';
		return hex;
	}
	return shown_text(bytes, length);
}

static void
check_not_null(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("argument \"%s\" must not be null", argument_name(fcinfo, n)));
}

void
bad_argument(FunctionCallInfo fcinfo, int n, const char *detail, const char *hint)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid value for argument \"%s\"", argument_name(fcinfo, n)),
			errdetail("%s", detail),
			hint ? errhint("%s", hint) : 0);
}

/* The argument's name says what is missing: a hash or an alias. */
void
parent_missing(FunctionCallInfo fcinfo, int n)
{
	const char *name = argument_name(fcinfo, n);

	ereport(ERROR,
			errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			errmsg("%s \"%s\" does not exist", name,
				   excerpt(get_fn_expr_argtype(fcinfo->flinfo, n), PG_GETARG_DATUM(n))),
			errhint("Create the %s first.", name));
}

/*
 * Check the length of a text or bytea value without decompressing it.  The
 * error does not show a secret value.
 */
static void
check_length(FunctionCallInfo fcinfo, int n, Datum value, Oid type,
			 int min, int max, bool secret)
{
	Size		length = toast_raw_datum_size(value) - VARHDRSZ;

	if (length > (Size) max)
		ereport(ERROR,
				errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("argument \"%s\" is too long", argument_name(fcinfo, n)),
				secret ?
				errdetail("The value has %zu bytes; the limit is %d bytes.", length, max) :
				errdetail("The value has %zu bytes; the limit is %d bytes. It begins with \"%s\".",
						  length, max, excerpt(type, value)));
	if (length < (Size) min)
		bad_argument(fcinfo, n, "The value is empty.", NULL);
}

NullableDatum
any_argument(FunctionCallInfo fcinfo, int n)
{
	check_not_null(fcinfo, n);
	return fcinfo->args[n];
}

/* The check of text_argument, for an element of an array. */
void
check_text(FunctionCallInfo fcinfo, int n, Datum value, int max)
{
	check_length(fcinfo, n, value, TEXTOID, 1, max, false);
}

NullableDatum
text_argument(FunctionCallInfo fcinfo, int n, int max)
{
	check_not_null(fcinfo, n);
	check_text(fcinfo, n, PG_GETARG_DATUM(n), max);
	return fcinfo->args[n];
}

NullableDatum
bytes_argument(FunctionCallInfo fcinfo, int n, int min, int max)
{
	check_not_null(fcinfo, n);
	check_length(fcinfo, n, PG_GETARG_DATUM(n), BYTEAOID, min, max, false);
	return fcinfo->args[n];
}

NullableDatum
hash_argument(FunctionCallInfo fcinfo, int n)
{
	return bytes_argument(fcinfo, n, 1, HASH_MAX);
}

/* Returns the alias in its normal form, which is stored and compared. */
NullableDatum
alias_argument(FunctionCallInfo fcinfo, int n)
{
	text	   *alias;

	check_not_null(fcinfo, n);

	/* urn:uuid: makes an alias 9 bytes longer than its normal form */
	check_length(fcinfo, n, PG_GETARG_DATUM(n), TEXTOID, 1, ALIAS_MAX + 9, false);
	alias = alias_normalize(PG_GETARG_TEXT_PP(n));
	check_length(fcinfo, n, PointerGetDatum(alias), TEXTOID, 1, ALIAS_MAX, false);
	return not_null(PointerGetDatum(alias));
}

/* Returns the token in its normal form, which is stored and compared. */
NullableDatum
token_argument(FunctionCallInfo fcinfo, int n)
{
	check_not_null(fcinfo, n);
	check_length(fcinfo, n, PG_GETARG_DATUM(n), TEXTOID, 1, TOKEN_MAX, true);
	return not_null(PointerGetDatum(token_normalize(PG_GETARG_TEXT_PP(n))));
}

NullableDatum
time_argument(FunctionCallInfo fcinfo, int n)
{
	check_not_null(fcinfo, n);
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(n)))
		bad_argument(fcinfo, n,
					 TIMESTAMP_IS_NOBEGIN(PG_GETARG_TIMESTAMPTZ(n)) ?
					 "The value is -infinity." : "The value is infinity.", NULL);
	return fcinfo->args[n];
}

/*
 * A document's size is the size of its jsonb form before compression.  The
 * header of the value tells it, without decompressing or serializing.
 */
void
check_document_size(FunctionCallInfo fcinfo, int n, Datum document)
{
	Size		size = toast_raw_datum_size(document) - VARHDRSZ;

	if (size > (Size) guc_max_document_size * 1024)
		ereport(ERROR,
				errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("argument \"%s\" is too long", argument_name(fcinfo, n)),
				errdetail("The document has %zu bytes as jsonb; the limit is %d kB.",
						  size, guc_max_document_size),
				errhint("Consider increasing the configuration parameter \"pictrepo.max_document_size\"."));
}

NullableDatum
document_argument(FunctionCallInfo fcinfo, int n)
{
	check_not_null(fcinfo, n);
	check_document_size(fcinfo, n, PG_GETARG_DATUM(n));
	return fcinfo->args[n];
}

/* Does a document pass a check?  If not, the error says why, in the database's encoding. */
bool
document_passes(Datum document, JsonCheck check, JsonCheckError *error)
{
	Jsonb	   *jsonb = DatumGetJsonbP(document);
	char	   *json = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	char	   *utf8 = pg_server_to_any(json, strlen(json), PG_UTF8);
	char	   *message;

	if (json_fits_stack(utf8, strlen(utf8), error) && json_check(utf8, strlen(utf8), check, error))
		return true;
	message = pg_any_to_server(error->message, strlen(error->message), PG_UTF8);
	if (message != error->message)
		strlcpy(error->message, message, sizeof(error->message));
	return false;
}

NullableDatum
checked_document_argument(FunctionCallInfo fcinfo, int n, JsonCheck check)
{
	NullableDatum document = document_argument(fcinfo, n);
	JsonCheckError error;

	if (!document_passes(document.value, check, &error))
		ereport(ERROR,
				errcode(error.malformed ? ERRCODE_INVALID_TEXT_REPRESENTATION :
						ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid value for argument \"%s\"", argument_name(fcinfo, n)),
				errdetail("%s", error.message));
	return document;
}

/* The id of the worker that makes the call. */
NullableDatum
worker_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		return not_null(UUIDPGetDatum(session_worker_id()));
	return fcinfo->args[n];
}

NullableDatum
limit_argument(FunctionCallInfo fcinfo, int n, int min, int max)
{
	check_not_null(fcinfo, n);
	if (PG_GETARG_INT32(n) < min || PG_GETARG_INT32(n) > max)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("argument \"%s\" is out of range", argument_name(fcinfo, n)),
				errdetail("The value is %d; it must be between %d and %d.",
						  PG_GETARG_INT32(n), min, max));
	return fcinfo->args[n];
}

/*
 * Returns the elements of an array.  Null elements are an error if the caller
 * passes no place for nulls.
 */
Datum *
array_argument(FunctionCallInfo fcinfo, int n, Oid type, int *count, bool **nulls)
{
	ArrayType  *array = DatumGetArrayTypeP(any_argument(fcinfo, n).value);
	Datum	   *elements;
	bool	   *element_nulls;
	int16		length;
	bool		by_value;
	char		align;

	if (ARR_NDIM(array) > 1)
		bad_argument(fcinfo, n,
					 psprintf("The array has %d dimensions; it must have one.", ARR_NDIM(array)), NULL);
	get_typlenbyvalalign(type, &length, &by_value, &align);
	deconstruct_array(array, type, length, by_value, align, &elements, &element_nulls, count);
	if (nulls != NULL)
		*nulls = element_nulls;
	else
		for (int i = 0; i < *count; i++)
			if (element_nulls[i])
				ereport(ERROR,
						errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("argument \"%s\" must not contain null", argument_name(fcinfo, n)),
						errdetail("Element %d is null.", i + 1));
	return elements;
}

/* Returns an interval in microseconds; a month counts as 30 days. */
int64
duration_argument(FunctionCallInfo fcinfo, int n)
{
	Interval   *interval;
	double		microseconds;

	check_not_null(fcinfo, n);
	interval = PG_GETARG_INTERVAL_P(n);
	microseconds = interval->time +
		((double) interval->day + (double) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;
	if (microseconds < 0)
		bad_argument(fcinfo, n,
					 psprintf("The value is %s; it must not be negative.",
							  DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)))),
					 NULL);

	/* 30,000 years mean for ever, and added to a time they do not overflow */
	return (int64) Min(microseconds, 1e18);
}

/* Returns the position that a page slug encodes. */
PagePosition
slug_argument(FunctionCallInfo fcinfo, int n)
{
	NullableDatum slug = any_argument(fcinfo, n);
	text	   *slug_text = DatumGetTextPP(slug.value);
	PagePosition position;

	if (VARSIZE_ANY_EXHDR(slug_text) > SLUG_MAX || !page_slug_decode(slug_text, &position))
		bad_argument(fcinfo, n,
					 psprintf("\"%s\" is not a slug.",
							  excerpt(TEXTOID, slug.value)),
					 "Use a slug that hash_to_slug or a function for pages, such as hash_page or page, returned.");
	return position;
}

/* Argument n is an array for each element of another one, argument other. */
void
check_element_count(FunctionCallInfo fcinfo, int n, int count, int other, int expected)
{
	if (count != expected)
		bad_argument(fcinfo, n,
					 psprintf("The number of elements is %d, but argument \"%s\" has %d.", count,
							  argument_name(fcinfo, other), expected),
					 NULL);
}

/*-------------------------------------------------------------------------
 *
 * args.c
 *		Taking and checking the arguments of repo functions.
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

NullableDatum
array_of(Datum *values, int count, Oid type)
{
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return not_null(PointerGetDatum(construct_array(values, count, type, length, by_value, align)));
}

NullableDatum
seconds_ago(int seconds)
{
	return not_null(TimestampTzGetDatum(GetCurrentTimestamp() - seconds * USECS_PER_SEC));
}

/* The name of an argument in the function's declaration; for errors only. */
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

/* The start of a text or bytea value as a reader can take it. */
static char *
shown(Oid type, Datum value)
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

/* 22004 */
static void
refuse_null(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("argument \"%s\" must not be null", argument_name(fcinfo, n)));
}

/* 22023 */
void
bad_argument(FunctionCallInfo fcinfo, int n, const char *detail, const char *hint)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid value for argument \"%s\"", argument_name(fcinfo, n)),
			errdetail("%s", detail),
			hint ? errhint("%s", hint) : 0);
}

/* 23503: the argument names a hash or an alias that is not there */
void
parent_missing(FunctionCallInfo fcinfo, int n)
{
	ereport(ERROR,
			errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			errmsg("argument \"%s\" names nothing that is stored", argument_name(fcinfo, n)),
			errdetail("It is \"%s\".",
					  shown(get_fn_expr_argtype(fcinfo->flinfo, n), PG_GETARG_DATUM(n))),
			errhint("Create it first."));
}

/*
 * The length rule that texts and byte strings share, checked before anything
 * is decompressed.  A secret value is never shown.
 */
static void
check_length(FunctionCallInfo fcinfo, int n, Datum value, Oid type,
			 int least, int most, bool secret)
{
	Size		length = toast_raw_datum_size(value) - VARHDRSZ;

	if (length > (Size) most)
		ereport(ERROR,
				errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("argument \"%s\" is too long", argument_name(fcinfo, n)),
				secret ?
				errdetail("It has %zu bytes, at most %d are allowed.", length, most) :
				errdetail("It has %zu bytes, at most %d are allowed; it starts with \"%s\".",
						  length, most, shown(type, value)));
	if (length < (Size) least)
		bad_argument(fcinfo, n, "It is empty.", NULL);
}

NullableDatum
any_argument(FunctionCallInfo fcinfo, int n)
{
	refuse_null(fcinfo, n);
	return fcinfo->args[n];
}

/* For the elements of arrays: the rule of text_argument. */
void
check_text(FunctionCallInfo fcinfo, int n, Datum value, int most)
{
	check_length(fcinfo, n, value, TEXTOID, 1, most, false);
}

NullableDatum
text_argument(FunctionCallInfo fcinfo, int n, int most)
{
	refuse_null(fcinfo, n);
	check_text(fcinfo, n, PG_GETARG_DATUM(n), most);
	return fcinfo->args[n];
}

NullableDatum
bytes_argument(FunctionCallInfo fcinfo, int n, int least, int most)
{
	refuse_null(fcinfo, n);
	check_length(fcinfo, n, PG_GETARG_DATUM(n), BYTEAOID, least, most, false);
	return fcinfo->args[n];
}

NullableDatum
hash_argument(FunctionCallInfo fcinfo, int n)
{
	return bytes_argument(fcinfo, n, 1, HASH_MAX);
}

/* An alias in its normal form, in which it is stored and compared. */
NullableDatum
alias_argument(FunctionCallInfo fcinfo, int n)
{
	text	   *alias;

	refuse_null(fcinfo, n);

	/* the longest way to write a UUID has 9 characters more than the normal */
	check_length(fcinfo, n, PG_GETARG_DATUM(n), TEXTOID, 1, ALIAS_MAX + 9, false);
	alias = alias_normalize(PG_GETARG_TEXT_PP(n));
	check_length(fcinfo, n, PointerGetDatum(alias), TEXTOID, 1, ALIAS_MAX, false);
	return not_null(PointerGetDatum(alias));
}

NullableDatum
token_argument(FunctionCallInfo fcinfo, int n)
{
	refuse_null(fcinfo, n);
	check_length(fcinfo, n, PG_GETARG_DATUM(n), TEXTOID, 1, TOKEN_MAX, true);
	return fcinfo->args[n];
}

/* A point in time that can be stored: not infinite. */
NullableDatum
time_argument(FunctionCallInfo fcinfo, int n)
{
	refuse_null(fcinfo, n);
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(n)))
		bad_argument(fcinfo, n,
					 TIMESTAMP_IS_NOBEGIN(PG_GETARG_TIMESTAMPTZ(n)) ?
					 "It is -infinity." : "It is infinity.", NULL);
	return fcinfo->args[n];
}

/*
 * The size of a document is that of its jsonb form before compression, which
 * is known without serialising it.
 */
void
check_document_size(FunctionCallInfo fcinfo, int n, Datum document)
{
	Size		size = toast_raw_datum_size(document) - VARHDRSZ;

	if (size > (Size) guc_max_document_size * 1024)
		ereport(ERROR,
				errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("argument \"%s\" is too long", argument_name(fcinfo, n)),
				errdetail("It has %zu bytes as jsonb, at most %d kB are allowed.",
						  size, guc_max_document_size),
				errhint("The limit is the setting \"pictrepo.max_document_size\"."));
}

NullableDatum
document_argument(FunctionCallInfo fcinfo, int n)
{
	refuse_null(fcinfo, n);
	check_document_size(fcinfo, n, PG_GETARG_DATUM(n));
	return fcinfo->args[n];
}

/* Does a document pass a check?  If not, the error says why, in the server's encoding. */
bool
document_passes(Datum document, JsonCheck check, JsonCheckError *error)
{
	Jsonb	   *jsonb = DatumGetJsonbP(document);
	char	   *json = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	char	   *utf8 = pg_server_to_any(json, strlen(json), PG_UTF8);
	char	   *message;

	if (json_check(utf8, strlen(utf8), check, error))
		return true;
	message = pg_any_to_server(error->message, strlen(error->message), PG_UTF8);
	if (message != error->message)
		strlcpy(error->message, message, sizeof(error->message));
	return false;
}

/* A document that the extension must understand. */
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

/* The worker that acts: NULL stands for this session's own. */
NullableDatum
worker_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		return not_null(UUIDPGetDatum(session_worker_id()));
	return fcinfo->args[n];
}

NullableDatum
limit_argument(FunctionCallInfo fcinfo, int n, int least, int most)
{
	refuse_null(fcinfo, n);
	if (PG_GETARG_INT32(n) < least || PG_GETARG_INT32(n) > most)
		bad_argument(fcinfo, n,
					 psprintf("It is %d, allowed are %d to %d.",
							  PG_GETARG_INT32(n), least, most), NULL);
	return fcinfo->args[n];
}

/*
 * The elements of a one-dimensional array.  Where the caller takes no nulls
 * back, there must be none.
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
		bad_argument(fcinfo, n, "It has more than one dimension.", NULL);
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

/* A non-negative interval in microseconds (months count 30 days). */
int64
duration_argument(FunctionCallInfo fcinfo, int n)
{
	Interval   *interval;
	double		microseconds;

	refuse_null(fcinfo, n);
	interval = PG_GETARG_INTERVAL_P(n);
	microseconds = interval->time +
		((double) interval->day + (double) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;
	if (microseconds < 0)
		bad_argument(fcinfo, n,
					 psprintf("It is negative: %s.",
							  DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)))),
					 NULL);

	/* 30,000 years: for ever, and added to a time it does not overflow */
	return (int64) Min(microseconds, 1e18);
}

/* A page position. */
PagePosition
slug_argument(FunctionCallInfo fcinfo, int n)
{
	NullableDatum slug = any_argument(fcinfo, n);
	text	   *slug_text = DatumGetTextPP(slug.value);
	PagePosition position;

	if (VARSIZE_ANY_EXHDR(slug_text) > SLUG_MAX || !page_slug_decode(slug_text, &position))
		bad_argument(fcinfo, n,
					 psprintf("\"%s\" is not a slug.", shown(TEXTOID, slug.value)),
					 "Slugs come from hash_page, hash_page_by_date and hash_to_slug.");
	return position;
}

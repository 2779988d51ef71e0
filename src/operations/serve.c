/*-------------------------------------------------------------------------
 *
 * serve.c
 *		Operations: answering a request for an image in one call.
 *
 * serve is the most frequent call of an image host.  So it reads its rows without an
 * SQL statement where it can, see sqlfunc/fast_path.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "common/uuid.h"
#include "images/access_times.h"
#include "images/values.h"
#include "sqlfunc/args.h"
#include "sqlfunc/fast_path.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

/* The alias that is served instead of one that does not exist. */
STATEMENT(fallback_alias, STMT_READ_ONLY,
		  "SELECT value FROM pictrepo.settings WHERE key = '404-alias'");

/*
 * The alias in the bytes of a setting: either its text, or, as pict-rs stores it, the
 * 16 bytes of a UUID and the extension as text.  NULL: it is neither.
 */
static NullableDatum
alias_of_bytes(const char *bytes, int length)
{
	StringInfoData alias;

	initStringInfo(&alias);
	if (!pg_verifymbstr(bytes, length, true))
	{
		if (length < UUID_LEN || !pg_verifymbstr(bytes + UUID_LEN, length - UUID_LEN, true))
			return NULL_ARG;
		appendStringInfoString(&alias, DatumGetCString(DirectFunctionCall1(uuid_out,
																		   PointerGetDatum(bytes))));
		bytes += UUID_LEN;
		length -= UUID_LEN;
	}
	appendBinaryStringInfo(&alias, bytes, length);
	return not_null(PointerGetDatum(alias_normalize(cstring_to_text_with_len(alias.data, alias.len))));
}

/* The fallback alias.  NULL: the setting does not exist, or is not an alias. */
static NullableDatum
find_fallback(void)
{
	bytea	   *value;

	if (statement_run(&fallback_alias, NULL) == 0)
		return NULL_ARG;
	value = DatumGetByteaPP(result_value_copy(0, 1).value);
	return alias_of_bytes(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

typedef enum ServeResult
{
	SERVE_NOTHING,
	SERVE_FALLBACK,
	SERVE_ALIAS
} ServeResult;

/* Run a query for an alias, or else for the fallback alias.  The caller is in a repo call. */
static ServeResult
find_alias(SqlStatement *query, NullableDatum alias, NullableDatum variant)
{
	if (statement_run(query, ARGS(alias, not_null(BoolGetDatum(false)), variant)) > 0)
		return SERVE_ALIAS;
	alias = find_fallback();
	if (alias.isnull ||
		statement_run(query, ARGS(alias, not_null(BoolGetDatum(true)), variant)) == 0)
		return SERVE_NOTHING;
	return SERVE_FALLBACK;
}

/*
 * Set the access times?  In a read-only transaction and on a standby, the answer
 * is the same without them.
 */
static bool
touch_argument(FunctionCallInfo fcinfo, int n)
{
	return DatumGetBool(any_argument(fcinfo, n).value) && !XactReadOnly;
}

PG_FUNCTION_INFO_V1(pictrepo_serve);

STATEMENT(image_of_alias, STMT_READ_ONLY,
		  "SELECT h.hash, h.identifier, d.details, h.motion_identifier, h.blurhash, $2"
		  " FROM pictrepo.aliases a JOIN pictrepo.hashes h ON h.hash = a.hash"
		  " LEFT JOIN pictrepo.details d ON d.identifier = h.identifier"
		  " WHERE a.alias = $1",
		  TEXTOID, BOOLOID);

/* The same by the fast path: it reads one row of each table */
FAST_LOOKUP(alias_row, "aliases", {"alias", TEXTOID}, {"hash", BYTEAOID});
FAST_LOOKUP(hash_row, "hashes", {"hash", BYTEAOID}, {"identifier", TEXTOID}, {"motion_identifier", TEXTOID},
		 {"blurhash", TEXTOID});
FAST_LOOKUP(details_row, "details", {"identifier", TEXTOID}, {"details", JSONBOID});

static FastLookupResult
find_image(NullableDatum alias, NullableDatum *image)
{
	NullableDatum of_alias[2];
	NullableDatum of_hash[4];
	NullableDatum of_file[2] = {NULL_ARG, NULL_ARG};
	FastLookupResult result;

	if ((result = fast_lookup(&alias_row, alias, of_alias)) != FAST_LOOKUP_ROW ||
		(result = fast_lookup(&hash_row, of_alias[1], of_hash)) != FAST_LOOKUP_ROW)
		return result;
	if (fast_lookup(&details_row, of_hash[1], of_file) == FAST_LOOKUP_UNUSABLE)
		return FAST_LOOKUP_UNUSABLE;
	memcpy(image, ARGS(of_hash[0], of_hash[1], of_file[1], of_hash[2], of_hash[3],
					   not_null(BoolGetDatum(false))), 6 * sizeof(NullableDatum));
	return FAST_LOOKUP_ROW;
}

/* Add the row of an alias, or of the fallback alias, to the result. */
static ServeResult
add_image(FunctionCallInfo fcinfo, NullableDatum alias)
{
	NullableDatum image[6];
	ServeResult found;

	if (find_image(alias, image) == FAST_LOOKUP_ROW)
	{
		rows_add(fcinfo, image);
		return SERVE_ALIAS;
	}
	found = find_alias(&image_of_alias, alias, NULL_ARG);
	if (found != SERVE_NOTHING)
		rows_add_result(fcinfo);
	return found;
}

/*
 * serve(alias text, touch bool)
 *		-> setof (hash bytea, identifier text, details jsonb, motion_identifier text,
 *				  blurhash text, fallback bool)
 *
 * The image of an alias, in one row.  With touch, set the access time of the alias.
 * fallback: the alias does not exist, and the row is that of the fallback alias.  No
 * row: neither exists.
 */
Datum
pictrepo_serve(PG_FUNCTION_ARGS)
{
	NullableDatum alias = alias_argument(fcinfo, 0);
	bool		touch = touch_argument(fcinfo, 1);
	ServeResult found;
	RepoCall	call;

	rows_begin(fcinfo);
	repo_call_begin_fast(&call, fcinfo);
	found = add_image(fcinfo, alias);
	if (found == SERVE_ALIAS && touch)
		touch_alias(alias);
	repo_call_end(&call);
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(pictrepo_serve_url);

STATEMENT(image_of_url, STMT_READ_ONLY,
		  "SELECT h.hash, h.identifier, d.details, h.motion_identifier, h.blurhash, false, a.alias"
		  " FROM pictrepo.proxies p JOIN pictrepo.aliases a ON a.alias = p.alias"
		  " JOIN pictrepo.hashes h ON h.hash = a.hash"
		  " LEFT JOIN pictrepo.details d ON d.identifier = h.identifier"
		  " WHERE p.digest = $1",
		  BYTEAOID);

/*
 * serve_url(url text, touch bool) -> setof (as serve, alias text)
 *
 * The image of a proxied URL, and its alias.  With touch, set the access time of the
 * alias.  No row: the URL has no alias.
 */
Datum
pictrepo_serve_url(PG_FUNCTION_ARGS)
{
	NullableDatum digest = url_digest(url_argument(fcinfo, 0));
	bool		touch = touch_argument(fcinfo, 1);
	RepoCall	call;

	rows_begin(fcinfo);
	repo_call_begin(&call, fcinfo);
	if (statement_run(&image_of_url, &digest) > 0)
	{
		NullableDatum alias = result_value_copy(0, 7);

		rows_add_result(fcinfo);
		if (touch)
			touch_alias(alias);
	}
	repo_call_end(&call);
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(pictrepo_serve_variant);

STATEMENT(variant_of_alias, STMT_READ_ONLY,
		  "SELECT h.hash, v.identifier, vd.details, h.motion_identifier, h.blurhash, $2,"
		  " h.identifier, d.details"
		  " FROM pictrepo.aliases a JOIN pictrepo.hashes h ON h.hash = a.hash"
		  " LEFT JOIN pictrepo.details d ON d.identifier = h.identifier"
		  " LEFT JOIN pictrepo.variants v ON v.hash = h.hash AND v.variant = $3"
		  " LEFT JOIN pictrepo.details vd ON vd.identifier = v.identifier"
		  " WHERE a.alias = $1",
		  TEXTOID, BOOLOID, TEXTOID);

/*
 * serve_variant(alias text, variant text, touch bool)
 *		-> setof (as serve, original_identifier text, original_details jsonb)
 *
 * A variant of the image of an alias, and the image's own file, in one row.  With
 * touch, set the access times of the alias and of the variant.  identifier NULL: the
 * variant does not exist.  No row: as in serve.
 */
Datum
pictrepo_serve_variant(PG_FUNCTION_ARGS)
{
	NullableDatum alias = alias_argument(fcinfo, 0);
	NullableDatum variant = variant_argument(fcinfo, 1);
	bool		touch = touch_argument(fcinfo, 2);
	ServeResult found;
	RepoCall	call;

	rows_begin(fcinfo);
	repo_call_begin(&call, fcinfo);
	found = find_alias(&variant_of_alias, alias, variant);
	if (found != SERVE_NOTHING)
		rows_add_result(fcinfo);
	if (found == SERVE_ALIAS && touch)
	{
		NullableDatum hash = result_value_copy(0, 1);

		if (!result_value(0, 2).isnull)
			touch_variant(hash, variant);
		touch_alias(alias);
	}
	repo_call_end(&call);
	PG_RETURN_NULL();
}

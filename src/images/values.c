/*-------------------------------------------------------------------------
 *
 * values.c
 *		Helpers for the values that the repo stores.
 *
 * A hash of pict-rs has 39 bytes: the SHA-256 of the content (32), its size in
 * bytes (6, big-endian) and its format (1).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "common/limits.h"
#include "common/page_slug.h"
#include "common/uuid.h"
#include "images/values.h"
#include "sqlfunc/args.h"

#define SHA256_LEN 32
#define SIZE_LEN 6

StaticAssertDecl(SHA256_LEN + SIZE_LEN + 1 == PICTRS_HASH_LEN, "parts of pict-rs's hash");

/* By format byte.  A format that can be animated has two names. */
static const char *const formats[] = {
	"apng", "animated-avif", "gif", "animated-webp",
	"avif", "jpeg", "jxl", "png", "webp",
	"mp4", "webm",
};

static int
format_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *name = text_to_cstring(DatumGetTextPP(key_argument(fcinfo, n).value));

	for (int i = 0; i < (int) lengthof(formats); i++)
		if (strcmp(name, formats[i]) == 0)
			return i;
	bad_argument(fcinfo, n,
				 psprintf("The value is \"%s\"; it must be apng, animated-avif, gif, animated-webp, avif,"
						  " jpeg, jxl, png, webp, mp4 or webm.", name), NULL);
}

PG_FUNCTION_INFO_V1(pictrepo_make_hash);

/*
 * make_hash(sha256 bytea, size bigint, format text) -> bytea
 *
 * The hash that pict-rs computes for a content.  sha256: 32 bytes.  size: 0 to
 * 2^48 - 1 bytes.  format: a name from the list above.  Error 22023 for any other
 * value.
 */
Datum
pictrepo_make_hash(PG_FUNCTION_ARGS)
{
	bytea	   *sha256 = DatumGetByteaPP(bytes_argument(fcinfo, 0, 1, SHA256_LEN).value);
	int64		size = DatumGetInt64(any_argument(fcinfo, 1).value);
	int			format = format_argument(fcinfo, 2);
	bytea	   *hash = palloc(VARHDRSZ + PICTRS_HASH_LEN);
	unsigned char *byte = (unsigned char *) VARDATA(hash);

	if (VARSIZE_ANY_EXHDR(sha256) != SHA256_LEN)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid value for argument \"%s\"", argument_name(fcinfo, 0)),
				errdetail_plural("The value has %d byte; a SHA-256 has %d bytes.",
								 "The value has %d bytes; a SHA-256 has %d bytes.",
								 (int) VARSIZE_ANY_EXHDR(sha256),
								 (int) VARSIZE_ANY_EXHDR(sha256), SHA256_LEN));
	if (size < 0 || size >> (8 * SIZE_LEN) != 0)
		bad_argument(fcinfo, 1,
					 psprintf("The value is " INT64_FORMAT "; it must be between 0 and 281474976710655.", size),
					 NULL);

	SET_VARSIZE(hash, VARHDRSZ + PICTRS_HASH_LEN);
	memcpy(byte, VARDATA_ANY(sha256), SHA256_LEN);
	for (int i = 0; i < SIZE_LEN; i++)
		byte[SHA256_LEN + i] = size >> (8 * (SIZE_LEN - 1 - i));
	byte[PICTRS_HASH_LEN - 1] = format;
	PG_RETURN_BYTEA_P(hash);
}

/* The bytes of a hash of pict-rs; NULL: the hash has another form. */
static const unsigned char *
pictrs_hash(FunctionCallInfo fcinfo)
{
	bytea	   *hash = DatumGetByteaPP(hash_argument(fcinfo, 0).value);

	if (VARSIZE_ANY_EXHDR(hash) != PICTRS_HASH_LEN)
		return NULL;
	return (const unsigned char *) VARDATA_ANY(hash);
}

PG_FUNCTION_INFO_V1(pictrepo_hash_sha256);

/*
 * hash_sha256(hash bytea) -> bytea
 *
 * The SHA-256 in a hash of pict-rs.  NULL: the hash has another form.
 */
Datum
pictrepo_hash_sha256(PG_FUNCTION_ARGS)
{
	const unsigned char *hash = pictrs_hash(fcinfo);

	if (hash == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PointerGetDatum(cstring_to_text_with_len((const char *) hash, SHA256_LEN)));
}

PG_FUNCTION_INFO_V1(pictrepo_hash_size);

/*
 * hash_size(hash bytea) -> bigint
 *
 * The size, in bytes, in a hash of pict-rs.  NULL: the hash has another form.
 */
Datum
pictrepo_hash_size(PG_FUNCTION_ARGS)
{
	const unsigned char *hash = pictrs_hash(fcinfo);
	int64		size = 0;

	if (hash == NULL)
		PG_RETURN_NULL();
	for (int i = 0; i < SIZE_LEN; i++)
		size = size << 8 | hash[SHA256_LEN + i];
	PG_RETURN_INT64(size);
}

PG_FUNCTION_INFO_V1(pictrepo_hash_format);

/*
 * hash_format(hash bytea) -> text
 *
 * The name of the format in a hash of pict-rs.  NULL: the hash has another form.
 */
Datum
pictrepo_hash_format(PG_FUNCTION_ARGS)
{
	const unsigned char *hash = pictrs_hash(fcinfo);

	if (hash == NULL || hash[PICTRS_HASH_LEN - 1] >= lengthof(formats))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(formats[hash[PICTRS_HASH_LEN - 1]]));
}

PG_FUNCTION_INFO_V1(pictrepo_hash_to_slug);

/*
 * hash_to_slug(hash bytea) -> text
 *
 * The slug of the page that starts at a hash.  It has no time, which only the stored
 * hash tells.  So it has no place once the hash is gone.
 */
Datum
pictrepo_hash_to_slug(PG_FUNCTION_ARGS)
{
	PagePosition position = {.hash = DatumGetByteaPP(hash_argument(fcinfo, 0).value)};

	PG_RETURN_TEXT_P(page_slug_encode(&position));
}

PG_FUNCTION_INFO_V1(pictrepo_hash_from_slug);

/*
 * hash_from_slug(slug text) -> bytea
 *
 * The hash in a slug.
 */
Datum
pictrepo_hash_from_slug(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(slug_argument(fcinfo, 0).hash);
}

/* The SHA-256 of the URL's bytes.  sha256_bytea can read a text: it is stored like a bytea. */
NullableDatum
url_digest(NullableDatum url)
{
	return not_null(DirectFunctionCall1(sha256_bytea, url.value));
}

PG_FUNCTION_INFO_V1(pictrepo_url_digest);

/*
 * url_digest(url text) -> bytea, strict
 *
 * The SHA-256 of the URL's bytes.
 */
Datum
pictrepo_url_digest(PG_FUNCTION_ARGS)
{
	return url_digest(fcinfo->args[0]).value;
}

PG_FUNCTION_INFO_V1(pictrepo_session_worker);

/*
 * session_worker() -> uuid
 *
 * The worker id with which this session claims if the worker argument is NULL.
 */
Datum
pictrepo_session_worker(PG_FUNCTION_ARGS)
{
	PG_RETURN_UUID_P(session_worker_id());
}

PG_FUNCTION_INFO_V1(pictrepo_id_node);

/*
 * id_node(id uuid) -> int
 *
 * The setting pictrepo.node_id of the server that generated the id.  NULL: the id
 * is not a UUID of version 7.
 */
Datum
pictrepo_id_node(PG_FUNCTION_ARGS)
{
	const unsigned char *byte = DatumGetUUIDP(any_argument(fcinfo, 0).value)->data;

	if (byte[6] >> 4 != 7 || byte[8] >> 6 != 2)
		PG_RETURN_NULL();
	PG_RETURN_INT32((byte[8] & 0x3f) << 4 | byte[9] >> 4);
}

PG_FUNCTION_INFO_V1(pictrepo_id_time);

/*
 * id_time(id uuid) -> timestamptz
 *
 * When the id was generated, in ms precision.  NULL: the id is not a UUID of
 * version 7.
 */
Datum
pictrepo_id_time(PG_FUNCTION_ARGS)
{
	const unsigned char *byte = DatumGetUUIDP(any_argument(fcinfo, 0).value)->data;
	int64		ms = 0;

	if (byte[6] >> 4 != 7 || byte[8] >> 6 != 2)
		PG_RETURN_NULL();
	for (int i = 0; i < 6; i++)
		ms = ms << 8 | byte[i];
	PG_RETURN_TIMESTAMPTZ(ms * 1000 - UNIX_EPOCH_USECS);
}

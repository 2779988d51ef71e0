/*-------------------------------------------------------------------------
 *
 * page_slug.c
 *		Encode page positions as slugs, and decode slugs.
 *
 * A slug is URL-safe base64, without padding, of one of these:
 *
 *	39 bytes		a hash of pict-rs: the slug that pict-rs itself uses
 *	tag, hash		another hash
 *	tag, time, hash a position that stays valid after the hash is deleted
 *
 * The tag is one byte of flags.  39 bytes are always a hash of pict-rs.  If
 * one of the other forms has 39 bytes, it gets a zero byte at the end and
 * TAG_PADDED in its tag.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "common/compat.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"

#include "common/limits.h"
#include "common/page_slug.h"

#define TAG_BASE	0x01		/* always set */
#define TAG_TIME	0x02		/* eight bytes of time follow the tag */
#define TAG_PADDED	0x04		/* a zero byte is at the end */

/* Encode bytes in standard base64 with padding; returns a palloc'd string. */
char *
base64_encode_cstring(const char *bytes, int length)
{
	int			size = pg_b64_enc_len(length);
	char	   *encoded = palloc(size + 1);

	size = pg_b64_encode((const void *) bytes, length, encoded, size);
	encoded[Max(size, 0)] = '\0';
	return encoded;
}

/* Convert standard base64 to URL-safe base64 in place, without the padding. */
static char *
url_safe(char *encoded)
{
	for (char *c = encoded; *c; c++)
	{
		if (*c == '+')
			*c = '-';
		else if (*c == '/')
			*c = '_';
		else if (*c == '=')
			*c = '\0';
	}
	return encoded;
}

text *
page_slug_encode(const PagePosition *position)
{
	char		bytes[SLUG_BYTES_MAX];
	int			hash_length = VARSIZE_ANY_EXHDR(position->hash);
	int			length = 0;

	if (!position->has_time && hash_length == PICTRS_HASH_LEN)
		return cstring_to_text(url_safe(base64_encode_cstring(VARDATA_ANY(position->hash), hash_length)));

	bytes[length++] = TAG_BASE | (position->has_time ? TAG_TIME : 0);
	if (position->has_time)
	{
		uint64		time = pg_hton64((uint64) position->created_at);

		memcpy(bytes + length, &time, sizeof(time));
		length += sizeof(time);
	}
	memcpy(bytes + length, VARDATA_ANY(position->hash), hash_length);
	length += hash_length;
	if (length == PICTRS_HASH_LEN)
	{
		bytes[0] |= TAG_PADDED;
		bytes[length++] = '\0';
	}
	return cstring_to_text(url_safe(base64_encode_cstring(bytes, length)));
}

/*
 * Decode URL-safe base64 into bytes.  Returns the length, or -1 if encoding the
 * bytes again does not give the same text.
 */
static int
decode(text *slug, char *bytes, int size)
{
	char	   *given = text_to_cstring(slug);
	char	   *standard = psprintf("%s%.*s", given, (int) (4 - strlen(given) % 4) % 4, "===");
	int			length;

	for (char *c = standard; *c; c++)
	{
		if (*c == '-')
			*c = '+';
		else if (*c == '_')
			*c = '/';
	}
	length = pg_b64_decode(standard, strlen(standard), (void *) bytes, size);
	if (length <= 0 || strcmp(url_safe(base64_encode_cstring(bytes, length)), given) != 0)
		return -1;
	return length;
}

static bytea *
make_bytea(const char *bytes, int length)
{
	bytea	   *result = palloc(VARHDRSZ + length);

	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), bytes, length);
	return result;
}

/* Decode a slug.  False: the text is not a slug. */
bool
page_slug_decode(text *slug, PagePosition *position)
{
	char		bytes[SLUG_BYTES_MAX + 3];
	int			length = decode(slug, bytes, sizeof(bytes));
	int			start = 1;

	memset(position, 0, sizeof(*position));
	if (length == PICTRS_HASH_LEN)
	{
		position->hash = make_bytea(bytes, length);
		return true;
	}
	if (length < 0 || (bytes[0] & ~(TAG_TIME | TAG_PADDED)) != TAG_BASE)
		return false;
	if (bytes[0] & TAG_PADDED)
	{
		if (--length != PICTRS_HASH_LEN || bytes[length] != '\0')
			return false;
	}
	if (bytes[0] & TAG_TIME)
	{
		uint64		time;

		if (length < start + (int) sizeof(time))
			return false;
		memcpy(&time, bytes + start, sizeof(time));
		start += sizeof(time);
		position->has_time = true;
		position->created_at = (TimestampTz) pg_ntoh64(time);
		if (!IS_VALID_TIMESTAMP(position->created_at))
			return false;
	}
	if (length - start < 1 || length - start > HASH_MAX)
		return false;
	position->hash = make_bytea(bytes + start, length - start);
	return true;
}

/*-------------------------------------------------------------------------
 *
 * uuid.c
 *		UUIDs: generate ids, and normalize the UUIDs in aliases and tokens.
 *
 * A generated id is a UUID version 7: 48 bits of Unix time in ms, 4 bits
 * version, 12 bits fraction of the ms, 2 bits variant, 10 bits
 * pictrepo.node_id, 52 random bits.  The ids of one backend always increase.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/compat.h"
#include "common/guc.h"
#include "common/uuid.h"

/* the time in an id has a resolution of 1/4096 ms */
#define TICKS_PER_MS 4096

/* The current time in ticks, but later than the time of the previous id. */
static uint64
next_tick(void)
{
	static uint64 last = 0;
	uint64		now = GetCurrentTimestamp() + UNIX_EPOCH_USECS;
	uint64		tick = now / 1000 * TICKS_PER_MS + now % 1000 * TICKS_PER_MS / 1000;

	last = Max(tick, last + 1);
	return last;
}

/* Fetch random bytes in large pieces: each fetch is slow. */
static void
random_bytes(unsigned char *bytes, int count)
{
	static unsigned char pool[512];
	static int	used = sizeof(pool);

	if (used + count > sizeof(pool))
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			elog(ERROR, "could not generate random values");
		used = 0;
	}
	memcpy(bytes, pool + used, count);
	used += count;
}

void
uuid_mint(pg_uuid_t *id)
{
	uint64		tick = next_tick();
	uint64		ms = tick / TICKS_PER_MS;
	unsigned	fraction = tick % TICKS_PER_MS;
	unsigned char *byte = id->data;

	random_bytes(byte + 8, 8);
	for (int i = 0; i < 6; i++)
		byte[i] = ms >> (8 * (5 - i));
	byte[6] = 0x70 | fraction >> 8;
	byte[7] = fraction;
	byte[8] = 0x80 | guc_node_id >> 4;
	byte[9] = (guc_node_id & 0x0f) << 4 | (byte[9] & 0x0f);
}

/* The id of this session as a worker; it stays the same until the session ends. */
const pg_uuid_t *
session_worker_id(void)
{
	static pg_uuid_t id;
	static bool generated = false;

	if (!generated)
	{
		uuid_mint(&id);
		generated = true;
	}
	return &id;
}

/* Do the bytes look like a UUID, with or without hyphens? */
static bool
looks_like_uuid(const char *spelling, int length)
{
	bool		hyphens = length == UUID_TEXT_LEN;

	if (!hyphens && length != 2 * UUID_LEN)
		return false;
	for (int i = 0; i < length; i++)
	{
		if (hyphens && (i == 8 || i == 13 || i == 18 || i == 23))
		{
			if (spelling[i] != '-')
				return false;
		}
		else if (!isxdigit((unsigned char) spelling[i]))
			return false;
	}
	return true;
}

/*
 * Does this spell a UUID?  The hyphens may be missing, and it may be in braces or
 * after urn:uuid:.  If so, write its normal form: lower case with hyphens.
 */
bool
uuid_normalize(const char *spelling, int length, char normal[UUID_TEXT_LEN])
{
	static const char urn[] = "urn:uuid:";
	const int	urn_length = sizeof(urn) - 1;
	char		bare[UUID_TEXT_LEN + 1];

	if (length == UUID_TEXT_LEN + 2 && spelling[0] == '{' && spelling[length - 1] == '}')
	{
		spelling++;
		length -= 2;
	}
	else if (length == UUID_TEXT_LEN + urn_length &&
			 pg_strncasecmp(spelling, urn, urn_length) == 0)
	{
		spelling += urn_length;
		length -= urn_length;
	}
	if (!looks_like_uuid(spelling, length))
		return false;

	memcpy(bare, spelling, length);
	bare[length] = '\0';
	memcpy(normal,
		   DatumGetCString(DirectFunctionCall1(uuid_out,
											   DirectFunctionCall1(uuid_in, CStringGetDatum(bare)))),
		   UUID_TEXT_LEN);
	return true;
}

/* Normalize the first bytes of a text, the stem, if they are a UUID. */
static text *
normalize_stem(text *whole, int stem)
{
	const char *start = VARDATA_ANY(whole);
	int			length = VARSIZE_ANY_EXHDR(whole);
	char		uuid[UUID_TEXT_LEN];
	text	   *normal;

	if (!uuid_normalize(start, stem, uuid))
		return whole;

	normal = palloc(VARHDRSZ + UUID_TEXT_LEN + length - stem);
	SET_VARSIZE(normal, VARHDRSZ + UUID_TEXT_LEN + length - stem);
	memcpy(VARDATA(normal), uuid, UUID_TEXT_LEN);
	memcpy(VARDATA(normal) + UUID_TEXT_LEN, start + stem, length - stem);
	return normal;
}

/* Normalize the part of an alias before the first dot if it is a UUID. */
text *
alias_normalize(text *alias)
{
	const char *start = VARDATA_ANY(alias);
	int			length = VARSIZE_ANY_EXHDR(alias);
	const char *dot = memchr(start, '.', length);

	return normalize_stem(alias, dot ? dot - start : length);
}

/* Normalize a token if it is a UUID. */
text *
token_normalize(text *token)
{
	return normalize_stem(token, VARSIZE_ANY_EXHDR(token));
}

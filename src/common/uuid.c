/*-------------------------------------------------------------------------
 *
 * uuid.c
 *		UUIDs: the ids that pictrepo mints, and those in aliases and tokens.
 *
 * A minted id is a UUID version 7: 48 bits of Unix time in ms, 4 bits version,
 * 12 bits fraction of the ms, 2 bits variant, then pictrepo.node_id in 10 bits
 * and 52 random bits.  Ids of one backend always rise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/uuid.h"

/* 1/4096 ms, the unit in which a minted id tells its time */
#define TICKS_PER_MS 4096

/* Time now in ticks, later than that of the id before. */
static uint64
next_tick(void)
{
	static uint64 last = 0;
	uint64		now = GetCurrentTimestamp() + UNIX_EPOCH_USECS;
	uint64		tick = now / 1000 * TICKS_PER_MS + now % 1000 * TICKS_PER_MS / 1000;

	last = Max(tick, last + 1);
	return last;
}

/* Asking for strong random bytes costs much more than using them. */
static void
random_bytes(unsigned char *bytes, int count)
{
	static unsigned char pool[512];
	static int	used = sizeof(pool);

	if (used + count > sizeof(pool))
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			ereport(ERROR,
					errcode(ERRCODE_INTERNAL_ERROR),
					errmsg("could not generate random values"));
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

/* The id of this session as a worker; stays the same until it ends. */
const pg_uuid_t *
session_worker_id(void)
{
	static pg_uuid_t id;
	static bool minted = false;

	if (!minted)
	{
		uuid_mint(&id);
		minted = true;
	}
	return &id;
}

/* Do the bytes have the shape of a UUID, with or without hyphens? */
static bool
looks_like_uuid(const char *text, int length)
{
	bool		hyphens = length == UUID_TEXT_LEN;

	if (!hyphens && length != 2 * UUID_LEN)
		return false;
	for (int i = 0; i < length; i++)
	{
		if (hyphens && (i == 8 || i == 13 || i == 18 || i == 23))
		{
			if (text[i] != '-')
				return false;
		}
		else if (!isxdigit((unsigned char) text[i]))
			return false;
	}
	return true;
}

/*
 * Is the text a UUID, plain, bare hex, in {braces} or as urn:uuid: ?  If so,
 * write its normal form: lower case, with hyphens.
 */
bool
uuid_normalize(const char *text, int length, char normal[UUID_TEXT_LEN])
{
	static const char urn[] = "urn:uuid:";
	const int	urn_length = sizeof(urn) - 1;
	char		plain[UUID_TEXT_LEN + 1];

	if (length == UUID_TEXT_LEN + 2 && text[0] == '{' && text[length - 1] == '}')
	{
		text	  ++;

		length -= 2;
	}
	else if (length == UUID_TEXT_LEN + urn_length &&
			 pg_strncasecmp(text, urn, urn_length) == 0)
	{
		text	  +=urn_length;

		length -= urn_length;
	}
	if (!looks_like_uuid(text, length))
		return false;

	memcpy(plain, text, length);
	plain[length] = '\0';
	memcpy(normal,
		   DatumGetCString(DirectFunctionCall1(uuid_out,
											   DirectFunctionCall1(uuid_in, CStringGetDatum(plain)))),
		   UUID_TEXT_LEN);
	return true;
}

/* An alias whose stem (up to the first dot) is a UUID gets it normalised. */
text *
alias_normalize(text *alias)
{
	const char *start = VARDATA_ANY(alias);
	int			length = VARSIZE_ANY_EXHDR(alias);
	const char *dot = memchr(start, '.', length);
	int			stem = dot ? dot - start : length;
	char		uuid[UUID_TEXT_LEN];
	text	   *normal;

	if (!uuid_normalize(start, stem, uuid))
		return alias;

	normal = palloc(VARHDRSZ + UUID_TEXT_LEN + length - stem);
	SET_VARSIZE(normal, VARHDRSZ + UUID_TEXT_LEN + length - stem);
	memcpy(VARDATA(normal), uuid, UUID_TEXT_LEN);
	memcpy(VARDATA(normal) + UUID_TEXT_LEN, start + stem, length - stem);
	return normal;
}

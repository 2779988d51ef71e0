/*-------------------------------------------------------------------------
 *
 * texts.c
 *		Fuzz target: slugs, aliases and cron texts.  The first byte says which.
 *
 * What these need of the server stands below: memory that is given back after
 * each input, UUIDs, and a time zone that the input makes up.  What else they
 * name is never called, and stays unresolved.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/uuid.h"

#include "common/compat.h"
#include "common/cron.h"
#include "common/page_slug.h"
#include "common/uuid.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

/* ----- memory ----- */

static void *allocated[10000];
static int	allocations = 0;

void *
palloc(Size size)
{
	must(allocations < lengthof(allocated));
	return allocated[allocations++] = malloc(size);
}

static void
give_back(void)
{
	while (allocations > 0)
		free(allocated[--allocations]);
}

char *
psprintf(const char *format, ...)
{
	char	   *text = palloc(4096);
	va_list		args;

	va_start(args, format);
	must(vsnprintf(text, 4096, format, args) < 4096);
	va_end(args);
	return text;
}

text *
cstring_to_text_with_len(const char *bytes, int length)
{
	text	   *result = palloc(VARHDRSZ + length);

	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), bytes, length);
	return result;
}

text *
cstring_to_text(const char *string)
{
	return cstring_to_text_with_len(string, strlen(string));
}

char *
text_to_cstring(const text *value)
{
	int			length = VARSIZE_ANY_EXHDR(value);
	char	   *result = palloc(length + 1);

	memcpy(result, VARDATA_ANY(value), length);
	result[length] = '\0';
	return result;
}

/* ----- UUIDs ----- */

Datum
DirectFunctionCall1Coll(PGFunction function, Oid collation, Datum arg)
{
	LOCAL_FCINFO(call, 1);

	call->args[0].value = arg;
	call->args[0].isnull = false;
	return function(call);
}

Datum
uuid_in(PG_FUNCTION_ARGS)
{
	const char *digit = PG_GETARG_CSTRING(0);
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	for (int i = 0; i < UUID_LEN; i++)
	{
		unsigned	byte;

		digit += *digit == '-';
		must(sscanf(digit, "%2x", &byte) == 1);
		uuid->data[i] = byte;
		digit += 2;
	}
	must(*digit == '\0');
	PG_RETURN_UUID_P(uuid);
}

Datum
uuid_out(PG_FUNCTION_ARGS)
{
	const unsigned char *byte = DatumGetUUIDP(PG_GETARG_DATUM(0))->data;
	char	   *out = palloc(UUID_TEXT_LEN + 1);
	char	   *end = out;

	for (int i = 0; i < UUID_LEN; i++)
		end += sprintf(end, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", byte[i]);
	PG_RETURN_CSTRING(out);
}

/* ----- a calendar and a time zone ----- */

const int	day_tab[2][13] = {
	{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0},
	{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0}
};

/* days since 4714-11-24 BC, by Fliegel and Van Flandern */
int
date2j(int year, int month, int day)
{
	int			a = (14 - month) / 12;
	int			y = year + 4800 - a;
	int			m = month + 12 * a - 3;

	return day + (153 * m + 2) / 5 + 365 * y + y / 4 - y / 100 + y / 400 - 32045;
}

void
j2date(int julian, int *year, int *month, int *day)
{
	int			a = julian + 32044;
	int			b = (4 * a + 3) / 146097;
	int			c = a - 146097 * b / 4;
	int			d = (4 * c + 3) / 1461;
	int			e = c - 1461 * d / 4;
	int			m = (5 * e + 2) / 153;

	*day = e - (153 * m + 2) / 5 + 1;
	*month = m + 3 - 12 * (m / 10);
	*year = 100 * b + d - 4800 + m / 10;
}

int
j2day(int julian)
{
	return (julian + 1) % 7;
}

#define HALF_YEAR ((int64) 180 * SECS_PER_DAY)

static int	offsets[2];			/* seconds east, in turn, each for half a year */

int
pg_next_dst_boundary(const pg_time_t *time, long int *before_offset, int *before_is_dst,
					 pg_time_t *boundary, long int *after_offset, int *after_is_dst, const pg_tz *zone)
{
	int64		half = *time / HALF_YEAR - (*time % HALF_YEAR < 0);

	*before_offset = offsets[half & 1];
	*after_offset = offsets[!(half & 1)];
	*before_is_dst = half & 1;
	*after_is_dst = !(half & 1);
	*boundary = (half + 1) * HALF_YEAR;
	return 1;
}

int
pg_mbcliplen(const char *bytes, int length, int limit)
{
	return Min(length, limit);
}

int
pg_mbcharcliplen(const char *bytes, int length, int limit)
{
	return Min(length, limit);
}

/* ----- what must hold ----- */

static bool
same_text(text *a, text *b)
{
	return VARSIZE_ANY(a) == VARSIZE_ANY(b) && memcmp(a, b, VARSIZE_ANY(a)) == 0;
}

/* What is read as a slug is written just so, and what is written is read. */
static void
try_slug(const char *bytes, int length)
{
	PagePosition	position;
	PagePosition	again;
	text	   *slug = cstring_to_text(pnstrdup(bytes, length));

	if (page_slug_decode(slug, &position))
		must(same_text(page_slug_encode(&position), slug));

	if (length < 10 || length > 9 + 128)
		return;
	position.has_time = bytes[0] & 1;
	memcpy(&position.created_at, bytes + 1, sizeof(TimestampTz));
	position.hash = cstring_to_text_with_len(bytes + 9, length - 9);
	if (!position.has_time)
		position.created_at = 0;
	else if (!IS_VALID_TIMESTAMP(position.created_at))
		return;
	must(page_slug_decode(page_slug_encode(&position), &again));
	must(again.has_time == position.has_time && again.created_at == position.created_at);
	must(same_text(again.hash, position.hash));
}

/* A normal alias is its own normal form, and nothing but its stem is another. */
static void
try_alias(const char *bytes, int length)
{
	text	   *alias = cstring_to_text_with_len(bytes, length);
	text	   *normal = alias_normalize(alias);
	const char *dot = memchr(bytes, '.', length);
	int			rest = dot ? bytes + length - dot : 0;

	must(same_text(alias_normalize(normal), normal));
	must(VARSIZE_ANY_EXHDR(normal) >= rest);
	must(memcmp(VARDATA_ANY(normal) + VARSIZE_ANY_EXHDR(normal) - rest, bytes + length - rest, rest) == 0);
}

/* What comes next comes later, at a full minute, and not before what comes next to an earlier time. */
static void
try_cron(const char *bytes, int length)
{
	char	   *cron_text;
	Cron		cron;
	TimestampTz after;
	TimestampTz next;

	if (length < 6)
		return;
	after = ((int64) (unsigned char) bytes[0] << 24 | (unsigned char) bytes[1] << 16 |
			 (unsigned char) bytes[2] << 8 | (unsigned char) bytes[3]) * USECS_PER_SEC;
	offsets[0] = bytes[4] * 15 * 60 / 2;
	offsets[1] = bytes[5] % 8 * 15 * 60 + offsets[0];
	cron_text = pnstrdup(bytes + 6, length - 6);
	if (cron_parse(cron_text, &cron) != NULL)
		return;
	next = cron_next(&cron, after, NULL);
	must(next > after);
	must(next == DT_NOEND || next % USECS_PER_SEC == 0);
	must(cron_next(&cron, after - USECS_PER_DAY, NULL) <= next);
	must(next == DT_NOEND || cron_next(&cron, next - 1, NULL) == next);
}

char *
pnstrdup(const char *bytes, Size length)
{
	char	   *copy = palloc(length + 1);

	memcpy(copy, bytes, length);
	copy[length] = '\0';
	return copy;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *) data + 1;

	if (size == 0 || size > 600)
		return 0;
	switch (data[0] % 3)
	{
		case 0:
			try_slug(bytes, size - 1);
			break;
		case 1:
			try_alias(bytes, size - 1);
			break;
		default:
			try_cron(bytes, size - 1);
	}
	give_back();
	return 0;
}

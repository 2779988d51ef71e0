/*-------------------------------------------------------------------------
 *
 * hashes.c
 *		HashRepo: what is stored, by content, and paging through it.
 *
 * Pages run from the newest hash to the oldest, by (created_at, hash).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/limits.h"
#include "common/page_slug.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/row_count.h"

PG_FUNCTION_INFO_V1(pictrepo_size);

STATEMENT(count_hashes, STMT_READ_ONLY | STMT_WHOLE_TABLE,
		  "SELECT NULL::text, count(*) FROM pictrepo.hashes");

/*
 * size() -> bigint
 *
 * How many hashes are stored.
 */
Datum
pictrepo_size(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	int64		size;

	if (row_count_get(COUNTED_HASHES, &size))
		PG_RETURN_INT64(size);
	repo_call_begin(&call, fcinfo);
	size = row_count_scan(COUNTED_HASHES, &count_hashes);
	repo_call_end(&call);
	PG_RETURN_INT64(size);
}

PG_FUNCTION_INFO_V1(pictrepo_hashes);

STATEMENT(all_hashes, STMT_READ_ONLY,
		  "SELECT hash FROM pictrepo.hashes ORDER BY created_at DESC, hash DESC");

/*
 * hashes() -> setof bytea
 *
 * Every hash, newest first, as of the calling query's snapshot.
 */
Datum
pictrepo_hashes(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &all_hashes, NULL);
}

PG_FUNCTION_INFO_V1(pictrepo_bound);

STATEMENT(bound_of_hash, STMT_READ_ONLY,
		  "SELECT created_at, hash FROM pictrepo.hashes WHERE hash = $1", BYTEAOID);

/*
 * bound(hash bytea) -> (created_at timestamptz, hash bytea)
 *
 * The position of a hash in the pages; NULL: no such hash.  22004, 22023,
 * 22001.
 */
Datum
pictrepo_bound(PG_FUNCTION_ARGS)
{
	return return_row(fcinfo, &bound_of_hash, ARGS(hash_argument(fcinfo, 0)));
}

/* One hash more than the page holds: the start of the next. */
STATEMENT(page_from, STMT_READ_ONLY,
		  "SELECT created_at, hash FROM pictrepo.hashes WHERE (created_at, hash) <= ($1, $2)"
		  " ORDER BY created_at DESC, hash DESC LIMIT $3 + 1",
		  TIMESTAMPTZOID, BYTEAOID, INT4OID);

/* As many before it as a page holds: the start of the page before. */
STATEMENT(page_before, STMT_READ_ONLY,
		  "SELECT created_at, hash FROM pictrepo.hashes WHERE (created_at, hash) > ($1, $2)"
		  " ORDER BY created_at, hash OFFSET $3 - 1 LIMIT 1",
		  TIMESTAMPTZOID, BYTEAOID, INT4OID);

/* Where there are fewer, the page before starts with the newest. */
STATEMENT(newest_after, STMT_READ_ONLY,
		  "SELECT created_at, hash FROM pictrepo.hashes WHERE (created_at, hash) > ($1, $2)"
		  " ORDER BY created_at DESC, hash DESC LIMIT 1",
		  TIMESTAMPTZOID, BYTEAOID);

static PagePosition
result_position(uint64 row)
{
	PagePosition position = {.has_time = true};

	position.created_at = DatumGetTimestampTz(result_value(row, 1).value);
	position.hash = DatumGetByteaPP(result_value(row, 2).value);
	return position;
}

static NullableDatum
result_slug(uint64 row)
{
	PagePosition position = result_position(row);

	return not_null(PointerGetDatum(page_slug_encode(&position)));
}

/* The first rows' hashes as an array. */
static NullableDatum
result_hashes(uint64 rows)
{
	Datum	   *hashes = palloc_array(Datum, rows + 1);

	for (uint64 i = 0; i < rows; i++)
		hashes[i] = result_value(i, 2).value;
	return not_null(PointerGetDatum(construct_array(hashes, rows, BYTEAOID, -1, false, TYPALIGN_INT)));
}

/* Nothing lies between a position and the first hash from there on. */
static bool
find_page_before(const PagePosition *start, const NullableDatum *args)
{
	return statement_run(&page_before, args) > 0 ||
		(!TIMESTAMP_IS_NOEND(start->created_at) && statement_run(&newest_after, args) > 0);
}

/*
 * The page that starts at a position, inclusive.  The columns live in the SPI
 * context: the caller forms the row before repo_call_end.
 */
static void
fill_page(const PagePosition *start, int limit, NullableDatum page[5])
{
	NullableDatum args[] = {
		not_null(TimestampTzGetDatum(start->created_at)),
		not_null(PointerGetDatum(start->hash)),
		not_null(Int32GetDatum(limit))
	};
	uint64		found = statement_run(&page_from, args);

	page[0] = not_null(Int32GetDatum(limit));
	page[1] = found > 0 ? result_slug(0) : NULL_ARG;
	page[3] = found > (uint64) limit ? result_slug(limit) : NULL_ARG;
	page[4] = result_hashes(Min(found, (uint64) limit));
	page[2] = find_page_before(start, args) ? result_slug(0) : NULL_ARG;
}

/* Before every hash: no hash is that new, and none is empty. */
static PagePosition
newest_position(void)
{
	PagePosition position = {.has_time = true, .created_at = DT_NOEND};

	position.hash = cstring_to_text_with_len("", 0);
	return position;
}

static Datum
answer_page(FunctionCallInfo fcinfo, PagePosition start, int limit)
{
	RepoCall	call;
	MemoryContext answer = CurrentMemoryContext;
	NullableDatum page[5];
	Datum		result;

	repo_call_begin(&call, fcinfo);
	if (!start.has_time)
	{
		/* pict-rs's slug of a hash that is gone means the first page to it */
		NullableDatum hash = not_null(PointerGetDatum(start.hash));

		start = statement_run(&bound_of_hash, &hash) > 0 ?
			result_position(0) : newest_position();
	}
	fill_page(&start, limit, page);
	MemoryContextSwitchTo(answer);
	result = form_row(fcinfo, page);
	repo_call_end(&call);
	return result;
}

PG_FUNCTION_INFO_V1(pictrepo_hashes_ordered);

/*
 * hashes_ordered(created_at timestamptz, hash bytea, page_limit int) -> hash_page
 *
 * The page that starts at a position, inclusive; both NULL: the newest.
 * page_limit 1 to 10000.  22004 for one NULL alone, 22023, 22001.
 */
Datum
pictrepo_hashes_ordered(PG_FUNCTION_ARGS)
{
	PagePosition start = newest_position();

	if (!PG_ARGISNULL(0) || !PG_ARGISNULL(1))
	{
		start.created_at = DatumGetTimestampTz(any_argument(fcinfo, 0).value);
		start.hash = DatumGetByteaPP(hash_argument(fcinfo, 1).value);
	}
	return answer_page(fcinfo, start,
					   DatumGetInt32(limit_argument(fcinfo, 2, 1, PAGE_MAX).value));
}

PG_FUNCTION_INFO_V1(pictrepo_hash_page);

/*
 * hash_page(slug text, page_limit int) -> hash_page
 *
 * The page that starts at a slug; NULL: the newest.  page_limit 1 to 10000.
 * 22004, 22023.
 */
Datum
pictrepo_hash_page(PG_FUNCTION_ARGS)
{
	PagePosition start = PG_ARGISNULL(0) ? newest_position() : slug_argument(fcinfo, 0);

	return answer_page(fcinfo, start,
					   DatumGetInt32(limit_argument(fcinfo, 1, 1, PAGE_MAX).value));
}

PG_FUNCTION_INFO_V1(pictrepo_hash_page_by_date);

/*
 * hash_page_by_date(before timestamptz, page_limit int) -> hash_page
 *
 * The page that starts at the newest hash strictly older than the time; where
 * nothing is, an empty page whose prev leads back.  page_limit 1 to 10000.
 * 22004, 22023.
 */
Datum
pictrepo_hash_page_by_date(PG_FUNCTION_ARGS)
{
	PagePosition start = newest_position();

	start.created_at = DatumGetTimestampTz(any_argument(fcinfo, 0).value);
	return answer_page(fcinfo, start,
					   DatumGetInt32(limit_argument(fcinfo, 1, 1, PAGE_MAX).value));
}

PG_FUNCTION_INFO_V1(pictrepo_create_hash);

STATEMENT(insert_hash, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.hashes (hash, identifier) VALUES ($1, $2) ON CONFLICT DO NOTHING",
		  BYTEAOID, TEXTOID);

/*
 * create_hash(hash bytea, identifier text) -> bool
 *
 * Store a hash, created now; false: it exists, its first identifier stays.
 * 22004, 22023, 22001.
 */
Datum
pictrepo_create_hash(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &insert_hash,
						ARGS(hash_argument(fcinfo, 0), identifier_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_create_hash_with_timestamp);

STATEMENT(insert_hash_at, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.hashes (hash, identifier, created_at) VALUES ($1, $2, $3)"
		  " ON CONFLICT DO NOTHING",
		  BYTEAOID, TEXTOID, TIMESTAMPTZOID);

/*
 * create_hash_with_timestamp(hash bytea, identifier text, created_at timestamptz) -> bool
 *
 * The same with a given, finite time.  22004, 22023, 22001.
 */
Datum
pictrepo_create_hash_with_timestamp(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &insert_hash_at,
						ARGS(hash_argument(fcinfo, 0), identifier_argument(fcinfo, 1),
							 time_argument(fcinfo, 2)));
}

PG_FUNCTION_INFO_V1(pictrepo_update_identifier);

STATEMENT(set_identifier, STMT_READ_WRITE,
		  "UPDATE pictrepo.hashes SET identifier = $2 WHERE hash = $1",
		  BYTEAOID, TEXTOID);

/*
 * update_identifier(hash bytea, identifier text) -> bool
 *
 * Set the identifier; false: no such hash.  22004, 22023, 22001.
 */
Datum
pictrepo_update_identifier(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &set_identifier,
						ARGS(hash_argument(fcinfo, 0), identifier_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_identifier);

STATEMENT(identifier_of_hash, STMT_READ_ONLY,
		  "SELECT identifier FROM pictrepo.hashes WHERE hash = $1", BYTEAOID);

/*
 * identifier(hash bytea) -> text
 *
 * NULL: no such hash.  22004, 22023, 22001.
 */
Datum
pictrepo_identifier(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &identifier_of_hash, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_relate_blurhash);

STATEMENT(set_blurhash, STMT_READ_WRITE,
		  "UPDATE pictrepo.hashes SET blurhash = $2 WHERE hash = $1",
		  BYTEAOID, TEXTOID);

/*
 * relate_blurhash(hash bytea, blurhash text) -> bool
 *
 * Set the blurhash, 1 to 1024 bytes; false: no such hash.  22004, 22023, 22001.
 */
Datum
pictrepo_relate_blurhash(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &set_blurhash,
						ARGS(hash_argument(fcinfo, 0), identifier_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_blurhash);

STATEMENT(blurhash_of_hash, STMT_READ_ONLY,
		  "SELECT blurhash FROM pictrepo.hashes WHERE hash = $1", BYTEAOID);

/*
 * blurhash(hash bytea) -> text
 *
 * NULL: none, or no such hash.  22004, 22023, 22001.
 */
Datum
pictrepo_blurhash(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &blurhash_of_hash, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_relate_motion_identifier);

STATEMENT(set_motion_identifier, STMT_READ_WRITE,
		  "UPDATE pictrepo.hashes SET motion_identifier = $2 WHERE hash = $1",
		  BYTEAOID, TEXTOID);

/*
 * relate_motion_identifier(hash bytea, identifier text) -> bool
 *
 * Set the motion identifier; false: no such hash.  22004, 22023, 22001.
 */
Datum
pictrepo_relate_motion_identifier(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &set_motion_identifier,
						ARGS(hash_argument(fcinfo, 0), identifier_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_motion_identifier);

STATEMENT(motion_identifier_of_hash, STMT_READ_ONLY,
		  "SELECT motion_identifier FROM pictrepo.hashes WHERE hash = $1", BYTEAOID);

/*
 * motion_identifier(hash bytea) -> text
 *
 * NULL: none, or no such hash.  22004, 22023, 22001.
 */
Datum
pictrepo_motion_identifier(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &motion_identifier_of_hash, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_cleanup_hash);

STATEMENT(delete_hash, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.hashes WHERE hash = $1", BYTEAOID);

/*
 * cleanup_hash(hash bytea) -> bool
 *
 * Remove the hash; what hangs on it goes by foreign key.  False: no such hash.
 * 22004, 22023, 22001.
 */
Datum
pictrepo_cleanup_hash(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_hash, ARGS(hash_argument(fcinfo, 0)));
}

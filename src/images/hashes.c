/*-------------------------------------------------------------------------
 *
 * hashes.c
 *		HashRepo: images by the hash of their content, and pages of them.
 *
 * Pages go from the newest hash to the oldest, in the order of (created_at,
 * hash).
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
#include "images/hashes.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/recorded_count.h"
#include "xact/row_count.h"

PG_FUNCTION_INFO_V1(pictrepo_size);

STATEMENT(count_hashes, STMT_READ_ONLY | STMT_WHOLE_TABLE,
		  "SELECT NULL::text, count(*) FROM pictrepo.hashes");

int64
hash_count(void)
{
	int64		count;

	if (!row_count_get(COUNTED_HASHES, &count) && !recorded_count_get(COUNTED_HASHES, NULL_ARG, &count))
		count = row_count_scan(COUNTED_HASHES, &count_hashes);
	return count;
}

bool
know_hash_count(void)
{
	return row_count_know(COUNTED_HASHES, &count_hashes);
}

/*
 * size() -> bigint
 *
 * How many hashes are stored.  On a standby, a large number is one that the primary
 * has recorded.
 */
Datum
pictrepo_size(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	int64		size;

	if (row_count_get(COUNTED_HASHES, &size))
		PG_RETURN_INT64(size);
	repo_call_begin(&call, fcinfo);
	size = hash_count();
	repo_call_end(&call);
	PG_RETURN_INT64(size);
}

PG_FUNCTION_INFO_V1(pictrepo_hashes);

STATEMENT(all_hashes, STMT_READ_ONLY,
		  "SELECT hash FROM pictrepo.hashes ORDER BY created_at DESC, hash DESC");

/*
 * hashes() -> setof bytea
 *
 * All hashes in the calling query's snapshot, newest first.
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
 * The position of a hash in the pages.  NULL: the hash does not exist.
 */
Datum
pictrepo_bound(PG_FUNCTION_ARGS)
{
	return return_row(fcinfo, &bound_of_hash, ARGS(hash_argument(fcinfo, 0)));
}

/* The hashes of a page, and one more, which starts the next page. */
STATEMENT(page_from, STMT_READ_ONLY,
		  "SELECT created_at, hash FROM pictrepo.hashes WHERE (created_at, hash) <= ($1, $2)"
		  " ORDER BY created_at DESC, hash DESC LIMIT $3 + 1",
		  TIMESTAMPTZOID, BYTEAOID, INT4OID);

/* The start of the previous page: as many hashes before a position as a page has. */
STATEMENT(page_before, STMT_READ_ONLY,
		  "SELECT created_at, hash FROM pictrepo.hashes WHERE (created_at, hash) > ($1, $2)"
		  " ORDER BY created_at, hash OFFSET $3 - 1 LIMIT 1",
		  TIMESTAMPTZOID, BYTEAOID, INT4OID);

/* If there are fewer, the previous page starts with the newest hash. */
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

/* The hashes of the first rows, as an array. */
static NullableDatum
result_hashes(uint64 rows)
{
	Datum	   *hashes = palloc_array(Datum, rows + 1);

	for (uint64 i = 0; i < rows; i++)
		hashes[i] = result_value(i, 2).value;
	return array_of(hashes, rows, BYTEAOID);
}

/*
 * Find the start of the previous page.  start need not be the position of a hash:
 * no hash lies between it and the first hash of the page.
 */
static bool
find_page_before(const PagePosition *start, const NullableDatum *args)
{
	return statement_run(&page_before, args) > 0 ||
		(!TIMESTAMP_IS_NOEND(start->created_at) && statement_run(&newest_after, args) > 0);
}

/*
 * A position before all hashes: no hash was created at infinity.  With another
 * time, it is after the hashes of that time, because no hash is empty.
 */
static PagePosition
newest_position(void)
{
	PagePosition position = {.has_time = true, .created_at = DT_NOEND};

	position.hash = cstring_to_text_with_len("", 0);
	return position;
}

/* A slug of pict-rs has only a hash.  If the hash does not exist, it is the first page's. */
static PagePosition
position_of_hash(bytea *hash)
{
	NullableDatum arg = not_null(PointerGetDatum(hash));

	return statement_run(&bound_of_hash, &arg) > 0 ? result_position(0) : newest_position();
}

/* The page that starts at a position, which it includes.  The caller is in a repo call. */
HashPage
read_page(PagePosition start, int limit)
{
	HashPage	page;
	NullableDatum args[3];
	uint64		found;

	if (!start.has_time)
		start = position_of_hash(start.hash);
	args[0] = not_null(TimestampTzGetDatum(start.created_at));
	args[1] = not_null(PointerGetDatum(start.hash));
	args[2] = not_null(Int32GetDatum(limit));
	found = statement_run(&page_from, args);
	page.current = found > 0 ? result_slug(0) : NULL_ARG;
	page.next = found > (uint64) limit ? result_slug(limit) : NULL_ARG;
	page.hashes = result_hashes(Min(found, (uint64) limit));
	page.prev = find_page_before(&start, args) ? result_slug(0) : NULL_ARG;
	return page;
}

/* The position that a slug encodes; NULL: the newest page. */
PagePosition
page_slug_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? newest_position() : slug_argument(fcinfo, n);
}

/* The position of the newest hash that is older than a time. */
PagePosition
page_date_argument(FunctionCallInfo fcinfo, int n)
{
	PagePosition start = newest_position();

	start.created_at = DatumGetTimestampTz(any_argument(fcinfo, n).value);
	return start;
}

static Datum
return_page(FunctionCallInfo fcinfo, PagePosition start, NullableDatum limit)
{
	RepoCall	call;
	MemoryContext answer = CurrentMemoryContext;
	HashPage	page;
	Datum		result;

	repo_call_begin(&call, fcinfo);
	page = read_page(start, DatumGetInt32(limit.value));
	MemoryContextSwitchTo(answer);
	result = form_row(fcinfo, ARGS(limit, page.current, page.prev, page.next, page.hashes));
	repo_call_end(&call);
	return result;
}

PG_FUNCTION_INFO_V1(pictrepo_hashes_ordered);

/*
 * hashes_ordered(created_at timestamptz, hash bytea, page_limit int) -> hash_page
 *
 * The page that starts at a position, which it includes.  created_at and hash
 * NULL: the newest page.  page_limit: 1 to 10000 hashes.  Error 22004 if only one
 * of created_at and hash is NULL.
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
	return return_page(fcinfo, start, limit_argument(fcinfo, 2, 1, PAGE_MAX));
}

PG_FUNCTION_INFO_V1(pictrepo_hash_page);

/*
 * hash_page(slug text, page_limit int) -> hash_page
 *
 * The page that starts at a slug; NULL: the newest page.  page_limit: 1 to 10000
 * hashes.
 */
Datum
pictrepo_hash_page(PG_FUNCTION_ARGS)
{
	PagePosition start = page_slug_argument(fcinfo, 0);

	return return_page(fcinfo, start, limit_argument(fcinfo, 1, 1, PAGE_MAX));
}

PG_FUNCTION_INFO_V1(pictrepo_hash_page_by_date);

/*
 * hash_page_by_date(before timestamptz, page_limit int) -> hash_page
 *
 * The page that starts at the newest hash that is older than a time.  If no hash
 * is older, the page is empty, and its prev is the slug of the last page.
 * page_limit: 1 to 10000 hashes.
 */
Datum
pictrepo_hash_page_by_date(PG_FUNCTION_ARGS)
{
	PagePosition start = page_date_argument(fcinfo, 0);

	return return_page(fcinfo, start, limit_argument(fcinfo, 1, 1, PAGE_MAX));
}

PG_FUNCTION_INFO_V1(pictrepo_create_hash);

STATEMENT(insert_hash, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.hashes (hash, identifier, created_at)"
		  " VALUES ($1, $2, coalesce($3, now())) ON CONFLICT DO NOTHING",
		  BYTEAOID, TEXTOID, TIMESTAMPTZOID);

bool
hash_insert(NullableDatum hash, NullableDatum identifier, NullableDatum created_at)
{
	return statement_run(&insert_hash, ARGS(hash, identifier, created_at)) > 0;
}

STATEMENT(row_of_hash, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.hashes WHERE hash = $1", BYTEAOID);

bool
hash_exists(NullableDatum hash)
{
	return statement_run(&row_of_hash, &hash) > 0;
}

/*
 * create_hash(hash bytea, identifier text) -> bool
 *
 * Store a hash, created now.  False: the hash exists, and keeps its identifier.
 */
Datum
pictrepo_create_hash(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &insert_hash,
						ARGS(hash_argument(fcinfo, 0), identifier_argument(fcinfo, 1), NULL_ARG));
}

PG_FUNCTION_INFO_V1(pictrepo_create_hash_with_timestamp);

/*
 * create_hash_with_timestamp(hash bytea, identifier text, created_at timestamptz) -> bool
 *
 * Store a hash, as create_hash does, created at a given time.
 */
Datum
pictrepo_create_hash_with_timestamp(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &insert_hash,
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
 * Set the identifier of the image's file.  False: the hash does not exist.
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
 * The identifier of the image's file.  NULL: the hash does not exist.
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
 * Set the blurhash of an image: 1 to 1,024 bytes.  False: the hash does not exist.
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
 * The blurhash of an image.  NULL: it has none, or the hash does not exist.
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
 * Set the identifier of the image's motion file.  False: the hash does not exist.
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
 * The identifier of the image's motion file.  NULL: it has none, or the hash does
 * not exist.
 */
Datum
pictrepo_motion_identifier(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &motion_identifier_of_hash, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_cleanup_hash);

STATEMENT(delete_hash, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.hashes WHERE hash = $1", BYTEAOID);

bool
hash_delete(NullableDatum hash)
{
	return statement_run(&delete_hash, &hash) > 0;
}

/*
 * cleanup_hash(hash bytea) -> bool
 *
 * Remove the hash.  Foreign keys remove its aliases, proxies, variants and claims.
 * False: the hash does not exist.
 */
Datum
pictrepo_cleanup_hash(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_hash, ARGS(hash_argument(fcinfo, 0)));
}

/*-------------------------------------------------------------------------
 *
 * page.c
 *		Operations: pages of images, with their aliases, variants and files.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "common/limits.h"
#include "images/access_times.h"
#include "images/hashes.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

/*
 * Return the slugs of a page, and the value that a statement returns for its
 * hashes.
 */
static Datum
return_page_with(FunctionCallInfo fcinfo, PagePosition start, NullableDatum limit, SqlStatement *statement)
{
	MemoryContext answer = CurrentMemoryContext;
	HashPage	page;
	Datum		result;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	page = read_page(start, DatumGetInt32(limit.value));
	statement_run(statement, &page.hashes);
	MemoryContextSwitchTo(answer);
	result = form_row(fcinfo, ARGS(page.current, page.prev, page.next, result_value(0, 1)));
	repo_call_end(&call);
	return result;
}

/* Hashes are in hex.  Delete tokens are secret, and left out. */
STATEMENT(images_of_hashes, STMT_READ_ONLY,
		  "SELECT coalesce(jsonb_agg(jsonb_build_object("
		  "'hash', encode(h.hash, 'hex'),"
		  "'format', pictrepo.hash_format(h.hash), 'size', pictrepo.hash_size(h.hash),"
		  "'created_at', h.created_at, 'identifier', h.identifier, 'details', d.details,"
		  "'motion_identifier', h.motion_identifier, 'blurhash', h.blurhash,"
		  "'aliases', (SELECT coalesce(jsonb_agg(jsonb_build_object('alias', a.alias,"
		  " 'accessed', " ALIAS_ACCESSED("a") ","
		  " 'urls', (SELECT coalesce(jsonb_agg(x.url ORDER BY x.url), '[]') FROM pictrepo.proxies x"
		  " WHERE x.alias = a.alias)) ORDER BY a.alias), '[]') FROM pictrepo.aliases a WHERE a.hash = h.hash),"
		  "'variants', (SELECT coalesce(jsonb_agg(jsonb_build_object('variant', v.variant,"
		  " 'identifier', v.identifier, 'accessed', v.accessed, 'details', vd.details) ORDER BY v.variant), '[]')"
		  " FROM pictrepo.variants v LEFT JOIN pictrepo.details vd ON vd.identifier = v.identifier"
		  " WHERE v.hash = h.hash)"
		  ") ORDER BY place), '[]')"
		  " FROM unnest($1) WITH ORDINALITY AS listed (hash, place)"
		  " JOIN pictrepo.hashes h ON h.hash = listed.hash"
		  " LEFT JOIN pictrepo.details d ON d.identifier = h.identifier",
		  BYTEAARRAYOID);

PG_FUNCTION_INFO_V1(pictrepo_page);

/*
 * page(slug text, page_limit int)
 *		-> (current text, prev text, next text, images jsonb)
 *
 * The page that starts at a slug; NULL: the newest page.  page_limit: 1 to 10000
 * images.
 */
Datum
pictrepo_page(PG_FUNCTION_ARGS)
{
	PagePosition start = page_slug_argument(fcinfo, 0);

	return return_page_with(fcinfo, start, limit_argument(fcinfo, 1, 1, PAGE_MAX), &images_of_hashes);
}

PG_FUNCTION_INFO_V1(pictrepo_page_by_date);

/*
 * page_by_date(before timestamptz, page_limit int)
 *		-> (current text, prev text, next text, images jsonb)
 *
 * The page that hash_page_by_date returns, with the images instead of the hashes.
 */
Datum
pictrepo_page_by_date(PG_FUNCTION_ARGS)
{
	PagePosition start = page_date_argument(fcinfo, 0);

	return return_page_with(fcinfo, start, limit_argument(fcinfo, 1, 1, PAGE_MAX), &images_of_hashes);
}

PG_FUNCTION_INFO_V1(pictrepo_aliases_created);

STATEMENT(aliases_between, STMT_READ_ONLY,
		  "SELECT alias, hash, created_at FROM pictrepo.aliases"
		  " WHERE (created_at, alias) > ($1, $3) AND created_at < $2"
		  " ORDER BY created_at, alias LIMIT $4",
		  TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT4OID);

/*
 * aliases_created(since timestamptz, before timestamptz, after text, page_limit int)
 *		-> setof (alias text, hash bytea, created_at timestamptz)
 *
 * The aliases that were created from since to before, which is not included,
 * ordered by (created_at, alias).  page_limit: 1 to 10000 aliases.  To get the next
 * page, pass created_at and alias of the last row as since and after.
 */
Datum
pictrepo_aliases_created(PG_FUNCTION_ARGS)
{
	NullableDatum after = PG_ARGISNULL(2) ? not_null(CStringGetTextDatum("")) : alias_argument(fcinfo, 2);

	return return_rows(fcinfo, &aliases_between,
					   ARGS(any_argument(fcinfo, 0), any_argument(fcinfo, 1), after,
							limit_argument(fcinfo, 3, 1, PAGE_MAX)));
}

PG_FUNCTION_INFO_V1(pictrepo_prune_page);

STATEMENT(files_of_hashes, STMT_READ_ONLY,
		  "SELECT ARRAY("
		  "SELECT file FROM unnest($1) WITH ORDINALITY AS page (hash, place)"
		  " JOIN pictrepo.hashes h ON h.hash = page.hash, LATERAL ("
		  "SELECT h.identifier, 0 UNION ALL SELECT h.motion_identifier, 1"
		  " UNION ALL (SELECT v.identifier, 2 FROM pictrepo.variants v WHERE v.hash = h.hash)"
		  ") AS files (file, kind) WHERE file IS NOT NULL ORDER BY place, kind, file)",
		  BYTEAARRAYOID);

/*
 * prune_page(slug text, page_limit int)
 *		-> (current text, prev text, next text, identifiers text[])
 *
 * The page that hash_page returns, with the files of the images instead of the
 * hashes.
 */
Datum
pictrepo_prune_page(PG_FUNCTION_ARGS)
{
	PagePosition start = page_slug_argument(fcinfo, 0);

	return return_page_with(fcinfo, start, limit_argument(fcinfo, 1, 1, PAGE_MAX), &files_of_hashes);
}

/*-------------------------------------------------------------------------
 *
 * page.c
 *		Operations: pages with all that is known of each image.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "common/limits.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

/* The hash in hex; no delete token, which is a secret. */
#define IMAGES_OF(page) \
	"SELECT p.current, p.prev, p.next, coalesce((SELECT jsonb_agg(jsonb_build_object(" \
	"'hash', encode(h.hash, 'hex')," \
	"'format', pictrepo.hash_format(h.hash), 'size', pictrepo.hash_size(h.hash)," \
	"'created_at', h.created_at, 'identifier', h.identifier, 'details', d.details," \
	"'motion_identifier', h.motion_identifier, 'blurhash', h.blurhash," \
	"'aliases', (SELECT coalesce(jsonb_agg(jsonb_build_object('alias', a.alias," \
	" 'accessed', pictrepo.alias_accessed_at(a.alias)," \
	" 'urls', (SELECT coalesce(jsonb_agg(x.url ORDER BY x.url), '[]') FROM pictrepo.proxies x" \
	" WHERE x.alias = a.alias)) ORDER BY a.alias), '[]') FROM pictrepo.aliases a WHERE a.hash = h.hash)," \
	"'variants', (SELECT coalesce(jsonb_agg(jsonb_build_object('variant', v.variant," \
	" 'identifier', v.identifier, 'accessed', v.accessed, 'details', vd.details) ORDER BY v.variant), '[]')" \
	" FROM pictrepo.variants v LEFT JOIN pictrepo.details vd ON vd.identifier = v.identifier" \
	" WHERE v.hash = h.hash)" \
	") ORDER BY place)" \
	" FROM unnest(p.hashes) WITH ORDINALITY AS listed (hash, place)" \
	" JOIN pictrepo.hashes h ON h.hash = listed.hash" \
	" LEFT JOIN pictrepo.details d ON d.identifier = h.identifier), '[]')" \
	" FROM " page " p"

PG_FUNCTION_INFO_V1(pictrepo_page);

STATEMENT(images_of_page, STMT_READ_ONLY,
		  IMAGES_OF("pictrepo.hash_page($1, $2)"), TEXTOID, INT4OID);

/*
 * page(slug text, page_limit int)
 *		-> (current text, prev text, next text, images jsonb)
 *
 * slug NULL: the newest; page_limit 1 to 10000.  22004, 22023.
 */
Datum
pictrepo_page(PG_FUNCTION_ARGS)
{
	return return_row(fcinfo, &images_of_page,
					  ARGS(checked_slug_argument(fcinfo, 0), limit_argument(fcinfo, 1, 1, PAGE_MAX)));
}

PG_FUNCTION_INFO_V1(pictrepo_page_by_date);

STATEMENT(images_of_page_by_date, STMT_READ_ONLY,
		  IMAGES_OF("pictrepo.hash_page_by_date($1, $2)"), TIMESTAMPTZOID, INT4OID);

/*
 * page_by_date(before timestamptz, page_limit int)
 *		-> (current text, prev text, next text, images jsonb)
 *
 * As hash_page_by_date.  22004, 22023.
 */
Datum
pictrepo_page_by_date(PG_FUNCTION_ARGS)
{
	return return_row(fcinfo, &images_of_page_by_date,
					  ARGS(any_argument(fcinfo, 0), limit_argument(fcinfo, 1, 1, PAGE_MAX)));
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
 * From since, or from behind the alias after that was made then, up to before,
 * exclusive; page_limit 1 to 10000.  22004, 22023, 22001.
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

STATEMENT(files_of_page, STMT_READ_ONLY,
		  "SELECT p.current, p.prev, p.next, ARRAY("
		  "SELECT file FROM unnest(p.hashes) WITH ORDINALITY AS page (hash, place)"
		  " JOIN pictrepo.hashes h ON h.hash = page.hash, LATERAL ("
		  "SELECT h.identifier, 0 UNION ALL SELECT h.motion_identifier, 1"
		  " UNION ALL (SELECT v.identifier, 2 FROM pictrepo.variants v WHERE v.hash = h.hash)"
		  ") AS files (file, kind) WHERE file IS NOT NULL ORDER BY place, kind, file)"
		  " FROM pictrepo.hash_page($1, $2) p",
		  TEXTOID, INT4OID);

/*
 * prune_page(slug text, page_limit int)
 *		-> (current text, prev text, next text, identifiers text[])
 *
 * As hash_page, with the files of each hash.  22023.
 */
Datum
pictrepo_prune_page(PG_FUNCTION_ARGS)
{
	return return_row(fcinfo, &files_of_page,
					  ARGS(checked_slug_argument(fcinfo, 0), limit_argument(fcinfo, 1, 1, PAGE_MAX)));
}

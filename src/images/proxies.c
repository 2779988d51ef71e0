/*-------------------------------------------------------------------------
 *
 * proxies.c
 *		ProxyRepo: proxied URLs, whose content other hosts have and this host
 *		caches.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "images/access_times.h"
#include "images/aliases.h"
#include "images/values.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_relate_url);

STATEMENT(insert_url, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.proxies (digest, url, alias, accessed)"
		  " SELECT $3, $1, alias, clock_timestamp()"
		  " FROM pictrepo.aliases WHERE alias = $2 FOR KEY SHARE"
		  " ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, BYTEAOID);

STATEMENT(row_of_alias, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.aliases WHERE alias = $1", TEXTOID);

static bool
alias_exists(NullableDatum alias)
{
	return statement_run(&row_of_alias, &alias) > 0;
}

/*
 * relate_url(url text, alias text) -> bool
 *
 * Relate a URL to an alias, with access time now.  False: the URL has an alias,
 * and keeps it.  Error 23503 if the alias does not exist.
 */
Datum
pictrepo_relate_url(PG_FUNCTION_ARGS)
{
	NullableDatum args[3] = {url_argument(fcinfo, 0), alias_argument(fcinfo, 1)};

	args[2] = url_digest(args[0]);
	return return_inserted(fcinfo, &insert_url, args, alias_exists, 1);
}

PG_FUNCTION_INFO_V1(pictrepo_related);

STATEMENT(alias_of_url, STMT_READ_ONLY,
		  "SELECT alias FROM pictrepo.proxies WHERE digest = $1", BYTEAOID);

/*
 * related(url text) -> text
 *
 * The alias of a URL.  NULL: it has none.
 */
Datum
pictrepo_related(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &alias_of_url, ARGS(url_digest(url_argument(fcinfo, 0))));
}

PG_FUNCTION_INFO_V1(pictrepo_remove_relation);

/* The URLs have the access times of their alias, see access_times.c: it keeps the latest. */
STATEMENT(delete_urls, STMT_READ_WRITE,
		  "WITH kept AS (UPDATE pictrepo.aliases a SET accessed = " ALIAS_ACCESSED("a")
		  " WHERE a.alias = $1 AND EXISTS (SELECT FROM pictrepo.proxies p WHERE p.alias = a.alias))"
		  " DELETE FROM pictrepo.proxies WHERE alias = $1",
		  TEXTOID);

/*
 * remove_relation(alias text) -> bigint
 *
 * Remove all URLs of an alias.  Returns how many.  The alias's access time stays.
 */
Datum
pictrepo_remove_relation(PG_FUNCTION_ARGS)
{
	return return_count_with_alias_locked(fcinfo, &delete_urls, ARGS(alias_argument(fcinfo, 0)));
}

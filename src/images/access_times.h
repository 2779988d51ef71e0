/*-------------------------------------------------------------------------
 *
 * access_times.h
 *		Access times of aliases and variants, for other files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ACCESS_TIMES_H
#define PICTREPO_ACCESS_TIMES_H

#include "fmgr.h"

/* SQL: when an alias was last served.  a is its row in the query. */
#define ALIAS_ACCESSED(a) \
	"coalesce((SELECT max(p.accessed) FROM pictrepo.proxies p WHERE p.alias = " a ".alias), " a ".accessed)"

/*
 * Query: the aliases of proxied URLs that were last served before $1, oldest
 * first.  An alias with several URLs has one row, with its latest access time.
 */
#define OLDER_ALIASES \
	"SELECT DISTINCT p.alias, p.accessed FROM pictrepo.proxies p WHERE p.accessed < $1" \
	" AND NOT EXISTS (SELECT FROM pictrepo.proxies q" \
	" WHERE q.alias = p.alias AND q.accessed > p.accessed)" \
	" ORDER BY p.accessed, p.alias"

/*
 * Set the access time to now.  The caller is in a repo call.  False: the alias or
 * the variant does not exist.
 */
extern bool touch_alias(NullableDatum alias);
extern bool touch_variant(NullableDatum hash, NullableDatum variant);

#endif

/*-------------------------------------------------------------------------
 *
 * access_times.h
 *		When things were last served, for other files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ACCESS_TIMES_H
#define PICTREPO_ACCESS_TIMES_H

#include "fmgr.h"

/* When an alias was last served; a: its row's name in the query */
#define ALIAS_ACCESSED(a) \
	"coalesce((SELECT max(p.accessed) FROM pictrepo.proxies p WHERE p.alias = " a ".alias), " a ".accessed)"

/*
 * Aliases of proxied urls last served before $1, oldest first.  An alias with
 * several urls comes once, at its latest time.
 */
#define OLDER_ALIASES \
	"SELECT DISTINCT p.alias, p.accessed FROM pictrepo.proxies p WHERE p.accessed < $1" \
	" AND NOT EXISTS (SELECT FROM pictrepo.proxies q" \
	" WHERE q.alias = p.alias AND q.accessed > p.accessed)" \
	" ORDER BY p.accessed, p.alias"

/* Served now; within a call.  False: no such alias or variant. */
extern bool touch_alias(NullableDatum alias);
extern bool touch_variant(NullableDatum hash, NullableDatum variant);

#endif

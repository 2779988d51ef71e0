/*-------------------------------------------------------------------------
 *
 * hashes.h
 *		Hashes and pages of them, for other files.  Callers are in a repo call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_HASHES_H
#define PICTREPO_HASHES_H

#include "fmgr.h"

#include "common/page_slug.h"

/* created_at NULL: now.  False: the hash exists and stays as it is. */
extern bool hash_insert(NullableDatum hash, NullableDatum identifier, NullableDatum created_at);

/* False: the hash does not exist. */
extern bool hash_delete(NullableDatum hash);
extern bool hash_exists(NullableDatum hash);

/* How many hashes are stored */
extern int64 hash_count(void);

/* Make it known to all sessions; false: it cannot be */
extern bool know_hash_count(void);

/* A page of hashes.  Its values live until the repo call ends. */
typedef struct HashPage
{
	NullableDatum current;		/* slugs; NULL: the page does not exist */
	NullableDatum prev;
	NullableDatum next;
	NullableDatum hashes;		/* bytea[] */
} HashPage;

extern PagePosition page_slug_argument(FunctionCallInfo fcinfo, int n);
extern PagePosition page_date_argument(FunctionCallInfo fcinfo, int n);
extern HashPage read_page(PagePosition start, int limit);

#endif

/*-------------------------------------------------------------------------
 *
 * hashes.h
 *		Hashes and their pages, for other files; within a call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_HASHES_H
#define PICTREPO_HASHES_H

#include "fmgr.h"

#include "common/page_slug.h"

/* False: it exists already, or it did not.  created_at NULL: now. */
extern bool hash_insert(NullableDatum hash, NullableDatum identifier, NullableDatum created_at);
extern bool hash_delete(NullableDatum hash);
extern bool hash_exists(NullableDatum hash);
extern int64 hash_count(void);

/* A page, of which the columns live until the call ends */
typedef struct HashPage
{
	NullableDatum current;		/* slugs; NULL: no such page */
	NullableDatum prev;
	NullableDatum next;
	NullableDatum hashes;		/* bytea[] */
} HashPage;

extern PagePosition page_slug_argument(FunctionCallInfo fcinfo, int n);
extern PagePosition page_date_argument(FunctionCallInfo fcinfo, int n);
extern HashPage read_page(PagePosition start, int limit);

#endif

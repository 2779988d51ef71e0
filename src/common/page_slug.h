/*-------------------------------------------------------------------------
 *
 * page_slug.h
 *		Page positions as clients see them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PAGE_SLUG_H
#define PICTREPO_PAGE_SLUG_H

#include "datatype/timestamp.h"

#include "common/limits.h"

/* the longest slug, in characters */
#define SLUG_BYTES_MAX (1 + sizeof(uint64) + HASH_MAX + 1)
#define SLUG_MAX ((SLUG_BYTES_MAX + 2) / 3 * 4)

/*
 * A place in the order of hashes.  Without a time it is just a hash, to be
 * looked up.
 */
typedef struct PagePosition
{
	bool		has_time;
	TimestampTz created_at;
	bytea	   *hash;
} PagePosition;

extern char *base64_encode_cstring(const char *bytes, int length);
extern text *page_slug_encode(const PagePosition *position);
extern bool page_slug_decode(text *slug, PagePosition *position);

#endif

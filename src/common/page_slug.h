/*-------------------------------------------------------------------------
 *
 * page_slug.h
 *		Encode page positions as slugs, and decode slugs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PAGE_SLUG_H
#define PICTREPO_PAGE_SLUG_H

#include "datatype/timestamp.h"

#include "common/limits.h"

/* the longest slug, decoded in bytes and encoded in characters */
#define SLUG_BYTES_MAX (1 + sizeof(uint64) + HASH_MAX + 1)
#define SLUG_MAX ((SLUG_BYTES_MAX + 2) / 3 * 4)

/*
 * A position in the order of hashes.  Without a time, the hash must be looked
 * up to find its position.
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

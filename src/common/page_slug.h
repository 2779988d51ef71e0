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
typedef struct Position
{
	bool		has_time;
	TimestampTz created_at;
	bytea	   *hash;
} Position;

extern char *to_base64(const char *bytes, int length);
extern text *slug_from_position(const Position *position);
extern bool slug_to_position(text *slug, Position *position);

#endif

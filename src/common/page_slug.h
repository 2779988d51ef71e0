/*-------------------------------------------------------------------------
 *
 * slug.h
 *		Page positions as clients see them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SLUG_H
#define PICTREPO_SLUG_H

#include "datatype/timestamp.h"

/* pict-rs's own hash: SHA-256, size, format */
#define PICTRS_HASH_LEN 39

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
extern Position slug_argument(FunctionCallInfo fcinfo, int n);
extern NullableDatum checked_slug(FunctionCallInfo fcinfo, int n);

#endif

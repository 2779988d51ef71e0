/*-------------------------------------------------------------------------
 *
 * uuid.h
 *		UUIDs: generate ids, and normalize the UUIDs in aliases and tokens.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_UUID_H
#define PICTREPO_UUID_H

#include "utils/uuid.h"

#define UUID_TEXT_LEN 36

#define UNIX_EPOCH_USECS \
	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

extern void uuid_mint(pg_uuid_t *id);
extern const pg_uuid_t *session_worker_id(void);
extern bool uuid_normalize(const char *spelling, int length, char normal[UUID_TEXT_LEN]);
extern text *alias_normalize(text *alias);
extern text *token_normalize(text *token);

#endif

/*-------------------------------------------------------------------------
 *
 * identity.h
 *		UUIDs: the ids that pictrepo mints, and those in aliases and tokens.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_IDENTITY_H
#define PICTREPO_IDENTITY_H

#include "utils/uuid.h"

#define UUID_TEXT_LEN 36

extern void mint_id(pg_uuid_t *id);
extern const pg_uuid_t *session_worker_id(void);
extern bool normal_uuid(const char *text, int length, char normal[UUID_TEXT_LEN]);
extern text *normal_alias(text *alias);

#endif

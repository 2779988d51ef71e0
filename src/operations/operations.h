/*-------------------------------------------------------------------------
 *
 * operations.h
 *		What the operations share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_OPERATIONS_H
#define PICTREPO_OPERATIONS_H

#include "engine/statements.h"

/* The hashes that name file $1 in any way */
#define HASHES_OF_FILE \
	"SELECT hash FROM pictrepo.hashes WHERE identifier = $1" \
	" UNION SELECT hash FROM pictrepo.hashes WHERE motion_identifier = $1" \
	" UNION SELECT hash FROM pictrepo.variants WHERE identifier = $1"

/* Files are texts in an array; both are for a caller that is connected. */
extern void release_files(NullableDatum files);
extern void release_file(NullableDatum file);

/* ----- for the background worker ----- */

extern uint64 expire_old_variants(void);
extern uint64 expire_old_proxies(void);

#endif

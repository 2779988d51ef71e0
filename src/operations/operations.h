/*-------------------------------------------------------------------------
 *
 * operations.h
 *		What the operations share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_OPERATIONS_H
#define PICTREPO_OPERATIONS_H

#include "utils/array.h"

#include "sqlfunc/statement.h"

/* The hashes that name file $1 in any way */
#define HASHES_OF_FILE \
	"SELECT hash FROM pictrepo.hashes WHERE identifier = $1" \
	" UNION SELECT hash FROM pictrepo.hashes WHERE motion_identifier = $1" \
	" UNION SELECT hash FROM pictrepo.variants WHERE identifier = $1"

/* Files are texts in an array; both are for a caller that is connected. */
extern void release_files(NullableDatum files);
extern void release_file(NullableDatum file);

/* Files to be released when all else is done; in the call's memory. */
typedef ArrayBuildState *Files;

extern void files_add_result(Files *files);
extern void files_release(Files files);

/* delete.c */
extern void remove_aliases_and_images(NullableDatum hashes, Files *files);
extern void remove_alias(NullableDatum alias, NullableDatum hash, Files *files);

/* ----- for the background worker ----- */

extern uint64 expire_old_variants(void);
extern uint64 expire_old_proxies(void);

#endif

/*-------------------------------------------------------------------------
 *
 * operations.h
 *		Functions that the files of the operations share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_OPERATIONS_H
#define PICTREPO_OPERATIONS_H

#include "utils/array.h"

#include "sqlfunc/statement.h"

/* Query: the hashes of images that refer to file $1 */
#define HASHES_OF_FILE \
	"SELECT hash FROM pictrepo.hashes WHERE identifier = $1" \
	" UNION SELECT hash FROM pictrepo.hashes WHERE motion_identifier = $1" \
	" UNION SELECT hash FROM pictrepo.variants WHERE identifier = $1"

/*
 * Queue files for removal that are no longer referenced.  files: text[].  The
 * caller is in a repo call.
 */
extern void release_files(NullableDatum files);
extern void release_file(NullableDatum file);

/* Files to release at the end of the operation.  They live in the memory of the repo call. */
typedef ArrayBuildState *Files;

extern void files_add_result(Files *files);
extern void files_leave_out(Files files, NullableDatum file);
extern void files_release(Files files);

/* delete.c.  The caller has locked the hashes, and releases the files. */
extern void remove_aliases_and_images(NullableDatum hashes, Files *files);
extern void remove_alias(NullableDatum alias, NullableDatum hash, Files *files);

/* ----- for the background worker ----- */

extern uint64 expire_old_variants(void);
extern uint64 expire_old_proxies(void);

#endif

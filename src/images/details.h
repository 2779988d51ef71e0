/*-------------------------------------------------------------------------
 *
 * details.h
 *		Details of stored files, for other source files.  Callers are in a repo
 *		call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_DETAILS_H
#define PICTREPO_DETAILS_H

#include "fmgr.h"

/* False: the file has details, and they stay. */
extern bool details_insert(NullableDatum identifier, NullableDatum details);

/* False: the file has none. */
extern bool details_delete(NullableDatum identifier);

#endif

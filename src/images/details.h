/*-------------------------------------------------------------------------
 *
 * details.h
 *		Details of files, for other files; within a call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_DETAILS_H
#define PICTREPO_DETAILS_H

#include "fmgr.h"

/* False: there are some already, or there were none. */
extern bool details_insert(NullableDatum identifier, NullableDatum details);
extern bool details_delete(NullableDatum identifier);

#endif

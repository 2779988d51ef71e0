/*-------------------------------------------------------------------------
 *
 * uploads.h
 *		Results of uploads, for other files; and what the background worker does for
 *		uploads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_UPLOADS_H
#define PICTREPO_UPLOADS_H

#include "fmgr.h"

/* Within a call.  False: no such upload, or claimed. */
extern bool upload_set_result(NullableDatum upload, NullableDatum result);

/* For the background worker */
extern uint64 end_uploads(void);

#endif

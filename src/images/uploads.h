/*-------------------------------------------------------------------------
 *
 * uploads.h
 *		Results of uploads, for other files, and the maintenance of uploads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_UPLOADS_H
#define PICTREPO_UPLOADS_H

#include "fmgr.h"

/* The caller is in a repo call.  False: the upload does not exist, or was claimed. */
extern bool upload_set_result(NullableDatum upload, NullableDatum result);

/* For the background worker */
extern uint64 end_uploads(void);

#endif

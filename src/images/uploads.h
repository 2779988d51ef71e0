/*-------------------------------------------------------------------------
 *
 * uploads.h
 *		What the background worker does for uploads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_UPLOADS_H
#define PICTREPO_UPLOADS_H

extern uint64 end_uploads(void);

#endif

/*-------------------------------------------------------------------------
 *
 * async_commit.h
 *		Commits that need not wait for the disk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ASYNC_COMMIT_H
#define PICTREPO_ASYNC_COMMIT_H

extern void async_commit_begin_write(void);
extern void async_commit_end_write(void);

/* From the transaction callback */
extern void async_commit_pre_commit(void);
extern void async_commit_reset(void);

#endif

/*-------------------------------------------------------------------------
 *
 * async_commit.h
 *		Commits that need not wait for the disk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ASYNC_COMMIT_H
#define PICTREPO_ASYNC_COMMIT_H

extern void begin_losable_write(void);
extern void end_losable_write(void);

/* From the transaction callback */
extern void lazy_commit_at_pre_commit(void);
extern void lazy_commit_at_end(void);

#endif

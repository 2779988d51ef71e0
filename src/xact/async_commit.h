/*-------------------------------------------------------------------------
 *
 * async_commit.h
 *		Asynchronous commit of transactions whose loss does no harm.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ASYNC_COMMIT_H
#define PICTREPO_ASYNC_COMMIT_H

/* Before and after each write that a crash may lose */
extern void async_commit_begin_write(void);
extern void async_commit_end_write(void);

/* From the transaction callback */
extern void async_commit_pre_commit(void);
extern void async_commit_reset(void);

#endif

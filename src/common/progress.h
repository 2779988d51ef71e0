/*-------------------------------------------------------------------------
 *
 * progress.h
 *		Show the progress of a long call in pg_stat_activity.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PROGRESS_H
#define PICTREPO_PROGRESS_H

extern void progress_report(const char *what, int64 done, int64 all);
extern void progress_end(void);

#endif

/*-------------------------------------------------------------------------
 *
 * search_path.h
 *		A search_path that callers cannot influence.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SEARCH_PATH_H
#define PICTREPO_SEARCH_PATH_H

/* How the caller's search_path comes back; else a nesting level of settings */
#define SEARCH_PATH_KEPT		0
#define SEARCH_PATH_OVERRIDDEN	(-1)

extern int	search_path_make_safe(void);
extern void search_path_restore(int how);
extern void search_path_set_safe(void);

#endif

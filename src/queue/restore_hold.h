/*-------------------------------------------------------------------------
 *
 * restore_hold.h
 *		The time for which an administrator keeps the upkeep away.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_RESTORE_HOLD_H
#define PICTREPO_RESTORE_HOLD_H

/* Callers are in a repo call */
extern bool restore_hold_within(int milliseconds);
extern char *upkeep_held_by(void);

#endif

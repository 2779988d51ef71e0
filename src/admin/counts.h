/*-------------------------------------------------------------------------
 *
 * counts.h
 *		Numbers of images and jobs: counting again, and recording for standbys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_COUNTS_H
#define PICTREPO_COUNTS_H

extern void sweep_counts(void);

#endif

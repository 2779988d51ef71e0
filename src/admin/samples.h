/*-------------------------------------------------------------------------
 *
 * samples.h
 *		Samples of the queues and the counts, for graphs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SAMPLES_H
#define PICTREPO_SAMPLES_H

/* ----- for the background worker ----- */

extern uint64 take_sample(void);

#endif

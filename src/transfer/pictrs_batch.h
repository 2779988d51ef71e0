/*-------------------------------------------------------------------------
 *
 * pictrs_batch.h
 *		A batch of rows: reading it on one side, writing it on the other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_BATCH_H
#define PICTREPO_PICTRS_BATCH_H

#include "transfer/pictrs_transfer.h"

/* most rows in a batch */
#define BATCH_MAX 100000

/* False: it is the last one. */
extern bool read_batch(Transfer *transfer);

/* How many of its rows were new */
extern uint64 write_batch(Transfer *transfer);

#endif

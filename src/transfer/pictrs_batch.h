/*-------------------------------------------------------------------------
 *
 * pictrs_batch.h
 *		A batch of rows of a transfer: reading and writing it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_BATCH_H
#define PICTREPO_PICTRS_BATCH_H

#include "transfer/pictrs_transfer.h"

/* the limit for the rows of a batch */
#define BATCH_MAX 100000

/* False: it is the last batch of the table. */
extern bool read_batch(Transfer *transfer);

extern void write_batch(Transfer *transfer);

#endif

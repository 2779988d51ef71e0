/*-------------------------------------------------------------------------
 *
 * pictrs_progress.h
 *		The progress of a transfer, in pictrepo.transfers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_PROGRESS_H
#define PICTREPO_PICTRS_PROGRESS_H

#include "transfer/pictrs_transfer.h"

extern void begin_transfer(Transfer *transfer, bool resume);

/* False: the current table is finished. */
extern bool begin_table(Transfer *transfer);
extern void advance_progress(Transfer *transfer);
extern void finish_table(Transfer *transfer);

/* After the last table */
extern void compare_counts(Transfer *transfer);
extern Datum result_of_transfer(Transfer *transfer);

#endif

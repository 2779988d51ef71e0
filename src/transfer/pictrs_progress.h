/*-------------------------------------------------------------------------
 *
 * pictrs_progress.h
 *		How far a transfer is, in pictrepo.transfers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_PROGRESS_H
#define PICTREPO_PICTRS_PROGRESS_H

#include "transfer/pictrs_transfer.h"

extern void begin_transfer(Transfer *transfer, bool resume);

/* False: the current table is done. */
extern bool begin_table(Transfer *transfer);
extern void note_progress(Transfer *transfer, uint64 stored);
extern void finish_table(Transfer *transfer);

/* After the last table */
extern void compare_counts(Transfer *transfer);
extern Datum result_of_transfer(Transfer *transfer);

#endif

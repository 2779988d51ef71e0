/*-------------------------------------------------------------------------
 *
 * row_batch.h
 *		Statements that work on many rows, of which one may be broken.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ROW_BATCH_H
#define PICTREPO_ROW_BATCH_H

#include "sqlfunc/statement.h"

extern bool try_work(void (*work) (void *), void *what, ErrorData **error);
extern uint64 run_batch(Statement *statement, const NullableDatum *args, int limit,
						uint64 (*take) (void));
extern bool concerns_all_rows(const ErrorData *error);
extern char *broken_row_error(void);
extern void forget_broken_rows(void);

#endif

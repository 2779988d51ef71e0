/*-------------------------------------------------------------------------
 *
 * row_batch.h
 *		Statements on many rows that continue past rows that fail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ROW_BATCH_H
#define PICTREPO_ROW_BATCH_H

#include "sqlfunc/statement.h"

extern bool try_in_subtransaction(void (*work) (void *), void *arg, ErrorData **error);
extern bool try_with_lock_timeout(int milliseconds, void (*work) (void *), void *arg, ErrorData **error);
extern bool row_try(void (*work) (void *), void *arg, ErrorData **error);
extern bool error_is_lock(const ErrorData *error);
extern void log_failed_row(ErrorData *error);
extern uint64 row_batch_run(SqlStatement *statement, const NullableDatum *args, int limit,
							uint64 (*take) (void));
extern bool error_concerns_all_rows(const ErrorData *error);
extern uint64 error_cause(const ErrorData *error);
extern char *row_batch_error(void);
extern void row_batch_clear_error(void);

#endif

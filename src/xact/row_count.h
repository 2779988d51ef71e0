/*-------------------------------------------------------------------------
 *
 * row_count.h
 *		Counts that are kept: hashes and jobs, exact for what is committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ROW_COUNT_H
#define PICTREPO_ROW_COUNT_H

#include "shmem/shmem.h"
#include "sqlfunc/statement.h"

/* Reading; false: nobody knows, count() has to find out */
extern bool row_count_get(CountedTable which, int64 *value);
extern bool row_count_of_queue(NullableDatum queue, int64 *length);

/*
 * Count, so that from now on it is known.  The statement gives one row per
 * queue, or a single one with NULL: (queue text, count bigint).
 */
extern int64 row_count_scan(CountedTable which, SqlStatement *statement);

/* For the end of a transaction, under the tally's lock */
extern bool row_count_takes(const RowCount *row_count, FullTransactionId xid);

/* A transaction that changed something was prepared */
extern void row_count_forget(DatabaseSlot *database);
extern bool row_count_check_prepared(DatabaseSlot *database);

#endif

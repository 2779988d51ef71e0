/*-------------------------------------------------------------------------
 *
 * row_count.h
 *		Exact numbers of hashes and jobs, kept in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ROW_COUNT_H
#define PICTREPO_ROW_COUNT_H

#include "shmem/shmem.h"
#include "sqlfunc/statement.h"

/* False: the number is not known, so the caller must count */
extern bool row_count_get(CountedTable which, int64 *value);
extern bool row_count_of_queue(NullableDatum queue, int64 *length);

/*
 * Count the rows with this statement, and keep the result if possible.  The
 * statement returns one row per queue, or one with a NULL queue: (queue text,
 * count bigint).  The result is their sum.
 */
extern int64 row_count_scan(CountedTable which, SqlStatement *statement);

/*
 * The same, unless the number is known; false: it cannot be kept.
 */
extern bool row_count_know(CountedTable which, SqlStatement *statement);

/* Does a trigger not fire always, so that rows may come and go past it? */
extern bool row_count_is_bypassed(void);

/* For the end of a transaction, also for rows that came past the triggers */
extern void row_count_set_unknown(DatabaseSlot *database);

/* For the end of a transaction, with the lock of the row count held */
extern bool row_count_must_add(const RowCount *row_count, FullTransactionId xid);

/* Prepared transactions */
extern void row_count_forget(DatabaseSlot *database);
extern bool row_count_check_prepared(DatabaseSlot *database);

#endif

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
extern bool tally_value(Tallied which, int64 *value);
extern bool tally_of_queue(NullableDatum queue, int64 *length);

/*
 * Count, so that from now on it is known.  The statement gives one row per
 * queue, or a single one with NULL: (queue text, count bigint).
 */
extern int64 count_tally(Tallied which, Statement *statement);

/* For the end of a transaction, under the tally's lock */
extern bool tally_takes(const Tally *tally, FullTransactionId xid);

/* A transaction that changed something was prepared */
extern void tally_prepared(DatabaseState *database);
extern bool prepared_transactions(DatabaseState *database);

#endif

/*-------------------------------------------------------------------------
 *
 * recorded_count.h
 *		Row counts for standby servers, kept in a table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_RECORDED_COUNT_H
#define PICTREPO_RECORDED_COUNT_H

#include "shmem/shmem.h"
#include "sqlfunc/args.h"

/* On a standby; the caller is in a repo call.  queue NULL: of all rows */
extern bool recorded_count_get(CountedTable which, NullableDatum queue, int64 *count);

/* On the primary */
extern void recorded_count_set(CountedTable which, NullableDatum queues, NullableDatum numbers);

#endif

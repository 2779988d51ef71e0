/*-------------------------------------------------------------------------
 *
 * samples.c
 *		Samples of the queues and the counts, for graphs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "admin/samples.h"
#include "common/guc.h"
#include "common/maintenance_tasks.h"
#include "images/hashes.h"
#include "shmem/clock_watch.h"
#include "sqlfunc/args.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"

/* A second call of run_maintenance in the same microsecond must not be an error. */
STATEMENT(insert_sample, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.samples (at, images, uploads)"
		  " VALUES ($1, $2, (SELECT count(*) FROM pictrepo.uploads)) ON CONFLICT DO NOTHING",
		  TIMESTAMPTZOID, INT8OID);

STATEMENT(insert_queue_samples, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.queue_samples (at, queue, ready, scheduled, running, dead, oldest_age,"
		  " pushed, popped, completed, failed, died, reaped, wait_time, run_time, waiting)"
		  " SELECT $1, queue, ready, scheduled, running, dead, oldest_age,"
		  " pushed, popped, completed, failed, died, reaped, wait_time, run_time, waiting"
		  " FROM pictrepo.queue_stats ON CONFLICT DO NOTHING",
		  TIMESTAMPTZOID);

STATEMENT(delete_samples, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.samples WHERE at = ANY (ARRAY(SELECT old.at FROM"
		  " (SELECT at, tableoid, ctid FROM pictrepo.samples WHERE at < $1 ORDER BY at OFFSET 0) old"
		  " WHERE " TRY_LOCK("old") " LIMIT $2 OFFSET $3))",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

STATEMENT(delete_queue_samples, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.queue_samples WHERE ctid = ANY (ARRAY(SELECT old.ctid FROM"
		  " (SELECT tableoid, ctid FROM pictrepo.queue_samples WHERE at < $1 ORDER BY at, queue OFFSET 0) old"
		  " WHERE " TRY_LOCK("old") " LIMIT $2 OFFSET $3))",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

/* Delete samples that are older than pictrepo.sample_retention. */
static void
delete_old_samples(void)
{
	NullableDatum oldest = retention_cutoff(guc_sample_retention);

	row_batch_run(&delete_samples, &oldest, TASK_BATCH, NULL);
	row_batch_run(&delete_queue_samples, &oldest, TASK_BATCH, NULL);
}

/* The number of images that are committed now, with what earlier tasks of this call have changed. */
static NullableDatum
count_images(void)
{
	int64		count;

	PushActiveSnapshot(GetLatestSnapshot());
	count = hash_count();
	PopActiveSnapshot();
	return not_null(Int64GetDatum(count));
}

/*
 * Returns the number of inserted rows, but less than TASK_BATCH: a full batch means
 * that the task must run again at once.
 */
uint64
take_sample(void)
{
	NullableDatum at = not_null(TimestampTzGetDatum(GetCurrentTimestamp()));
	uint64		inserted;

	if (guc_sample_interval == 0)
		return 0;
	inserted = statement_run(&insert_sample, ARGS(at, count_images())) +
		statement_run(&insert_queue_samples, &at);
	delete_old_samples();
	return Min(inserted, TASK_BATCH - 1);
}

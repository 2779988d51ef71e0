/*-------------------------------------------------------------------------
 *
 * dead_jobs.c
 *		QueueRepo: jobs that failed and have no retries left, or were aborted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/guc.h"
#include "common/maintenance_tasks.h"
#include "queue/queue.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_requeue_dead);

STATEMENT(revive_job, STMT_READ_WRITE,
		  "WITH dead AS (SELECT * FROM pictrepo.dead_jobs WHERE id = $1 FOR UPDATE),"
		  " revived AS (INSERT INTO pictrepo.job_queue"
		  " (id, queue, job, priority, queue_time, run_at, unique_key, upload, error, retry)"
		  " SELECT id, queue, job, priority, queue_time, clock_timestamp(), unique_key, upload, error,"
		  " coalesce((SELECT retries FROM pictrepo.queues q WHERE q.queue = dead.queue), " DEFAULT_RETRIES ")"
		  " FROM dead ON CONFLICT DO NOTHING RETURNING id)"
		  " DELETE FROM pictrepo.dead_jobs d USING revived WHERE d.id = revived.id",
		  UUIDOID);

/*
 * requeue_dead(id uuid) -> bool
 *
 * Move a dead job back to its queue, with the queue's retries.  False: the dead job
 * does not exist, or a live job has its unique key.
 */
Datum
pictrepo_requeue_dead(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &revive_job, ARGS(any_argument(fcinfo, 0)));
}

STATEMENT(delete_dead_jobs, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.dead_jobs WHERE id = ANY (ARRAY(SELECT old.id FROM"
		  " (SELECT id, tableoid, ctid FROM pictrepo.dead_jobs WHERE died_at < $1 ORDER BY died_at OFFSET 0) old"
		  " WHERE " TRY_LOCK("old") " LIMIT $2 OFFSET $3))",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

/* Delete dead jobs that are older than pictrepo.dead_job_retention. */
uint64
prune_dead_jobs(void)
{
	if (guc_dead_job_retention == 0)
		return 0;
	return row_batch_run(&delete_dead_jobs, ARGS(seconds_ago(guc_dead_job_retention)), TASK_BATCH, NULL);
}

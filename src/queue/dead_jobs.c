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
#include "queue/job_end.h"
#include "queue/queue.h"
#include "shmem/clock_watch.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_requeue_dead);

STATEMENT(revive_job, STMT_READ_WRITE,
		  REVIVE_JOBS("SELECT * FROM pictrepo.dead_jobs WHERE id = $1 FOR UPDATE"), UUIDOID);

/*
 * requeue_dead(id uuid) -> bool
 *
 * Move a dead job back to its queue, with the queue's retries.  Its attempts go on
 * counting, so that a late call for an old claim cannot mean a new one.  False: the dead job
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
	return row_batch_run(&delete_dead_jobs, ARGS(retention_cutoff(guc_dead_job_retention)), TASK_BATCH, NULL);
}

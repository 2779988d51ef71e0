/*-------------------------------------------------------------------------
 *
 * job_admin.c
 *		QueueRepo: cancelling, changing and releasing jobs, many dead jobs at once,
 *		and dropping queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "queue/job_end.h"
#include "queue/queue.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"

/* most jobs that one call cancels, requeues or deletes */
#define BATCH_MAX 10000

/* The statement of a query for the ids of jobs: cancel them, and tell their uploads. */
#define CANCEL(query) \
	"WITH cancelled AS (DELETE FROM pictrepo.job_queue WHERE id = ANY (ARRAY(" query "))" \
	" RETURNING upload)," \
	" failed_uploads AS (" \
	END_UPLOADS("cancelled", UPLOAD_FAILURE("'the job was cancelled'", "job-cancelled")) ")" \
	" SELECT FROM cancelled"

PG_FUNCTION_INFO_V1(pictrepo_cancel_job);

STATEMENT(cancel_job, STMT_READ_WRITE,
		  CANCEL("SELECT $1"), UUIDOID);

/*
 * cancel_job(id uuid) -> text
 *
 * Remove a job that waits or runs.  Its worker loses it, and its upload gets a
 * Failure.  Returns 'cancelled', or 'missing': no such job waits or runs.
 */
Datum
pictrepo_cancel_job(PG_FUNCTION_ARGS)
{
	bool		found = DatumGetBool(return_found(fcinfo, &cancel_job, ARGS(any_argument(fcinfo, 0))));

	PG_RETURN_TEXT_P(cstring_to_text(found ? "cancelled" : "missing"));
}

PG_FUNCTION_INFO_V1(pictrepo_cancel_jobs);

#define JOBS_WITH_STATUS(status) \
	"SELECT j.id FROM (SELECT id, tableoid, ctid FROM pictrepo.job_queue" \
	" WHERE queue = $1 AND status = '" status "' OFFSET 0) j WHERE " TRY_LOCK("j") " LIMIT $2"

STATEMENT(cancel_jobs_of_queue, STMT_READ_WRITE,
		  CANCEL("SELECT id FROM (" JOBS_WITH_STATUS("new") ") waiting UNION ALL"
				 " SELECT id FROM (" JOBS_WITH_STATUS("running") ") running LIMIT $2"),
		  TEXTOID, INT4OID);

STATEMENT(cancel_job_with_key, STMT_READ_WRITE,
		  CANCEL("SELECT id FROM pictrepo.job_queue WHERE unique_key = $2 AND queue = $1"),
		  TEXTOID, TEXTOID);

/*
 * cancel_jobs(queue text, unique_key text, max int) -> bigint
 *
 * Cancel the job of the queue with a unique key; unique_key NULL: up to max jobs of
 * the queue, 1 to 10,000, those that wait before those that run.  Leaves jobs that
 * another transaction has locked.  Returns how many it cancelled.
 */
Datum
pictrepo_cancel_jobs(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	NullableDatum max = limit_argument(fcinfo, 2, 1, BATCH_MAX);

	if (PG_ARGISNULL(1))
		return return_count(fcinfo, &cancel_jobs_of_queue, ARGS(queue, max));
	return return_count(fcinfo, &cancel_job_with_key, ARGS(queue, key_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_update_job);

STATEMENT(update_waiting_job, STMT_READ_WRITE,
		  "UPDATE pictrepo.job_queue SET queue = coalesce($2, queue),"
		  " run_at = coalesce($3, run_at), priority = coalesce($4, priority)"
		  " WHERE id = $1 AND status = 'new'",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID, INT4OID);

/*
 * update_job(id uuid, queue text, run_at timestamptz, priority int) -> bool
 *
 * Change a job that waits.  An argument that is NULL changes nothing.  False: no
 * such job waits.
 */
Datum
pictrepo_update_job(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &update_waiting_job,
						ARGS(any_argument(fcinfo, 0),
							 PG_ARGISNULL(1) ? NULL_ARG : key_argument(fcinfo, 1),
							 PG_ARGISNULL(2) ? NULL_ARG : time_argument(fcinfo, 2),
							 fcinfo->args[3]));
}

PG_FUNCTION_INFO_V1(pictrepo_release_job);

STATEMENT(release_job, STMT_READ_WRITE,
		  "UPDATE pictrepo.job_queue SET status = 'new', worker = NULL, heartbeat = NULL,"
		  " session = NULL, run_at = coalesce($4, clock_timestamp()), returned_at = clock_timestamp()"
		  " WHERE id = $3 AND " HELD(""),
		  TEXTOID, UUIDOID, UUIDOID, TIMESTAMPTZOID);

/*
 * release_job(queue text, worker uuid, job_id uuid, run_at timestamptz) -> bool
 *
 * Give a job back, with as many retries as it had before the claim.  worker NULL:
 * session_worker().  run_at NULL: it is ready at once.  False: the worker does not
 * hold the job.
 */
Datum
pictrepo_release_job(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &release_job,
						ARGS(key_argument(fcinfo, 0), worker_argument(fcinfo, 1), any_argument(fcinfo, 2),
							 PG_ARGISNULL(3) ? NULL_ARG : time_argument(fcinfo, 3)));
}

/* ----- many dead jobs ----- */

/* Dead jobs of a queue, the oldest first */
#define CHOSEN_DEAD_JOBS \
	"SELECT d.id FROM (SELECT id, tableoid, ctid FROM pictrepo.dead_jobs" \
	" WHERE queue = $1 AND coalesce(error, '') LIKE $2 ORDER BY died_at OFFSET 0) d" \
	" WHERE " TRY_LOCK("d") " LIMIT $3"

/* The arguments queue, error_like and max */
#define CHOICE_OF_DEAD_JOBS(fcinfo) \
	ARGS(key_argument(fcinfo, 0), any_argument(fcinfo, 1), limit_argument(fcinfo, 2, 1, BATCH_MAX))

PG_FUNCTION_INFO_V1(pictrepo_requeue_dead_many);

STATEMENT(revive_jobs, STMT_READ_WRITE,
		  REVIVE_JOBS("SELECT * FROM pictrepo.dead_jobs WHERE id = ANY (ARRAY(" CHOSEN_DEAD_JOBS "))"),
		  TEXTOID, TEXTOID, INT4OID);

/*
 * requeue_dead(queue text, error_like text, max int) -> bigint
 *
 * Move up to max dead jobs of the queue back to it, 1 to 10,000, with the queue's
 * retries.  error_like: a pattern for LIKE; '%': any error, or none.  Leaves a
 * job whose unique key a live job has.  Returns how many it moved.
 */
Datum
pictrepo_requeue_dead_many(PG_FUNCTION_ARGS)
{
	return return_count(fcinfo, &revive_jobs, CHOICE_OF_DEAD_JOBS(fcinfo));
}

PG_FUNCTION_INFO_V1(pictrepo_delete_dead);

STATEMENT(delete_chosen_dead_jobs, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.dead_jobs WHERE id = ANY (ARRAY(" CHOSEN_DEAD_JOBS "))",
		  TEXTOID, TEXTOID, INT4OID);

/*
 * delete_dead(queue text, error_like text, max int) -> bigint
 *
 * Delete up to max dead jobs of the queue, 1 to 10,000.  error_like: as in
 * requeue_dead.  Returns how many it deleted.
 */
Datum
pictrepo_delete_dead(PG_FUNCTION_ARGS)
{
	return return_count(fcinfo, &delete_chosen_dead_jobs, CHOICE_OF_DEAD_JOBS(fcinfo));
}

/* ----- queues ----- */

PG_FUNCTION_INFO_V1(pictrepo_drop_queue);

STATEMENT(queue_in_use, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.job_queue WHERE queue = $1 AND status = 'new'"
		  " UNION ALL SELECT FROM pictrepo.job_queue WHERE queue = $1 AND status = 'running'"
		  " UNION ALL SELECT FROM pictrepo.dead_jobs WHERE queue = $1"
		  " UNION ALL SELECT FROM pictrepo.schedules WHERE queue = $1 LIMIT 1",
		  TEXTOID);

STATEMENT(delete_queue, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.queues WHERE queue = $1", TEXTOID);

/*
 * drop_queue(queue text) -> text
 *
 * Remove the configuration of a queue that has no job, no dead job and no schedule.
 * Returns 'dropped', 'in_use' (it has some, and nothing was changed), or 'missing'
 * (it has no configuration).
 */
Datum
pictrepo_drop_queue(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	const char *outcome = "in_use";
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	if (statement_run(&queue_in_use, &queue) == 0)
		outcome = statement_run(&delete_queue, &queue) > 0 ? "dropped" : "missing";
	repo_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/*-------------------------------------------------------------------------
 *
 * sweep.c
 *		QueueRepo: finding changes of the tables that shared memory has missed.
 *
 * When a prepared transaction commits, shared memory does not learn what it
 * changed.  The same is true for statements while triggers are disabled.  From
 * time to time the worker repairs the effects.  It removes heartbeats of jobs that
 * do not run, and wakes waiters of queues that have ready jobs.  It also repairs
 * what a step back of the wall clock does to ready jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/limits.h"
#include "common/maintenance_tasks.h"
#include "common/monotonic.h"
#include "queue/queue.h"
#include "shmem/clock_watch.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "shmem/wait_queue.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"
#include "xact/heartbeat.h"
#include "xact/pending.h"
#include "xact/row_count.h"

STATEMENT(not_running, STMT_READ_WRITE,
		  "SELECT id FROM unnest($1) AS id WHERE NOT EXISTS"
		  " (SELECT FROM pictrepo.job_queue j WHERE j.id = id.id AND j.status <> 'new')",
		  UUIDARRAYOID);

/* Remove the heartbeats of jobs that do not run any more. */
static uint64
sweep_heartbeats(void)
{
	MonotonicTime before = monotonic_now() - guc_heartbeat_timeout * INT64CONST(1000);
	uint64		ended = statement_run(&not_running, ARGS(not_null(heartbeat_silent_jobs(before))));

	for (uint64 i = 0; i < ended; i++)
		heartbeat_forget(DatumGetUUIDP(result_value(i, 1).value), before);
	return ended;
}

/*
 * Queues of this database with waiters, as an array of text.  Without the lock of
 * the queue, the answer may be old: the next sweep has a new one.
 */
static Datum
queues_with_waiters(void)
{
	ArrayBuildState *queues = NULL;
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	LWLockAcquire(shmem->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
		if (queue->key.database == MyDatabaseId && !dlist_is_empty(&queue->wait_queue))
			queues = accumArrayResult(queues, queue_slot_name(queue), false, TEXTOID, CurrentMemoryContext);
	LWLockRelease(shmem->table_lock);
	if (queues == NULL)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	return makeArrayResult(queues, CurrentMemoryContext);
}

STATEMENT(with_ready_jobs, STMT_READ_WRITE,
		  "SELECT queue, least(count(*), 1000) FROM unnest($1) AS queue, LATERAL"
		  " (SELECT FROM pictrepo.job_queue j WHERE j.queue = queue.queue AND j.status = 'new'"
		  " AND j.run_at <= clock_timestamp() LIMIT 1000) ready GROUP BY queue",
		  TEXTARRAYOID);

/* Wake waiters of queues that have ready jobs. */
static uint64
sweep_wait_queues(void)
{
	uint64		queues = statement_run(&with_ready_jobs, ARGS(not_null(queues_with_waiters())));

	for (uint64 i = 0; i < queues; i++)
	{
		QueueSlot  *queue = pending_queue(DatumGetTextPP(result_value(i, 1).value));

		if (queue != NULL)
			wake_queue_waiters(queue, DatumGetInt64(result_value(i, 2).value));
	}
	return queues;
}

/*
 * Jobs that were ready when the clock was set back, and jobs that a worker gave
 * back then.  A pause before a retry begins anew.
 */
STATEMENT(bring_forward, STMT_READ_WRITE,
		  "UPDATE pictrepo.job_queue j SET returned_at = least(j.returned_at, $1),"
		  " run_at = $1 + greatest(j.run_at - coalesce(j.returned_at, j.queue_time), '0')"
		  " WHERE j.id = ANY (ARRAY(SELECT r.id FROM (SELECT id, tableoid, ctid FROM pictrepo.job_queue"
		  " WHERE status = 'new' AND run_at > $1 AND isfinite(run_at)"
		  " AND (returned_at > $1 OR (queue_time > $1 AND run_at <= queue_time))"
		  " ORDER BY id OFFSET 0) r WHERE " TRY_LOCK_NO_KEY("r") " LIMIT $2 OFFSET $3))",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

/*
 * After the wall clock was set back, a job that was ready is not due until the
 * clock has caught up.  Make such jobs due again.  Returns the number of jobs.
 */
uint64
bring_jobs_forward(void)
{
	static MonotonicTime done = 0;
	MonotonicTime start = monotonic_now();
	uint64		jobs;

	if (!clock_watch_set_back(done))
		return 0;
	jobs = row_batch_run(&bring_forward, ARGS(not_null(TimestampTzGetDatum(GetCurrentTimestamp()))),
						 TASK_BATCH, NULL);
	if (jobs < TASK_BATCH)
		done = start;
	return jobs;
}

/*
 * A maintenance task.  Returns the number of jobs that it made due, of heartbeats
 * that it removed, and of queues whose waiters it woke.
 */
uint64
sweep_queues(void)
{
	uint64		rows = bring_jobs_forward();

	if (my_database_slot() == NULL)
		return rows;
	(void) row_count_check_prepared(my_database_slot());
	return rows + sweep_heartbeats() + sweep_wait_queues();
}

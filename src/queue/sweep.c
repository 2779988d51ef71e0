/*-------------------------------------------------------------------------
 *
 * sweep.c
 *		QueueRepo: finding changes of the tables that shared memory has missed.
 *
 * When a prepared transaction commits, shared memory does not learn what it
 * changed.  The same is true for statements while triggers are disabled.  From
 * time to time the worker repairs the effects.  It removes heartbeats of jobs that
 * do not run, and wakes waiters of queues that have ready jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/limits.h"
#include "queue/queue.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "shmem/wait_queue.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
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
	TimestampTz before = GetCurrentTimestamp() - (int64) guc_heartbeat_timeout * 1000;
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
 * A maintenance task.  Returns the number of heartbeats that it removed and of
 * queues whose waiters it woke.
 */
uint64
sweep_queues(void)
{
	if (my_database_slot() == NULL)
		return 0;
	(void) row_count_check_prepared(my_database_slot());
	return sweep_heartbeats() + sweep_wait_queues();
}

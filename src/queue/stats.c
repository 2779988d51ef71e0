/*-------------------------------------------------------------------------
 *
 * stats.c
 *		QueueRepo: lengths and counters of queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "queue/queue.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/recorded_count.h"
#include "xact/row_count.h"

PG_FUNCTION_INFO_V1(pictrepo_queue_length);

/* One count for each status, because each status has its own index. */
STATEMENT(count_jobs_of_queue, STMT_READ_ONLY,
		  "SELECT (SELECT count(*) FROM pictrepo.job_queue WHERE queue = $1 AND status = 'new')"
		  " + (SELECT count(*) FROM pictrepo.job_queue WHERE queue = $1 AND status = 'running')",
		  TEXTOID);

STATEMENT(count_jobs_of_all_queues, STMT_READ_ONLY | STMT_WHOLE_TABLE,
		  "SELECT queue, count(*) FROM pictrepo.job_queue GROUP BY queue");

/* The number of jobs in all queues. */
int64
job_count(void)
{
	int64		count;

	if (!row_count_get(COUNTED_JOBS, &count) && !recorded_count_get(COUNTED_JOBS, NULL_ARG, &count))
		count = row_count_scan(COUNTED_JOBS, &count_jobs_of_all_queues);
	return count;
}

/* Make the numbers of jobs known to all sessions; false: they cannot be. */
bool
know_job_count(void)
{
	return row_count_know(COUNTED_JOBS, &count_jobs_of_all_queues);
}

/* The number of jobs in one queue. */
static int64
count_of_queue(NullableDatum queue)
{
	int64		length;

	if (recorded_count_get(COUNTED_JOBS, queue, &length) ||
		(know_job_count() && row_count_of_queue(queue, &length)))
		return length;
	statement_run(&count_jobs_of_queue, &queue);
	return DatumGetInt64(result_value(0, 1).value);
}

/*
 * queue_length(queue text) -> bigint
 *
 * The number of jobs in a queue, running ones included.  queue NULL: in all queues.
 * On a standby, a large number is one that the primary has recorded.
 */
Datum
pictrepo_queue_length(PG_FUNCTION_ARGS)
{
	NullableDatum queue = PG_ARGISNULL(0) ? NULL_ARG : key_argument(fcinfo, 0);
	RepoCall	call;
	int64		length;

	if (queue.isnull ? row_count_get(COUNTED_JOBS, &length) : row_count_of_queue(queue, &length))
		PG_RETURN_INT64(length);
	repo_call_begin(&call, fcinfo);
	length = queue.isnull ? job_count() : count_of_queue(queue);
	repo_call_end(&call);
	PG_RETURN_INT64(length);
}

/*
 * The known numbers of jobs: of each queue with a slot, and under the empty name
 * that of all queues.
 */
void
known_queue_lengths(NullableDatum *queues, NullableDatum *lengths)
{
	ArrayBuildState *names = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	ArrayBuildState *numbers = initArrayResult(INT8OID, CurrentMemoryContext, false);
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	accumArrayResult(names, CStringGetTextDatum(""), false, TEXTOID, CurrentMemoryContext);
	accumArrayResult(numbers, Int64GetDatum(job_count()), false, INT8OID, CurrentMemoryContext);
	LWLockAcquire(shmem->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		if (queue->key.database != MyDatabaseId || queue->uncounted)
			continue;
		accumArrayResult(names, queue_slot_name(queue), false, TEXTOID, CurrentMemoryContext);
		accumArrayResult(numbers, Int64GetDatum(pg_atomic_read_u64(&queue->length)), false, INT8OID,
						 CurrentMemoryContext);
	}
	LWLockRelease(shmem->table_lock);
	*queues = not_null(makeArrayResult(names, CurrentMemoryContext));
	*lengths = not_null(makeArrayResult(numbers, CurrentMemoryContext));
}

PG_FUNCTION_INFO_V1(pictrepo_counting);

/*
 * counting() -> bool
 *
 * Does shared memory count the events of this database, and has it lost no counts of
 * a queue?
 */
Datum
pictrepo_counting(PG_FUNCTION_ARGS)
{
	DatabaseSlot *database = my_database_slot();

	PG_RETURN_BOOL(database != NULL && pg_atomic_read_u32(&database->counters_lost) == 0);
}

/* Counters that do not have everything are NULL. */
static void
fill_row(const QueueSlot *queue, const int64 *counts, bool counted, Datum *values, bool *nulls)
{
	values[0] = queue_slot_name(queue);
	memset(&nulls[1], !counted, QUEUE_COUNTERS * sizeof(bool));
	for (int i = 0; i < QUEUE_COUNTERS; i++)
		values[1 + i] = i == COUNTER_WAIT_TIME || i == COUNTER_RUN_TIME ?
			interval_result(counts[i]) : Int64GetDatum(counts[i]);
}

/* Read the counters and the number of waiters, as of one moment. */
static int
read_counters(QueueSlot *queue, int64 *counts, bool *counted)
{
	dlist_iter	iter;
	int			waiting = 0;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	memcpy(counts, queue->counters, sizeof(queue->counters));
	*counted = queue->counted;
	dlist_foreach(iter, &queue->wait_queue)
		waiting++;
	LWLockRelease(&queue->lock);
	return waiting;
}

PG_FUNCTION_INFO_V1(pictrepo_queue_counters);

/*
 * queue_counters()
 *		-> setof (queue text, pushed, popped, completed, failed, died, reaped, woken bigint,
 *				  wait_time, run_time interval, waiting int)
 *
 * Counts of events since the server started, and waiting sessions, of each queue.
 * wait_time and run_time are sums.  The counts are NULL if some of them were lost with
 * a slot of the queue, or may be in a prepared transaction.  No rows without shared
 * memory.
 */
Datum
pictrepo_queue_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	rows_begin(fcinfo);
	if (my_database_slot() == NULL)
		PG_RETURN_NULL();
	LWLockAcquire(shmem->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		Datum		values[2 + QUEUE_COUNTERS];
		bool		nulls[2 + QUEUE_COUNTERS] = {false};
		int64		counts[QUEUE_COUNTERS];
		bool		counted;

		if (queue->key.database != MyDatabaseId)
			continue;
		values[1 + QUEUE_COUNTERS] = Int32GetDatum(read_counters(queue, counts, &counted));
		fill_row(queue, counts, counted, values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	LWLockRelease(shmem->table_lock);
	PG_RETURN_NULL();
}

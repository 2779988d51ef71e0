/*-------------------------------------------------------------------------
 *
 * stats.c
 *		QueueRepo: lengths and counters of queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "common/limits.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/row_count.h"

PG_FUNCTION_INFO_V1(pictrepo_queue_length);

READS_ALL(count_jobs, "SELECT count(*) FROM pictrepo.job_queue");

/* one count per status: each has an index of its own */
READS(count_jobs_of_queue,
	  "SELECT (SELECT count(*) FROM pictrepo.job_queue WHERE queue = $1 AND status = 'new')"
	  " + (SELECT count(*) FROM pictrepo.job_queue WHERE queue = $1 AND status = 'running')",
	  TEXTOID);

READS_ALL(count_jobs_of_all_queues,
		  "SELECT queue, count(*) FROM pictrepo.job_queue GROUP BY queue");

static bool
known_length(FunctionCallInfo fcinfo, NullableDatum queue, int64 *length)
{
	return queue.isnull ? tally_value(TALLY_JOBS, length) : tally_of_queue(queue, length);
}

/*
 * queue_length(queue text) -> bigint
 *
 * Jobs that wait or run; NULL: in all queues.  22023, 22001.
 */
Datum
pictrepo_queue_length(PG_FUNCTION_ARGS)
{
	NullableDatum queue = PG_ARGISNULL(0) ? NULL_ARG : key_argument(fcinfo, 0);
	RepoCall	call;
	int64		length;

	if (known_length(fcinfo, queue, &length))
		PG_RETURN_INT64(length);

	begin_call(&call, fcinfo);
	(void) count_tally(TALLY_JOBS, &count_jobs_of_all_queues);
	end_call(&call);
	if (known_length(fcinfo, queue, &length))
		PG_RETURN_INT64(length);
	if (queue.isnull)
		return answer_value(fcinfo, &count_jobs, NULL);
	return answer_value(fcinfo, &count_jobs_of_queue, ARGS(queue));
}

PG_FUNCTION_INFO_V1(pictrepo_counting);

/*
 * counting() -> bool
 *
 * Is there shared memory in which what happens is counted?
 */
Datum
pictrepo_counting(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(my_database() != NULL);
}

static Datum
interval_of(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return IntervalPGetDatum(interval);
}

static void
fill_row(const QueueState *queue, const int64 *counts, Datum *values)
{
	values[0] = PointerGetDatum(cstring_to_text_with_len(queue->key.name,
														 strnlen(queue->key.name, KEY_MAX)));
	for (int i = 0; i < COUNTS; i++)
		values[1 + i] = i == COUNT_WAIT_TIME || i == COUNT_RUN_TIME ?
			interval_of(counts[i]) : Int64GetDatum(counts[i]);
}

/* A number from a moment in which nobody changes it. */
static int
waiting_in(QueueState *queue, int64 *counts)
{
	dlist_iter	iter;
	int			waiting = 0;

	SpinLockAcquire(&queue->mutex);
	memcpy(counts, queue->counts, sizeof(queue->counts));
	dlist_foreach(iter, &queue->line)
		waiting++;
	SpinLockRelease(&queue->mutex);
	return waiting;
}

PG_FUNCTION_INFO_V1(pictrepo_queue_counters);

/*
 * queue_counters()
 *		-> setof (queue text, pushed, popped, completed, failed, died, reaped, woken bigint,
 *				  wait_time, run_time interval, waiting int)
 *
 * What happened since the server started; no row without shared memory.
 */
Datum
pictrepo_queue_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HASH_SEQ_STATUS scan;
	QueueState *queue;

	begin_rows(fcinfo);
	if (my_database() == NULL)
		PG_RETURN_NULL();
	LWLockAcquire(shared->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_states);
	while ((queue = hash_seq_search(&scan)) != NULL)
	{
		Datum		values[2 + COUNTS];
		bool		nulls[2 + COUNTS] = {false};
		int64		counts[COUNTS];

		if (queue->key.database != MyDatabaseId)
			continue;
		values[1 + COUNTS] = Int32GetDatum(waiting_in(queue, counts));
		fill_row(queue, counts, values);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	LWLockRelease(shared->table_lock);
	PG_RETURN_NULL();
}

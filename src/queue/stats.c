/*-------------------------------------------------------------------------
 *
 * queue_upkeep.c
 *		QueueRepo: what is seen of the queues, and what the worker does for them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "engine/arguments.h"
#include "engine/batches.h"
#include "engine/changes.h"
#include "engine/duties.h"
#include "engine/pulse.h"
#include "engine/settings.h"
#include "engine/statements.h"
#include "engine/tally.h"
#include "engine/wakeup.h"
#include "repo/queue.h"

/* ----- dead jobs ----- */

WRITES(delete_dead_jobs,
	   "DELETE FROM pictrepo.dead_jobs WHERE id = ANY (ARRAY("
	   "SELECT id FROM pictrepo.dead_jobs WHERE died_at < $1"
	   " ORDER BY died_at LIMIT $2 OFFSET $3 FOR UPDATE SKIP LOCKED))",
	   TIMESTAMPTZOID, INT4OID, INT4OID);

/* Dead jobs are kept for pictrepo.dead_job_retention. */
uint64
prune_dead_jobs(void)
{
	TimestampTz before = GetCurrentTimestamp() - dead_job_retention * USECS_PER_SEC;

	if (dead_job_retention == 0)
		return 0;
	return run_batch(&delete_dead_jobs, ARGS(given(TimestampTzGetDatum(before))), DUTY_BATCH, NULL);
}

/* ----- what escaped shared memory ----- */

READS_NOW(not_running,
		  "SELECT id FROM unnest($1) AS id WHERE NOT EXISTS"
		  " (SELECT FROM pictrepo.job_queue j WHERE j.id = id.id AND j.status <> 'new')",
		  UUIDARRAYOID);

/* Heartbeats of jobs that do not run, as a prepared transaction leaves them. */
static uint64
sweep_pulses(void)
{
	TimestampTz before = GetCurrentTimestamp() - (int64) heartbeat_timeout * 1000;
	uint64		ended = run_statement(&not_running, ARGS(given(silent_pulses(before))));

	for (uint64 i = 0; i < ended; i++)
		end_pulse(DatumGetUUIDP(result_value(i, 1).value), -1);
	return ended;
}

/* Queues of this database in which somebody waits, as an array of text. */
static Datum
queues_with_waiters(void)
{
	ArrayBuildState *queues = NULL;
	HASH_SEQ_STATUS scan;
	QueueState *queue;

	LWLockAcquire(shared->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_states);
	while ((queue = hash_seq_search(&scan)) != NULL)
		if (queue->key.database == MyDatabaseId && !dlist_is_empty(&queue->line))
			queues = accumArrayResult(queues,
									  PointerGetDatum(cstring_to_text_with_len(queue->key.name,
																			   strnlen(queue->key.name, KEY_MAX))),
									  false, TEXTOID, CurrentMemoryContext);
	LWLockRelease(shared->table_lock);
	if (queues == NULL)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	return makeArrayResult(queues, CurrentMemoryContext);
}

READS_NOW(with_ready_jobs,
		  "SELECT queue, least(count(*), 1000) FROM unnest($1) AS queue, LATERAL"
		  " (SELECT FROM pictrepo.job_queue j WHERE j.queue = queue.queue AND j.status = 'new'"
		  " AND j.run_at <= clock_timestamp() LIMIT 1000) ready GROUP BY queue",
		  TEXTARRAYOID);

/* Call waiters for jobs that nobody called them for. */
static uint64
sweep_lines(void)
{
	uint64		queues = run_statement(&with_ready_jobs, ARGS(given(queues_with_waiters())));

	for (uint64 i = 0; i < queues; i++)
	{
		QueueState *queue = queue_state(result_value(i, 1));

		if (queue != NULL)
			wake_queue(queue, DatumGetInt64(result_value(i, 2).value));
	}
	return queues;
}

/*
 * Two-phase commits, rows that changed while triggers were disabled: whatever
 * shared memory did not hear of is found here, some time later.
 */
uint64
sweep_queues(void)
{
	if (my_database() == NULL)
		return 0;
	(void) prepared_transactions(my_database());
	return sweep_pulses() + sweep_lines();
}

/* ----- queue_stats ----- */

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

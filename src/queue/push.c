/*-------------------------------------------------------------------------
 *
 * push.c
 *		QueueRepo: adding jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/injection_points.h"
#include "common/limits.h"
#include "common/uuid.h"
#include "queue/queue.h"
#include "sqlfunc/args.h"
#include "sqlfunc/fast_path.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

/*
 * Insert a job for each element of the arrays $2 (ids), $3 (jobs) and $4 (unique
 * keys, or NULL).  The rows are inserted in the order of their keys: otherwise two
 * calls with the same keys could deadlock.  Returns the ids of the inserted jobs.
 */
STATEMENT(insert_jobs, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.job_queue"
		  " (id, queue, job, unique_key, queue_time, run_at, priority, retry, upload)"
		  " SELECT id, $1, job, key, $5, coalesce($6, $5), $7,"
		  " coalesce($8, (SELECT retries FROM pictrepo.queues WHERE queue = $1), " DEFAULT_RETRIES "), $9"
		  " FROM unnest($2, $3, $4) WITH ORDINALITY AS given (id, job, key, place) ORDER BY key, place"
		  " ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING"
		  " RETURNING id",
		  TEXTOID, UUIDARRAYOID, JSONBARRAYOID, TEXTARRAYOID,
		  TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT4OID, UUIDOID);

STATEMENT(insert_job, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.job_queue"
		  " (id, queue, job, unique_key, queue_time, run_at, priority, retry, upload)"
		  " VALUES ($2, $1, $3, $4, $5, coalesce($6, $5), $7,"
		  " coalesce($8, (SELECT retries FROM pictrepo.queues WHERE queue = $1), " DEFAULT_RETRIES "), $9)"
		  " ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING",
		  TEXTOID, UUIDOID, JSONBOID, TEXTOID,
		  TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT4OID, UUIDOID);

/*
 * The most frequent case: the job has no unique key, and the queue has no
 * configuration, or the caller gives the retries.  So the INSERT needs neither ON
 * CONFLICT nor a subquery.  Usually the fast path can insert the row.
 */
FAST_INSERT(fast_job, "job_queue",
		{"queue", TEXTOID}, {"id", UUIDOID}, {"job", JSONBOID}, {"unique_key", TEXTOID},
		{"queue_time", TIMESTAMPTZOID}, {"run_at", TIMESTAMPTZOID}, {"priority", INT4OID},
		{"retry", INT4OID}, {"upload", UUIDOID});
STATEMENT(insert_job_without_key, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.job_queue"
		  " (queue, id, job, unique_key, queue_time, run_at, priority, retry, upload)"
		  " VALUES ($1, $2, $3, $4, $5, coalesce($6, $5), $7, coalesce($8, " DEFAULT_RETRIES "), $9)",
		  TEXTOID, UUIDOID, JSONBOID, TEXTOID,
		  TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT4OID, UUIDOID);

static void
push_without_key(const NullableDatum *args)
{
	NullableDatum row[9];

	memcpy(row, args, sizeof(row));
	if (row[5].isnull)
		row[5] = row[4];
	if (row[7].isnull)
		row[7] = not_null(Int32GetDatum(atoi(DEFAULT_RETRIES)));
	if (!fast_insert(&fast_job, row))
		statement_run(&insert_job_without_key, args);
}

/* The caller is in a repo call.  False: a live job has the unique key. */
bool
push_job(const NullableDatum *args)
{
	NullableDatum queue = args[0];
	NullableDatum unique_key = args[3];
	NullableDatum retry = args[7];

	if (unique_key.isnull && (!retry.isnull || queue_is_unconfigured(queue)))
	{
		push_without_key(args);
		return true;
	}
	return statement_run(&insert_job, args) > 0;
}

/*
 * The arguments run_at, priority and retry, which begin with argument n of the call,
 * as $5 to $8 of the statements.
 */
static void
schedule_arguments(FunctionCallInfo fcinfo, int n, NullableDatum *args)
{
	args[0] = not_null(TimestampTzGetDatum(GetCurrentTimestamp()));
	args[1] = PG_ARGISNULL(n) ? NULL_ARG : time_argument(fcinfo, n);
	args[2] = any_argument(fcinfo, n + 1);
	args[3] = PG_ARGISNULL(n + 2) ? NULL_ARG : limit_argument(fcinfo, n + 2, 0, RETRIES_MAX);
}

PG_FUNCTION_INFO_V1(pictrepo_push);

/*
 * push(queue text, job jsonb, unique_key text, run_at timestamptz,
 *		priority int, retry int, upload uuid) -> uuid
 *
 * Add a job, and return its id.  NULL: a live job has the unique key.
 *
 * run_at NULL: the job is due now.  priority: higher ones first.  retry: 0 to
 * 1,000,000; NULL: the retries of the queue.  upload: if the job dies, the result of
 * this upload becomes a Failure.
 */
Datum
pictrepo_push(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	RepoCall	call;
	bool		pushed;
	NullableDatum args[9] = {
		key_argument(fcinfo, 0), not_null(UUIDPGetDatum(id)), document_argument(fcinfo, 1),
		PG_ARGISNULL(2) ? NULL_ARG : key_argument(fcinfo, 2)
	};

	schedule_arguments(fcinfo, 3, &args[4]);
	args[8] = fcinfo->args[6];
	uuid_mint(id);
	repo_call_begin_fast(&call, fcinfo);
	pushed = push_job(args);
	INJECT(job_pushed);
	repo_call_end(&call);
	if (!pushed)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(id);
}

/*
 * Generate an id for each job, and run insert_jobs with them.  The caller has set
 * the other arguments, and is in a repo call.  Returns the ids.
 */
static pg_uuid_t *
insert_with_ids(NullableDatum *args, int count)
{
	pg_uuid_t  *minted = palloc_array(pg_uuid_t, count + 1);
	Datum	   *ids = palloc_array(Datum, count + 1);

	for (int i = 0; i < count; i++)
	{
		uuid_mint(&minted[i]);
		ids[i] = UUIDPGetDatum(&minted[i]);
	}
	args[1] = array_of(ids, count, UUIDOID);
	statement_run(&insert_jobs, args);
	INJECT(jobs_pushed);
	return minted;
}

/* Add jobs that are due now, with the queue's retries.  The caller is in a repo call. */
void
push_jobs(const char *queue, Datum *jobs, int count)
{
	NullableDatum args[9] = {
		not_null(CStringGetTextDatum(queue)), NULL_ARG, array_of(jobs, count, JSONBOID), NULL_ARG,
		not_null(TimestampTzGetDatum(GetCurrentTimestamp())), NULL_ARG, not_null(Int32GetDatum(0)),
		NULL_ARG, NULL_ARG
	};

	(void) insert_with_ids(args, count);
}

/* Check an array of unique keys: one for each job, which may be NULL. */
static void
check_keys(FunctionCallInfo fcinfo, int n, int jobs)
{
	int			count;
	bool	   *nulls;
	Datum	   *keys = array_argument(fcinfo, n, TEXTOID, &count, &nulls);

	check_element_count(fcinfo, n, count, 1, jobs);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			check_text(fcinfo, n, keys[i], KEY_MAX);
}

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/*
 * The ids as an array, with NULL for each job that insert_jobs has not inserted.
 * Generated ids are in ascending order, which bsearch needs.
 */
static Datum
inserted_ids(pg_uuid_t *minted, int count)
{
	Datum	   *ids = palloc_array(Datum, count + 1);
	bool	   *nulls = palloc_array(bool, count + 1);
	int			lower_bound = 1;

	memset(nulls, true, count);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		pg_uuid_t  *inserted = bsearch(DatumGetUUIDP(result_value(i, 1).value), minted, count,
									sizeof(pg_uuid_t), compare_ids);

		ids[inserted - minted] = UUIDPGetDatum(inserted);
		nulls[inserted - minted] = false;
	}
	return PointerGetDatum(construct_md_array(ids, nulls, 1, &count, &lower_bound, UUIDOID,
											  UUID_LEN, false, TYPALIGN_CHAR));
}

PG_FUNCTION_INFO_V1(pictrepo_push_many);

/*
 * push_many(queue text, jobs jsonb[], unique_keys text[], run_at timestamptz,
 *			 priority int, retry int) -> uuid[]
 *
 * Add jobs, and return their ids in the same order.  An id is NULL if a live job,
 * or an earlier job of this call, has the unique key.
 *
 * unique_keys NULL: no job has a key.  Otherwise it has one element for each job,
 * which may be NULL.  The other arguments are those of push.  Error 22023 if the
 * arrays have different lengths.
 */
Datum
pictrepo_push_many(PG_FUNCTION_ARGS)
{
	NullableDatum queue = key_argument(fcinfo, 0);
	int			count;
	Datum	   *jobs = array_argument(fcinfo, 1, JSONBOID, &count, NULL);
	MemoryContext answer = CurrentMemoryContext;
	pg_uuid_t  *minted;
	Datum		result;
	RepoCall	call;
	NullableDatum args[9];

	for (int i = 0; i < count; i++)
		check_document_size(fcinfo, 1, jobs[i]);
	if (!PG_ARGISNULL(2))
		check_keys(fcinfo, 2, count);
	args[0] = queue;
	args[2] = fcinfo->args[1];
	args[3] = fcinfo->args[2];
	schedule_arguments(fcinfo, 3, &args[4]);
	args[8] = NULL_ARG;

	repo_call_begin(&call, fcinfo);
	minted = insert_with_ids(args, count);
	MemoryContextSwitchTo(answer);
	result = count > 0 ? inserted_ids(minted, count) : PointerGetDatum(construct_empty_array(UUIDOID));
	repo_call_end(&call);
	PG_RETURN_DATUM(result);
}

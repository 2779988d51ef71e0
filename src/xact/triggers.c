/*-------------------------------------------------------------------------
 *
 * triggers.c
 *		What happens when rows change, by whatever statement.
 *
 * The triggers wake who waits, tell the channels, keep the counts and the
 * cursors.  They sit on the tables, so that a plain INSERT by any client does
 * as well as a repo function, and fire always, so that replicated rows do too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/limits.h"
#include "common/page_slug.h"
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "shmem/wait_queue.h"
#include "xact/notify.h"
#include "xact/pending.h"
#include "xact/triggers.h"

/* ----- the row, or rows, that a trigger was called for ----- */

/*
 * Only for the tables that CREATE EXTENSION made: their columns are known.  For
 * each row, or where rows_gone says so, after TRUNCATE.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo, bool rows_gone)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!(TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		  (rows_gone && TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))) ||
		RelationGetNamespace(trigger->tg_relation) != get_func_namespace(fcinfo->flinfo->fn_oid))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" must be called by a trigger of pictrepo",
					   get_func_name(fcinfo->flinfo->fn_oid)));
	restore_guard_check_rows();
	return trigger;
}

static HeapTuple
old_row(const TriggerData *trigger)
{
	return TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? NULL : trigger->tg_trigtuple;
}

static HeapTuple
new_row(const TriggerData *trigger)
{
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return trigger->tg_trigtuple;
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : NULL;
}

/* The table's owner may have taken its NOT NULL away. */
static Datum
column_value(TupleDesc tupdesc, HeapTuple row, int number)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, tupdesc, number, &isnull);

	if (isnull)
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("column \"%s\" must not be null", SPI_fname(tupdesc, number)));
	return value;
}

static Datum
row_value(const TriggerData *trigger, HeapTuple row, const char *column)
{
	TupleDesc	tupdesc = RelationGetDescr(trigger->tg_relation);

	return column_value(tupdesc, row, SPI_fnumber(tupdesc, column));
}

/* AFTER triggers give nothing back. */
#define TRIGGER_DONE PG_RETURN_POINTER(NULL)

/* ----- jobs ----- */

typedef struct JobRow
{
	text	   *queue;
	JobPosition position;
	bool		running;
	int			attempt;
	int			retry;
	NullableDatum unique_key;
	bool		has_worker;		/* and a heartbeat */
	TimestampTz heartbeat;
} JobRow;

/* Columns of job_queue, which is hot: their numbers are looked up once. */
typedef struct JobColumns
{
	Oid			relation;
	int			natts;
	int			queue,
				id,
				status,
				priority,
				run_at,
				attempt,
				retry,
				unique_key,
				worker,
				heartbeat;
	Oid			is_running;		/* the status */
} JobColumns;

/* The number of a column; InvalidOid: whatever its type. */
static int
job_column(TupleDesc tupdesc, const char *name, Oid type)
{
	int			number = SPI_fnumber(tupdesc, name);

	if (number <= 0 || (OidIsValid(type) && SPI_gettypeid(tupdesc, number) != type))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("job_queue has no column \"%s\" of the type that it was made with", name));
	return number;
}

static const JobColumns *
job_columns(Relation relation)
{
	static JobColumns columns;
	TupleDesc	tupdesc = RelationGetDescr(relation);

	if (columns.relation != RelationGetRelid(relation) || columns.natts != tupdesc->natts)
	{
		columns.relation = InvalidOid;
		columns.queue = job_column(tupdesc, "queue", TEXTOID);
		columns.id = job_column(tupdesc, "id", UUIDOID);
		columns.status = job_column(tupdesc, "status", InvalidOid);
		columns.priority = job_column(tupdesc, "priority", INT4OID);
		columns.run_at = job_column(tupdesc, "run_at", TIMESTAMPTZOID);
		columns.attempt = job_column(tupdesc, "attempt", INT4OID);
		columns.retry = job_column(tupdesc, "retry", INT4OID);
		columns.unique_key = job_column(tupdesc, "unique_key", TEXTOID);
		columns.worker = job_column(tupdesc, "worker", UUIDOID);
		columns.heartbeat = job_column(tupdesc, "heartbeat", TIMESTAMPTZOID);
		columns.is_running =
			DatumGetObjectId(DirectFunctionCall2(enum_in, CStringGetDatum("running"),
												 ObjectIdGetDatum(SPI_gettypeid(tupdesc, columns.status))));
		columns.relation = RelationGetRelid(relation);
		columns.natts = tupdesc->natts;
	}
	return &columns;
}

static JobRow
job_of_row(const TriggerData *trigger, HeapTuple row)
{
	TupleDesc	tupdesc = RelationGetDescr(trigger->tg_relation);
	const JobColumns *columns = job_columns(trigger->tg_relation);
	Datum		heartbeat;
	bool		isnull;
	JobRow		job;

#define COLUMN(name) column_value(tupdesc, row, columns->name)
	job.queue = DatumGetTextPP(COLUMN(queue));
	job.position.id = *DatumGetUUIDP(COLUMN(id));
	job.position.priority = DatumGetInt32(COLUMN(priority));
	job.position.run_at = DatumGetTimestampTz(COLUMN(run_at));
	job.attempt = DatumGetInt32(COLUMN(attempt));
	job.running = DatumGetObjectId(COLUMN(status)) == columns->is_running;
	job.retry = DatumGetInt32(COLUMN(retry));
	job.unique_key.value = heap_getattr(row, columns->unique_key, tupdesc, &job.unique_key.isnull);
#undef COLUMN
	heartbeat = heap_getattr(row, columns->heartbeat, tupdesc, &isnull);
	job.heartbeat = isnull ? DT_NOBEGIN : DatumGetTimestampTz(heartbeat);
	job.has_worker = !isnull && !heap_attisnull(row, columns->worker, tupdesc);
	return job;
}

static bool
is_key(text *value)
{
	return VARSIZE_ANY_EXHDR(value) >= 1 && VARSIZE_ANY_EXHDR(value) <= KEY_MAX;
}

/* What a plain statement could get wrong.  CHECK constraints would be slower. */
static void
check_job(const JobRow *job)
{
	const char *wrong = NULL;

	if (!is_key(job->queue))
		wrong = "The name of the queue must have 1 to 80 bytes.";
	else if (!job->unique_key.isnull && !is_key(DatumGetTextPP(job->unique_key.value)))
		wrong = "The unique key must have 1 to 80 bytes.";
	else if (job->retry < 0)
		wrong = "Retries must not be negative.";
	else if (job->running && !job->has_worker)
		wrong = "A running job must have a worker and a heartbeat.";
	if (wrong != NULL)
		ereport(ERROR,
				errcode(ERRCODE_CHECK_VIOLATION),
				errmsg("job %s cannot be stored so",
					   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&job->position.id)))),
				errdetail_internal("%s", wrong));
}

static QueueSlot *
queue_of_job(const JobRow *job)
{
	return pending_queue(job->queue);
}

static void
job_came(const JobRow *job)
{
	QueueSlot  *queue = queue_of_job(job);

	if (my_database_slot() != NULL)
		pending_row_count(COUNTED_JOBS, 1);
	if (queue != NULL)
		pending_length(queue, 1);
}

static void
job_was_pushed(const JobRow *job)
{
	QueueSlot  *queue = queue_of_job(job);

	if (queue != NULL)
		pending_counter(queue, COUNTER_PUSHED, 1);
}

static void
job_went(const JobRow *job)
{
	QueueSlot  *queue = queue_of_job(job);

	if (my_database_slot() != NULL)
		pending_row_count(COUNTED_JOBS, -1);
	if (queue != NULL)
		pending_length(queue, -1);
}

static void
job_became_ready(const JobRow *job)
{
	QueueSlot  *queue = queue_of_job(job);

	if (queue != NULL)
		pending_ready(queue, &job->position);
	notify_job(queue, &job->position.id, text_to_cstring(job->queue));
}

/* A worker no longer has it: there is room for another one. */
static void
job_stopped(const JobRow *job)
{
	QueueSlot  *queue = queue_of_job(job);

	if (my_database_slot() != NULL)
		pending_heartbeat(&job->position.id, job->attempt, false);
	if (queue != NULL)
		pending_job_stopped(queue);
}

/* The row's heartbeat is when the worker got it: later ones are in shared memory. */
static void
job_was_run(const JobRow *job)
{
	QueueSlot  *queue = queue_of_job(job);

	if (queue != NULL && !TIMESTAMP_NOT_FINITE(job->heartbeat))
		pending_counter(queue, COUNTER_RUN_TIME, Max(GetCurrentTimestamp() - job->heartbeat, 0));
}

/* The queue knows of its claims already. */
static bool
is_claim(const JobRow *before, const JobRow *after)
{
	return !before->running && after->running &&
		DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
											 PointerGetDatum(before->queue),
											 PointerGetDatum(after->queue)));
}

PG_FUNCTION_INFO_V1(pictrepo_job_changed);

/*
 * job_changed() -> trigger, on job_queue
 *
 * Jobs came, went, became ready or stopped running.  23514 for a row that is
 * none.
 */
Datum
pictrepo_job_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, true);
	HeapTuple	old = old_row(trigger);
	HeapTuple	new = new_row(trigger);
	JobRow		before;
	JobRow		after;

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		if (my_database_slot() != NULL)
			pending_truncate(COUNTED_JOBS);
		TRIGGER_DONE;
	}
	if (new != NULL)
	{
		after = job_of_row(trigger, new);
		check_job(&after);
	}
	if (old != NULL)
	{
		before = job_of_row(trigger, old);
		if (new != NULL && is_claim(&before, &after))
			TRIGGER_DONE;
		job_went(&before);
		if (before.running)
			job_stopped(&before);
		if (before.running && (new == NULL || !after.running))
			job_was_run(&before);
	}
	if (new != NULL)
	{
		job_came(&after);
		if (old == NULL)
			job_was_pushed(&after);
		if (!after.running)
			job_became_ready(&after);
	}
	TRIGGER_DONE;
}

PG_FUNCTION_INFO_V1(pictrepo_queue_changed);

/*
 * queue_changed() -> trigger, on queues
 *
 * A queue is configured differently: who waits for its jobs has to look.
 */
Datum
pictrepo_queue_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, false);
	HeapTuple	rows[] = {old_row(trigger), new_row(trigger)};

	for (int i = 0; i < lengthof(rows) && my_database_slot() != NULL; i++)
	{
		text	   *name;
		QueueSlot  *queue;

		if (rows[i] == NULL)
			continue;
		name = DatumGetTextPP(row_value(trigger, rows[i], "queue"));
		queue = pending_queue(name);
		if (queue != NULL)
			pending_config_change(queue);
	}
	TRIGGER_DONE;
}

/* ----- hashes ----- */

PG_FUNCTION_INFO_V1(pictrepo_hash_changed);

/*
 * hash_changed() -> trigger, on hashes
 *
 * Hashes came or went: keep the count.
 */
Datum
pictrepo_hash_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, true);

	if (my_database_slot() == NULL)
		TRIGGER_DONE;
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		pending_truncate(COUNTED_HASHES);
	else
		pending_row_count(COUNTED_HASHES, new_row(trigger) != NULL ? 1 : -1);
	TRIGGER_DONE;
}

/* ----- uploads ----- */

uint64
upload_wait_key(Datum upload)
{
	return wait_key('u', DatumGetUUIDP(upload), UUID_LEN, "", 0);
}

PG_FUNCTION_INFO_V1(pictrepo_upload_changed);

/*
 * upload_changed() -> trigger, on uploads
 *
 * An upload got its result: "<id>" on upload_completion_channel.  Who waits
 * hears also when it was claimed, and will not get one.
 */
Datum
pictrepo_upload_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, false);
	HeapTuple	new = new_row(trigger);
	Datum		id = row_value(trigger, new != NULL ? new : old_row(trigger), "id");

	if (my_database_slot() != NULL)
		pending_wake_key(upload_wait_key(id));
	if (new != NULL)
		notify_channel("upload_completion_channel", DatumGetCString(DirectFunctionCall1(uuid_out, id)));
	TRIGGER_DONE;
}

/* ----- variants ----- */

uint64
variant_wait_key(Datum hash, Datum variant)
{
	bytea	   *h = DatumGetByteaPP(hash);
	text	   *v = DatumGetTextPP(variant);

	return wait_key('v', VARDATA_ANY(h), VARSIZE_ANY_EXHDR(h), VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
}

PG_FUNCTION_INFO_V1(pictrepo_variant_changed);

/*
 * variant_changed() -> trigger, on variants and variant_claims
 *
 * A variant is there or its claim ended: the hash in base64, then the variant,
 * on keyed_notification_channel.
 */
Datum
pictrepo_variant_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, false);
	HeapTuple	row = new_row(trigger) != NULL ? new_row(trigger) : old_row(trigger);
	Datum		hash = row_value(trigger, row, "hash");
	Datum		variant = row_value(trigger, row, "variant");
	bytea	   *bytes = DatumGetByteaPP(hash);

	if (my_database_slot() != NULL)
		pending_wake_key(variant_wait_key(hash, variant));
	notify_channel("keyed_notification_channel",
				   psprintf("%s%s", base64_encode_cstring(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)),
							TextDatumGetCString(variant)));
	TRIGGER_DONE;
}

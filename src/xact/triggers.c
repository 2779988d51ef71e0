/*-------------------------------------------------------------------------
 *
 * triggers.c
 *		Triggers that tell shared memory and listeners which rows changed.
 *
 * The triggers wake waiting sessions, send notifications, and keep row counts and
 * low-water marks.  They belong to the tables, so an INSERT by any client has the
 * same effects as a repo function.  They fire always (ENABLE ALWAYS), so rows that
 * a subscription replicates have them, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/compat.h"
#include "common/limits.h"
#include "common/page_slug.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "shmem/wait_queue.h"
#include "xact/notify.h"
#include "xact/pending.h"
#include "xact/triggers.h"

/* ----- the rows that fired a trigger ----- */

/*
 * Check that a trigger of the extension's schema called the function: its tables
 * have the expected columns.  It must be an AFTER trigger, for each row or, with
 * or_truncate, for TRUNCATE.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo, bool or_truncate)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!(TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		  (or_truncate && TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))) ||
		RelationGetNamespace(trigger->tg_relation) != get_func_namespace(fcinfo->flinfo->fn_oid))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" must be called by a trigger of pictrepo",
					   get_func_name(fcinfo->flinfo->fn_oid)));
	restore_guard_check_rows(RelationGetRelid(trigger->tg_relation));
	return trigger;
}

/* NULL for an INSERT. */
static HeapTuple
old_row(const TriggerData *trigger)
{
	return TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? NULL : trigger->tg_trigtuple;
}

/* NULL for a DELETE. */
static HeapTuple
new_row(const TriggerData *trigger)
{
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return trigger->tg_trigtuple;
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : NULL;
}

/* The owner of the table may have dropped NOT NULL. */
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

/* The server ignores what an AFTER trigger returns. */
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
	bool		has_worker;		/* worker and heartbeat are not NULL */
	pg_uuid_t	worker;			/* valid if has_worker */
	TimestampTz heartbeat;		/* DT_NOBEGIN: NULL */
} JobRow;

/* Column numbers of job_queue: looking them up for each row would cost too much. */
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
	Oid			running;		/* the status 'running' */
} JobColumns;

/* The number of a column; type InvalidOid: the column may have any type. */
static int
job_column(Relation relation, const char *name, Oid type)
{
	TupleDesc	tupdesc = RelationGetDescr(relation);
	int			number = SPI_fnumber(tupdesc, name);

	if (number <= 0 || (OidIsValid(type) && SPI_gettypeid(tupdesc, number) != type))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				OidIsValid(type) ?
				errmsg("relation \"%s\" has no column \"%s\" of type %s",
					   RelationGetRelationName(relation), name, format_type_be(type)) :
				errmsg("relation \"%s\" has no column \"%s\"",
					   RelationGetRelationName(relation), name));
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
		columns.queue = job_column(relation, "queue", TEXTOID);
		columns.id = job_column(relation, "id", UUIDOID);
		columns.status = job_column(relation, "status", InvalidOid);
		columns.priority = job_column(relation, "priority", INT4OID);
		columns.run_at = job_column(relation, "run_at", TIMESTAMPTZOID);
		columns.attempt = job_column(relation, "attempt", INT4OID);
		columns.retry = job_column(relation, "retry", INT4OID);
		columns.unique_key = job_column(relation, "unique_key", TEXTOID);
		columns.worker = job_column(relation, "worker", UUIDOID);
		columns.heartbeat = job_column(relation, "heartbeat", TIMESTAMPTZOID);
		columns.running =
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
	Datum		worker;
	bool		isnull;
	bool		no_worker;
	JobRow		job;

#define COLUMN(name) column_value(tupdesc, row, columns->name)
	job.queue = DatumGetTextPP(COLUMN(queue));
	job.position.id = *DatumGetUUIDP(COLUMN(id));
	job.position.priority = DatumGetInt32(COLUMN(priority));
	job.position.run_at = DatumGetTimestampTz(COLUMN(run_at));
	job.attempt = DatumGetInt32(COLUMN(attempt));
	job.running = DatumGetObjectId(COLUMN(status)) == columns->running;
	job.retry = DatumGetInt32(COLUMN(retry));
	job.unique_key.value = heap_getattr(row, columns->unique_key, tupdesc, &job.unique_key.isnull);
#undef COLUMN
	heartbeat = heap_getattr(row, columns->heartbeat, tupdesc, &isnull);
	job.heartbeat = isnull ? DT_NOBEGIN : DatumGetTimestampTz(heartbeat);
	worker = heap_getattr(row, columns->worker, tupdesc, &no_worker);
	job.has_worker = !isnull && !no_worker;
	job.worker = job.has_worker ? *DatumGetUUIDP(worker) : (pg_uuid_t) {0};
	return job;
}

static bool
is_key_length(int length)
{
	return length >= 1 && length <= KEY_MAX;
}

/* Why the row is invalid; NULL: it is valid. */
static const char *
find_job_error(const JobRow *job)
{
	int			queue = VARSIZE_ANY_EXHDR(job->queue);
	int			key = job->unique_key.isnull ? 1 :
		VARSIZE_ANY_EXHDR(DatumGetTextPP(job->unique_key.value));

	if (!is_key_length(queue))
		return psprintf("The queue name must have 1 to %d bytes, not %d.", KEY_MAX, queue);
	if (!is_key_length(key))
		return psprintf("The unique key must have 1 to %d bytes, not %d.", KEY_MAX, key);
	if (job->retry < 0)
		return psprintf("The number of retries must not be negative, but is %d.", job->retry);
	if (TIMESTAMP_IS_NOBEGIN(job->position.run_at))
		return "The time to run must not be -infinity.";
	if (job->running && !job->has_worker)
		return "A running job must have a worker and a heartbeat.";
	return NULL;
}

/*
 * Repo functions store valid rows; any other statement may not.  CHECK
 * constraints would be slower: the server parses them for each statement.
 */
static void
check_job(const JobRow *job)
{
	const char *error = find_job_error(job);

	if (error != NULL)
		ereport(ERROR,
				errcode(ERRCODE_CHECK_VIOLATION),
				errmsg("new row in relation \"job_queue\" for job %s is invalid",
					   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&job->position.id)))),
				errdetail_internal("%s", error));
}

/*
 * What a change of a job changes in shared memory.  queue NULL: the queue has no
 * slot there.
 */
static void
count_job(QueueSlot *queue, int difference)
{
	if (my_database_slot() != NULL)
		pending_row_count(COUNTED_JOBS, difference);
	if (queue != NULL)
		pending_length(queue, difference);
}

static void
announce_ready_job(const JobRow *job, QueueSlot *queue)
{
	if (queue != NULL)
		pending_ready(queue, &job->position);
	notify_job(queue, &job->position.id, text_to_cstring(job->queue));
}

/* A worker no longer holds the job. */
static void
end_claim(const JobRow *job, QueueSlot *queue)
{
	if (my_database_slot() != NULL)
		pending_claim_end(&job->position.id, job->attempt);
	if (queue != NULL)
		pending_job_stopped(queue);
}

/* The row's heartbeat is the time of the claim: later heartbeats are in shared memory. */
static void
count_run_time(const JobRow *job, QueueSlot *queue)
{
	if (queue != NULL && !TIMESTAMP_NOT_FINITE(job->heartbeat))
		pending_counter(queue, COUNTER_RUN_TIME, Max(GetCurrentTimestamp() - job->heartbeat, 0));
}

static bool
is_same_queue(const JobRow *before, const JobRow *after)
{
	return DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
												PointerGetDatum(before->queue),
												PointerGetDatum(after->queue)));
}

/* The pop has collected the changes of a claim already (claim.c). */
static bool
is_claim(const JobRow *before, const JobRow *after)
{
	return !before->running && after->running && is_same_queue(before, after);
}

/* The worker goes on with the job, of which other columns have changed. */
static bool
keeps_claim(const JobRow *before, const JobRow *after)
{
	return before->running && after->running && before->has_worker &&
		before->attempt == after->attempt && is_same_queue(before, after) &&
		memcmp(&before->worker, &after->worker, UUID_LEN) == 0;
}

PG_FUNCTION_INFO_V1(pictrepo_job_changed);

/*
 * job_changed() -> trigger, on job_queue
 *
 * Jobs were added, removed, became ready or no longer run.  After TRUNCATE, none
 * is left.  Error 23514 if the new row is not a valid job.
 */
Datum
pictrepo_job_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, true);
	HeapTuple	old = old_row(trigger);
	HeapTuple	new = new_row(trigger);
	QueueSlot  *queue;
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
		queue = pending_queue(before.queue);
		count_job(queue, -1);
		if (!before.running && queue != NULL)
			pending_taken(queue, &before.position);
		if (before.running && (new == NULL || !keeps_claim(&before, &after)))
			end_claim(&before, queue);
		if (before.running && (new == NULL || !after.running))
			count_run_time(&before, queue);
	}
	if (new != NULL)
	{
		queue = pending_queue(after.queue);
		count_job(queue, 1);
		if (old == NULL && queue != NULL)
			pending_counter(queue, COUNTER_PUSHED, 1);
		if (!after.running)
			announce_ready_job(&after, queue);
	}
	TRIGGER_DONE;
}

static void
note_config_change(Datum name)
{
	QueueSlot  *queue = pending_queue(DatumGetTextPP(name));

	if (queue != NULL)
		pending_config_change(queue);
}

/* The names of this database's queues with a slot, as a List of text. */
static List *
queues_with_slot(void)
{
	List	   *names = NIL;
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	LWLockAcquire(shmem->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
		if (queue->key.database == MyDatabaseId)
			names = lappend(names, DatumGetPointer(queue_slot_name(queue)));
	LWLockRelease(shmem->table_lock);
	return names;
}

/* TRUNCATE keeps other sessions from reading the table until it commits. */
static void
note_all_config_changes(void)
{
	ListCell   *cell;

	foreach(cell, queues_with_slot())
		note_config_change(PointerGetDatum(lfirst(cell)));
}

PG_FUNCTION_INFO_V1(pictrepo_queue_changed);

/*
 * queue_changed() -> trigger, on queues
 *
 * The configuration of a queue has changed: every session that waits for its
 * jobs must check again.  After TRUNCATE, no queue has a configuration.
 */
Datum
pictrepo_queue_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo, true);
	HeapTuple	rows[2];

	if (my_database_slot() == NULL)
		TRIGGER_DONE;
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		note_all_config_changes();
		TRIGGER_DONE;
	}
	rows[0] = old_row(trigger);
	rows[1] = new_row(trigger);
	for (int i = 0; i < lengthof(rows); i++)
		if (rows[i] != NULL)
			note_config_change(row_value(trigger, rows[i], "queue"));
	TRIGGER_DONE;
}

/* ----- hashes ----- */

PG_FUNCTION_INFO_V1(pictrepo_hash_changed);

/*
 * hash_changed() -> trigger, on hashes
 *
 * Hashes were added or removed: keep their row count.
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
 * An upload has its result: "<id>" on upload_completion_channel.  Waiting sessions
 * wake up also when the upload is removed, because it gets no result any more.
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
 * A variant was stored, or a claim of it has ended: the hash in base64, followed
 * by the variant, on keyed_notification_channel.
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

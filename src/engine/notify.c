/*-------------------------------------------------------------------------
 *
 * notify.c
 *		Triggers that serve the notification channels.
 *
 * They sit on the tables, so that a plain INSERT by any client wakes listeners
 * as well as a repo function does.  Channels and payloads are those that
 * pict-rs listens to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "engine/arguments.h"
#include "engine/settings.h"
#include "engine/slug.h"

#define BASE64_LEN(bytes) (((bytes) + 2) / 3 * 4)

/* The server takes payloads of less than 8000 bytes, pict-rs's limit is 7000. */
StaticAssertDecl(BASE64_LEN(HASH_MAX) + VARIANT_MAX <= 7000,
				 "a variant's key fits a notification");

/* The row that a trigger was called for. */
static HeapTuple
trigger_row(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function must be called by a row trigger"));
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
		trigger->tg_newtuple : trigger->tg_trigtuple;
}

static Datum
row_value(FunctionCallInfo fcinfo, HeapTuple row, const char *column)
{
	TupleDesc	tupdesc = RelationGetDescr(((TriggerData *) fcinfo->context)->tg_relation);
	bool		isnull;
	Datum		value = SPI_getbinval(row, tupdesc, SPI_fnumber(tupdesc, column), &isnull);

	if (isnull)
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("column \"%s\" must not be null", column));
	return value;
}

static char *
uuid_text(Datum uuid)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, uuid));
}

PG_FUNCTION_INFO_V1(pictrepo_queue_status_notify);

/*
 * queue_status_notify() -> trigger, on job_queue
 *
 * A job became ready: "<id> <queue>" on queue_status_channel.
 */
Datum
pictrepo_queue_status_notify(PG_FUNCTION_ARGS)
{
	HeapTuple	row = trigger_row(fcinfo);

	if (notify_mode != NOTIFY_OFF)
		Async_Notify("queue_status_channel",
					 psprintf("%s %s", uuid_text(row_value(fcinfo, row, "id")),
							  TextDatumGetCString(row_value(fcinfo, row, "queue"))));
	PG_RETURN_POINTER(row);
}

PG_FUNCTION_INFO_V1(pictrepo_upload_completion_notify);

/*
 * upload_completion_notify() -> trigger, on uploads
 *
 * An upload got its result: "<id>" on upload_completion_channel.
 */
Datum
pictrepo_upload_completion_notify(PG_FUNCTION_ARGS)
{
	HeapTuple	row = trigger_row(fcinfo);

	if (notify_mode != NOTIFY_OFF)
		Async_Notify("upload_completion_channel",
					 uuid_text(row_value(fcinfo, row, "id")));
	PG_RETURN_POINTER(row);
}

PG_FUNCTION_INFO_V1(pictrepo_keyed_notify);

/*
 * keyed_notify() -> trigger, on variants and variant_claims
 *
 * A variant is there or its claim ended: the hash in base64, then the variant,
 * on keyed_notification_channel.
 */
Datum
pictrepo_keyed_notify(PG_FUNCTION_ARGS)
{
	HeapTuple	row = trigger_row(fcinfo);

	if (notify_mode != NOTIFY_OFF)
	{
		bytea	   *hash = DatumGetByteaPP(row_value(fcinfo, row, "hash"));

		Async_Notify("keyed_notification_channel",
					 psprintf("%s%s",
							  to_base64(VARDATA_ANY(hash), VARSIZE_ANY_EXHDR(hash)),
							  TextDatumGetCString(row_value(fcinfo, row, "variant"))));
	}
	PG_RETURN_POINTER(row);
}

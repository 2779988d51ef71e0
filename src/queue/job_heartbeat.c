/*-------------------------------------------------------------------------
 *
 * job_heartbeat.c
 *		QueueRepo: heartbeats of running jobs.
 *
 * A heartbeat goes to shared memory if the claim has an active entry there.
 * Otherwise it updates the job's row.  xact/heartbeat.c says why it reserves an
 * entry first, and what resuming means.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "common/injection_points.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/heartbeat.h"

PG_FUNCTION_INFO_V1(pictrepo_heartbeat);

STATEMENT(update_heartbeat, STMT_READ_WRITE,
		  "UPDATE pictrepo.job_queue SET heartbeat = clock_timestamp()"
		  " WHERE id = $3 AND queue = $1 AND worker = $2 AND status <> 'new'"
		  " AND attempt = coalesce($4, attempt) RETURNING attempt",
		  TEXTOID, UUIDOID, UUIDOID, INT4OID);

/* Any claim of the worker, if the call gives no attempt.  Claims count from 1. */
static int
attempt_argument(FunctionCallInfo fcinfo, int n)
{
	return new_argument(fcinfo, n).isnull ? ATTEMPT_UNKNOWN :
		DatumGetInt32(limit_argument(fcinfo, n, 0, PG_INT32_MAX).value);
}

/*
 * heartbeat(queue text, worker uuid, job_id uuid, attempt int) -> bool
 *
 * Say that the worker is alive and still runs the job.  worker NULL:
 * session_worker().  attempt: of the claim; NULL: whichever claim the worker has.
 * Returns false if the worker no longer holds the job by this claim.
 */
Datum
pictrepo_heartbeat(PG_FUNCTION_ARGS)
{
	NullableDatum args[] = {
		key_argument(fcinfo, 0), worker_argument(fcinfo, 1), any_argument(fcinfo, 2),
		new_argument(fcinfo, 3)
	};
	Claim		claim = {
		.attempt = attempt_argument(fcinfo, 3),
		.job = *DatumGetUUIDP(args[2].value),
		.worker = *DatumGetUUIDP(args[1].value),
		.queue = queue_name_hash(DatumGetTextPP(args[0].value))
	};
	RepoCall	call;
	bool		reserved;
	bool		held;

	if (heartbeat_record(&claim))
		PG_RETURN_BOOL(true);
	repo_call_begin(&call, fcinfo);
	reserved = heartbeat_reserve(&claim);
	if (reserved)
		INJECT(heartbeat_announced);
	held = statement_run(&update_heartbeat, args) > 0;
	if (held)
		claim.attempt = DatumGetInt32(result_value(0, 1).value);
	if (reserved)
		heartbeat_settle(&claim, held);
	else if (held)
		heartbeat_resume(&claim);
	repo_call_end(&call);
	PG_RETURN_BOOL(held);
}

PG_FUNCTION_INFO_V1(pictrepo_pulse);

/*
 * pulse(job_id uuid) -> timestamptz
 *
 * The last heartbeat that shared memory has for the job, or NULL.
 */
Datum
pictrepo_pulse(PG_FUNCTION_ARGS)
{
	TimestampTz heartbeat;

	if (!heartbeat_read(DatumGetUUIDP(any_argument(fcinfo, 0).value), &heartbeat))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(heartbeat);
}

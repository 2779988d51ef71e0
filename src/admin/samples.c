/*-------------------------------------------------------------------------
 *
 * samples.c
 *		How things went, for graphs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "admin/samples.h"
#include "common/guc.h"
#include "common/maintenance_tasks.h"
#include "sqlfunc/args.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"

/* Twice at one time is once: whoever calls run_maintenance may do so in a loop. */
WRITES(insert_sample,
	   "INSERT INTO pictrepo.samples (at, images, uploads)"
	   " VALUES ($1, pictrepo.size(), (SELECT count(*) FROM pictrepo.uploads)) ON CONFLICT DO NOTHING",
	   TIMESTAMPTZOID);

WRITES(insert_queue_samples,
	   "INSERT INTO pictrepo.queue_samples (at, queue, ready, scheduled, running, dead, oldest_age,"
	   " pushed, popped, completed, failed, died, reaped, wait_time, run_time, waiting)"
	   " SELECT $1, queue, ready, scheduled, running, dead, oldest_age,"
	   " pushed, popped, completed, failed, died, reaped, wait_time, run_time, waiting"
	   " FROM pictrepo.queue_stats ON CONFLICT DO NOTHING",
	   TIMESTAMPTZOID);

WRITES(delete_samples,
	   "DELETE FROM pictrepo.samples WHERE at = ANY (ARRAY("
	   "SELECT at FROM pictrepo.samples WHERE at < $1 ORDER BY at LIMIT $2 OFFSET $3))",
	   TIMESTAMPTZOID, INT4OID, INT4OID);

WRITES(delete_queue_samples,
	   "DELETE FROM pictrepo.queue_samples WHERE ctid = ANY (ARRAY("
	   "SELECT ctid FROM pictrepo.queue_samples WHERE at < $1 ORDER BY at, queue LIMIT $2 OFFSET $3"
	   " FOR UPDATE SKIP LOCKED))",
	   TIMESTAMPTZOID, INT4OID, INT4OID);

/* The ring: what is older than pictrepo.sample_retention goes. */
static void
forget_old_samples(TimestampTz now)
{
	NullableDatum oldest = given(TimestampTzGetDatum(now - sample_retention * USECS_PER_SEC));

	run_batch(&delete_samples, &oldest, DUTY_BATCH, NULL);
	run_batch(&delete_queue_samples, &oldest, DUTY_BATCH, NULL);
}

/* The answer is never as many rows as would ask for the next run at once. */
uint64
take_sample(void)
{
	TimestampTz now = GetCurrentTimestamp();
	NullableDatum at = given(TimestampTzGetDatum(now));
	uint64		taken;

	if (sample_interval == 0)
		return 0;
	taken = run_statement(&insert_sample, &at) + run_statement(&insert_queue_samples, &at);
	forget_old_samples(now);
	return Min(taken, DUTY_BATCH - 1);
}

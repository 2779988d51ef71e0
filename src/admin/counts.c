/*-------------------------------------------------------------------------
 *
 * counts.c
 *		Numbers of images and jobs: counting again, and recording for standbys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "admin/counts.h"
#include "images/hashes.h"
#include "queue/queue.h"
#include "shmem/database_slot.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "xact/recorded_count.h"
#include "xact/row_count.h"

static void
record_hash_count(void)
{
	Datum		no_queue = CStringGetTextDatum("");
	Datum		count = Int64GetDatum(hash_count());

	recorded_count_set(COUNTED_HASHES, array_of(&no_queue, 1, TEXTOID), array_of(&count, 1, INT8OID));
}

static void
record_job_counts(void)
{
	NullableDatum queues;
	NullableDatum lengths;

	known_queue_lengths(&queues, &lengths);
	recorded_count_set(COUNTED_JOBS, queues, lengths);
}

/*
 * For the sweep.  Rows that came past the triggers may have made the numbers
 * wrong.  A transaction that has written something cannot count for all sessions,
 * so both are counted before one is recorded.
 */
void
sweep_counts(void)
{
	bool		hashes_known;
	bool		jobs_known;

	if (my_database_slot() == NULL)
		return;
	if (row_count_is_bypassed())
		row_count_set_unknown(my_database_slot());
	hashes_known = know_hash_count();
	jobs_known = know_job_count();
	if (hashes_known)
		record_hash_count();
	if (jobs_known)
		record_job_counts();
}

PG_FUNCTION_INFO_V1(pictrepo_recount);

/*
 * recount() -> (images bigint, jobs bigint)
 *
 * Count the hashes and the jobs, whatever shared memory says.  If the transaction
 * has written something, other sessions count once more themselves.
 */
Datum
pictrepo_recount(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	int64		images;
	int64		jobs;

	PreventCommandDuringRecovery("recount()");
	if (my_database_slot() != NULL)
		row_count_set_unknown(my_database_slot());
	repo_call_begin(&call, fcinfo);
	images = hash_count();
	jobs = job_count();
	repo_call_end(&call);
	return form_row(fcinfo, ARGS(not_null(Int64GetDatum(images)), not_null(Int64GetDatum(jobs))));
}

/*-------------------------------------------------------------------------
 *
 * uploads.c
 *		UploadRepo: results of uploads, which clients wait for while workers
 *		process them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/maintenance_tasks.h"
#include "common/uuid.h"
#include "images/uploads.h"
#include "json/json_check.h"
#include "queue/job_end.h"
#include "shmem/clock_watch.h"
#include "shmem/shmem.h"
#include "shmem/wait.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"
#include "xact/triggers.h"

PG_FUNCTION_INFO_V1(pictrepo_create_upload);

STATEMENT(insert_upload, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.uploads (id, created_at) VALUES ($1, $2)",
		  UUIDOID, TIMESTAMPTZOID);

/* Uploads that are older than $1. */
STATEMENT(expire_uploads, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.uploads WHERE id = ANY (ARRAY(SELECT old.id FROM"
		  " (SELECT id, tableoid, ctid FROM pictrepo.uploads WHERE created_at < $1 ORDER BY created_at OFFSET 0) old"
		  " WHERE " TRY_LOCK("old") " LIMIT $2 OFFSET $3))",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

/* expired uploads that a call of create_upload removes: more than it adds */
#define SWEPT_UPLOADS 10

/*
 * create_upload() -> uuid
 *
 * Begin an upload, and return its id.  Also removes a few expired uploads.  So
 * the table stays small even without the background worker.
 */
Datum
pictrepo_create_upload(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	RepoCall	call;

	uuid_mint(id);
	repo_call_begin(&call, fcinfo);
	statement_run(&insert_upload,
				  ARGS(not_null(UUIDPGetDatum(id)), not_null(TimestampTzGetDatum(GetCurrentTimestamp()))));
	(void) statement_run(&expire_uploads,
						 ARGS(retention_cutoff(guc_upload_ttl), not_null(Int32GetDatum(SWEPT_UPLOADS)),
							  not_null(Int32GetDatum(0))));
	repo_call_end(&call);
	PG_RETURN_UUID_P(id);
}

PG_FUNCTION_INFO_V1(pictrepo_wait);

STATEMENT(result_of_upload, STMT_READ_WRITE,
		  "SELECT result FROM pictrepo.uploads WHERE id = $1", UUIDOID);

typedef struct AwaitedUpload
{
	NullableDatum upload;
	NullableDatum value;
} AwaitedUpload;

static bool
check_result(void *what, MonotonicTime *again)
{
	AwaitedUpload *result = what;

	if (statement_run(&result_of_upload, &result->upload) == 0)
		ereport(ERROR,
				errcode(ERRCODE_NO_DATA_FOUND),
				errmsg("upload %s does not exist",
					   DatumGetCString(DirectFunctionCall1(uuid_out, result->upload.value))),
				errdetail("The upload was never created, or was claimed, or has expired."));
	result->value = result_value_copy(0, 1);
	return !result->value.isnull;
}

/*
 * wait(upload uuid, timeout interval) -> jsonb
 *
 * Wait until the upload has a result, and return it.  NULL: the time is up.  The
 * upload stays.  Error P0002 if the upload does not exist, or no longer exists.
 */
Datum
pictrepo_wait(PG_FUNCTION_ARGS)
{
	AwaitedUpload result = {.upload = any_argument(fcinfo, 0), .value = NULL_ARG};
	WaitSpec	spec = {
		.what = WAIT_FOR_UPLOAD,
		.memory = CurrentMemoryContext,
		.microseconds = duration_argument(fcinfo, 1),
		.key = upload_wait_key(result.upload.value),
		.name = result.upload
	};
	RepoCall	call;
	bool		found;

	repo_call_begin(&call, fcinfo);
	found = wait_until(&spec, check_result, &result);
	repo_call_end(&call);
	if (!found)
		PG_RETURN_NULL();
	return result.value.value;
}

PG_FUNCTION_INFO_V1(pictrepo_claim);

STATEMENT(delete_upload, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.uploads WHERE id = $1", UUIDOID);

/*
 * claim(upload uuid) -> bool
 *
 * Remove the upload.  False: the upload does not exist, or another session has
 * claimed it.
 */
Datum
pictrepo_claim(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_upload, ARGS(any_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_complete_upload);

STATEMENT(set_upload_result, STMT_READ_WRITE,
		  "UPDATE pictrepo.uploads SET result = $2 WHERE id = $1",
		  UUIDOID, JSONBOID);

bool
upload_set_result(NullableDatum upload, NullableDatum result)
{
	return statement_run(&set_upload_result, ARGS(upload, result)) > 0;
}

/*
 * complete_upload(upload uuid, result jsonb) -> bool
 *
 * Store the result of an upload, which wakes its waiters.  False: the upload does
 * not exist, or was claimed.  Error 22023 for JSON null.
 */
Datum
pictrepo_complete_upload(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &set_upload_result,
						ARGS(any_argument(fcinfo, 0),
							 checked_document_argument(fcinfo, 1, check_upload_result)));
}

/* ----- for the background worker ----- */

/*
 * Uploads whose job is in dead_jobs, but which have no result: the job was moved
 * there without the functions of the queue.
 */
STATEMENT(fail_orphaned_uploads, STMT_READ_WRITE,
		  "WITH orphaned AS MATERIALIZED (SELECT o.id AS upload, o.error FROM"
		  " (SELECT u.id, d.error, u.tableoid, u.ctid"
		  " FROM pictrepo.uploads u JOIN pictrepo.dead_jobs d ON d.upload = u.id"
		  " WHERE u.result IS NULL ORDER BY u.id OFFSET 0) o"
		  " WHERE " TRY_LOCK_NO_KEY("o") " LIMIT $1 OFFSET $2)"
		  " " END_UPLOADS("orphaned", JOB_FAILED("orphaned.error")),
		  INT4OID, INT4OID);

/* Remove expired uploads, and store a Failure for uploads whose job is dead. */
uint64
end_uploads(void)
{
	uint64		failed = row_batch_run(&fail_orphaned_uploads, NULL, TASK_BATCH, NULL);

	return failed + row_batch_run(&expire_uploads, ARGS(retention_cutoff(guc_upload_ttl)), TASK_BATCH, NULL);
}

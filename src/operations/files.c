/*-------------------------------------------------------------------------
 *
 * files.c
 *		Operations: queueing files for removal that are no longer used.
 *
 * Images and variants refer to files by identifier.  The transaction that removes
 * the last reference to a file also deletes the file's details, and pushes a job
 * that removes the file from the store.
 *
 * Two races could lose a file that is in use, or keep one that is not:
 *
 * A session may add a reference to the file.  An ingestion that does so locks the
 * file's details, see store_details in ingest.c.  A release locks the details
 * before it looks for references.  So it waits for the ingestion, and then sees the
 * new reference.
 *
 * Two transactions may remove the last two references at the same time.  Neither
 * sees that the other has removed its reference, so each would keep the file.
 * Therefore a release that finds a reference takes an advisory lock on the file
 * until its transaction ends, and looks again.  The transaction that gets the lock
 * last sees that the other reference is gone.  The lock on the details is not
 * enough, because a file may have no details.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"

#include "common/advisory_locks.h"
#include "common/injection_points.h"
#include "operations/operations.h"
#include "queue/queue.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "sqlfunc/tagged_jsonb.h"

/* Lock details in order: two releases may have several files in common. */
STATEMENT(lock_details, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.details WHERE identifier = ANY ($1) ORDER BY identifier FOR UPDATE",
		  TEXTARRAYOID);

/* The files that are still referenced, and the files that are not */
STATEMENT(sort_files, STMT_READ_WRITE,
		  "SELECT array_agg(file ORDER BY file) FILTER (WHERE referenced),"
		  " array_agg(file ORDER BY file) FILTER (WHERE NOT referenced)"
		  " FROM (SELECT file, EXISTS (SELECT FROM pictrepo.hashes h WHERE h.identifier = file"
		  " UNION ALL SELECT FROM pictrepo.hashes h WHERE h.motion_identifier = file"
		  " UNION ALL SELECT FROM pictrepo.variants v WHERE v.identifier = file) AS referenced"
		  " FROM (SELECT DISTINCT file COLLATE \"C\" AS file FROM unnest($1) AS file) given"
		  " WHERE file IS NOT NULL) files",
		  TEXTARRAYOID);

STATEMENT(delete_details, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.details WHERE identifier = ANY ($1)", TEXTARRAYOID);

/* The elements of an array of files */
static Datum *
files_of_array(Datum files, int *count)
{
	Datum	   *elements;

	deconstruct_array(DatumGetArrayTypeP(files), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, count);
	return elements;
}

/* Push a job for each file, as pict-rs does. */
static void
queue_removals(Datum files)
{
	int			count;
	Datum	   *jobs = files_of_array(files, &count);

	for (int i = 0; i < count; i++)
		jobs[i] = TAGGED_JSONB("Identifier", {"identifier", jobs[i]}).value;
	push_jobs("cleanup", jobs, count);
}

/* Lock files until this transaction ends: other releases of them wait here. */
static void
lock_files(Datum files)
{
	int			count;
	Datum	   *file = files_of_array(files, &count);

	for (int i = 0; i < count; i++)
	{
		text	   *name = DatumGetTextPP(file[i]);
		uint64		hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(name),
											   VARSIZE_ANY_EXHDR(name), 0);
		LOCKTAG		tag;

		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash,
							 FILE_LOCK_CLASS);
		(void) LockAcquire(&tag, ExclusiveLock, false, false);
	}
}

/*
 * Release files: delete the details of those that are no longer referenced, and
 * queue them for removal.  The header says how this avoids the two races.
 */
void
release_files(NullableDatum files)
{
	NullableDatum referenced;
	NullableDatum unreferenced;

	if (files.isnull)
		return;
	statement_run(&lock_details, &files);
	statement_run(&sort_files, &files);
	referenced = result_value_copy(0, 1);
	unreferenced = result_value_copy(0, 2);
	if (!referenced.isnull)
	{
		lock_files(referenced.value);
		statement_run(&sort_files, &files);
		unreferenced = result_value_copy(0, 2);
	}
	INJECT(files_sorted);
	if (!unreferenced.isnull)
	{
		statement_run(&delete_details, &unreferenced);
		queue_removals(unreferenced.value);
		INJECT(files_released);
	}
}

void
release_file(NullableDatum file)
{
	release_files(array_of(&file.value, 1, TEXTOID));
}

/* Add the files that the last statement returned, one in each row. */
void
files_add_result(Files *files)
{
	for (uint64 i = 0; i < SPI_processed; i++)
		*files = accumArrayResult(*files, result_value(i, 1).value, false, TEXTOID,
								  CurrentMemoryContext);
}

/* Take a file off the list. */
void
files_leave_out(Files files, NullableDatum file)
{
	int			kept = 0;

	if (files == NULL)
		return;
	for (int i = 0; i < files->nelems; i++)
		if (!DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, files->dvalues[i], file.value)))
			files->dvalues[kept++] = files->dvalues[i];
	files->nelems = kept;
}

void
files_release(Files files)
{
	if (files != NULL)
		release_files(not_null(makeArrayResult(files, CurrentMemoryContext)));
}

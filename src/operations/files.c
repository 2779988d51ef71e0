/*-------------------------------------------------------------------------
 *
 * files.c
 *		Operations: files that nothing names any more.
 *
 * A file that nothing names any more is queued for removal in the transaction
 * that took its last name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"

#include "common/advisory_locks.h"
#include "common/injection_points.h"
#include "operations/operations.h"
#include "queue/queue.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "sqlfunc/tagged_jsonb.h"

/*
 * Whoever names a file that is known already holds its details, and is waited
 * for.  In order, as two releases may have several files in common.
 */
STATEMENT(lock_details, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.details WHERE identifier = ANY ($1) ORDER BY identifier FOR UPDATE",
		  TEXTARRAYOID);

/* Those that something names still, and the others */
STATEMENT(sort_files, STMT_READ_ONLY,
		  "SELECT array_agg(file ORDER BY file) FILTER (WHERE named),"
		  " array_agg(file ORDER BY file) FILTER (WHERE NOT named)"
		  " FROM (SELECT file, EXISTS (SELECT FROM pictrepo.hashes h WHERE h.identifier = file"
		  " UNION ALL SELECT FROM pictrepo.hashes h WHERE h.motion_identifier = file"
		  " UNION ALL SELECT FROM pictrepo.variants v WHERE v.identifier = file) AS named"
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

/* A job for each file, as pict-rs queues it */
static void
queue_removals(Datum files)
{
	int			count;
	Datum	   *jobs = files_of_array(files, &count);

	for (int i = 0; i < count; i++)
		jobs[i] = TAGGED_JSONB("Identifier", {"identifier", jobs[i]}).value;
	push_jobs("cleanup", jobs, count);
}

/* Until the transaction ends, nobody else finds out whether something names the files. */
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
 * Of these files, those that nothing names any more lose their details and go.
 *
 * What names a file may be going just now in a transaction that sees our own
 * name still, so that each would leave the file to the other.  So whoever is
 * not the only one looks again with the file locked: the one who looks last
 * sees that the others are gone.
 */
void
release_files(NullableDatum files)
{
	NullableDatum named;
	NullableDatum superfluous;

	if (files.isnull)
		return;
	statement_run_latest(&lock_details, &files);
	statement_run_latest(&sort_files, &files);
	named = result_value_copy(0, 1);
	superfluous = result_value_copy(0, 2);
	if (!named.isnull)
	{
		lock_files(named.value);
		statement_run_latest(&sort_files, &files);
		superfluous = result_value_copy(0, 2);
	}
	INJECT(files_sorted);
	if (!superfluous.isnull)
	{
		statement_run_latest(&delete_details, &superfluous);
		queue_removals(superfluous.value);
		INJECT(files_released);
	}
}

void
release_file(NullableDatum file)
{
	release_files(array_of(&file.value, 1, TEXTOID));
}

/* Those that the last statement gave, one a row */
void
files_add_result(Files *files)
{
	for (uint64 i = 0; i < SPI_processed; i++)
		*files = accumArrayResult(*files, result_value(i, 1).value, false, TEXTOID,
								  CurrentMemoryContext);
}

void
files_release(Files files)
{
	if (files != NULL)
		release_files(not_null(makeArrayResult(files, CurrentMemoryContext)));
}

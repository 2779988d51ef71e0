/*-------------------------------------------------------------------------
 *
 * move_files.c
 *		Operations: files that moved to another store, and files that are lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "utils/fmgrprotos.h"

#include "common/injection_points.h"
#include "images/details.h"
#include "images/store_migrations.h"
#include "operations/operations.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_migrate_identifier);

/*
 * Lock the hashes that refer to the file, in the order of delete.c.  This includes
 * the hashes of variants: otherwise a removal of their images could delete the
 * variants during the move.
 */
STATEMENT(hold_hashes_of_file, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.hashes WHERE hash = ANY (ARRAY(" HASHES_OF_FILE "))"
		  " ORDER BY hash FOR NO KEY UPDATE",
		  TEXTOID);

STATEMENT(move_in_hashes, STMT_READ_WRITE,
		  "UPDATE pictrepo.hashes"
		  " SET identifier = CASE WHEN identifier = $1 THEN $2 ELSE identifier END,"
		  " motion_identifier = CASE WHEN motion_identifier = $1 THEN $2 ELSE motion_identifier END"
		  " WHERE hash = ANY (ARRAY("
		  "SELECT hash FROM pictrepo.hashes WHERE identifier = $1"
		  " UNION SELECT hash FROM pictrepo.hashes WHERE motion_identifier = $1))"
		  " AND (identifier = $1 OR motion_identifier = $1)",
		  TEXTOID, TEXTOID);

STATEMENT(move_in_variants, STMT_READ_WRITE,
		  "UPDATE pictrepo.variants SET identifier = $2 WHERE identifier = $1", TEXTOID, TEXTOID);

/* If the new file has details, they stay. */
STATEMENT(move_details, STMT_READ_WRITE,
		  "WITH old AS (DELETE FROM pictrepo.details WHERE identifier = $1 RETURNING details)"
		  " INSERT INTO pictrepo.details (identifier, details) SELECT $2, details FROM old"
		  " ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID);

/*
 * migrate_identifier(old_identifier text, new_identifier text) -> bool
 *
 * Replace every reference to a file by one to its copy in another store, and mark
 * the old file as moved.  False: nothing refers to the old file; then the new file
 * is released.  Error 22023 if the identifiers are equal.
 */
Datum
pictrepo_migrate_identifier(PG_FUNCTION_ARGS)
{
	NullableDatum identifiers[] = {identifier_argument(fcinfo, 0), identifier_argument(fcinfo, 1)};
	uint64		moved;
	RepoCall	call;

	if (DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, identifiers[0].value, identifiers[1].value)))
		bad_argument(fcinfo, 1, "The new identifier is equal to the old identifier.", NULL);
	repo_call_begin(&call, fcinfo);
	statement_run(&hold_hashes_of_file, identifiers);
	moved = statement_run(&move_in_hashes, identifiers);
	moved += statement_run(&move_in_variants, identifiers);
	INJECT(file_moved);
	if (moved > 0)
	{
		statement_run(&move_details, identifiers);
		mark_migrated(identifiers[0], identifiers[1]);
	}
	else
		release_file(identifiers[1]);
	repo_call_end(&call);
	PG_RETURN_BOOL(moved > 0);
}

/* ----- lost files ----- */

/* Lock every hash that refers to the file, before any of them is changed. */
STATEMENT(lock_hashes_of_file, STMT_READ_WRITE,
		  "WITH locked AS MATERIALIZED (SELECT hash FROM pictrepo.hashes WHERE hash = ANY (ARRAY("
		  HASHES_OF_FILE ")) ORDER BY hash FOR UPDATE)"
		  " SELECT array_agg(hash) FROM locked",
		  TEXTOID);

STATEMENT(images_of_file, STMT_READ_WRITE,
		  "SELECT array_agg(hash) FROM pictrepo.hashes WHERE hash = ANY ($2) AND identifier = $1",
		  TEXTOID, BYTEAARRAYOID);

STATEMENT(clear_motion_identifier, STMT_READ_WRITE,
		  "UPDATE pictrepo.hashes SET motion_identifier = NULL"
		  " WHERE hash = ANY ($2) AND motion_identifier = $1",
		  TEXTOID, BYTEAARRAYOID);

STATEMENT(delete_variants, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.variants WHERE hash = ANY ($2) AND identifier = $1",
		  TEXTOID, BYTEAARRAYOID);

/* Remove images whose file is lost.  Their hashes are locked.  Returns 1, or 0 for no image. */
static uint64
remove_images_of(const NullableDatum *file_and_hashes, Files *files)
{
	NullableDatum images;

	statement_run(&images_of_file, file_and_hashes);
	images = result_value_copy(0, 1);
	if (images.isnull)
		return 0;
	remove_aliases_and_images(images, files);
	return 1;
}

/* Remove every reference to a file.  Returns 0 if it had none. */
static uint64
remove_references(NullableDatum file, Files *files)
{
	NullableDatum file_and_hashes[2] = {file};
	uint64		removed;

	statement_run(&lock_hashes_of_file, &file);
	file_and_hashes[1] = result_value_copy(0, 1);
	if (file_and_hashes[1].isnull)
		return 0;
	removed = remove_images_of(file_and_hashes, files);
	removed += statement_run(&clear_motion_identifier, file_and_hashes);
	removed += statement_run(&delete_variants, file_and_hashes);
	return removed;
}

PG_FUNCTION_INFO_V1(pictrepo_forget_missing);

/*
 * forget_missing(identifier text) -> bool
 *
 * Remove every reference to a file that is lost: images with their aliases,
 * variants, motion identifiers, and the file's details.  Other files of these images
 * are queued for removal; the lost one is not.  False: nothing refers to the file.
 */
Datum
pictrepo_forget_missing(PG_FUNCTION_ARGS)
{
	NullableDatum file = identifier_argument(fcinfo, 0);
	Files		files = NULL;
	uint64		removed;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	removed = remove_references(file, &files);
	INJECT(file_forgotten);
	files_leave_out(files, file);
	files_release(files);
	removed += details_delete(file);
	repo_call_end(&call);
	PG_RETURN_BOOL(removed > 0);
}

/*-------------------------------------------------------------------------
 *
 * move_files.c
 *		Operations: files that move to another store, and files that are lost.
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
 * Hashes in order and before their variants, as whoever removes images locks
 * them: also those of the variants, which would else go while they move.
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

/* What is known of the new file already stays. */
STATEMENT(move_details, STMT_READ_WRITE,
		  "WITH old AS (DELETE FROM pictrepo.details WHERE identifier = $1 RETURNING details)"
		  " INSERT INTO pictrepo.details (identifier, details) SELECT $2, details FROM old"
		  " ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID);

/*
 * migrate_identifier(old_identifier text, new_identifier text) -> bool
 *
 * False: nothing names the old file.  22004, 22001; 22023, also when they are
 * the same.
 */
Datum
pictrepo_migrate_identifier(PG_FUNCTION_ARGS)
{
	NullableDatum step[] = {identifier_argument(fcinfo, 0), identifier_argument(fcinfo, 1)};
	uint64		moved;
	RepoCall	call;

	if (DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, step[0].value, step[1].value)))
		bad_argument(fcinfo, 1, "It is the old identifier.", NULL);
	repo_call_begin(&call, fcinfo);
	statement_run(&hold_hashes_of_file, step);
	moved = statement_run(&move_in_hashes, step);
	moved += statement_run(&move_in_variants, step);
	INJECT(file_moved);
	if (moved > 0)
	{
		statement_run(&move_details, step);
		mark_migrated(step[0], step[1]);
	}
	else
		release_file(step[1]);
	repo_call_end(&call);
	PG_RETURN_BOOL(moved > 0);
}

/* ----- lost files ----- */

/* All that name the file in any way, before any of them goes */
STATEMENT(lock_hashes_of_file, STMT_READ_WRITE,
		  "WITH locked AS MATERIALIZED (SELECT hash FROM pictrepo.hashes WHERE hash = ANY (ARRAY("
		  HASHES_OF_FILE ")) ORDER BY hash FOR UPDATE)"
		  " SELECT array_agg(hash) FROM locked",
		  TEXTOID);

STATEMENT(images_of_file, STMT_READ_WRITE,
		  "SELECT array_agg(hash) FROM pictrepo.hashes WHERE hash = ANY ($2) AND identifier = $1",
		  TEXTOID, BYTEAARRAYOID);

STATEMENT(forget_motion, STMT_READ_WRITE,
		  "UPDATE pictrepo.hashes SET motion_identifier = NULL"
		  " WHERE hash = ANY ($2) AND motion_identifier = $1",
		  TEXTOID, BYTEAARRAYOID);

STATEMENT(forget_variant, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.variants WHERE hash = ANY ($2) AND identifier = $1",
		  TEXTOID, BYTEAARRAYOID);

/* Images whose file is lost, of locked hashes: how many there were. */
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

/* What names the file: how much there was. */
static uint64
forget_names(NullableDatum file, Files *files)
{
	NullableDatum file_and_hashes[2] = {file};
	uint64		forgotten;

	statement_run(&lock_hashes_of_file, &file);
	file_and_hashes[1] = result_value_copy(0, 1);
	if (file_and_hashes[1].isnull)
		return 0;
	forgotten = remove_images_of(file_and_hashes, files);
	forgotten += statement_run(&forget_motion, file_and_hashes);
	forgotten += statement_run(&forget_variant, file_and_hashes);
	return forgotten;
}

PG_FUNCTION_INFO_V1(pictrepo_forget_missing);

/*
 * forget_missing(identifier text) -> bool
 *
 * False: nothing names the file.  22004, 22023, 22001.
 */
Datum
pictrepo_forget_missing(PG_FUNCTION_ARGS)
{
	NullableDatum file = identifier_argument(fcinfo, 0);
	Files		files = NULL;
	uint64		forgotten;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	forgotten = forget_names(file, &files);
	INJECT(file_forgotten);
	files_release(files);
	forgotten += details_delete(file);
	repo_call_end(&call);
	PG_RETURN_BOOL(forgotten > 0);
}

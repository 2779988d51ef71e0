/*-------------------------------------------------------------------------
 *
 * operations_move.c
 *		Operations: files that move to another store, and files that are lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "engine/arguments.h"
#include "engine/injection.h"
#include "engine/slug.h"
#include "engine/statements.h"
#include "repo/operations.h"

PG_FUNCTION_INFO_V1(pictrepo_migrate_identifier);

/*
 * Hashes in order and before their variants, as whoever removes images locks
 * them: also those of the variants, which would else go while they move.
 */
WRITES(hold_hashes_of_file,
	   "SELECT FROM pictrepo.hashes WHERE hash = ANY (ARRAY(" HASHES_OF_FILE "))"
	   " ORDER BY hash FOR NO KEY UPDATE",
	   TEXTOID);

WRITES(move_in_hashes,
	   "UPDATE pictrepo.hashes"
	   " SET identifier = CASE WHEN identifier = $1 THEN $2 ELSE identifier END,"
	   " motion_identifier = CASE WHEN motion_identifier = $1 THEN $2 ELSE motion_identifier END"
	   " WHERE hash = ANY (ARRAY("
	   "SELECT hash FROM pictrepo.hashes WHERE identifier = $1"
	   " UNION SELECT hash FROM pictrepo.hashes WHERE motion_identifier = $1))"
	   " AND (identifier = $1 OR motion_identifier = $1)",
	   TEXTOID, TEXTOID);

WRITES(move_in_variants,
	   "UPDATE pictrepo.variants SET identifier = $2 WHERE identifier = $1", TEXTOID, TEXTOID);

/* What is known of the new file already stays. */
WRITES(move_details,
	   "WITH old AS (DELETE FROM pictrepo.details WHERE identifier = $1 RETURNING details)"
	   " INSERT INTO pictrepo.details (identifier, details) SELECT $2, details FROM old"
	   " ON CONFLICT DO NOTHING",
	   TEXTOID, TEXTOID);

WRITES(note_step, "SELECT pictrepo.mark_migrated($1, $2)", TEXTOID, TEXTOID);

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
	begin_call(&call, fcinfo);
	run_statement(&hold_hashes_of_file, step);
	moved = run_statement(&move_in_hashes, step);
	moved += run_statement(&move_in_variants, step);
	INJECT(file_moved);
	if (moved > 0)
	{
		run_statement(&move_details, step);
		run_statement(&note_step, step);
	}
	else
		release_file(step[1]);
	end_call(&call);
	PG_RETURN_BOOL(moved > 0);
}

PG_FUNCTION_INFO_V1(pictrepo_prune_page);

READS(files_of_page,
	  "SELECT p.current, p.prev, p.next, ARRAY("
	  "SELECT file FROM unnest(p.hashes) WITH ORDINALITY AS page (hash, place)"
	  " JOIN pictrepo.hashes h ON h.hash = page.hash, LATERAL ("
	  "SELECT h.identifier, 0 UNION ALL SELECT h.motion_identifier, 1"
	  " UNION ALL (SELECT v.identifier, 2 FROM pictrepo.variants v WHERE v.hash = h.hash)"
	  ") AS files (file, kind) WHERE file IS NOT NULL ORDER BY place, kind, file)"
	  " FROM pictrepo.hash_page($1, $2) p",
	  TEXTOID, INT4OID);

/*
 * prune_page(slug text, page_limit int)
 *		-> (current text, prev text, next text, identifiers text[])
 *
 * As hash_page, with the files of each hash.  22023.
 */
Datum
pictrepo_prune_page(PG_FUNCTION_ARGS)
{
	return answer_row(fcinfo, &files_of_page,
					  ARGS(checked_slug(fcinfo, 0), limit_argument(fcinfo, 1, 1, PAGE_MAX)));
}

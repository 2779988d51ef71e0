/*-------------------------------------------------------------------------
 *
 * store_migrations.c
 *		StoreMigrationRepo: marks of the files that a store migration has moved.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "images/store_migrations.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_is_continuing_migration);

STATEMENT(any_migrated, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.store_migrations LIMIT 1");

/*
 * is_continuing_migration() -> bool
 *
 * Is any file marked?
 */
Datum
pictrepo_is_continuing_migration(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &any_migrated, NULL);
}

PG_FUNCTION_INFO_V1(pictrepo_mark_migrated);

STATEMENT(insert_mark, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.store_migrations (old_identifier, new_identifier) VALUES ($1, $2)"
		  " ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID);

bool
mark_migrated(NullableDatum old_identifier, NullableDatum new_identifier)
{
	return statement_run(&insert_mark, ARGS(old_identifier, new_identifier)) > 0;
}

/*
 * mark_migrated(old_identifier text, new_identifier text) -> bool
 *
 * Mark a file as moved.  False: old_identifier is marked already.
 */
Datum
pictrepo_mark_migrated(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &insert_mark,
						ARGS(identifier_argument(fcinfo, 0), identifier_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_is_migrated);

STATEMENT(mark_exists, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.store_migrations WHERE old_identifier = $1", TEXTOID);

/*
 * is_migrated(old_identifier text) -> bool
 *
 * Is the file marked as moved?
 */
Datum
pictrepo_is_migrated(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &mark_exists, ARGS(identifier_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_clear);

STATEMENT(delete_marks, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.store_migrations");

/*
 * clear() -> bigint
 *
 * Remove all marks.  Returns how many.
 */
Datum
pictrepo_clear(PG_FUNCTION_ARGS)
{
	return return_count(fcinfo, &delete_marks, NULL);
}

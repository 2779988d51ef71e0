/*-------------------------------------------------------------------------
 *
 * details.c
 *		DetailsRepo: what is known of a stored file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "images/details.h"
#include "json/json_check.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_relate_details);

STATEMENT(insert_details, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.details (identifier, details) VALUES ($1, $2) ON CONFLICT DO NOTHING",
		  TEXTOID, JSONBOID);

bool
details_insert(NullableDatum identifier, NullableDatum details)
{
	return statement_run(&insert_details, ARGS(identifier, details)) > 0;
}

/*
 * relate_details(identifier text, details jsonb) -> bool
 *
 * Store the details; false: there are some, they stay.  22004, 22023 for a
 * member that is not what pict-rs knows it as, 22001.
 */
Datum
pictrepo_relate_details(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &insert_details,
						ARGS(identifier_argument(fcinfo, 0),
							 checked_document_argument(fcinfo, 1, check_details)));
}

PG_FUNCTION_INFO_V1(pictrepo_details);

STATEMENT(details_of_identifier, STMT_READ_ONLY,
		  "SELECT details FROM pictrepo.details WHERE identifier = $1", TEXTOID);

/*
 * details(identifier text) -> jsonb
 *
 * NULL: none.  22004, 22023, 22001.
 */
Datum
pictrepo_details(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &details_of_identifier, ARGS(identifier_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_cleanup_details);

STATEMENT(delete_details, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.details WHERE identifier = $1", TEXTOID);

bool
details_delete(NullableDatum identifier)
{
	return statement_run(&delete_details, &identifier) > 0;
}

/*
 * cleanup_details(identifier text) -> bool
 *
 * False: there were none.  22004, 22023, 22001.
 */
Datum
pictrepo_cleanup_details(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_details, ARGS(identifier_argument(fcinfo, 0)));
}

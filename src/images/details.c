/*-------------------------------------------------------------------------
 *
 * details.c
 *		DetailsRepo: details of stored files, such as width, height and format.
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
 * Store the details of a file.  False: the file has details, and they stay.
 * Error 22023 if a member does not have the type that pict-rs expects.
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
 * The details of a file.  NULL: it has none.
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
 * Remove the details of a file.  False: it has none.
 */
Datum
pictrepo_cleanup_details(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_details, ARGS(identifier_argument(fcinfo, 0)));
}

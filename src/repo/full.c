/*-------------------------------------------------------------------------
 *
 * full.c
 *		FullRepo: health, and what follows from an alias.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "engine/arguments.h"
#include "engine/settings.h"
#include "engine/statements.h"

PG_FUNCTION_INFO_V1(pictrepo_health_check);

WRITES(write_health,
	   "INSERT INTO pictrepo.settings (key, value) VALUES ('health-value', $1)"
	   " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
	   BYTEAOID);

WRITES(read_health,
	   "SELECT s.value = $1, e.extversion,"
	   " EXISTS (SELECT FROM pg_catalog.pg_stat_activity"
	   " WHERE datname = current_database() AND backend_type = 'pictrepo worker')"
	   " FROM pictrepo.settings s, pg_catalog.pg_extension e"
	   " WHERE s.key = 'health-value' AND e.extname = 'pictrepo'",
	   BYTEAOID);

/*
 * health_check() -> text
 *
 * Write a value, read it back, and say what runs.  58030 when something else
 * comes back.
 */
Datum
pictrepo_health_check(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	MemoryContext answer = CurrentMemoryContext;
	text	   *said;
	NullableDatum now = given(PointerGetDatum(cstring_to_text(timestamptz_to_str(GetCurrentTimestamp()))));

	begin_call(&call, fcinfo);
	run_statement(&write_health, &now);
	if (run_statement(&read_health, &now) != 1 || !DatumGetBool(result_value(0, 1).value))
		ereport(ERROR,
				errcode(ERRCODE_IO_ERROR),
				errmsg("health check failed"),
				errdetail("What was written did not come back."));
	MemoryContextSwitchTo(answer);
	said = cstring_to_text(psprintf("ok; library %s; schema %s; preload %s; worker %s",
									PICTREPO_VERSION,
									TextDatumGetCString(result_value(0, 2).value),
									preloaded ? "on" : "off",
									DatumGetBool(result_value(0, 3).value) ? "on" : "off"));
	end_call(&call);
	PG_RETURN_TEXT_P(said);
}

PG_FUNCTION_INFO_V1(pictrepo_identifier_from_alias);

READS(identifier_from_alias,
	  "SELECT h.identifier FROM pictrepo.aliases a JOIN pictrepo.hashes h ON h.hash = a.hash"
	  " WHERE a.alias = $1",
	  TEXTOID);

/*
 * identifier_from_alias(alias text) -> text
 *
 * NULL: no such alias.  22004, 22023, 22001.
 */
Datum
pictrepo_identifier_from_alias(PG_FUNCTION_ARGS)
{
	return answer_value(fcinfo, &identifier_from_alias, ARGS(alias_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_aliases_from_alias);

READS(aliases_from_alias,
	  "SELECT b.alias FROM pictrepo.aliases a JOIN pictrepo.aliases b ON b.hash = a.hash"
	  " WHERE a.alias = $1 ORDER BY b.alias",
	  TEXTOID);

/*
 * aliases_from_alias(alias text) -> setof text
 *
 * In byte order; no row: no such alias.  22004, 22023, 22001.
 */
Datum
pictrepo_aliases_from_alias(PG_FUNCTION_ARGS)
{
	return answer_rows(fcinfo, &aliases_from_alias, ARGS(alias_argument(fcinfo, 0)));
}

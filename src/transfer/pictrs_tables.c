/*-------------------------------------------------------------------------
 *
 * pictrs_tables.c
 *		The tables of pict-rs: their names, columns and types.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "transfer/pictrs_tables.h"

/*
 * A null access time means that the row does not expire.  With the time of the export
 * it does not expire soon.
 */
#define NOW "(now() AT TIME ZONE 'UTC')"

const PictrsTable pictrs_tables[PICTRS_TABLES] = {
	[PICTRS_HASHES] = {"hashes", "hashes", {
			{"hash", TEXTOID}, {"identifier", TEXTOID}, {"motion_identifier", TEXTOID},
			{"created_at", TIMESTAMPOID}, {"blurhash", TEXTOID}
	}},
	[PICTRS_VARIANTS] = {"variants", "variants", {
			{"id", UUIDOID, "gen_random_uuid()"}, {"hash", TEXTOID}, {"variant", TEXTOID},
			{"identifier", TEXTOID}, {"accessed", TIMESTAMPOID, NOW}
	}},
	[PICTRS_ALIASES] = {"aliases", "aliases", {
			{"alias", TEXTOID}, {"hash", TEXTOID}, {"token", TEXTOID}
	}},
	[PICTRS_PROXIES] = {"proxies", "proxies", {
			{"url", TEXTOID}, {"alias", TEXTOID}, {"accessed", TIMESTAMPOID, NOW}
	}},
	[PICTRS_DETAILS] = {"details", "details", {
			{"identifier", TEXTOID}, {"json", JSONBOID}
	}},
	[PICTRS_SETTINGS] = {"settings", "settings", {
			{"key", TEXTOID}, {"value", TEXTOID}
	}},
	[PICTRS_STORE_MIGRATIONS] = {"store_migrations", "store_migrations", {
			{"old_identifier", TEXTOID}, {"new_identifier", TEXTOID}
	}},
	[PICTRS_UPLOADS] = {"uploads", "uploads", {
			{"id", UUIDOID}, {"result", JSONBOID}, {"created_at", TIMESTAMPOID}
	}},
	[PICTRS_JOB_QUEUE] = {"job_queue", "job_queue", {
			{"id", UUIDOID}, {"queue", TEXTOID}, {"job", JSONBOID}, {"worker", UUIDOID},
			{"status", ANYENUMOID}, {"queue_time", TIMESTAMPOID}, {"heartbeat", TIMESTAMPOID},
			{"unique_key", TEXTOID}, {"retry", INT4OID}
	}},
	[PICTRS_KEYED_NOTIFICATIONS] = {"keyed_notifications", "variant_claims", {
			{"key", TEXTOID}, {"heartbeat", TIMESTAMPOID}
	}},
};

/* The names of the columns, as in "a, b, c". */
char *
listed_columns(const PictrsTable *table)
{
	StringInfoData list;

	initStringInfo(&list);
	for (const PictrsColumn *column = table->columns; column->name != NULL; column++)
		appendStringInfo(&list, "%s%s", column == table->columns ? "" : ", ", column->name);
	return list.data;
}

/* ----- checking the tables of a schema ----- */

static const char upgrade_hint[] =
"Start the latest pict-rs 0.5 once on this database; it upgrades its tables.";

static bool
is_of_type(Oid given_type, Oid type)
{
	if (type == ANYENUMOID)
		return type_is_enum(given_type);
	return given_type == type || (type == TEXTOID && given_type == VARCHAROID);
}

static void
check_column(const char *quoted_schema, const char *table, Oid relation, const PictrsColumn *column)
{
	HeapTuple	tuple = SearchSysCacheAttName(relation, column->name);
	Oid			type;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of table %s.%s does not exist", column->name,
					   quoted_schema, table),
				errhint("%s", upgrade_hint));
	type = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypid;
	ReleaseSysCache(tuple);
	if (!is_of_type(type, column->type))
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column \"%s\" of table %s.%s has type %s", column->name,
					   quoted_schema, table, format_type_be(type)),
				errdetail("The type must be %s.",
						  column->type == ANYENUMOID ? "an enum" : format_type_be(column->type)),
				errhint("%s", upgrade_hint));
}

/*
 * Raise an error if these are not the tables of pict-rs: 42P01 if a table is missing,
 * 42703 if a column is missing, 42804 if a column has another type.
 */
void
check_pictrs_tables(Oid schema, const char *quoted_schema)
{
	for (int i = 0; i < PICTRS_TABLES; i++)
	{
		const PictrsTable *table = &pictrs_tables[i];
		Oid			relation = get_relname_relid(table->name, schema);

		if (!OidIsValid(relation))
			ereport(ERROR,
					errcode(ERRCODE_UNDEFINED_TABLE),
					errmsg("table %s.%s does not exist", quoted_schema, table->name),
					errhint("%s", upgrade_hint));
		for (const PictrsColumn *column = table->columns; column->name != NULL; column++)
			check_column(quoted_schema, table->name, relation, column);
	}
}

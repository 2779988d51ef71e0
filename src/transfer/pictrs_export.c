/*-------------------------------------------------------------------------
 *
 * pictrs_export.c
 *		export_pictrs(): copy the repo to the tables of pict-rs 0.5.
 *
 * The tables of pict-rs have no columns for some of the data, which is not
 * copied: priorities and run times of jobs, dead jobs, schedules, settings of
 * queues, blocked content, and access times of aliases without a proxied URL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "sqlfunc/args.h"
#include "transfer/pictrs.h"
#include "transfer/pictrs_schema.h"

/* ----- our rows in the form of pict-rs ----- */

#define BASE64(bytes) "replace(encode(" bytes ", 'base64'), E'\\n', '')"
#define UTC(time) "(" time " AT TIME ZONE 'UTC')"
#define UNKNOWN_WORKER "'00000000-0000-0000-0000-000000000000'"

typedef struct ExportTable
{
	const char *columns;		/* values for pict-rs's columns, of our row o */
	const char *order;			/* our key */
	const char *position;		/* our key as text[] */
	const char *reached;		/* our key from the text[] in $1 */
	const char *key;			/* pict-rs's key as text, for transfer_errors */
	const char *conflict;		/* columns of pict-rs's key */
} ExportTable;

/*
 * The reverse of convert_job and convert_claim in pictrs_import.c.  In pict-rs, a
 * worker has one job at most.  So further jobs of a worker are exported without it,
 * as jobs that pict-rs will run again.
 */
static const ExportTable export_tables[PICTRS_TABLES] = {
	[PICTRS_HASHES] = {
		BASE64("o.hash") ", o.identifier, o.motion_identifier, " UTC("o.created_at") ", o.blurhash",
		"o.hash", "ARRAY[encode(o.hash, 'hex')]", "decode(($1)[1], 'hex')", BASE64("o.hash"), "hash"
	},
	[PICTRS_VARIANTS] = {
		"o.id, " BASE64("o.hash") ", o.variant, o.identifier, " UTC("o.accessed"),
		"o.hash, o.variant", "ARRAY[encode(o.hash, 'hex'), o.variant]",
		"decode(($1)[1], 'hex'), ($1)[2]", BASE64("o.hash") " || ' ' || o.variant", "hash, variant"
	},
	[PICTRS_ALIASES] = {
		"o.alias, " BASE64("o.hash") ", o.delete_token",
		"o.alias", "ARRAY[o.alias]", "($1)[1]", "o.alias", "alias"
	},
	[PICTRS_PROXIES] = {
		"o.url, o.alias, " UTC("o.accessed"),
		"o.digest", "ARRAY[encode(o.digest, 'hex')]", "decode(($1)[1], 'hex')", "o.url", "url"
	},
	[PICTRS_DETAILS] = {
		"o.identifier, o.details",
		"o.identifier", "ARRAY[o.identifier]", "($1)[1]", "o.identifier", "identifier"
	},
	[PICTRS_SETTINGS] = {
		"o.key, encode(o.value, 'hex')",
		"o.key", "ARRAY[o.key]", "($1)[1]", "o.key", "key"
	},
	[PICTRS_STORE_MIGRATIONS] = {
		"o.old_identifier, o.new_identifier",
		"o.old_identifier", "ARRAY[o.old_identifier]", "($1)[1]", "o.old_identifier", "old_identifier"
	},
	[PICTRS_UPLOADS] = {
		"o.id, o.result, " UTC("o.created_at"),
		"o.id", "ARRAY[o.id::text]", "($1)[1]::uuid", "o.id::text", "id"
	},
	[PICTRS_JOB_QUEUE] = {
		"o.id, o.queue, o.job, CASE WHEN o.worker <> " UNKNOWN_WORKER " AND NOT EXISTS (SELECT FROM"
		" pictrepo.job_queue w WHERE w.status = 'running' AND w.worker = o.worker AND w.id < o.id) THEN o.worker END,"
		" o.status::text, " UTC("o.queue_time") ", "
		"CASE WHEN o.status = 'running' THEN " UTC("coalesce(pictrepo.pulse(o.id), o.heartbeat)")
		" ELSE " UTC("o.heartbeat") " END, o.unique_key,"
		" CASE WHEN o.status = 'running' THEN greatest(o.retry, 1)"
		" ELSE least(o.retry, 2147483646) + 1 END",
		"o.id", "ARRAY[o.id::text]", "($1)[1]::uuid", "o.id::text", "id"
	},
	[PICTRS_KEYED_NOTIFICATIONS] = {
		BASE64("o.hash") " || o.variant, " UTC("o.heartbeat"),
		"o.hash, o.variant", "ARRAY[encode(o.hash, 'hex'), o.variant]",
		"decode(($1)[1], 'hex'), ($1)[2]", BASE64("o.hash") " || o.variant", "key"
	},
};

static char *
query_batch(Transfer *transfer)
{
	const ExportTable *table = &export_tables[transfer->table];

	return psprintf("SELECT %s, %s, %s FROM pictrepo.%s o%s ORDER BY %s LIMIT %d",
					table->columns, table->position, table->key, current_table(transfer)->own_name,
					transfer->reached.isnull ? "" :
					psprintf(" WHERE (%s) > (%s)", table->order, table->reached),
					table->order, transfer->batch_size);
}

static int
written_columns(Transfer *transfer, Oid *types)
{
	const PictrsColumn *columns = current_table(transfer)->columns;
	int			count = 0;

	for (; columns[count].name != NULL; count++)
		types[count] = columns[count].type == ANYENUMOID ? TEXTOID : columns[count].type;
	return count;
}

/* The query returns the values in the form of pict-rs. */
static const char *
convert_row(Transfer *transfer, NullableDatum *row)
{
	return NULL;
}

/* ----- writing them ----- */

/* The value for a column, of the given row n.  A column with an enum of the schema needs a cast. */
static char *
value_of_column(const Transfer *transfer, const PictrsColumn *column)
{
	Oid			relation = get_relname_relid(current_table(transfer)->name, transfer->schema_oid);
	char	   *value = psprintf("n.%s", column->name);

	if (column->fallback != NULL)
		return psprintf("coalesce(%s, %s)", value, column->fallback);
	if (column->type == ANYENUMOID)
		return psprintf("%s::%s", value,
						format_type_be_qualified(get_atttype(relation,
															 get_attnum(relation, column->name))));
	return value;
}

static char *
listed_values(const Transfer *transfer)
{
	const PictrsTable *table = current_table(transfer);
	StringInfoData list;

	initStringInfo(&list);
	for (const PictrsColumn *column = table->columns; column->name != NULL; column++)
		appendStringInfo(&list, "%s%s", column == table->columns ? "" : ", ",
						 value_of_column(transfer, column));
	return list.data;
}

static uint64
store_rows(Transfer *transfer, const NullableDatum *arrays)
{
	const PictrsTable *table = current_table(transfer);
	const char *columns = listed_columns(table);
	StringInfoData sql;
	Oid			types[PICTRS_COLUMNS];
	Datum		values[PICTRS_COLUMNS];
	int			count = written_columns(transfer, types);
	int			result;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s.%s (%s) SELECT %s FROM unnest(",
					 transfer->quoted_schema, table->name, columns,
					 listed_values(transfer));
	for (int i = 0; i < count; i++)
	{
		appendStringInfo(&sql, "%s$%d", i == 0 ? "" : ", ", i + 1);
		types[i] = get_array_type(types[i]);
		values[i] = arrays[i].value;
	}
	appendStringInfo(&sql, ") AS n (%s) ON CONFLICT (%s) DO NOTHING",
					 columns, export_tables[transfer->table].conflict);
	result = SPI_execute_with_args(sql.data, count, types, values, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_with_args failed for \"%s\": %s",
			 sql.data, SPI_result_code_string(result));
	return SPI_processed;
}

static void
target_table(Transfer *transfer, TransferTarget *target)
{
	const PictrsTable *table = current_table(transfer);

	target->table = psprintf("%s.%s", transfer->quoted_schema, table->name);
	target->join = psprintf("USING (%s)", export_tables[transfer->table].conflict);
	for (int i = 0; table->columns[i].name != NULL; i++)
		target->columns[i] = table->columns[i].name;
}

PG_FUNCTION_INFO_V1(pictrepo_export_pictrs);

/*
 * export_pictrs(target_schema text, batch int, resume bool,
 *				 INOUT stored bigint, INOUT same bigint, INOUT different bigint, INOUT bad bigint,
 *				 INOUT counts_agree bool)
 *
 * Copies the repo to the tables of pict-rs in a schema.  Each transaction copies
 * batch rows (1 to 100000).  The procedure creates a missing schema and missing
 * tables, and keeps existing rows.  With resume, it continues an unfinished
 * export to the schema.
 *
 * Returns the number of rows that were stored, existed with the same values,
 * existed with other values, and could not be stored.  counts_agree: every row
 * was read, and every row is in the tables with its values.
 *
 * The caller needs INSERT and SELECT on the tables, or CREATE.  Errors: 22023
 * for a schema of the system or of pictrepo; 42P01, 42703 or 42804 if the
 * tables are not those of pict-rs; 42501; 55006 if another session transfers
 * to or from the schema; 55000 if its rows in transfers were deleted; 2D000 in
 * a transaction block; 25006 on a standby.
 */
Datum
pictrepo_export_pictrs(PG_FUNCTION_ARGS)
{
	static const TransferKind export = {
		.direction = "export",
		.name = "export_pictrs",
		.reads_pictrs = false,
		.prepare_schema = make_pictrs_schema,
		.prepare_tables = make_pictrs_tables,
		.query = query_batch,
		.columns = written_columns,
		.convert = convert_row,
		.write = store_rows,
		.target = target_table
	};

	return run_transfer(fcinfo, &export);
}

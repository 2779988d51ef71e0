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

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "sqlfunc/args.h"
#include "transfer/pictrs.h"
#include "transfer/pictrs_side.h"

/* %1$s is the schema, quoted. */
static const char *const creations[PICTRS_TABLES] = {
	[PICTRS_HASHES] =
	"CREATE TABLE %1$s.hashes (hash varchar PRIMARY KEY, identifier text NOT NULL,"
	" motion_identifier text, created_at timestamp NOT NULL DEFAULT now(), blurhash varchar);"
	" CREATE INDEX ordered_hash_index ON %1$s.hashes (created_at, hash)",
	[PICTRS_VARIANTS] =
	"CREATE TABLE %1$s.variants (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
	" hash text NOT NULL REFERENCES %1$s.hashes (hash), variant text NOT NULL,"
	" identifier text NOT NULL, accessed timestamp NOT NULL DEFAULT now());"
	" CREATE UNIQUE INDEX hash_variant_index ON %1$s.variants (hash, variant)",
	[PICTRS_ALIASES] =
	"CREATE TABLE %1$s.aliases (alias varchar PRIMARY KEY,"
	" hash text NOT NULL REFERENCES %1$s.hashes (hash), token varchar NOT NULL);"
	" CREATE INDEX aliases_hash_index ON %1$s.aliases (hash)",
	[PICTRS_PROXIES] =
	"CREATE TABLE %1$s.proxies (url text PRIMARY KEY,"
	" alias text NOT NULL REFERENCES %1$s.aliases (alias), accessed timestamp NOT NULL DEFAULT now())",
	[PICTRS_DETAILS] =
	"CREATE TABLE %1$s.details (identifier text PRIMARY KEY, json jsonb NOT NULL)",
	[PICTRS_SETTINGS] =
	"CREATE TABLE %1$s.settings (key varchar PRIMARY KEY, value varchar NOT NULL)",
	[PICTRS_STORE_MIGRATIONS] =
	"CREATE TABLE %1$s.store_migrations (old_identifier text PRIMARY KEY, new_identifier text NOT NULL)",
	[PICTRS_UPLOADS] =
	"CREATE TABLE %1$s.uploads (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), result jsonb,"
	" created_at timestamp NOT NULL DEFAULT now());"
	" CREATE FUNCTION %1$s.upload_completion_notify() RETURNS trigger LANGUAGE plpgsql AS"
	" $$ BEGIN PERFORM pg_notify('upload_completion_channel', NEW.id::text); RETURN NEW; END $$;"
	" CREATE TRIGGER upload_result AFTER INSERT OR UPDATE OF result ON %1$s.uploads"
	" FOR EACH ROW EXECUTE FUNCTION %1$s.upload_completion_notify()",
	[PICTRS_JOB_QUEUE] =
	"CREATE TYPE %1$s.job_status AS ENUM ('new', 'running');"
	" CREATE TABLE %1$s.job_queue (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
	" queue varchar NOT NULL, job jsonb NOT NULL, worker uuid,"
	" status %1$s.job_status NOT NULL DEFAULT 'new', queue_time timestamp NOT NULL DEFAULT now(),"
	" heartbeat timestamp, unique_key varchar UNIQUE, retry integer NOT NULL DEFAULT 5);"
	" CREATE INDEX heartbeat_index ON %1$s.job_queue (heartbeat);"
	" CREATE INDEX queue_time_index ON %1$s.job_queue (queue_time);"
	" CREATE FUNCTION %1$s.queue_status_notify() RETURNS trigger LANGUAGE plpgsql AS"
	" $$ BEGIN PERFORM pg_notify('queue_status_channel', NEW.id::text || ' ' || NEW.queue::text);"
	" RETURN NEW; END $$;"
	" CREATE TRIGGER queue_status AFTER INSERT OR UPDATE OF status ON %1$s.job_queue"
	" FOR EACH ROW EXECUTE FUNCTION %1$s.queue_status_notify()",
	[PICTRS_KEYED_NOTIFICATIONS] =
	"CREATE TABLE %1$s.keyed_notifications (key text PRIMARY KEY,"
	" heartbeat timestamp NOT NULL DEFAULT now());"
	" CREATE INDEX keyed_notifications_heartbeat_index ON %1$s.keyed_notifications (heartbeat);"
	" CREATE FUNCTION %1$s.keyed_notify() RETURNS trigger LANGUAGE plpgsql AS"
	" $$ BEGIN PERFORM pg_notify('keyed_notification_channel', OLD.key); RETURN NEW; END $$;"
	" CREATE TRIGGER keyed_notification_removed AFTER DELETE ON %1$s.keyed_notifications"
	" FOR EACH ROW EXECUTE FUNCTION %1$s.keyed_notify()",
};

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
 * The reverse of convert_job and convert_claim in pictrs_import.c.  Access times of
 * pict-rs are not null.  A null one becomes now(): null means that the row does not
 * expire, and with now() it does not expire soon.
 */
static const ExportTable export_tables[PICTRS_TABLES] = {
	[PICTRS_HASHES] = {
		BASE64("o.hash") ", o.identifier, o.motion_identifier, " UTC("o.created_at") ", o.blurhash",
		"o.hash", "ARRAY[encode(o.hash, 'hex')]", "decode(($1)[1], 'hex')", BASE64("o.hash"), "hash"
	},
	[PICTRS_VARIANTS] = {
		"coalesce(o.id, gen_random_uuid()), " BASE64("o.hash") ", o.variant, o.identifier, "
		UTC("coalesce(o.accessed, now())"),
		"o.hash, o.variant", "ARRAY[encode(o.hash, 'hex'), o.variant]",
		"decode(($1)[1], 'hex'), ($1)[2]", BASE64("o.hash") " || ' ' || o.variant", "hash, variant"
	},
	[PICTRS_ALIASES] = {
		"o.alias, " BASE64("o.hash") ", o.delete_token",
		"o.alias", "ARRAY[o.alias]", "($1)[1]", "o.alias", "alias"
	},
	[PICTRS_PROXIES] = {
		"o.url, o.alias, " UTC("coalesce(o.accessed, now())"),
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
		"o.id, o.queue, o.job, nullif(o.worker, " UNKNOWN_WORKER "), o.status::text, " UTC("o.queue_time") ", "
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

/* ----- the schema and tables of pict-rs ----- */

/*
 * Tables of the system or of pictrepo must not be taken for those of pict-rs, as some
 * have the same names.
 */
static void
make_schema(Transfer *transfer)
{
	if (IsReservedName(transfer->schema) || strcmp(transfer->schema, "pictrepo") == 0 ||
		strcmp(transfer->schema, "information_schema") == 0)
		bad_argument(transfer->fcinfo, 0,
					 psprintf("Schema %s is reserved; choose another schema for the tables of pict-rs.",
							  transfer->quoted_schema), NULL);
	if (!OidIsValid(get_namespace_oid(transfer->schema, true)))
		side_execute(psprintf("CREATE SCHEMA %s", transfer->quoted_schema));
	(void) LookupExplicitNamespace(transfer->schema, false);
}

static void
make_tables(Transfer *transfer)
{
	for (int i = 0; i < PICTRS_TABLES; i++)
		if (!OidIsValid(get_relname_relid(pictrs_tables[i].name, transfer->schema_oid)))
			side_execute(psprintf(creations[i], transfer->quoted_schema));
	check_pictrs_tables(transfer->schema_oid, transfer->quoted_schema);
}

/* A column with an enum of the schema needs a cast. */
static char *
listed_values(const Transfer *transfer)
{
	const PictrsTable *table = current_table(transfer);
	Oid			relation = get_relname_relid(table->name, transfer->schema_oid);
	StringInfoData list;

	initStringInfo(&list);
	for (const PictrsColumn *column = table->columns; column->name != NULL; column++)
	{
		appendStringInfo(&list, "%sn.%s", column == table->columns ? "" : ", ", column->name);
		if (column->type == ANYENUMOID)
			appendStringInfo(&list, "::%s",
							 format_type_be_qualified(get_atttype(relation,
																  get_attnum(relation, column->name))));
	}
	return list.data;
}

static uint64
store_rows(Transfer *transfer, const NullableDatum *arrays)
{
	const PictrsTable *table = current_table(transfer);
	StringInfoData sql;
	Oid			types[PICTRS_COLUMNS];
	Datum		values[PICTRS_COLUMNS];
	int			count = written_columns(transfer, types);
	int			result;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s.%s (%s) SELECT %s FROM unnest(",
					 transfer->quoted_schema, table->name, listed_columns(table),
					 listed_values(transfer));
	for (int i = 0; i < count; i++)
	{
		appendStringInfo(&sql, "%s$%d", i == 0 ? "" : ", ", i + 1);
		types[i] = get_array_type(types[i]);
		values[i] = arrays[i].value;
	}
	appendStringInfo(&sql, ") AS n (%s) ON CONFLICT (%s) DO NOTHING",
					 listed_columns(table), export_tables[transfer->table].conflict);
	result = SPI_execute_with_args(sql.data, count, types, values, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_with_args failed for \"%s\": %s",
			 sql.data, SPI_result_code_string(result));
	return SPI_processed;
}

PG_FUNCTION_INFO_V1(pictrepo_export_pictrs);

/*
 * export_pictrs(target_schema text, batch int, resume bool,
 *				 INOUT stored bigint, INOUT present bigint, INOUT bad bigint, INOUT counts_agree bool)
 *
 * Copies the repo to the tables of pict-rs in a schema.  Each transaction copies
 * batch rows (1 to 100000).  The procedure creates a missing schema and missing
 * tables, and keeps existing rows.  With resume, it continues an unfinished
 * export to the schema.
 *
 * Returns the number of rows that were stored, existed, and could not be
 * stored.  counts_agree: every row was read, and every row is in the tables.
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
		.prepare_schema = make_schema,
		.prepare_tables = make_tables,
		.query = query_batch,
		.columns = written_columns,
		.convert = convert_row,
		.write = store_rows
	};

	return run_transfer(fcinfo, &export);
}

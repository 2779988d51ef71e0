/*-------------------------------------------------------------------------
 *
 * pictrs_import.c
 *		import_pictrs(): copy the tables of pict-rs 0.5 to the repo.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/guc.h"
#include "common/limits.h"
#include "common/page_slug.h"
#include "common/uuid.h"
#include "json/json_check.h"
#include "sqlfunc/args.h"
#include "sqlfunc/statement.h"
#include "transfer/pictrs.h"
#include "transfer/pictrs_side.h"

/* base64 characters of a hash of pict-rs; it needs no padding */
#define PICTRS_HASH_TEXT (PICTRS_HASH_LEN / 3 * 4)

/* ----- converting values ----- */

/*
 * Convert a value of pict-rs to one of ours, in place.  most: the limit in bytes.
 * Returns NULL, or why the value cannot be stored.
 */
typedef const char *(*Convert) (NullableDatum *value, int most);

static const char *
check_size(Size size, int least, int most)
{
	if (size < (Size) least)
		return "it is empty";
	if (size > (Size) most)
		return psprintf("it has %zu bytes; the limit is %d bytes", size, most);
	return NULL;
}

static const char *
convert_any(NullableDatum *value, int most)
{
	return NULL;
}

static const char *
convert_text(NullableDatum *value, int most)
{
	return check_size(VARSIZE_ANY_EXHDR(DatumGetPointer(value->value)), 1, most);
}

/*
 * Decode base64.  NULL: it is not in the form that pict-rs writes.  Otherwise an
 * export would write another text.
 */
static bytea *
bytes_of_base64(const char *base64)
{
	int			length = strlen(base64);
	int			size = pg_b64_dec_len(length);
	bytea	   *bytes = palloc(VARHDRSZ + size);

	length = pg_b64_decode(base64, length, (void *) VARDATA(bytes), size);
	if (length < 0 || strcmp(base64_encode_cstring(VARDATA(bytes), length), base64) != 0)
		return NULL;
	SET_VARSIZE(bytes, VARHDRSZ + length);
	return bytes;
}

static const char *
convert_hash(NullableDatum *value, int most)
{
	bytea	   *hash = bytes_of_base64(TextDatumGetCString(value->value));

	if (hash == NULL)
		return "it is not base64";
	value->value = PointerGetDatum(hash);
	return check_size(VARSIZE(hash) - VARHDRSZ, 1, most);
}

static const char *
convert_hex(NullableDatum *value, int most)
{
	char	   *hex = TextDatumGetCString(value->value);
	int			length = strlen(hex);
	bytea	   *bytes = palloc(VARHDRSZ + length / 2);

	if (strspn(hex, "0123456789abcdefABCDEF") != length || length % 2 != 0)
		return "it is not hex";
	SET_VARSIZE(bytes, VARHDRSZ + length / 2);
	hex_decode(hex, length, VARDATA(bytes));
	value->value = PointerGetDatum(bytes);
	return check_size(length / 2, 0, most);
}

/* A timestamp of pict-rs is in UTC.  So a timestamptz of the same time has the same value. */
static const char *
convert_time(NullableDatum *value, int most)
{
	return TIMESTAMP_NOT_FINITE(DatumGetTimestamp(value->value)) ? "it is infinite" : NULL;
}

/* The alias must be in its normal form: otherwise neither pictrepo nor pict-rs can find it. */
static const char *
convert_alias(NullableDatum *value, int most)
{
	const char *why = convert_text(value, most);
	text	   *alias = DatumGetTextPP(value->value);
	text	   *normal;

	if (why != NULL)
		return why;
	normal = alias_normalize(alias);
	if (VARSIZE_ANY_EXHDR(normal) != VARSIZE_ANY_EXHDR(alias) ||
		memcmp(VARDATA_ANY(normal), VARDATA_ANY(alias), VARSIZE_ANY_EXHDR(alias)) != 0)
		return psprintf("it is not in its normal form, \"%s\"",
						text_to_cstring(normal));
	return NULL;
}

static const char *
convert_document(NullableDatum *value, int most)
{
	Size		size = VARSIZE_ANY_EXHDR(DatumGetPointer(value->value));

	if (size > (Size) guc_max_document_size * 1024)
		return psprintf("it has %zu bytes as jsonb; the limit is %d kB", size, guc_max_document_size);
	return NULL;
}

static const char *
convert_checked(NullableDatum *value, JsonCheck check)
{
	const char *why = convert_document(value, 0);
	JsonCheckError error;

	if (why != NULL || document_passes(value->value, check, &error))
		return why;
	return pstrdup(error.message);
}

static const char *
convert_details(NullableDatum *value, int most)
{
	return convert_checked(value, check_details);
}

static const char *
convert_result(NullableDatum *value, int most)
{
	return convert_checked(value, check_upload_result);
}

/* ----- rows ----- */

/* The worker id of claims of pict-rs, which do not say the worker */
static pg_uuid_t unknown_worker;

/*
 * In pict-rs, retry is how often a job may still run; here, how often it may run
 * again.  A waiting job that may run n times has n - 1 retries.  A running job keeps
 * its number: if its worker dies, pict-rs runs it again with the same number, and
 * pictrepo with one less.
 *
 * A failed job of pict-rs stays running, without a worker, until its heartbeat has
 * timed out.
 */
static const char *
convert_job(NullableDatum *row)
{
	NullableDatum *worker = &row[3];
	char	   *status = TextDatumGetCString(row[4].value);
	int			runs = DatumGetInt32(row[8].value);

	if (runs < 1)
		return "retry: the job has no runs left";
	if (strcmp(status, "new") == 0)
		row[8].value = Int32GetDatum(runs - 1);
	else if (strcmp(status, "running") != 0)
		return psprintf("status: \"%s\" is neither new nor running", status);
	else if (row[6].isnull)
		return "heartbeat: it is null, but the job is running";
	else if (worker->isnull)
		*worker = not_null(UUIDPGetDatum(&unknown_worker));
	return NULL;
}

/* The key of a claim is the hash in base64, immediately followed by the variant. */
static const char *
convert_claim(NullableDatum *row)
{
	char	   *key = TextDatumGetCString(row[0].value);
	NullableDatum heartbeat = row[1];
	bytea	   *hash = NULL;
	const char *why;

	if (strlen(key) >= PICTRS_HASH_TEXT)
		hash = bytes_of_base64(pnstrdup(key, PICTRS_HASH_TEXT));
	if (hash == NULL)
		return "key: it does not begin with a hash in base64";
	row[0] = not_null(PointerGetDatum(hash));
	row[1] = not_null(CStringGetTextDatum(key + PICTRS_HASH_TEXT));
	why = convert_text(&row[1], VARIANT_MAX);
	if (why != NULL)
		return psprintf("key: variant: %s", why);
	row[2] = not_null(UUIDPGetDatum(&unknown_worker));
	row[3] = heartbeat;
	return NULL;
}

/* ----- tables ----- */

STATEMENT(import_hashes, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.hashes (hash, identifier, motion_identifier, created_at, blurhash)"
		  " SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT (hash) DO NOTHING",
		  BYTEAARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID);

STATEMENT(import_variants, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.variants (id, hash, variant, identifier, accessed)"
		  " SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT (hash, variant) DO NOTHING",
		  UUIDARRAYOID, BYTEAARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID);

/* pict-rs does not store when an alias was created.  Use the time of its hash. */
STATEMENT(import_aliases, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.aliases (alias, hash, delete_token, created_at)"
		  " SELECT a.alias, a.hash, a.token,"
		  " coalesce((SELECT h.created_at FROM pictrepo.hashes h WHERE h.hash = a.hash), now())"
		  " FROM unnest($1, $2, $3) AS a (alias, hash, token) ON CONFLICT (alias) DO NOTHING",
		  TEXTARRAYOID, BYTEAARRAYOID, TEXTARRAYOID);

STATEMENT(import_proxies, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.proxies (digest, url, alias, accessed)"
		  " SELECT pictrepo.url_digest(p.url), p.url, p.alias, p.accessed"
		  " FROM unnest($1, $2, $3) AS p (url, alias, accessed) ON CONFLICT (digest) DO NOTHING",
		  TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID);

STATEMENT(import_details, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.details (identifier, details)"
		  " SELECT * FROM unnest($1, $2) ON CONFLICT (identifier) DO NOTHING",
		  TEXTARRAYOID, JSONBARRAYOID);

STATEMENT(import_settings, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.settings (key, value)"
		  " SELECT * FROM unnest($1, $2) ON CONFLICT (key) DO NOTHING",
		  TEXTARRAYOID, BYTEAARRAYOID);

STATEMENT(import_store_migrations, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.store_migrations (old_identifier, new_identifier)"
		  " SELECT * FROM unnest($1, $2) ON CONFLICT (old_identifier) DO NOTHING",
		  TEXTARRAYOID, TEXTARRAYOID);

STATEMENT(import_uploads, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.uploads (id, result, created_at)"
		  " SELECT * FROM unnest($1, $2, $3) ON CONFLICT (id) DO NOTHING",
		  UUIDARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID);

/* SQL: the upload that an ingestion of pict-rs serves; its clients wait for it. */
#define UPLOAD_OF_JOB(job) \
	"CASE WHEN " job " #>> '{Ingest,upload_id}' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'" \
	" THEN (" job " #>> '{Ingest,upload_id}')::uuid END"

/* In pict-rs, every new job is due, and the oldest runs first.  So run_at is its queue time. */
STATEMENT(import_jobs, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.job_queue (id, queue, job, worker, status, queue_time, run_at,"
		  " heartbeat, unique_key, retry, attempt, upload)"
		  " SELECT j.id, j.queue, j.job, j.worker, j.status::pictrepo.job_status, j.queue_time,"
		  " least(j.queue_time, clock_timestamp()), j.heartbeat, j.unique_key, j.retry,"
		  " CASE j.status WHEN 'running' THEN 1 ELSE 0 END, " UPLOAD_OF_JOB("j.job")
		  " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)"
		  " AS j (id, queue, job, worker, status, queue_time, heartbeat, unique_key, retry)"
		  " ON CONFLICT (id) DO NOTHING",
		  UUIDARRAYOID, TEXTARRAYOID, JSONBARRAYOID, UUIDARRAYOID, TEXTARRAYOID,
		  TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, INT4ARRAYOID);

STATEMENT(import_claims, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.variant_claims (hash, variant, worker, heartbeat)"
		  " SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT (hash, variant) DO NOTHING",
		  BYTEAARRAYOID, TEXTARRAYOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID);

typedef struct ImportColumn
{
	Convert		convert;
	int			most;			/* bytes */
	bool		nullable;
} ImportColumn;

typedef struct ImportTable
{
	SqlStatement  *insert;
	const char *(*convert_row) (NullableDatum *row);	/* after the columns; may be NULL */
	ImportColumn columns[PICTRS_COLUMNS];	/* in the order of pictrs_tables */
	const char *join;			/* see TransferTarget */
	const char *own_columns[PICTRS_COLUMNS];	/* of the arrays of insert */
} ImportTable;

static const ImportTable import_tables[PICTRS_TABLES] = {
	[PICTRS_HASHES] = {&import_hashes, NULL, {
		{convert_hash, HASH_MAX}, {convert_text, IDENTIFIER_MAX}, {convert_text, IDENTIFIER_MAX, true},
		{convert_time}, {convert_text, IDENTIFIER_MAX, true}
	}, "USING (hash)", {"hash", "identifier", "motion_identifier", "created_at", "blurhash"}},
	[PICTRS_VARIANTS] = {&import_variants, NULL, {
		{convert_any}, {convert_hash, HASH_MAX}, {convert_text, VARIANT_MAX}, {convert_text, IDENTIFIER_MAX},
		{convert_time}
	}, "USING (hash, variant)", {"id", "hash", "variant", "identifier", "accessed"}},
	[PICTRS_ALIASES] = {&import_aliases, NULL, {
		{convert_alias, ALIAS_MAX}, {convert_hash, HASH_MAX}, {convert_text, TOKEN_MAX}
	}, "USING (alias)", {"alias", "hash", "delete_token"}},
	[PICTRS_PROXIES] = {&import_proxies, NULL, {
		{convert_text, URL_MAX}, {convert_alias, ALIAS_MAX}, {convert_time}
	}, "ON t.digest = pictrepo.url_digest(n.url)", {"url", "alias", "accessed"}},
	[PICTRS_DETAILS] = {&import_details, NULL, {
		{convert_text, IDENTIFIER_MAX}, {convert_details}
	}, "USING (identifier)", {"identifier", "details"}},
	[PICTRS_SETTINGS] = {&import_settings, NULL, {
		{convert_text, KEY_MAX}, {convert_hex, SETTING_MAX}
	}, "USING (key)", {"key", "value"}},
	[PICTRS_STORE_MIGRATIONS] = {&import_store_migrations, NULL, {
		{convert_text, IDENTIFIER_MAX}, {convert_text, IDENTIFIER_MAX}
	}, "USING (old_identifier)", {"old_identifier", "new_identifier"}},
	[PICTRS_UPLOADS] = {&import_uploads, NULL, {
		{convert_any}, {convert_result, 0, true}, {convert_time}
	}, "USING (id)", {"id", "result", "created_at"}},
	[PICTRS_JOB_QUEUE] = {&import_jobs, convert_job, {
		{convert_any}, {convert_text, KEY_MAX}, {convert_document}, {convert_any, 0, true}, {convert_any},
		{convert_time}, {convert_time, 0, true}, {convert_text, KEY_MAX, true}, {convert_any}
	}, "USING (id)", {
		"id", "queue", "job", "worker", "status", "queue_time", "heartbeat", "unique_key", "retry"
	}},
	[PICTRS_KEYED_NOTIFICATIONS] = {&import_claims, convert_claim, {
		{convert_any}, {convert_time}
	}, "USING (hash, variant)", {"hash", "variant", "worker", "heartbeat"}},
};

/* ----- the functions of TransferKind ----- */

static void
find_schema(Transfer *transfer)
{
	(void) LookupExplicitNamespace(transfer->schema, false);
}

static void
check_tables(Transfer *transfer)
{
	check_pictrs_tables(transfer->schema_oid, transfer->quoted_schema);
}

/* The first column of each table is its key. */
static char *
query_batch(Transfer *transfer)
{
	const PictrsTable *table = current_table(transfer);
	const char *key = table->columns[0].name;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (const PictrsColumn *column = table->columns; column->name != NULL; column++)
		appendStringInfo(&sql, "t.%s::%s, ", column->name,
						 format_type_be(column->type == ANYENUMOID ? TEXTOID : column->type));
	appendStringInfo(&sql, "ARRAY[t.%s::text], t.%s::text FROM %s.%s t",
					 key, key, transfer->quoted_schema, table->name);
	if (!transfer->reached.isnull)
		appendStringInfo(&sql, " WHERE t.%s > ($1)[1]::%s", key, format_type_be(table->columns[0].type));
	appendStringInfo(&sql, " ORDER BY t.%s LIMIT %d", key, transfer->batch_size);
	return sql.data;
}

static int
written_columns(Transfer *transfer, Oid *types)
{
	const SqlStatement *insert = import_tables[transfer->table].insert;

	for (int i = 0; i < insert->nargs; i++)
		types[i] = get_element_type(insert->argtypes[i]);
	return insert->nargs;
}

/* Returns NULL, or "column: why the value cannot be stored". */
static const char *
convert_row(Transfer *transfer, NullableDatum *row)
{
	const PictrsColumn *columns = current_table(transfer)->columns;
	const ImportTable *table = &import_tables[transfer->table];

	for (int i = 0; columns[i].name != NULL; i++)
	{
		const ImportColumn *column = &table->columns[i];
		const char *why = NULL;

		if (!row[i].isnull)
			why = column->convert(&row[i], column->most);
		else if (!column->nullable)
			why = "it is null";
		if (why != NULL)
			return psprintf("%s: %s", columns[i].name, why);
	}
	return table->convert_row == NULL ? NULL : table->convert_row(row);
}

/* Imported variants are not new, so they send no notifications. */
static uint64
store_rows(Transfer *transfer, const NullableDatum *arrays)
{
	if (transfer->table == PICTRS_VARIANTS)
		(void) set_config_option("pictrepo.notify", "off", PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return statement_run(import_tables[transfer->table].insert, arrays);
}

static void
target_table(Transfer *transfer, TransferTarget *target)
{
	const ImportTable *table = &import_tables[transfer->table];

	target->table = psprintf("pictrepo.%s", current_table(transfer)->own_name);
	target->join = table->join;
	memcpy(target->columns, table->own_columns, sizeof(target->columns));
}

PG_FUNCTION_INFO_V1(pictrepo_import_pictrs);

/*
 * import_pictrs(source_schema text, batch int, resume bool,
 *				 INOUT stored bigint, INOUT same bigint, INOUT different bigint, INOUT bad bigint,
 *				 INOUT counts_agree bool)
 *
 * Copies the tables of pict-rs in a schema to the repo.  Each transaction copies
 * batch rows (1 to 100000).  With resume, the procedure continues an unfinished
 * import of the schema.
 *
 * Returns the number of rows that were stored, existed with the same values,
 * existed with other values, and could not be stored.  counts_agree: every row
 * was read, and every row is in the repo with its values.
 *
 * The caller needs SELECT on the tables.  Errors: 3F000 if the schema does not
 * exist; 42P01, 42703 or 42804 if the tables are not those of pict-rs; 42501;
 * 55006 if another session transfers to or from the schema; 55000 if its rows
 * in transfers were deleted; 2D000 in a transaction block; 25006 on a standby.
 */
Datum
pictrepo_import_pictrs(PG_FUNCTION_ARGS)
{
	static const TransferKind import = {
		.direction = "import",
		.name = "import_pictrs",
		.reads_pictrs = true,
		.prepare_schema = find_schema,
		.prepare_tables = check_tables,
		.query = query_batch,
		.columns = written_columns,
		.convert = convert_row,
		.write = store_rows,
		.target = target_table
	};

	return run_transfer(fcinfo, &import);
}

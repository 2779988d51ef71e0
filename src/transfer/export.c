/*-------------------------------------------------------------------------
 *
 * export.c
 *		export(): return the whole repo as lines of JSON.
 *
 * A line is one image with its aliases, URLs and variants, or a part of them if
 * there are very many, or one row of another table.  The server's JSON functions build the lines, so numbers in
 * documents keep all their digits.  Memory holds only a few lines at a time.
 * A line comes after the lines that it depends on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/compat.h"
#include "json/line_check.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

/* ----- the lines ----- */

/* SQL: a time in the format of RFC 3339, in UTC; extended for BC, more than four digits, and infinity. */
#define TIME(value) \
	"CASE WHEN isfinite(" value ") THEN to_char(" value " AT TIME ZONE 'UTC'," \
	" CASE WHEN " value " >= '0001-01-01 00:00:00+00' THEN 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'" \
	" ELSE 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z BC\"' END) ELSE " value "::text END"

/*
 * An import has a limit for a line.  So large documents, in bytes as stored, have lines
 * of their own, and an image with very many names takes several lines.
 */
#define LARGE_DOCUMENT "2000"
#define PART_BYTES "8388608"

#define DETAILS_OF(file) \
	"(SELECT d.details FROM pictrepo.details d WHERE d.identifier = " file \
	" AND pg_column_size(d.details) <= " LARGE_DOCUMENT ")"

/* The number of the part that a row belongs to, with the rows in an order */
#define PART(bytes, order) \
	"(sum(" bytes ") OVER (ORDER BY " order ") - " bytes ") / " PART_BYTES

/* The URLs of alias a, in parts */
#define URLS \
	"SELECT part, json_agg(json_build_object('url', url, 'accessed', " TIME("accessed") ") ORDER BY digest) AS urls" \
	" FROM (SELECT *, " PART("2 * octet_length(url)", "digest") " AS part" \
	" FROM pictrepo.proxies WHERE alias = a.alias) AS p GROUP BY part"

#define ALIASES_OF(hash) \
	"SELECT false AS is_variant, a.alias AS name, u.part AS place, json_build_object('alias', a.alias," \
	" 'delete_token', a.delete_token, 'created_at', " TIME("a.created_at") "," \
	" 'accessed', " TIME("a.accessed") ", 'urls', coalesce(u.urls, '[]')) AS item" \
	" FROM pictrepo.aliases a LEFT JOIN LATERAL (" URLS ") AS u ON true WHERE a.hash = " hash

#define VARIANTS_OF(hash) \
	"SELECT true, v.variant, NULL, json_build_object('variant', v.variant," \
	" 'identifier', v.identifier, 'accessed', " TIME("v.accessed") "," \
	" 'details', " DETAILS_OF("v.identifier") ") FROM pictrepo.variants v WHERE v.hash = " hash

/*
 * Each run of a statement returns the next lines, in the order of an index.  The
 * first column is the line.  The others are the arguments of the next run.
 */
#define LINES_OF_A_RUN 100
#define LIMIT_OF_A_RUN " LIMIT " CppAsString2(LINES_OF_A_RUN)

STATEMENT(first_line, STMT_READ_ONLY,
		  "SELECT '{\"pictrepo\" : {\"version\" : " CppAsString2(LINES_VERSION) "}}'");

STATEMENT(image_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('image', json_build_object('hash', encode(h.hash, 'hex'),"
		  " 'created_at', " TIME("h.created_at") ", 'identifier', h.identifier,"
		  " 'motion_identifier', h.motion_identifier, 'blurhash', h.blurhash,"
		  " 'details', " DETAILS_OF("h.identifier") ", 'motion_details', " DETAILS_OF("h.motion_identifier") ","
		  " 'aliases', coalesce(parts.aliases, '[]'), 'variants', coalesce(parts.variants, '[]')))::text,"
		  " h.created_at, h.hash"
		  " FROM (SELECT * FROM pictrepo.hashes WHERE (created_at, hash) > ($1, $2)"
		  " ORDER BY created_at, hash" LIMIT_OF_A_RUN ") AS h"
		  " LEFT JOIN LATERAL (SELECT part, json_agg(item ORDER BY name, place) FILTER (WHERE NOT is_variant) AS aliases,"
		  " json_agg(item ORDER BY name) FILTER (WHERE is_variant) AS variants"
		  " FROM (SELECT *, " PART("octet_length(item::text)", "is_variant, name, place") " AS part"
		  " FROM (" ALIASES_OF("h.hash") " UNION ALL " VARIANTS_OF("h.hash") ") AS items) AS placed"
		  " GROUP BY part) AS parts ON true"
		  " ORDER BY h.created_at, h.hash, parts.part",
		  TIMESTAMPTZOID, BYTEAOID);

/*
 * Details that are in no line of an image: of other files, and large ones.  Scalar subqueries make the planner look
 * up each file in the indexes.
 */
STATEMENT(details_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('details', json_build_object('identifier', d.identifier,"
		  " 'details', d.details))::text, d.identifier"
		  " FROM pictrepo.details d WHERE d.identifier > $1"
		  " AND (pg_column_size(d.details) > " LARGE_DOCUMENT " OR"
		  " (SELECT true FROM pictrepo.hashes h WHERE h.identifier = d.identifier LIMIT 1) IS NULL"
		  " AND (SELECT true FROM pictrepo.hashes h WHERE h.motion_identifier = d.identifier LIMIT 1) IS NULL"
		  " AND (SELECT true FROM pictrepo.variants v WHERE v.identifier = d.identifier LIMIT 1) IS NULL)"
		  " ORDER BY d.identifier" LIMIT_OF_A_RUN,
		  TEXTOID);

STATEMENT(setting_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('setting', json_build_object('key', key, 'value', encode(value, 'hex')))::text, key"
		  " FROM pictrepo.settings WHERE key > $1 ORDER BY key" LIMIT_OF_A_RUN,
		  TEXTOID);

STATEMENT(migration_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('migration', json_build_object('old_identifier', old_identifier,"
		  " 'new_identifier', new_identifier))::text, old_identifier"
		  " FROM pictrepo.store_migrations WHERE old_identifier > $1 ORDER BY old_identifier" LIMIT_OF_A_RUN,
		  TEXTOID);

/* No id is lower than all ids.  So $1 is included, and $2 excludes it after the first run. */
STATEMENT(upload_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('upload', json_build_object('id', id,"
		  " 'created_at', " TIME("created_at") ", 'result', result))::text, id, id"
		  " FROM pictrepo.uploads WHERE id >= $1 AND id IS DISTINCT FROM $2 ORDER BY id" LIMIT_OF_A_RUN,
		  UUIDOID, UUIDOID);

STATEMENT(queue_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('queue', json_build_object('queue', queue, 'retries', retries,"
		  " 'backoff', backoff::text, 'backoff_max', backoff_max::text,"
		  " 'max_running', max_running, 'paused', paused))::text, queue"
		  " FROM pictrepo.queues WHERE queue > $1 ORDER BY queue" LIMIT_OF_A_RUN,
		  TEXTOID);

STATEMENT(schedule_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('schedule', json_build_object('name', name, 'queue', queue, 'job', job,"
		  " 'every', every::text, 'cron', cron, 'time_zone', time_zone, 'priority', priority, 'retry', retry,"
		  " 'first_run', " TIME("first_run") ", 'next_run', " TIME("next_run") ","
		  " 'last_run', " TIME("last_run") ", 'error', error))::text, name"
		  " FROM pictrepo.schedules WHERE name > $1 ORDER BY name" LIMIT_OF_A_RUN,
		  TEXTOID);

/* The worker and the heartbeat are left out: they have no meaning on another server. */
STATEMENT(job_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('job', json_build_object('id', id, 'queue', queue, 'job', job,"
		  " 'priority', priority, 'run_at', " TIME("run_at") ", 'queue_time', " TIME("queue_time") ","
		  " 'attempt', attempt, 'retry', retry, 'failures', failures, 'unique_key', unique_key,"
		  " 'upload', upload, 'error', error))::text, id, id"
		  " FROM pictrepo.job_queue WHERE id >= $1 AND id IS DISTINCT FROM $2 ORDER BY id" LIMIT_OF_A_RUN,
		  UUIDOID, UUIDOID);

STATEMENT(dead_job_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('dead_job', json_build_object('id', id, 'queue', queue, 'job', job,"
		  " 'priority', priority, 'queue_time', " TIME("queue_time") ", 'died_at', " TIME("died_at") ","
		  " 'attempt', attempt, 'unique_key', unique_key, 'upload', upload, 'error', error))::text, id, id"
		  " FROM pictrepo.dead_jobs WHERE id >= $1 AND id IS DISTINCT FROM $2 ORDER BY id" LIMIT_OF_A_RUN,
		  UUIDOID, UUIDOID);

STATEMENT(blocked_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('blocked', json_build_object('hash', encode(hash, 'hex'),"
		  " 'blocked_at', " TIME("blocked_at") "))::text, hash"
		  " FROM pictrepo.blocked WHERE hash > $1 ORDER BY hash" LIMIT_OF_A_RUN,
		  BYTEAOID);

/*
 * The import stores lines in this order.  Blocks are last: otherwise the import
 * would refuse images that were stored before their content was blocked.  Queues
 * are before jobs: otherwise workers could pop jobs of a paused queue.
 */
static SqlStatement *const sources[] = {
	&first_line, &image_lines, &details_lines, &setting_lines, &migration_lines,
	&upload_lines, &queue_lines, &schedule_lines, &dead_job_lines, &job_lines,
	&blocked_lines
};

/* ----- the export ----- */

#define KEYS_MAX 2

typedef struct LineExport
{
	MemoryContext context;		/* of lines and keys */
	int			source;
	NullableDatum keys[KEYS_MAX];	/* arguments of the next run */
	Datum	   *lines;
	uint64		count;
	uint64		next;
} LineExport;

/* A key that is lower than all stored keys; for UUIDs see upload_lines. */
static NullableDatum
lowest_key(Oid type, int n)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
			return not_null(TimestampTzGetDatum(DT_NOBEGIN));
		case UUIDOID:
			return n == 0 ? not_null(UUIDPGetDatum(palloc0(sizeof(pg_uuid_t)))) : NULL_ARG;
		default:
			return not_null(PointerGetDatum(cstring_to_text("")));
	}
}

/* Called in the context of lines and keys. */
static void
begin_source(LineExport *export, int source)
{
	export->source = source;
	if (source == lengthof(sources))
		return;
	Assert(sources[source]->nargs <= KEYS_MAX);
	for (int i = 0; i < sources[source]->nargs; i++)
		export->keys[i] = lowest_key(sources[source]->argtypes[i], i);
}

/*
 * A client with encoding UTF8 gets each line in UTF-8, because the server converts
 * it.  But a database with encoding SQL_ASCII can contain any bytes.  A line that is
 * not UTF-8 is wrapped in a line of kind "bytes".
 */
static Datum
wrap_line(Datum line)
{
	text	   *bytes = DatumGetTextPP(line);
	char	   *hex;
	int			length = VARSIZE_ANY_EXHDR(bytes);

	if (GetDatabaseEncoding() != PG_SQL_ASCII ||
		pg_verify_mbstr(PG_UTF8, VARDATA_ANY(bytes), length, true))
		return line;
	hex = palloc((Size) length * 2 + 1);
	hex[hex_encode(VARDATA_ANY(bytes), length, hex)] = '\0';
	return CStringGetTextDatum(psprintf("{\"bytes\" : \"%s\"}", hex));
}

/* Store the lines that the last statement returned, and the keys of the next run. */
static void
store_lines(LineExport *export, uint64 count)
{
	MemoryContext before = MemoryContextSwitchTo(export->context);
	int			keys = sources[export->source]->nargs;

	export->count = count;
	export->next = 0;
	export->lines = palloc_array(Datum, count + 1);
	for (uint64 i = 0; i < count; i++)
		export->lines[i] = wrap_line(datumCopy(result_value(i, 1).value, false, -1));
	if (count < LINES_OF_A_RUN)
		begin_source(export, export->source + 1);
	else
		for (int i = 0; i < keys; i++)
		{
			Form_pg_attribute column = TupleDescAttr(SPI_tuptable->tupdesc, i + 1);

			export->keys[i] = not_null(datumCopy(result_value(count - 1, i + 2).value,
												 column->attbyval, column->attlen));
		}
	MemoryContextSwitchTo(before);
}

/* Get the next lines of this source, or of the next one that has lines. */
static void
fetch_lines(LineExport *export, FunctionCallInfo fcinfo)
{
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	(void) set_config_option("intervalstyle", "iso_8601", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	export->count = export->next = 0;
	while (export->count == 0 && export->source < lengthof(sources))
	{
		uint64		count = statement_run(sources[export->source], export->keys);

		/* this also frees the keys of this run, which are no longer needed */
		MemoryContextReset(export->context);
		store_lines(export, count);
	}
	repo_call_end(&call);
}

PG_FUNCTION_INFO_V1(pictrepo_export);

/*
 * export() -> setof text
 *
 * The repo in the calling query's snapshot, one line in each row.
 */
Datum
pictrepo_export(PG_FUNCTION_ARGS)
{
	FuncCallContext *funcctx;
	LineExport *export;

	if (SRF_IS_FIRSTCALL())
	{
		funcctx = SRF_FIRSTCALL_INIT();
		export = MemoryContextAllocZero(funcctx->multi_call_memory_ctx, sizeof(LineExport));
		export->context = AllocSetContextCreate(funcctx->multi_call_memory_ctx, "pictrepo export",
												ALLOCSET_DEFAULT_SIZES);
		funcctx->user_fctx = export;
		for (int i = 0; i < lengthof(sources); i++)
			statement_forget_plan(sources[i]);
	}
	funcctx = SRF_PERCALL_SETUP();
	export = funcctx->user_fctx;
	if (export->next == export->count)
		fetch_lines(export, fcinfo);
	if (export->next == export->count)
		SRF_RETURN_DONE(funcctx);
	SRF_RETURN_NEXT(funcctx, export->lines[export->next++]);
}

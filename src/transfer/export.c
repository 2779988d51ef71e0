/*-------------------------------------------------------------------------
 *
 * export.c
 *		export(): return the whole repo as lines of JSON.
 *
 * A line is one image with its aliases, URLs and variants, or one row of
 * another table.  The server's JSON functions build the lines, so numbers in
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

/* ----- what is written ----- */

/* As RFC 3339 has it, in UTC, with what years beyond its four digits need. */
#define TIME(value) \
	"CASE WHEN isfinite(" value ") THEN to_char(" value " AT TIME ZONE 'UTC'," \
	" CASE WHEN " value " >= '0001-01-01 00:00:00+00' THEN 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'" \
	" ELSE 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z BC\"' END) ELSE " value "::text END"

#define DETAILS_OF(file) "(SELECT d.details FROM pictrepo.details d WHERE d.identifier = " file ")"

#define URLS_OF(alias) \
	"(SELECT coalesce(json_agg(json_build_object('url', p.url, 'accessed', " TIME("p.accessed") ")" \
	" ORDER BY p.digest), '[]') FROM pictrepo.proxies p WHERE p.alias = " alias ")"

/*
 * A few at a time, in an order that an index has.  Columns are the line, and
 * then the next run's arguments.
 */
#define A_FEW_LINES 100
#define A_FEW " LIMIT " CppAsString2(A_FEW_LINES)

STATEMENT(first_line, STMT_READ_ONLY,
		  "SELECT '{\"pictrepo\" : {\"version\" : " CppAsString2(LINES_VERSION) "}}'");

STATEMENT(image_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('image', json_build_object('hash', encode(h.hash, 'hex'),"
		  " 'created_at', " TIME("h.created_at") ", 'identifier', h.identifier,"
		  " 'motion_identifier', h.motion_identifier, 'blurhash', h.blurhash,"
		  " 'details', " DETAILS_OF("h.identifier") ", 'motion_details', " DETAILS_OF("h.motion_identifier") ","
		  " 'aliases', (SELECT coalesce(json_agg(json_build_object('alias', a.alias,"
		  " 'delete_token', a.delete_token, 'created_at', " TIME("a.created_at") ","
		  " 'accessed', " TIME("a.accessed") ", 'urls', " URLS_OF("a.alias") ") ORDER BY a.alias), '[]')"
		  " FROM pictrepo.aliases a WHERE a.hash = h.hash),"
		  " 'variants', (SELECT coalesce(json_agg(json_build_object('variant', v.variant,"
		  " 'identifier', v.identifier, 'accessed', " TIME("v.accessed") ","
		  " 'details', " DETAILS_OF("v.identifier") ")), '[]')"
		  " FROM (SELECT * FROM pictrepo.variants WHERE hash = h.hash ORDER BY variant) v)))::text, h.created_at, h.hash"
		  " FROM pictrepo.hashes h WHERE (h.created_at, h.hash) > ($1, $2)"
		  " ORDER BY h.created_at, h.hash" A_FEW,
		  TIMESTAMPTZOID, BYTEAOID);

/* Those that no image has with it; each is looked for alone, by the indexes. */
STATEMENT(details_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('details', json_build_object('identifier', d.identifier,"
		  " 'details', d.details))::text, d.identifier"
		  " FROM pictrepo.details d WHERE d.identifier > $1"
		  " AND (SELECT true FROM pictrepo.hashes h WHERE h.identifier = d.identifier LIMIT 1) IS NULL"
		  " AND (SELECT true FROM pictrepo.hashes h WHERE h.motion_identifier = d.identifier LIMIT 1) IS NULL"
		  " AND (SELECT true FROM pictrepo.variants v WHERE v.identifier = d.identifier LIMIT 1) IS NULL"
		  " ORDER BY d.identifier" A_FEW,
		  TEXTOID);

STATEMENT(setting_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('setting', json_build_object('key', key, 'value', encode(value, 'hex')))::text, key"
		  " FROM pictrepo.settings WHERE key > $1 ORDER BY key" A_FEW,
		  TEXTOID);

STATEMENT(migration_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('migration', json_build_object('old_identifier', old_identifier,"
		  " 'new_identifier', new_identifier))::text, old_identifier"
		  " FROM pictrepo.store_migrations WHERE old_identifier > $1 ORDER BY old_identifier" A_FEW,
		  TEXTOID);

/* Any id may be the first one: $2 is NULL then. */
STATEMENT(upload_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('upload', json_build_object('id', id,"
		  " 'created_at', " TIME("created_at") ", 'result', result))::text, id, id"
		  " FROM pictrepo.uploads WHERE id >= $1 AND id IS DISTINCT FROM $2 ORDER BY id" A_FEW,
		  UUIDOID, UUIDOID);

STATEMENT(queue_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('queue', json_build_object('queue', queue, 'retries', retries,"
		  " 'backoff', backoff::text, 'backoff_max', backoff_max::text,"
		  " 'max_running', max_running, 'paused', paused))::text, queue"
		  " FROM pictrepo.queues WHERE queue > $1 ORDER BY queue" A_FEW,
		  TEXTOID);

STATEMENT(schedule_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('schedule', json_build_object('name', name, 'queue', queue, 'job', job,"
		  " 'every', every::text, 'cron', cron, 'time_zone', time_zone, 'priority', priority, 'retry', retry,"
		  " 'first_run', " TIME("first_run") ", 'next_run', " TIME("next_run") ","
		  " 'last_run', " TIME("last_run") ", 'error', error))::text, name"
		  " FROM pictrepo.schedules WHERE name > $1 ORDER BY name" A_FEW,
		  TEXTOID);

/* Who runs it belongs to this server, and is left out. */
STATEMENT(job_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('job', json_build_object('id', id, 'queue', queue, 'job', job,"
		  " 'priority', priority, 'run_at', " TIME("run_at") ", 'queue_time', " TIME("queue_time") ","
		  " 'attempt', attempt, 'retry', retry, 'unique_key', unique_key, 'upload', upload,"
		  " 'error', error))::text, id, id"
		  " FROM pictrepo.job_queue WHERE id >= $1 AND id IS DISTINCT FROM $2 ORDER BY id" A_FEW,
		  UUIDOID, UUIDOID);

STATEMENT(dead_job_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('dead_job', json_build_object('id', id, 'queue', queue, 'job', job,"
		  " 'priority', priority, 'queue_time', " TIME("queue_time") ", 'died_at', " TIME("died_at") ","
		  " 'attempt', attempt, 'unique_key', unique_key, 'upload', upload, 'error', error))::text, id, id"
		  " FROM pictrepo.dead_jobs WHERE id >= $1 AND id IS DISTINCT FROM $2 ORDER BY id" A_FEW,
		  UUIDOID, UUIDOID);

STATEMENT(blocked_lines, STMT_READ_ONLY,
		  "SELECT json_build_object('blocked', json_build_object('hash', encode(hash, 'hex'),"
		  " 'blocked_at', " TIME("blocked_at") "))::text, hash"
		  " FROM pictrepo.blocked WHERE hash > $1 ORDER BY hash" A_FEW,
		  BYTEAOID);

/*
 * Blocks come last: what was stored before it was blocked is stored again.
 * Queues come before their jobs, so that nobody pops from one that is paused.
 */
static SqlStatement *const sources[] = {
	&first_line, &image_lines, &details_lines, &setting_lines, &migration_lines,
	&upload_lines, &queue_lines, &schedule_lines, &dead_job_lines, &job_lines,
	&blocked_lines
};

/* ----- how ----- */

#define KEYS_MAX 2

typedef struct LineExport
{
	MemoryContext context;		/* of the lines at hand, and of the keys */
	int			source;
	NullableDatum keys[KEYS_MAX];	/* where the next few lines begin */
	Datum	   *lines;
	uint64		count;
	uint64		next;
} LineExport;

/* What is below everything that can be stored; for UUIDs see upload_lines. */
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

/* In the context of the lines at hand. */
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
 * A line is UTF-8, whatever the server's encoding, since clients are sent it
 * so.  Only in a database that knows no encoding it may be something else.
 */
static Datum
clean_line(Datum line)
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

/* What the statement gave, and from where to go on. */
static void
take_lines(LineExport *export, uint64 count)
{
	MemoryContext before = MemoryContextSwitchTo(export->context);
	int			keys = sources[export->source]->nargs;

	export->count = count;
	export->next = 0;
	export->lines = palloc_array(Datum, count + 1);
	for (uint64 i = 0; i < count; i++)
		export->lines[i] = clean_line(datumCopy(result_value(i, 1).value, false, -1));
	if (count < A_FEW_LINES)
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

/* The next few lines of the source at hand, or of the ones after it. */
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

		/* the keys of this run go with its lines */
		MemoryContextReset(export->context);
		take_lines(export, count);
	}
	repo_call_end(&call);
}

PG_FUNCTION_INFO_V1(pictrepo_export);

/*
 * export() -> setof text
 *
 * The repo as of the calling query's snapshot, a line at a time.
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

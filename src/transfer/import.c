/*-------------------------------------------------------------------------
 *
 * import.c
 *		Lines: storing what an export says, in an empty or a living repo.
 *
 * What is here stays as it is, and what is missing is added: so a line may be
 * imported again and again.  Locks are taken in the order in which the
 * operations take them: the hash, its aliases, their urls, its variants, and
 * details, each in the order of their keys.  No file is ever queued for
 * removal: whose store it is in, the line does not say.
 *
 * A line is read twice: with json-c, which finds out whether it is well formed,
 * and as jsonb, from which it is stored, as that keeps all numbers as they are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"

#include "common/compat.h"
#include "common/cron.h"
#include "common/guc.h"
#include "common/injection_points.h"
#include "common/progress.h"
#include "common/uuid.h"
#include "json/json_check.h"
#include "json/line_check.h"
#include "shmem/database_slot.h"
#include "shmem/shmem.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"
#include "xact/pending.h"

/* bytes that a line may have; its jsonb must fit into memory with room to spare */
#define LINE_MAX_BYTES (64 * 1024 * 1024)

static const char stored[] = "stored";
static const char merged[] = "merged";
static const char exists[] = "exists";
static const char conflict[] = "conflict";
static const char blocked[] = "blocked";

/* ----- images ----- */

/* $1 is the image, $2 its hash, $3 its aliases in their normal form. */

STATEMENT(insert_hash, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.hashes (hash, identifier, motion_identifier, blurhash, created_at)"
		  " VALUES ($2, $1 ->> 'identifier', $1 ->> 'motion_identifier', $1 ->> 'blurhash',"
		  " coalesce(($1 ->> 'created_at')::timestamptz, now())) ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID);

STATEMENT(hold_hash, STMT_READ_WRITE,
		  "SELECT identifier <> $1 ->> 'identifier'"
		  " OR coalesce(motion_identifier <> $1 ->> 'motion_identifier', false)"
		  " OR coalesce(blurhash <> $1 ->> 'blurhash', false),"
		  " motion_identifier IS NULL AND $1 ->> 'motion_identifier' IS NOT NULL"
		  " OR blurhash IS NULL AND $1 ->> 'blurhash' IS NOT NULL"
		  " FROM pictrepo.hashes WHERE hash = $2 FOR KEY SHARE",
		  JSONBOID, BYTEAOID);

STATEMENT(complete_hash, STMT_READ_WRITE,
		  "UPDATE pictrepo.hashes SET"
		  " motion_identifier = coalesce(motion_identifier, $1 ->> 'motion_identifier'),"
		  " blurhash = coalesce(blurhash, $1 ->> 'blurhash') WHERE hash = $2",
		  JSONBOID, BYTEAOID);

STATEMENT(block_of_hash, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.blocked WHERE hash = $2", JSONBOID, BYTEAOID);

STATEMENT(delete_hash, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.hashes WHERE hash = $2", JSONBOID, BYTEAOID);

#define GIVEN_ALIASES "ROWS FROM (jsonb_array_elements($1 -> 'aliases'), unnest($3)) AS given (value, alias)"

STATEMENT(insert_aliases, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.aliases (alias, hash, delete_token, accessed, created_at)"
		  " SELECT given.alias, $2, value ->> 'delete_token', (value ->> 'accessed')::timestamptz,"
		  " coalesce((value ->> 'created_at')::timestamptz, now())"
		  " FROM " GIVEN_ALIASES " ORDER BY given.alias COLLATE \"C\" ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID, TEXTARRAYOID);

STATEMENT(other_alias, STMT_READ_ONLY,
		  "SELECT FROM " GIVEN_ALIASES " JOIN pictrepo.aliases a ON a.alias = given.alias"
		  " WHERE a.hash <> $2 OR a.delete_token <> value ->> 'delete_token' LIMIT 1",
		  JSONBOID, BYTEAOID, TEXTARRAYOID);

#define GIVEN_URLS "jsonb_array_elements(nullif(given.value -> 'urls', 'null')) AS u (url)"

/* Of an alias that is another image's they are not taken. */
STATEMENT(insert_urls, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.proxies (digest, url, alias, accessed)"
		  " SELECT pictrepo.url_digest(u.url ->> 'url'), u.url ->> 'url', a.alias,"
		  " (u.url ->> 'accessed')::timestamptz"
		  " FROM " GIVEN_ALIASES
		  " JOIN pictrepo.aliases a ON a.alias = given.alias AND a.hash = $2,"
		  " " GIVEN_URLS
		  " ORDER BY 1 FOR KEY SHARE OF a ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID, TEXTARRAYOID);

STATEMENT(other_url, STMT_READ_ONLY,
		  "SELECT FROM " GIVEN_ALIASES ", " GIVEN_URLS ","
		  " pictrepo.proxies p WHERE p.digest = pictrepo.url_digest(u.url ->> 'url') AND p.alias <> given.alias"
		  " LIMIT 1",
		  JSONBOID, BYTEAOID, TEXTARRAYOID);

STATEMENT(insert_variants, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.variants (hash, variant, identifier, accessed)"
		  " SELECT $2, v ->> 'variant', v ->> 'identifier', (v ->> 'accessed')::timestamptz"
		  " FROM jsonb_array_elements($1 -> 'variants') AS v"
		  " ORDER BY (v ->> 'variant') COLLATE \"C\" ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID);

STATEMENT(other_variant, STMT_READ_ONLY,
		  "SELECT FROM jsonb_array_elements($1 -> 'variants') AS g, pictrepo.variants v"
		  " WHERE v.hash = $2 AND v.variant = g ->> 'variant' AND v.identifier <> g ->> 'identifier' LIMIT 1",
		  JSONBOID, BYTEAOID);

#define GIVEN_DETAILS \
	"(SELECT $1 ->> 'identifier' AS identifier, $1 -> 'details' AS details" \
	" UNION ALL SELECT $1 ->> 'motion_identifier', $1 -> 'motion_details'" \
	" UNION ALL SELECT v ->> 'identifier', v -> 'details'" \
	" FROM jsonb_array_elements(nullif($1 -> 'variants', 'null')) AS v) AS given"

STATEMENT(insert_all_details, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.details (identifier, details)"
		  " SELECT given.identifier, given.details FROM " GIVEN_DETAILS " WHERE given.details <> 'null'"
		  " ORDER BY given.identifier COLLATE \"C\" ON CONFLICT DO NOTHING",
		  JSONBOID);

/* Only of the files that the image has here, which may be others */
STATEMENT(insert_held_details, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.details (identifier, details)"
		  " SELECT given.identifier, given.details FROM " GIVEN_DETAILS
		  " WHERE given.details <> 'null' AND given.identifier IN"
		  " (SELECT identifier FROM pictrepo.hashes WHERE hash = $2"
		  " UNION ALL SELECT motion_identifier FROM pictrepo.hashes WHERE hash = $2"
		  " UNION ALL SELECT identifier FROM pictrepo.variants WHERE hash = $2)"
		  " ORDER BY given.identifier COLLATE \"C\" ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID);

STATEMENT(other_image_details, STMT_READ_ONLY,
		  "SELECT FROM " GIVEN_DETAILS ", pictrepo.details d"
		  " WHERE d.identifier = given.identifier AND given.details <> 'null' AND d.details <> given.details LIMIT 1",
		  JSONBOID, BYTEAOID);

STATEMENT(values_of_image, STMT_READ_ONLY,
		  "SELECT decode($1 ->> 'hash', 'hex'),"
		  " ARRAY(SELECT a ->> 'alias' FROM jsonb_array_elements(nullif($1 -> 'aliases', 'null'))"
		  " WITH ORDINALITY AS listed (a, place) ORDER BY place)",
		  JSONBOID);

static NullableDatum
normal_aliases(NullableDatum aliases)
{
	Datum	   *elements;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(aliases.value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		elements[i] = PointerGetDatum(alias_normalize(DatumGetTextPP(elements[i])));
	return not_null(PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT)));
}

/* What has become of an image so far */
typedef struct ImageMerge
{
	bool		created;
	bool		changed;
	bool		conflicts;
} ImageMerge;

/* The hash is stored, by us or by somebody before, and stays until the end. */
static void
hold_image(const NullableDatum *args, ImageMerge *merging)
{
	bool		incomplete;

	for (;;)
	{
		merging->created = statement_run(&insert_hash, args) > 0;
		if (merging->created)
			return;
		if (statement_run(&hold_hash, args) > 0)
			break;
		/* it was there a moment ago, and is gone */
		check_can_retry();
	}
	merging->conflicts = DatumGetBool(result_value(0, 1).value);
	incomplete = DatumGetBool(result_value(0, 2).value);
	if (incomplete && statement_run_latest(&block_of_hash, args) == 0)
		merging->changed = statement_run(&complete_hash, args) > 0;
}

/*
 * Add what is missing of so many rows; how many were.  What was not is here,
 * and something else perhaps.
 */
static uint64
add_missing(SqlStatement *insert, SqlStatement *other, const NullableDatum *args, uint64 rows, ImageMerge *merging)
{
	uint64		added;

	if (rows == 0)
		return 0;
	added = statement_run(insert, args);
	if (added > 0)
		merging->changed = true;
	if (added < rows && statement_run_latest(other, args) > 0)
		merging->conflicts = true;
	return added;
}

static const char *
import_image(const ExportLine *line, NullableDatum image)
{
	ImageMerge	merging = {false};
	NullableDatum args[3] = {image};
	uint64		aliases;

	statement_run(&values_of_image, &image);
	args[1] = result_value_copy(0, 1);
	args[2] = normal_aliases(result_value_copy(0, 2));

	hold_image(args, &merging);
	if (statement_run_latest(&block_of_hash, args) > 0)
	{
		if (merging.created)
			statement_run(&delete_hash, args);
		return blocked;
	}
	aliases = add_missing(&insert_aliases, &other_alias, args, line->aliases, &merging);
	if (merging.created && line->aliases > 0 && aliases == 0)
	{
		/* nobody could ask for it or delete it */
		statement_run(&delete_hash, args);
		return conflict;
	}
	add_missing(&insert_urls, &other_url, args, line->urls, &merging);
	add_missing(&insert_variants, &other_variant, args, line->variants, &merging);
	add_missing(merging.conflicts ? &insert_held_details : &insert_all_details, &other_image_details,
				args, line->details, &merging);
	if (merging.conflicts)
		return conflict;
	if (merging.created)
		return stored;
	return merging.changed ? merged : exists;
}

/* ----- all else ----- */

/* $1 is what the line says. */

STATEMENT(insert_details, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.details (identifier, details) VALUES ($1 ->> 'identifier', $1 -> 'details')"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_details, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.details WHERE identifier = $1 ->> 'identifier' AND details = $1 -> 'details'",
		  JSONBOID);

STATEMENT(insert_setting, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.settings (key, value) VALUES ($1 ->> 'key', decode($1 ->> 'value', 'hex'))"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_setting, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.settings WHERE key = $1 ->> 'key' AND value = decode($1 ->> 'value', 'hex')",
		  JSONBOID);

STATEMENT(insert_migration, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.store_migrations (old_identifier, new_identifier)"
		  " VALUES ($1 ->> 'old_identifier', $1 ->> 'new_identifier') ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_migration, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.store_migrations WHERE old_identifier = $1 ->> 'old_identifier'"
		  " AND new_identifier = $1 ->> 'new_identifier'",
		  JSONBOID);

/* An upload and a job go on: whatever has become of one here, it is the same. */
STATEMENT(insert_upload, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.uploads (id, created_at, result) VALUES (($1 ->> 'id')::uuid,"
		  " coalesce(($1 ->> 'created_at')::timestamptz, now()), nullif($1 -> 'result', 'null'))"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_upload, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.uploads WHERE id = ($1 ->> 'id')::uuid", JSONBOID);

STATEMENT(insert_queue, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.queues (queue, retries, backoff, backoff_max, max_running, paused)"
		  " VALUES ($1 ->> 'queue', ($1 ->> 'retries')::int, ($1 ->> 'backoff')::interval,"
		  " ($1 ->> 'backoff_max')::interval, ($1 ->> 'max_running')::int,"
		  " coalesce(($1 ->> 'paused')::bool, false)) ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_queue, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.queues WHERE queue = $1 ->> 'queue' AND"
		  " (retries, backoff, backoff_max, max_running, paused) IS NOT DISTINCT FROM"
		  " (($1 ->> 'retries')::int, ($1 ->> 'backoff')::interval, ($1 ->> 'backoff_max')::interval,"
		  " ($1 ->> 'max_running')::int, coalesce(($1 ->> 'paused')::bool, false))",
		  JSONBOID);

STATEMENT(insert_schedule, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.schedules (name, queue, job, every, cron, time_zone, priority, retry,"
		  " first_run, next_run, last_run, error)"
		  " VALUES ($1 ->> 'name', $1 ->> 'queue', $1 -> 'job', ($1 ->> 'every')::interval, $1 ->> 'cron',"
		  " $1 ->> 'time_zone', coalesce(($1 ->> 'priority')::int, 0), ($1 ->> 'retry')::int,"
		  " ($1 ->> 'first_run')::timestamptz, ($1 ->> 'next_run')::timestamptz,"
		  " ($1 ->> 'last_run')::timestamptz, $1 ->> 'error') ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_schedule, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.schedules WHERE name = $1 ->> 'name' AND"
		  " (queue, job, every, cron, time_zone, priority, retry) IS NOT DISTINCT FROM"
		  " ($1 ->> 'queue', $1 -> 'job', ($1 ->> 'every')::interval, $1 ->> 'cron', $1 ->> 'time_zone',"
		  " coalesce(($1 ->> 'priority')::int, 0), ($1 ->> 'retry')::int)",
		  JSONBOID);

STATEMENT(insert_job, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.job_queue (id, queue, job, priority, run_at, queue_time, attempt, retry,"
		  " unique_key, upload, error)"
		  " SELECT ($1 ->> 'id')::uuid, $1 ->> 'queue', $1 -> 'job', coalesce(($1 ->> 'priority')::int, 0),"
		  " coalesce(($1 ->> 'run_at')::timestamptz, now()), coalesce(($1 ->> 'queue_time')::timestamptz, now()),"
		  " coalesce(($1 ->> 'attempt')::int, 0), coalesce(($1 ->> 'retry')::int, 5),"
		  " $1 ->> 'unique_key', ($1 ->> 'upload')::uuid, $1 ->> 'error'"
		  " WHERE NOT EXISTS (SELECT FROM pictrepo.dead_jobs WHERE id = ($1 ->> 'id')::uuid)"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(insert_dead_job, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, died_at, attempt,"
		  " unique_key, upload, error)"
		  " SELECT ($1 ->> 'id')::uuid, $1 ->> 'queue', $1 -> 'job', coalesce(($1 ->> 'priority')::int, 0),"
		  " coalesce(($1 ->> 'queue_time')::timestamptz, now()), coalesce(($1 ->> 'died_at')::timestamptz, now()),"
		  " coalesce(($1 ->> 'attempt')::int, 0), $1 ->> 'unique_key', ($1 ->> 'upload')::uuid, $1 ->> 'error'"
		  " WHERE NOT EXISTS (SELECT FROM pictrepo.job_queue WHERE id = ($1 ->> 'id')::uuid)"
		  " ON CONFLICT DO NOTHING",
		  JSONBOID);

/* Where it is not, another one has its unique key. */
STATEMENT(same_job, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.job_queue WHERE id = ($1 ->> 'id')::uuid"
		  " UNION ALL SELECT FROM pictrepo.dead_jobs WHERE id = ($1 ->> 'id')::uuid",
		  JSONBOID);

STATEMENT(insert_block, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.blocked (hash, blocked_at) VALUES (decode($1 ->> 'hash', 'hex'),"
		  " coalesce(($1 ->> 'blocked_at')::timestamptz, now())) ON CONFLICT DO NOTHING",
		  JSONBOID);

STATEMENT(same_block, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.blocked WHERE hash = decode($1 ->> 'hash', 'hex')", JSONBOID);

/* What is stored in one step, and how to tell whether it is here already */
static const struct
{
	SqlStatement *insert;
	SqlStatement *same;
}			simple_kinds[LINE_KINDS] = {
	[LINE_DETAILS] = {&insert_details, &same_details},
	[LINE_SETTING] = {&insert_setting, &same_setting},
	[LINE_MIGRATION] = {&insert_migration, &same_migration},
	[LINE_UPLOAD] = {&insert_upload, &same_upload},
	[LINE_QUEUE] = {&insert_queue, &same_queue},
	[LINE_SCHEDULE] = {&insert_schedule, &same_schedule},
	[LINE_JOB] = {&insert_job, &same_job},
	[LINE_DEAD_JOB] = {&insert_dead_job, &same_job},
	[LINE_BLOCKED] = {&insert_block, &same_block},
};

static const char *
import_simple(const ExportLine *line, NullableDatum content)
{
	if (statement_run(simple_kinds[line->kind].insert, &content) > 0)
	{
		if (line->kind == LINE_SCHEDULE && my_database_slot() != NULL)
			pending_worker_request(WORKER_REQ_SCHEDULES);
		return stored;
	}
	return statement_run_latest(simple_kinds[line->kind].same, &content) > 0 ? exists : conflict;
}

/* ----- reading ----- */

/* Where errors say that the line is wrong */
typedef struct LineArgument
{
	FunctionCallInfo fcinfo;
	int			n;
} LineArgument;

pg_noreturn static void
bad_line(const LineArgument *argument, int sqlstate, const char *detail)
{
	ereport(ERROR,
			errcode(sqlstate),
			errmsg("invalid value for argument \"%s\"", argument_name(argument->fcinfo, argument->n)),
			errdetail_internal("%s", detail));
}

static void
check_length(const LineArgument *argument, Datum line)
{
	Size		length = toast_raw_datum_size(line) - VARHDRSZ;

	if (length > LINE_MAX_BYTES)
		ereport(ERROR,
				errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("argument \"%s\" is too long", argument_name(argument->fcinfo, argument->n)),
				errdetail("The line has %zu bytes; the limit is %d bytes.", length, LINE_MAX_BYTES));
}

/*
 * The message may show a character of the details that the server's encoding
 * has not.
 */
static char *
server_message(JsonCheckError *error)
{
	if (GetDatabaseEncoding() != PG_UTF8)
		for (char *byte = error->message; *byte != '\0'; byte++)
			if (IS_HIGHBIT_SET(*byte))
				*byte = '?';
	return error->message;
}

static void
read_with_json_c(const LineArgument *argument, const ExportLineSource *source, ExportLine *line)
{
	JsonCheckError error;

	if (!line_check(source, line, &error))
		bad_line(argument,
				 error.malformed ? ERRCODE_INVALID_TEXT_REPRESENTATION :
				 error.too_long ? ERRCODE_STRING_DATA_RIGHT_TRUNCATION :
				 ERRCODE_INVALID_PARAMETER_VALUE,
				 server_message(&error));
}

/*
 * The line is well formed, and cannot be stored all the same: a number of a
 * million digits, a 30th of February.  The server's own error would not name
 * the argument, and its context would show a part of the line, in which there
 * may be a token.  Within PG_CATCH.
 */
static void
raise_for_line(const LineArgument *argument, MemoryContext context, int sqlstate)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
			break;
		default:
			if (error->sqlerrcode != ERRCODE_CHECK_VIOLATION)
				PG_RE_THROW();
	}
	FlushErrorState();
	bad_line(argument, sqlstate, error->message);
}

/* What the line says of its kind, as jsonb; name is its only member. */
static void
parse_line(const LineArgument *argument, const char *bytes, const char *name, JsonbValue *content)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile line = NULL;

	PG_TRY();
	{
		line = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(bytes)));
	}
	PG_CATCH();
	{
		raise_for_line(argument, context, ERRCODE_INVALID_TEXT_REPRESENTATION);
	}
	PG_END_TRY();

	/* json-c read the same, or there is more to it than it should */
	if (!JB_ROOT_IS_OBJECT(line) || JB_ROOT_COUNT(line) != 1 ||
		getKeyJsonValueFromContainer(&line->root, name, strlen(name), content) == NULL)
		bad_line(argument, ERRCODE_INVALID_TEXT_REPRESENTATION, "It can be read in two ways.");
}

/* What is wrapped into a line of kind bytes, because it is not UTF-8 */
static char *
wrapped_line(const LineArgument *argument, const char *wrapping)
{
	JsonbValue	hex;
	char	   *bytes;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		bad_line(argument, ERRCODE_INVALID_PARAMETER_VALUE,
				 "The line contains text that is not UTF-8; only a database with encoding SQL_ASCII can store it.");
	parse_line(argument, wrapping, line_kind_name(LINE_BYTES), &hex);
	if (hex.type != jbvString)
		bad_line(argument, ERRCODE_INVALID_TEXT_REPRESENTATION, "It can be read in two ways.");
	bytes = palloc(hex.val.string.len / 2 + 1);
	bytes[hex_decode(hex.val.string.val, hex.val.string.len, bytes)] = '\0';
	if (strlen(bytes) != hex.val.string.len / 2)
		bad_line(argument, ERRCODE_INVALID_TEXT_REPRESENTATION, "It holds a zero byte.");
	return bytes;
}

/*
 * Is the line well formed?  The answer is the line in the server's encoding,
 * out of its wrapping.
 */
static char *
checked_line(const LineArgument *argument, Datum value, ExportLine *line)
{
	char	   *bytes;
	char	   *utf8;
	ExportLineSource source = {
		.count_characters = GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII
	};

	check_length(argument, value);
	bytes = TextDatumGetCString(value);
	utf8 = pg_server_to_any(bytes, strlen(bytes), PG_UTF8);
	source.json = utf8;
	source.length = strlen(utf8);
	read_with_json_c(argument, &source, line);
	if (line->kind != LINE_BYTES)
		return bytes;

	bytes = wrapped_line(argument, bytes);
	source.json = bytes;
	source.length = strlen(bytes);
	source.any_bytes = true;
	read_with_json_c(argument, &source, line);
	if (line->kind == LINE_BYTES)
		bad_line(argument, ERRCODE_INVALID_PARAMETER_VALUE, "It holds bytes that hold bytes.");
	return bytes;
}

/* The largest of the documents that come with it. */
STATEMENT(largest_document, STMT_READ_ONLY,
		  "SELECT max(pg_column_size(document)) FROM (SELECT $1 -> 'details' AS document"
		  " UNION ALL SELECT $1 -> 'motion_details' UNION ALL SELECT $1 -> 'job' UNION ALL SELECT $1 -> 'result'"
		  " UNION ALL SELECT v -> 'details' FROM jsonb_array_elements("
		  "CASE jsonb_typeof($1 -> 'variants') WHEN 'array' THEN $1 -> 'variants' END) AS v) AS documents",
		  JSONBOID);

/* Where the whole is small enough, the parts are. */
static void
check_documents(const LineArgument *argument, NullableDatum content)
{
	Size		most = (Size) guc_max_document_size * 1024 + VARHDRSZ;
	NullableDatum largest;

	if (VARSIZE_ANY(DatumGetPointer(content.value)) <= most)
		return;
	statement_run(&largest_document, &content);
	largest = result_value(0, 1);
	if (!largest.isnull && DatumGetInt32(largest.value) > most)
		ereport(ERROR,
				errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("argument \"%s\" is too long", argument_name(argument->fcinfo, argument->n)),
				errdetail("A document in the line has %d bytes as jsonb; the limit is %d kB.",
						  DatumGetInt32(largest.value) - VARHDRSZ, guc_max_document_size),
				errhint("Consider increasing the configuration parameter \"pictrepo.max_document_size\"."));
}

/* One that does not run any more says why, and may be anything. */
STATEMENT(cron_of_schedule, STMT_READ_ONLY,
		  "SELECT $1 ->> 'cron' WHERE $1 ->> 'error' IS NULL", JSONBOID);

static void
check_cron(const LineArgument *argument, NullableDatum schedule)
{
	NullableDatum rule;
	Cron		cron;
	const char *error;

	if (statement_run(&cron_of_schedule, &schedule) == 0)
		return;
	rule = result_value(0, 1);
	if (rule.isnull)
		return;
	error = cron_parse(TextDatumGetCString(rule.value), &cron);
	if (error != NULL)
		bad_line(argument, ERRCODE_INVALID_PARAMETER_VALUE, error);
}

/* ----- a line ----- */

static const char *
store_line(const ExportLine *line, NullableDatum content)
{
	return line->kind == LINE_IMAGE ? import_image(line, content) : import_simple(line, content);
}

/* Within a call: what became of the line. */
static const char *
import_line(const LineArgument *argument, Datum value)
{
	MemoryContext context = CurrentMemoryContext;
	const char *volatile outcome = NULL;
	ExportLine	line;
	char	   *bytes;
	JsonbValue	parsed;
	NullableDatum content;

	bytes = checked_line(argument, value, &line);
	parse_line(argument, bytes, line_kind_name(line.kind), &parsed);
	if (line.kind == LINE_HEADER)
		return exists;
	content = not_null(JsonbPGetDatum(JsonbValueToJsonb(&parsed)));
	check_documents(argument, content);
	if (line.kind == LINE_SCHEDULE)
		check_cron(argument, content);
	PG_TRY();
	{
		outcome = store_line(&line, content);
		INJECT(line_stored);
	}
	PG_CATCH();
	{
		raise_for_line(argument, context, ERRCODE_INVALID_PARAMETER_VALUE);
	}
	PG_END_TRY();
	return outcome;
}

PG_FUNCTION_INFO_V1(pictrepo_import);

/*
 * import(line text) -> text
 *
 * stored, merged, exists, conflict or blocked.  22004, 22P02 for what is not
 * JSON, 22023, 22001 for more than 64 MiB and for too long a value.
 */
Datum
pictrepo_import(PG_FUNCTION_ARGS)
{
	LineArgument argument = {fcinfo, 0};
	Datum		line = any_argument(fcinfo, 0).value;
	const char *outcome;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	outcome = import_line(&argument, line);
	repo_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/* ----- many lines ----- */

/* The lines of a call, and what became of each */
typedef struct ImportLines
{
	LineArgument argument;
	int			count;
	Datum	   *values;
	bool	   *nulls;
	const char **outcomes;
	const char *progress;		/* what is being done */
	MemoryContext one_line;		/* what a line takes */
} ImportLines;

static void
import_one(ImportLines *lines, int i)
{
	MemoryContext before = MemoryContextSwitchTo(lines->one_line);

	CHECK_FOR_INTERRUPTS();
	progress_report(lines->progress, i, lines->count);
	if (lines->nulls[i])
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("argument \"%s\" must not contain null",
					   argument_name(lines->argument.fcinfo, lines->argument.n)));
	lines->outcomes[i] = import_line(&lines->argument, lines->values[i]);
	MemoryContextSwitchTo(before);
	MemoryContextReset(lines->one_line);
}

/* Not the line is wrong: it would be the same with any other. */
static bool
concerns_all_lines(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return error_concerns_all_rows(error) ||
		category == ERRCODE_INVALID_TRANSACTION_STATE ||
		category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION;
}

/* Import lines in a subtransaction; NULL, or why none of them is stored. */
static ErrorData *
try_lines(ImportLines *lines, int first, int count)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		for (int i = first; i < first + count; i++)
			import_one(lines, i);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	MemoryContextReset(lines->one_line);
	if (error != NULL && concerns_all_lines(error))
		ReThrowError(error);
	return error;
}

static void
give_line(FunctionCallInfo fcinfo, int64 number, const char *outcome, const ErrorData *error)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[4] = {Int64GetDatum(number)};
	bool		nulls[4] = {false, error != NULL, error == NULL, error == NULL};

	if (error == NULL)
		values[1] = CStringGetTextDatum(outcome);
	else
	{
		values[2] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
		values[3] = CStringGetTextDatum(error->detail == NULL ? error->message :
										psprintf("%s: %s", error->message, error->detail));
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(pictrepo_import_lines);

/*
 * import_lines(lines text[], first_line bigint)
 *		-> setof (line bigint, outcome text, sqlstate text, error text)
 *
 * A row for each line, numbered from first_line on: what became of it, or what
 * is wrong with it.  22004, 22023.
 */
Datum
pictrepo_import_lines(PG_FUNCTION_ARGS)
{
	ImportLines lines = {.argument = {fcinfo, 0}, .progress = "lines"};
	int64		first = DatumGetInt64(any_argument(fcinfo, 1).value);
	int64		last;
	bool		all;
	RepoCall	call;

	lines.values = array_argument(fcinfo, 0, TEXTOID, &lines.count, &lines.nulls);
	if (pg_add_s64_overflow(first, lines.count, &last))
		bad_argument(fcinfo, 1, "The number of the last line would be out of range for type bigint.", NULL);
	lines.outcomes = palloc0_array(const char *, lines.count + 1);
	lines.one_line = AllocSetContextCreate(CurrentMemoryContext, "pictrepo line",
										   ALLOCSET_DEFAULT_SIZES);
	rows_begin(fcinfo);
	repo_call_begin(&call, fcinfo);

	/* all in one step is cheaper, and mostly nothing is wrong */
	all = try_lines(&lines, 0, lines.count) == NULL;
	lines.progress = "lines one by one";
	for (int i = 0; i < lines.count; i++)
	{
		ErrorData  *error = all ? NULL : try_lines(&lines, i, 1);

		give_line(fcinfo, first + i, lines.outcomes[i], error);
	}
	repo_call_end(&call);
	progress_end();
	MemoryContextDelete(lines.one_line);
	PG_RETURN_NULL();
}

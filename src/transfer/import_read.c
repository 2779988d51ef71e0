/*-------------------------------------------------------------------------
 *
 * import_read.c
 *		Import: reading and checking a line.
 *
 * A line is parsed twice.  json-c checks its form.  jsonb_in reads the values to
 * store, because it keeps all digits of numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "common/compat.h"
#include "common/cron.h"
#include "common/guc.h"
#include "json/json_check.h"
#include "json/line_check.h"
#include "sqlfunc/args.h"
#include "sqlfunc/json_stack.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "transfer/import_read.h"

/* the limit for a line with documents of the default size; export.c stays well below */
#define LINE_DEFAULT_LIMIT (64 * 1024 * 1024)

/* JSON may need so many bytes for a byte of a document, as in \u0001 */
#define JSON_BYTES_PER_BYTE 6

pg_noreturn static void
bad_line(const LineArgument *argument, int sqlstate, const char *detail)
{
	ereport(ERROR,
			errcode(sqlstate),
			errmsg("invalid value for argument \"%s\"", argument_name(argument->fcinfo, argument->n)),
			errdetail_internal("%s", detail));
}

/* A line may have any document that can be stored here. */
static Size
line_limit(void)
{
	Size		document = (Size) guc_max_document_size * 1024 * JSON_BYTES_PER_BYTE;

	return Min(Max(LINE_DEFAULT_LIMIT, document), MaxAllocSize);
}

static void
check_length(const LineArgument *argument, Datum line)
{
	Size		length = toast_raw_datum_size(line) - VARHDRSZ;

	if (length > line_limit())
		ereport(ERROR,
				errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("argument \"%s\" is too long", argument_name(argument->fcinfo, argument->n)),
				errdetail("The line has %zu bytes; the limit is %zu bytes.", length, line_limit()),
				errhint("Consider increasing the configuration parameter \"pictrepo.max_document_size\"."));
}

/*
 * The error message in the server's encoding.  It may show a character of the line
 * that the encoding does not have.
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

	if (!json_fits_stack(source->json, source->length, &error) || !line_check(source, line, &error))
		bad_line(argument,
				 error.malformed ? ERRCODE_INVALID_TEXT_REPRESENTATION :
				 error.too_long ? ERRCODE_STRING_DATA_RIGHT_TRUNCATION :
				 ERRCODE_INVALID_PARAMETER_VALUE,
				 server_message(&error));
}

/*
 * Called in PG_CATCH: the line has the right form, but the server cannot store one
 * of its values, such as a number with a million digits or February 30.  The
 * server's own error does not name the argument, and its context shows a part of
 * the line, which may contain a delete token.  So raise an error of our own.
 */
void
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

/* Parse a line as jsonb, and return the value of its only member, name. */
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

	/* fails only if the two parsers disagree about the line */
	if (!JB_ROOT_IS_OBJECT(line) || JB_ROOT_COUNT(line) != 1 ||
		getKeyJsonValueFromContainer(&line->root, name, strlen(name), content) == NULL)
		bad_line(argument, ERRCODE_INVALID_TEXT_REPRESENTATION,
				 "The two JSON parsers of the import read the line differently.");
}

/* The line in a line of kind "bytes", see wrap_line in export.c. */
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
		bad_line(argument, ERRCODE_INVALID_TEXT_REPRESENTATION,
				 "The two JSON parsers of the import read the line differently.");
	bytes = palloc(hex.val.string.len / 2 + 1);
	bytes[hex_decode(hex.val.string.val, hex.val.string.len, bytes)] = '\0';
	if (strlen(bytes) != hex.val.string.len / 2)
		bad_line(argument, ERRCODE_INVALID_TEXT_REPRESENTATION, "The line in \"bytes\" contains a zero byte.");
	return bytes;
}

/*
 * Check the form of a line.  Returns the line in the server's encoding, without a
 * wrapping line of kind "bytes".
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
		bad_line(argument, ERRCODE_INVALID_PARAMETER_VALUE,
				 "The line in \"bytes\" must not be of kind \"bytes\" itself.");
	return bytes;
}

/* A schedule with an error no longer runs, and its cron expression may be invalid. */
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

NullableDatum
read_line(const LineArgument *argument, Datum value, ExportLine *line)
{
	char	   *bytes = checked_line(argument, value, line);
	JsonbValue	parsed;
	NullableDatum content;

	parse_line(argument, bytes, line_kind_name(line->kind), &parsed);
	if (line->kind == LINE_HEADER)
		return NULL_ARG;
	content = not_null(JsonbPGetDatum(JsonbValueToJsonb(&parsed)));
	if (line->kind == LINE_SCHEDULE)
		check_cron(argument, content);
	return content;
}

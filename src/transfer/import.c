/*-------------------------------------------------------------------------
 *
 * import.c
 *		import() and import_lines(): store the lines of an export.
 *
 * The repo may be empty or in use.  The import adds what is missing, and changes
 * nothing that exists.  So a line may be imported more than once.  It never queues a
 * file for removal, because a line does not say in which store its files are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/injection_points.h"
#include "common/progress.h"
#include "json/line_check.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"
#include "transfer/import_image.h"
#include "transfer/import_read.h"
#include "transfer/import_simple.h"

/* ----- one line ----- */

static const char *
store_line(const ExportLine *line, NullableDatum content)
{
	return line->kind == LINE_IMAGE ? import_image(line, content) : import_simple(line, content);
}

/* Store a line, and return its outcome.  The caller is in a repo call. */
static const char *
import_line(const LineArgument *argument, Datum value)
{
	MemoryContext context = CurrentMemoryContext;
	const char *volatile outcome = NULL;
	ExportLine	line;
	NullableDatum content;

	content = read_line(argument, value, &line);
	if (content.isnull)
		return "exists";
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
 * Store a line of an export.  Returns 'stored', 'merged' (the image existed, and
 * missing parts were added), 'exists', 'conflict' (the repo has other values, which
 * stay), or 'blocked' (the image's content is blocked).
 *
 * Errors: 22P02 if the line is not JSON; 22023 if it is not a line of an export;
 * 22001 if it, or one of its values, is too long.
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

/* The lines of a call, and their outcomes */
typedef struct ImportLines
{
	LineArgument argument;
	int			count;
	Datum	   *values;
	bool	   *nulls;
	const char **outcomes;
	const char *progress;		/* name of the step, for pg_stat_activity */
	MemoryContext one_line;		/* reset after each line */
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

/* Some of a call's lines */
typedef struct LineRange
{
	ImportLines *lines;
	int			first;
	int			count;
} LineRange;

static void
import_range(void *what)
{
	LineRange  *range = what;

	for (int i = range->first; i < range->first + range->count; i++)
		import_one(range->lines, i);
}

/* Import lines in a subtransaction.  Returns NULL, or the error: then none of them is stored. */
static ErrorData *
try_lines(ImportLines *lines, int first, int count)
{
	LineRange	range = {lines, first, count};
	ErrorData  *error = NULL;

	(void) try_in_subtransaction(import_range, &range, &error);
	MemoryContextReset(lines->one_line);
	if (error != NULL && error_concerns_all_rows(error))
		ReThrowError(error);
	return error;
}

/* Add the row of a line to the result. */
static void
add_outcome(FunctionCallInfo fcinfo, int64 number, const char *outcome, const ErrorData *error)
{
	if (error == NULL)
		rows_add(fcinfo, ARGS(not_null(Int64GetDatum(number)), not_null(CStringGetTextDatum(outcome)),
							  NULL_ARG, NULL_ARG));
	else
	{
		const char *message = error->detail == NULL ? error->message :
			psprintf("%s: %s", error->message, error->detail);
		rows_add(fcinfo, ARGS(not_null(Int64GetDatum(number)), NULL_ARG,
							  not_null(CStringGetTextDatum(unpack_sql_state(error->sqlerrcode))),
							  not_null(CStringGetTextDatum(message))));
	}
}

PG_FUNCTION_INFO_V1(pictrepo_import_lines);

/*
 * import_lines(lines text[], first_line bigint)
 *		-> setof (line bigint, outcome text, sqlstate text, error text)
 *
 * Store lines of an export.  Returns a row for each line, numbered from first_line:
 * the outcome as in import(), or the error.  A line with an error is not stored, and
 * does not affect the others.  An error that would affect every line is raised.
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
	if (pg_add_s64_overflow(first, lines.count - 1, &last))
		bad_argument(fcinfo, 1, "The number of the last line would be out of range for type bigint.", NULL);
	lines.outcomes = palloc0_array(const char *, lines.count + 1);
	lines.one_line = AllocSetContextCreate(CurrentMemoryContext, "pictrepo line",
										   ALLOCSET_DEFAULT_SIZES);
	rows_begin(fcinfo);
	repo_call_begin(&call, fcinfo);

	/*
	 * one subtransaction is faster than many, and usually no line has an
	 * error
	 */
	all = try_lines(&lines, 0, lines.count) == NULL;
	lines.progress = "lines one by one";
	for (int i = 0; i < lines.count; i++)
	{
		ErrorData  *error = all ? NULL : try_lines(&lines, i, 1);

		add_outcome(fcinfo, first + i, lines.outcomes[i], error);
	}
	repo_call_end(&call);
	progress_end();
	MemoryContextDelete(lines.one_line);
	PG_RETURN_NULL();
}

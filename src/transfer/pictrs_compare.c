/*-------------------------------------------------------------------------
 *
 * pictrs_compare.c
 *		Comparing rows that a transfer did not store with those that exist.
 *
 * A transfer stores no row whose key exists.  Here it finds out whether the existing
 * row has the same values.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "sqlfunc/result.h"
#include "transfer/pictrs_compare.h"
#include "transfer/pictrs_side.h"

/*
 * The id of a variant means nothing, and variants made here have none.  The heartbeat
 * of a running job changes all the time.
 */
static bool
any_value_will_do(const Transfer *transfer, const char *column)
{
	return (transfer->table == PICTRS_VARIANTS && strcmp(column, "id") == 0) ||
		(transfer->table == PICTRS_JOB_QUEUE && strcmp(column, "heartbeat") == 0);
}

/*
 * SQL: the names of the columns in which rows t and n differ, separated by commas.  An
 * access time that we do not have fits any, see fallback in pictrs_tables.h.
 */
static void
append_differing_columns(StringInfo sql, const Transfer *transfer, const TransferTarget *target)
{
	appendStringInfoString(sql, "concat_ws(', '");
	for (int i = 0; i < transfer->batch.width; i++)
	{
		const char *column = target->columns[i];

		if (any_value_will_do(transfer, column))
			continue;
		appendStringInfo(sql, ", CASE WHEN t.%1$s::%2$s IS DISTINCT FROM %3$s THEN '%1$s' END",
						 column, format_type_be(transfer->batch.types[i]),
						 strcmp(column, "accessed") == 0 ? "coalesce(n.accessed, t.accessed)" :
						 psprintf("n.%s", column));
	}
	appendStringInfoChar(sql, ')');
}

/* The given rows as n, with their numbers */
static void
append_given_rows(StringInfo sql, const Transfer *transfer, const TransferTarget *target)
{
	appendStringInfoString(sql, "unnest(");
	for (int i = 0; i < transfer->batch.width; i++)
		appendStringInfo(sql, "%s$%d", i == 0 ? "" : ", ", i + 1);
	appendStringInfoString(sql, ") WITH ORDINALITY AS n (");
	for (int i = 0; i < transfer->batch.width; i++)
		appendStringInfo(sql, "%s, ", target->columns[i]);
	appendStringInfoString(sql, "place)");
}

static char *
query_differences(const Transfer *transfer, const TransferTarget *target)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT place, found, columns FROM (SELECT n.place, t.found, ");
	append_differing_columns(&sql, transfer, target);
	appendStringInfoString(&sql, " AS columns FROM ");
	append_given_rows(&sql, transfer, target);
	appendStringInfo(&sql, " LEFT JOIN (SELECT true AS found, * FROM %s) AS t %s) AS compared"
					 " WHERE found IS NULL OR columns <> ''", target->table, target->join);
	return sql.data;
}

static RowDifference
difference_of_result(uint64 i)
{
	RowDifference difference = {.row = DatumGetInt64(result_value(i, 1).value) - 1};

	if (result_value(i, 2).isnull)
		difference.message = "it was not stored, and no row has its key";
	else
		difference.message = psprintf("a row with its key has other values: %s",
									  TextDatumGetCString(result_value(i, 3).value));
	return difference;
}

RowDifference *
find_differences(Transfer *transfer, const NullableDatum *arrays, int *count)
{
	TransferTarget target = {0};
	Oid			types[PICTRS_COLUMNS];
	Datum		values[PICTRS_COLUMNS];
	RowDifference *differences;
	char	   *sql;
	int			result;

	transfer->kind->target(transfer, &target);
	for (int i = 0; i < transfer->batch.width; i++)
	{
		types[i] = get_array_type(transfer->batch.types[i]);
		values[i] = arrays[i].value;
	}
	plan_with_indexes();
	sql = query_differences(transfer, &target);
	result = SPI_execute_with_args(sql, transfer->batch.width, types, values, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_with_args failed for \"%s\": %s", sql, SPI_result_code_string(result));
	*count = SPI_processed;
	differences = palloc_array(RowDifference, SPI_processed);
	for (uint64 i = 0; i < SPI_processed; i++)
		differences[i] = difference_of_result(i);
	return differences;
}

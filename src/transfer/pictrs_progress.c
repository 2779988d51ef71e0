/*-------------------------------------------------------------------------
 *
 * pictrs_progress.c
 *		The progress of a transfer, in pictrepo.transfers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "common/progress.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "transfer/pictrs_progress.h"
#include "transfer/pictrs_side.h"

STATEMENT(delete_progress, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.transfers WHERE direction = $1 AND schema = $2",
		  TEXTOID, TEXTOID);

STATEMENT(insert_progress, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.transfers (direction, schema, relation, source_rows) VALUES ($1, $2, $3, $4)",
		  TEXTOID, TEXTOID, TEXTOID, INT8OID);

STATEMENT(is_unfinished, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.transfers WHERE direction = $1 AND schema = $2 AND finished IS NULL",
		  TEXTOID, TEXTOID);

STATEMENT(state_of_table, STMT_READ_WRITE,
		  "SELECT reached, rows_read, source_rows, finished IS NULL FROM pictrepo.transfers"
		  " WHERE direction = $1 AND schema = $2 AND relation = $3",
		  TEXTOID, TEXTOID, TEXTOID);

STATEMENT(add_batch, STMT_READ_WRITE,
		  "UPDATE pictrepo.transfers SET rows_read = rows_read + $4, stored = stored + $5,"
		  " different = different + $6, bad = bad + $7, same = same + $4 - $5 - $6 - $7,"
		  " reached = coalesce($8, reached), updated = clock_timestamp()"
		  " WHERE direction = $1 AND schema = $2 AND relation = $3 AND finished IS NULL",
		  TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID, INT4OID, INT4OID, TEXTARRAYOID);

STATEMENT(insert_errors, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.transfer_errors (direction, schema, relation, place, key, message)"
		  " SELECT $1, $2, $3, place, key, message"
		  " FROM unnest($4, $5, $6) AS error (place, key, message)",
		  TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID);

STATEMENT(set_finished, STMT_READ_WRITE,
		  "UPDATE pictrepo.transfers SET finished = clock_timestamp()"
		  " WHERE direction = $1 AND schema = $2 AND relation = $3",
		  TEXTOID, TEXTOID, TEXTOID);

STATEMENT(set_counts, STMT_READ_WRITE,
		  "UPDATE pictrepo.transfers SET source_rows = $4, target_rows = $5"
		  " WHERE direction = $1 AND schema = $2 AND relation = $3",
		  TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID);

STATEMENT(sum_of_transfer, STMT_READ_WRITE,
		  "SELECT sum(stored)::bigint, sum(same)::bigint, sum(different)::bigint, sum(bad)::bigint,"
		  " bool_and(source_rows = rows_read AND source_rows = stored + same AND target_rows >= source_rows)"
		  " FROM pictrepo.transfers WHERE direction = $1 AND schema = $2",
		  TEXTOID, TEXTOID);

/* The first arguments of these statements */
#define TRANSFER_ARGS(transfer) \
	not_null(CStringGetTextDatum((transfer)->kind->direction)), \
	not_null(CStringGetTextDatum((transfer)->schema))
#define TABLE_ARGS(transfer) \
	TRANSFER_ARGS(transfer), not_null(CStringGetTextDatum(current_table(transfer)->name))

/* Count the rows of the current table on one of the two sides. */
static int64
count_rows(Transfer *transfer, bool in_pictrs)
{
	const PictrsTable *table = current_table(transfer);
	int64		count;
	TransferSide side;

	begin_side(transfer, &side, in_pictrs);
	if (in_pictrs)
	{
		/* a sequential scan is the fastest way to count */
		(void) set_config_option("enable_seqscan", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		side_execute(psprintf("SELECT count(*) FROM %s.%s", transfer->quoted_schema, table->name));
	}
	else
		side_execute(psprintf("SELECT count(*) FROM pictrepo.%s", table->own_name));
	count = DatumGetInt64(result_value(0, 1).value);
	end_side(&side);
	return count;
}

/* Continue an unfinished transfer, or store the progress of a new one. */
void
begin_transfer(Transfer *transfer, bool resume)
{
	int64		counts[PICTRS_TABLES];
	RepoCall	call;
	bool		unfinished;

	repo_call_begin(&call, transfer->fcinfo);
	unfinished = statement_run(&is_unfinished, ARGS(TRANSFER_ARGS(transfer))) > 0;
	repo_call_end(&call);
	if (resume && unfinished)
		return;
	for (int i = 0; i < PICTRS_TABLES; i++)
	{
		transfer->table = i;
		counts[i] = count_rows(transfer, transfer->kind->reads_pictrs);
	}
	repo_call_begin(&call, transfer->fcinfo);
	statement_run(&delete_progress, ARGS(TRANSFER_ARGS(transfer)));
	for (int i = 0; i < PICTRS_TABLES; i++)
	{
		transfer->table = i;
		statement_run(&insert_progress,
					  ARGS(TABLE_ARGS(transfer), not_null(Int64GetDatum(counts[i]))));
	}
	repo_call_end(&call);
}

/* Keep the position for the next batch. */
static void
remember_reached(Transfer *transfer, NullableDatum reached)
{
	MemoryContext before = MemoryContextSwitchTo(transfer->memory);

	if (!transfer->reached.isnull)
		pfree(DatumGetPointer(transfer->reached.value));
	transfer->reached = reached;
	if (!reached.isnull)
		transfer->reached.value = PointerGetDatum(PG_DETOAST_DATUM_COPY(reached.value));
	MemoryContextSwitchTo(before);
}

/* Error 55000: another session has deleted the rows with the progress. */
static void
raise_progress_missing(const Transfer *transfer)
{
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("progress of this %s is missing in table pictrepo.transfers", transfer->kind->direction),
			errdetail("Another transaction deleted the rows that the procedure inserted."),
			errhint("Call %s again.", transfer->kind->name));
}

/* Read the progress of the current table.  False: the table is finished. */
bool
begin_table(Transfer *transfer)
{
	RepoCall	call;
	bool		unfinished;

	repo_call_begin(&call, transfer->fcinfo);
	if (statement_run(&state_of_table, ARGS(TABLE_ARGS(transfer))) == 0)
		raise_progress_missing(transfer);
	remember_reached(transfer, result_value(0, 1));
	transfer->rows_read = DatumGetInt64(result_value(0, 2).value);
	unfinished = DatumGetBool(result_value(0, 4).value);
	if (unfinished)
		progress_report(current_table(transfer)->name, transfer->rows_read,
						DatumGetInt64(result_value(0, 3).value));
	repo_call_end(&call);
	return unfinished;
}

/* Store the progress after a batch, and the bad and the different rows. */
void
advance_progress(Transfer *transfer)
{
	TransferBatch *batch = &transfer->batch;
	RepoCall	call;

	repo_call_begin(&call, transfer->fcinfo);
	if (statement_run(&add_batch,
					  ARGS(TABLE_ARGS(transfer), not_null(Int32GetDatum(batch->read)),
						   not_null(Int32GetDatum(batch->stored)), not_null(Int32GetDatum(batch->different)),
						   not_null(Int32GetDatum(batch->bad)), batch->reached)) == 0)
		raise_progress_missing(transfer);
	if (batch->errors > 0)
		statement_run(&insert_errors,
					  ARGS(TABLE_ARGS(transfer),
						   array_of(batch->error_places, batch->errors, INT8OID),
						   array_of(batch->error_keys, batch->errors, TEXTOID),
						   array_of(batch->error_messages, batch->errors, TEXTOID)));
	repo_call_end(&call);
}

void
finish_table(Transfer *transfer)
{
	RepoCall	call;

	repo_call_begin(&call, transfer->fcinfo);
	statement_run(&set_finished, ARGS(TABLE_ARGS(transfer)));
	repo_call_end(&call);
}

/* Count the rows of each table on both sides.  Called in the last transaction. */
void
compare_counts(Transfer *transfer)
{
	for (transfer->table = 0; transfer->table < PICTRS_TABLES; transfer->table++)
	{
		int64		source_rows = count_rows(transfer, transfer->kind->reads_pictrs);
		int64		target_rows = count_rows(transfer, !transfer->kind->reads_pictrs);
		RepoCall	call;

		repo_call_begin(&call, transfer->fcinfo);
		statement_run(&set_counts,
					  ARGS(TABLE_ARGS(transfer), not_null(Int64GetDatum(source_rows)),
						   not_null(Int64GetDatum(target_rows))));
		repo_call_end(&call);
	}
}

/* The row that the procedure returns */
Datum
result_of_transfer(Transfer *transfer)
{
	NullableDatum columns[5];
	RepoCall	call;

	repo_call_begin(&call, transfer->fcinfo);
	statement_run(&sum_of_transfer, ARGS(TRANSFER_ARGS(transfer)));
	for (int i = 0; i < lengthof(columns); i++)
		columns[i] = result_value_copy(0, i + 1);
	repo_call_end(&call);
	return form_row(transfer->fcinfo, columns);
}

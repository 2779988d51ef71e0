/*-------------------------------------------------------------------------
 *
 * row_batch.c
 *		Statements on many rows that continue past rows that fail.
 *
 * A user's trigger or constraint may fail for one row.  The other rows must be
 * processed nevertheless.  The last two arguments of such a statement are its
 * LIMIT and OFFSET.  If the statement fails, it runs again for one row at a
 * time, and skips the rows that fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "sqlfunc/args.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"

/* after so many failures the cause is not the rows; stop */
#define FAILED_ROWS_MAX 100

/* message for the last row that failed, or NULL */
static char *last_error = NULL;

char *
row_batch_error(void)
{
	return last_error;
}

void
row_batch_clear_error(void)
{
	if (last_error != NULL)
		pfree(last_error);
	last_error = NULL;
}

/* Would this error happen for any row?  If so, it is raised. */
bool
error_concerns_all_rows(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/* Write the error to the server log only: the caller did not cause it. */
static void
log_failed_row(ErrorData *error)
{
	row_batch_clear_error();
	last_error = MemoryContextStrdup(TopMemoryContext, error->message);
	error->elevel = LOG_SERVER_ONLY;
	ThrowErrorData(error);
	FreeErrorData(error);
}

/*
 * Run a function in a subtransaction.  False: the function failed, the
 * subtransaction is rolled back, and error is set.
 */
bool
try_in_subtransaction(void (*work) (void *), void *arg, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

typedef struct RowBatch
{
	SqlStatement *statement;
	const NullableDatum *args;
	uint64		(*take) (void);
	uint64		rows;
} RowBatch;

static void
run_batch(void *arg)
{
	RowBatch   *batch = arg;

	/* maintenance processes the rows that are committed by now */
	batch->rows = statement_run(batch->statement, batch->args);
	if (batch->take != NULL)
		batch->rows = batch->take();
}

/* Run the statement in a subtransaction.  Returns the number of rows, or -1 with error set. */
static int64
try_batch(SqlStatement *statement, const NullableDatum *args, int limit, int skip,
		  uint64 (*take) (void), ErrorData **error)
{
	NullableDatum all[STATEMENT_MAX_ARGS];
	RowBatch	batch = {.statement = statement, .args = all, .take = take};

	for (int i = 0; i < statement->nargs - 2; i++)
		all[i] = args[i];
	all[statement->nargs - 2] = not_null(Int32GetDatum(limit));
	all[statement->nargs - 1] = not_null(Int32GetDatum(skip));

	if (try_in_subtransaction(run_batch, &batch, error))
		return batch.rows;
	if (error_concerns_all_rows(*error))
		ReThrowError(*error);
	return -1;
}

/* Process one row at a time, and skip the rows that fail. */
static uint64
run_one_by_one(SqlStatement *statement, const NullableDatum *args, int limit, uint64 (*take) (void))
{
	uint64		done = 0;
	int			failed = 0;

	while (done < limit && failed < FAILED_ROWS_MAX)
	{
		ErrorData  *error;
		int64		rows = try_batch(statement, args, 1, failed, take, &error);

		if (rows == 0)
			break;
		if (rows > 0)
			done += rows;
		else
		{
			log_failed_row(error);
			failed++;
		}
	}
	return done;
}

/*
 * Run a statement for at most limit rows.  Returns the number of rows
 * processed.  take, if not NULL, processes the result of the statement, and
 * returns the number of rows.
 */
uint64
row_batch_run(SqlStatement *statement, const NullableDatum *args, int limit, uint64 (*take) (void))
{
	ErrorData  *error;
	int64		rows = try_batch(statement, args, limit, 0, take, &error);

	if (rows >= 0)
		return rows;
	FreeErrorData(error);
	return run_one_by_one(statement, args, limit, take);
}

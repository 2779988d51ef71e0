/*-------------------------------------------------------------------------
 *
 * row_batch.c
 *		Statements that work on many rows, of which one may be broken.
 *
 * What a user's trigger or constraint says of one row must not keep the others
 * from being done.  Such a statement has LIMIT and OFFSET as its last two
 * arguments.  When it fails, it is run for one row at a time, and leaves those
 * that fail where they are.
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

/* after so many, what is wrong is not with the rows */
#define BROKEN_ROWS_MAX 100

/* what was wrong with the last broken row; NULL: nothing */
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

/* Would the same happen to any row?  Then it is an error like any other. */
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

/* Goes to the log only: it is not the caller's. */
static void
report_broken_row(ErrorData *error)
{
	row_batch_clear_error();
	last_error = MemoryContextStrdup(TopMemoryContext, error->message);
	error->elevel = LOG_SERVER_ONLY;
	ThrowErrorData(error);
	FreeErrorData(error);
}

/*
 * Do some work in a subtransaction; false: it failed, nothing of it is left,
 * and the error says why.
 */
bool
try_in_subtransaction(void (*work) (void *), void *what, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(what);
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
run_whole(void *what)
{
	RowBatch   *batch = what;

	/* upkeep is of what is there by now */
	batch->rows = statement_run_latest(batch->statement, batch->args);
	if (batch->take != NULL)
		batch->rows = batch->take();
}

/* Run it in a subtransaction; how many rows, or -1 and what was wrong. */
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

	if (try_in_subtransaction(run_whole, &batch, error))
		return batch.rows;
	if (error_concerns_all_rows(*error))
		ReThrowError(*error);
	return -1;
}

/* One row at a time, over those that are broken. */
static uint64
run_one_by_one(SqlStatement *statement, const NullableDatum *args, int limit, uint64 (*take) (void))
{
	uint64		done = 0;
	int			broken = 0;

	while (done < limit && broken < BROKEN_ROWS_MAX)
	{
		ErrorData  *error;
		int64		rows = try_batch(statement, args, 1, broken, take, &error);

		if (rows == 0)
			break;
		if (rows > 0)
			done += rows;
		else
		{
			report_broken_row(error);
			broken++;
		}
	}
	return done;
}

/*
 * Run a statement for up to so many rows; how many were done.  take: what to
 * do with its result, and how many rows it is.
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

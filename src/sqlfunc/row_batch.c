/*-------------------------------------------------------------------------
 *
 * row_batch.c
 *		Statements on many rows that continue past rows that fail.
 *
 * A user's trigger or constraint may fail for one row, or another transaction may
 * have locked something that belongs to the row.  The other rows must be processed
 * nevertheless, and without a wait.  The last two arguments of such a statement are
 * its LIMIT and OFFSET.  If the statement fails, or would have to wait, it runs
 * again for one row at a time, and skips the rows that fail.
 *
 * A statement should skip the rows themselves that are locked (row_lock.c), which
 * is much faster.  What is left are locks that the server or a user's trigger
 * takes, as on the rows that a foreign key deletes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "sqlfunc/args.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"

/* after so many rows that fail or are locked, the cause is not the rows; stop */
#define SKIPPED_ROWS_MAX 100

/* ms; longer than a busy server takes for locks that are free */
#define ROW_LOCK_TIMEOUT 10

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
void
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

/* ----- without waiting for locks ----- */

typedef struct BriefWork
{
	void		(*work) (void *);
	void	   *arg;
	int			milliseconds;
} BriefWork;

static void
run_with_lock_timeout(void *arg)
{
	BriefWork  *brief = arg;
	int			guc_level = NewGUCNestLevel();

	if (LockTimeout == 0 || LockTimeout > brief->milliseconds)
		(void) set_config_option("lock_timeout", psprintf("%d", brief->milliseconds), PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	brief->work(brief->arg);
	AtEOXact_GUC(true, guc_level);
}

/*
 * Run a function in a subtransaction in which each lock must be free within so many
 * milliseconds.  False: the function failed, the subtransaction is rolled back, and
 * error is set.
 */
bool
try_with_lock_timeout(int milliseconds, void (*work) (void *), void *arg, ErrorData **error)
{
	BriefWork	brief = {.work = work, .arg = arg, .milliseconds = milliseconds};

	return try_in_subtransaction(run_with_lock_timeout, &brief, error);
}

/* Did it fail because another transaction has a lock? */
bool
error_is_lock(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/*
 * The same for work on one row or on a batch of rows.  An error that would happen
 * for any row is raised.
 */
bool
row_try(void (*work) (void *), void *arg, ErrorData **error)
{
	bool		done = try_with_lock_timeout(ROW_LOCK_TIMEOUT, work, arg, error);

	if (!done && !error_is_lock(*error) && error_concerns_all_rows(*error))
		ReThrowError(*error);
	return done;
}

/* ----- batches ----- */

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
	batch->rows = statement_run_latest(batch->statement, batch->args);
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

	return row_try(run_batch, &batch, error) ? batch.rows : -1;
}

/* Process one row at a time, and skip the rows that fail or are locked. */
static uint64
run_one_by_one(SqlStatement *statement, const NullableDatum *args, int limit, uint64 (*take) (void))
{
	uint64		done = 0;
	int			skipped = 0;

	while (done < limit && skipped < SKIPPED_ROWS_MAX)
	{
		ErrorData  *error;
		int64		rows = try_batch(statement, args, 1, skipped, take, &error);

		if (rows == 0)
			break;
		if (rows > 0)
		{
			done += rows;
			continue;
		}
		skipped++;
		if (!error_is_lock(error))
			log_failed_row(error);
		else if (done == 0 && skipped == SKIPPED_ROWS_MAX)
			ReThrowError(error);	/* the table itself may be locked */
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

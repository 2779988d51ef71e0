/*-------------------------------------------------------------------------
 *
 * row_batch.c
 *		Statements on many rows that continue past rows that fail.
 *
 * A user's trigger or constraint may fail for one row, or another transaction may
 * have locked something that belongs to the row.  The other rows must be processed
 * nevertheless, and without a wait.  The last two arguments of such a statement are
 * its LIMIT and OFFSET.  If the statement fails, or would have to wait, it runs
 * again for one row at a time, and skips the rows that fail.  But if it fails without
 * a row, too, as it does by a statement trigger, it stops there.
 *
 * A statement should skip the rows themselves that are locked (row_lock.c), which
 * is much faster.  What is left are locks that the server or a user's trigger
 * takes, as on the rows that a foreign key deletes.
 *
 * The log has one line for each cause.  The statement is run again and again, and
 * may fail for the same cause each time.  So the log says nothing of a cause that the
 * last run had, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
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

/* so many causes are logged; a trigger may make one for each row */
#define CAUSES_MAX 8

/* Why the last run of a statement failed */
typedef struct FailureCauses
{
	int			count;
	uint64		causes[CAUSES_MAX];
} FailureCauses;

typedef struct RowBatch
{
	SqlStatement *statement;
	const NullableDatum *args;
	uint64		(*take) (void);
	int			limit;
	int			skip;
	uint64		rows;
	FailureCauses failures;
} RowBatch;

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

/* Would this error happen for any row? */
bool
error_concerns_all_rows(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return false;
	}
}

/*
 * Is this statement alone refused, by something that is wrong with a table or with a
 * function of the user?  Then the caller can go on with others.
 */
static bool
error_is_refusal(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION ||
		(category == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE &&
		 error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE);
}

static uint64
hash_string(const char *string, uint64 seed)
{
	return string == NULL ? seed : hash_bytes_extended((const unsigned char *) string, strlen(string), seed);
}

/*
 * A number for the cause of an error.  The message is not part of it, as it may name
 * the row; what it was made from is, and so are the functions that it came through.
 */
uint64
error_cause(const ErrorData *error)
{
	uint64		cause = error->sqlerrcode;

	cause = hash_string(error->message_id, cause);
	cause = hash_string(error->constraint_name, cause);
	return hash_string(error->context, cause);
}

static bool
has_cause(const FailureCauses *failures, uint64 cause)
{
	for (int i = 0; i < failures->count; i++)
		if (failures->causes[i] == cause)
			return true;
	return false;
}

/*
 * Keep the error for row_batch_error, and write it to the server log, unless the log
 * has it: the caller did not cause it.
 */
static void
keep_error(ErrorData *error, bool logged)
{
	row_batch_clear_error();
	last_error = MemoryContextStrdup(TopMemoryContext, error->message);
	if (!logged)
	{
		error->elevel = LOG_SERVER_ONLY;
		ThrowErrorData(error);
	}
	FreeErrorData(error);
}

static void
note_failure(RowBatch *batch, ErrorData *error)
{
	uint64		cause = error_cause(error);
	const FailureCauses *before = batch->statement->failures;
	bool		is_new = !has_cause(&batch->failures, cause) && batch->failures.count < CAUSES_MAX;

	if (is_new)
		batch->failures.causes[batch->failures.count++] = cause;
	keep_error(error, !is_new || (before != NULL && has_cause(before, cause)));
}

/*
 * The same for a row that no batch had.  The log has the last causes of this session
 * once.
 */
void
log_failed_row(ErrorData *error)
{
	static FailureCauses logged;
	uint64		cause = error_cause(error);
	bool		is_logged = has_cause(&logged, cause);

	if (!is_logged)
	{
		logged.count %= CAUSES_MAX;
		logged.causes[logged.count++] = cause;
	}
	keep_error(error, is_logged);
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
 * The same for work on one row.  An error that would happen for any row is raised.
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

/* Run the statement once, for so many rows after those to skip. */
static void
run_batch(void *arg)
{
	RowBatch   *batch = arg;
	SqlStatement *statement = batch->statement;
	NullableDatum all[STATEMENT_MAX_ARGS];

	for (int i = 0; i < statement->nargs - 2; i++)
		all[i] = batch->args[i];
	all[statement->nargs - 2] = not_null(Int32GetDatum(batch->limit));
	all[statement->nargs - 1] = not_null(Int32GetDatum(batch->skip));

	/* maintenance processes the rows that are committed by now */
	batch->rows = statement_run(statement, all);
	if (batch->take != NULL)
		batch->rows = batch->take();
}

/* The same in a subtransaction.  Returns the number of rows, or -1 with error set. */
static int64
try_batch(RowBatch *batch, int limit, int skip, ErrorData **error)
{
	batch->limit = limit;
	batch->skip = skip;
	if (try_with_lock_timeout(ROW_LOCK_TIMEOUT, run_batch, batch, error))
		return batch->rows;
	if (!error_is_lock(*error) && error_concerns_all_rows(*error) && !error_is_refusal(*error))
		ReThrowError(*error);
	return -1;
}

/* The statement has failed with this error.  Would it without a row? */
static bool
fails_without_rows(RowBatch *batch, const ErrorData *error)
{
	ErrorData  *same;

	if (error_is_lock(error))
		return false;
	if (error_concerns_all_rows(error))
		return true;
	if (try_batch(batch, 0, 0, &same) >= 0)
		return false;
	FreeErrorData(same);
	return true;
}

/* Process one row at a time, and skip the rows that fail or are locked. */
static uint64
run_one_by_one(RowBatch *batch, int limit)
{
	uint64		done = 0;
	int			skipped = 0;

	while (done < limit && skipped < SKIPPED_ROWS_MAX)
	{
		ErrorData  *error;
		int64		rows = try_batch(batch, 1, skipped, &error);

		if (rows == 0)
			break;
		if (rows > 0)
		{
			done += rows;
			continue;
		}
		skipped++;
		if (!error_is_lock(error))
			note_failure(batch, error);
		else if (done == 0 && skipped == SKIPPED_ROWS_MAX)
			ReThrowError(error);	/* the table itself may be locked */
	}
	return done;
}

static uint64
run_all(RowBatch *batch, int limit)
{
	ErrorData  *error;
	int64		rows = try_batch(batch, limit, 0, &error);

	if (rows >= 0)
		return rows;
	if (fails_without_rows(batch, error))
	{
		note_failure(batch, error);
		return 0;
	}
	FreeErrorData(error);
	return run_one_by_one(batch, limit);
}

/* What the log has said of this run, the next one need not repeat. */
static void
remember_failures(const RowBatch *batch)
{
	SqlStatement *statement = batch->statement;

	if (statement->failures == NULL && batch->failures.count > 0)
		statement->failures = MemoryContextAlloc(TopMemoryContext, sizeof(FailureCauses));
	if (statement->failures != NULL)
		*statement->failures = batch->failures;
}

/*
 * Run a statement for at most limit rows.  Returns the number of rows
 * processed.  take, if not NULL, processes the result of the statement, and
 * returns the number of rows.
 */
uint64
row_batch_run(SqlStatement *statement, const NullableDatum *args, int limit, uint64 (*take) (void))
{
	RowBatch	batch = {.statement = statement, .args = args, .take = take};
	uint64		rows = run_all(&batch, limit);

	remember_failures(&batch);
	return rows;
}

/*-------------------------------------------------------------------------
 *
 * pictrs.c
 *		What moving from and to pict-rs's own tables has in common.
 *
 * Table by table, in the order of a key, and so many rows in each transaction,
 * that also writes to pictrepo.transfers how far it is: so a call that was
 * killed can be followed by one that goes on, and other sessions see it come
 * along.  Rows that are there already stay, so that doing it again does no harm.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/advisory_locks.h"
#include "common/injection_points.h"
#include "common/progress.h"
#include "sqlfunc/args.h"
#include "transfer/pictrs.h"
#include "transfer/pictrs_batch.h"
#include "transfer/pictrs_progress.h"
#include "transfer/pictrs_side.h"

/* What is done so far stays, and can be seen by others. */
static void
end_transaction(void)
{
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	SPI_finish();
	EnsurePortalSnapshotExists();
}

/* All that is left of the current table; true: it was the last one. */
static bool
transfer_table(Transfer *transfer)
{
	bool		more = true;
	bool		is_last = transfer->table == PICTRS_TABLES - 1;

	while (more && begin_table(transfer))
	{
		uint64		stored;

		more = read_batch(transfer);
		stored = write_batch(transfer);
		INJECT(batch_stored);
		note_progress(transfer, stored);
		INJECT(batch_noted);
		if (!more)
			finish_table(transfer);
		if (!more && is_last)
			compare_counts(transfer);
		end_transaction();
		INJECT(batch_committed);
	}
	return is_last;
}

/*
 * One transfer per schema at a time.  A lock of the kind that VACUUM takes: it
 * outlives transactions, and ends with the error that ends the call.
 */
static LOCKTAG
lock_of_transfer(const Transfer *transfer)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, NamespaceRelationId, transfer->schema_oid, TRANSFER_LOCK_CLASS);
	return tag;
}

static void
lock_transfer(const Transfer *transfer)
{
	LOCKTAG		tag = lock_of_transfer(transfer);

	switch (LockAcquire(&tag, ExclusiveLock, true, true))
	{
		case LOCKACQUIRE_OK:
			return;
		case LOCKACQUIRE_ALREADY_HELD:
			LockRelease(&tag, ExclusiveLock, true);
			break;
		default:
			break;
	}
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_IN_USE),
			errmsg("another session is importing from or exporting to schema %s",
				   transfer->quoted_schema),
			errhint("Wait until it ends; table pictrepo.transfers shows its progress."));
}

static void
unlock_transfer(const Transfer *transfer)
{
	LOCKTAG		tag = lock_of_transfer(transfer);

	LockRelease(&tag, ExclusiveLock, true);
}

/* 2D000: also in a subtransaction, such as a block with an exception handler. */
static void
refuse_transaction_block(FunctionCallInfo fcinfo, const TransferKind *kind)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context == NULL || !IsA(context, CallContext) || context->atomic || IsSubTransaction())
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				errmsg("%s cannot run inside a transaction block", kind->name),
				errdetail("The procedure commits after each batch."),
				errhint("Call it outside of transaction blocks, functions and DO blocks."));
}

/* The side of pict-rs's: its schema and tables, and nobody else at it. */
static void
prepare(Transfer *transfer)
{
	int			guc_level = begin_foreign();

	transfer->kind->prepare_schema(transfer);
	transfer->schema_oid = get_namespace_oid(transfer->schema, false);
	lock_transfer(transfer);
	transfer->kind->prepare_tables(transfer);
	end_foreign(guc_level);
}

Datum
run_transfer(FunctionCallInfo fcinfo, const TransferKind *kind)
{
	Transfer	transfer = {.fcinfo = fcinfo, .kind = kind, .reached = NULL_ARG};
	bool		resume;
	Datum		result;

	transfer.schema = TextDatumGetCString(text_argument(fcinfo, 0, NAMEDATALEN - 1).value);
	transfer.quoted_schema = quote_identifier(transfer.schema);
	transfer.batch_size = DatumGetInt32(limit_argument(fcinfo, 1, 1, BATCH_MAX).value);
	resume = DatumGetBool(any_argument(fcinfo, 2).value);
	transfer.memory = CurrentMemoryContext;
	transfer.batch_memory = AllocSetContextCreate(CurrentMemoryContext, "pictrepo batch",
												  ALLOCSET_DEFAULT_SIZES);
	PreventCommandDuringRecovery(kind->name);
	PreventCommandIfReadOnly(kind->name);
	refuse_transaction_block(fcinfo, kind);

	prepare(&transfer);
	begin_transfer(&transfer, resume);
	end_transaction();
	transfer.table = 0;
	while (!transfer_table(&transfer))
		transfer.table++;
	result = result_of_transfer(&transfer);
	unlock_transfer(&transfer);
	progress_end();
	MemoryContextDelete(transfer.batch_memory);
	return result;
}

/*-------------------------------------------------------------------------
 *
 * pictrs.c
 *		Transfers: import_pictrs and export_pictrs, which copy from and to the
 *		tables of pict-rs.
 *
 * A transfer copies table by table, in the order of a key.  Each transaction copies
 * one batch of rows, and stores the progress in pictrepo.transfers.  So other
 * sessions see the progress, and if a call is killed, another call can continue.
 * Rows that exist are kept, so copying a row twice does no harm.
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
#include "utils/guc.h"
#include "utils/memutils.h"

#include "common/advisory_locks.h"
#include "common/injection_points.h"
#include "common/progress.h"
#include "sqlfunc/args.h"
#include "transfer/pictrs.h"
#include "transfer/pictrs_batch.h"
#include "transfer/pictrs_progress.h"
#include "transfer/pictrs_side.h"

/*
 * Commit, as a COMMIT in a procedure does.  The next transaction is READ COMMITTED,
 * whatever the session's default: a row whose parent is not found is a bad row, and
 * no reason to begin anew with a newer snapshot.
 */
static void
end_transaction(void)
{
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	(void) set_config_option("transaction_isolation", "read committed", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	SPI_finish();
	EnsurePortalSnapshotExists();
}

/* Copy the rest of the current table.  Returns true if it is the last table. */
static bool
transfer_table(Transfer *transfer)
{
	bool		more = true;
	bool		is_last = transfer->table == PICTRS_TABLES - 1;

	while (more && begin_table(transfer))
	{
		more = read_batch(transfer);
		write_batch(transfer);
		INJECT(batch_stored);
		advance_progress(transfer);
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
 * One transfer per schema at a time.  Like the locks of VACUUM, this is a session
 * lock: it is kept across transactions, and an error releases it.
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

/* Error 2D000.  A block with an exception handler is a subtransaction, and refused, too. */
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

/* With the caller's rights: prepare the schema and its tables, and lock the schema. */
static void
prepare(Transfer *transfer)
{
	int			guc_level = pictrs_side_begin();

	transfer->kind->prepare_schema(transfer);
	transfer->schema_oid = get_namespace_oid(transfer->schema, false);
	lock_transfer(transfer);
	transfer->kind->prepare_tables(transfer);
	pictrs_side_end(guc_level);
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

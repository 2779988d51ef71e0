/*-------------------------------------------------------------------------
 *
 * async_commit.c
 *		Asynchronous commit of transactions whose loss does no harm.
 *
 * A server crash can lose a transaction that did not wait until its WAL was
 * flushed.  For two kinds of writes this does no harm.  If a claim is lost, the
 * job is ready again, as if its worker had died.  If an access time is lost,
 * the one before it stays.  A transaction with such losable writes alone commits
 * asynchronously, unless pictrepo.synchronous_claims is on.  Any other write
 * makes the transaction commit as synchronous_commit says.
 *
 * XactLastRecEnd, the end of the transaction's WAL, shows whether there was
 * another write.  It must not move between the end of one losable write and the
 * begin of the next, nor between the last losable write and the commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/guc.h"

#include "common/guc.h"
#include "xact/async_commit.h"

/* the end of the transaction's WAL after its last losable write */
static XLogRecPtr losable_end = InvalidXLogRecPtr;

/* before the current losable write, the transaction made losable writes alone */
static bool only_losable = false;

/*
 * A transaction without an xid has written no rows.  It may still have written
 * WAL, because reading prunes pages.  That WAL needs no commit.
 */
void
async_commit_begin_write(void)
{
	only_losable = XactLastRecEnd == losable_end ||
		!TransactionIdIsValid(GetTopTransactionIdIfAny());
}

void
async_commit_end_write(void)
{
	if (only_losable)
		losable_end = XactLastRecEnd;
}

void
async_commit_pre_commit(void)
{
	if (losable_end != InvalidXLogRecPtr && XactLastRecEnd == losable_end &&
		!guc_synchronous_claims && synchronous_commit > SYNCHRONOUS_COMMIT_OFF)
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

void
async_commit_reset(void)
{
	losable_end = InvalidXLogRecPtr;
	only_losable = false;
}

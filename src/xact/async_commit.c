/*-------------------------------------------------------------------------
 *
 * async_commit.c
 *		Commits that need not wait for the disk.
 *
 * When a crash takes a claim back, the job is given out again, as if its
 * worker had died; when it takes the time of an access, that is older than it
 * might be.  So a transaction that wrote nothing but these commits
 * without waiting for its WAL to be flushed.  Whether that is all it wrote
 * shows in the end of its WAL: where it stands before such a write it must have
 * been left by the one before, and at the commit by the last one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/guc.h"

#include "common/guc.h"
#include "xact/async_commit.h"

/* where the WAL of this transaction ended after the last losable write */
static XLogRecPtr losable_end = InvalidXLogRecPtr;

/* it had written nothing else before the one that goes on */
static bool nothing_else = false;

void
async_commit_begin_write(void)
{
	/* what a page was tidied up by while reading needs no commit */
	nothing_else = XactLastRecEnd == losable_end ||
		!TransactionIdIsValid(GetTopTransactionIdIfAny());
}

void
async_commit_end_write(void)
{
	if (nothing_else)
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
	nothing_else = false;
}

/*-------------------------------------------------------------------------
 *
 * aliases.h
 *		Aliases, for other files.  Callers are in a repo call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ALIASES_H
#define PICTREPO_ALIASES_H

#include "fmgr.h"

#include "sqlfunc/statement.h"

/* False: the alias does not exist. */
extern bool alias_delete(NullableDatum alias);

/* False: the alias does not exist, or has another token. */
extern bool delete_token_matches(NullableDatum alias, NullableDatum token);

/*
 * Make a repo call of its own: lock the alias in args[0], run a statement on
 * several rows that belong to it, and return how many rows it changed, as
 * bigint.  The lock prevents deadlocks between two such calls.  It is a statement
 * of its own.  So the snapshot of the next statement is taken after the lock, and
 * sees what the previous holder of the lock has committed.
 */
extern Datum return_count_with_alias_locked(FunctionCallInfo fcinfo, SqlStatement *statement,
											const NullableDatum *args);

#endif

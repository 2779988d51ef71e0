/*-------------------------------------------------------------------------
 *
 * aliases.h
 *		What other files do with aliases; within a call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ALIASES_H
#define PICTREPO_ALIASES_H

#include "fmgr.h"

#include "sqlfunc/statement.h"

/* False: no such alias. */
extern bool alias_delete(NullableDatum alias);

/* False: no such alias, or another token. */
extern bool delete_token_matches(NullableDatum alias, NullableDatum token);

/*
 * For statements on several rows below an alias, the first argument: the count,
 * with the alias locked.  That prevents deadlocks between two such calls.  The
 * lock is a statement of its own, so the next one sees the changes of whoever
 * held the alias before.
 */
extern Datum return_count_with_alias_locked(FunctionCallInfo fcinfo, SqlStatement *statement,
											const NullableDatum *args);

#endif

/*-------------------------------------------------------------------------
 *
 * restore_guard.h
 *		Keeping the worker away while a dump is restored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_RESTORE_GUARD_H
#define PICTREPO_RESTORE_GUARD_H

#include "datatype/timestamp.h"
#include "nodes/nodes.h"

/* For the session that restores */
extern bool restore_guard_recognizes(Node *statement);
extern void restore_guard_enter(void);
extern void restore_guard_enter_transaction(void);
extern void restore_guard_leave(int code, Datum unused);
extern void restore_guard_loaded(void);
extern void restore_guard_check_rows(Oid table);

/* For others */
extern void restore_guard_touch(void);
extern bool restore_guard_keep_away(void);
extern MonotonicTime restore_guard_last(void);
extern bool restore_guard_find(int *process);

#endif

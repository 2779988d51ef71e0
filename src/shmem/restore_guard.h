/*-------------------------------------------------------------------------
 *
 * restore_guard.h
 *		Restores of dumps, from which the worker keeps away.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_RESTORE_GUARD_H
#define PICTREPO_RESTORE_GUARD_H

#include "datatype/timestamp.h"
#include "nodes/nodes.h"

extern bool is_part_of_restore(Node *statement);
extern void begin_restore(void);
extern void watch_rows(void);
extern void note_restored(void);
extern bool keep_restores_away(void);
extern TimestampTz last_restored(void);

#endif

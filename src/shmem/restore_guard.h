/*-------------------------------------------------------------------------
 *
 * restore.h
 *		Restores of dumps, from which the worker keeps away.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_RESTORE_H
#define PICTREPO_RESTORE_H

#include "datatype/timestamp.h"
#include "nodes/nodes.h"

/*
 * The kind of lock that a restoring session has, which status() looks for; no
 * user takes this with the pg_advisory_* functions.
 */
#define RESTORE_LOCK_CLASS 28781

extern bool is_part_of_restore(Node *statement);
extern void begin_restore(void);
extern void watch_rows(void);
extern void note_restored(void);
extern bool keep_restores_away(void);
extern TimestampTz last_restored(void);

#endif

/*-------------------------------------------------------------------------
 *
 * changes.h
 *		What the current transaction changes in shared memory, when it commits.
 *
 * Triggers and repo functions note things here as they go.  A rollback, also
 * one to a savepoint, takes them back; the commit applies what is left.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_CHANGES_H
#define PICTREPO_CHANGES_H

#include "engine/shared.h"

extern void define_changes(void);

/* Rows that came and went */
extern void note_tally(Tallied which, int64 difference);
extern void note_truncated(Tallied which);
extern int64 uncommitted_tally(Tallied which);
extern int64 uncommitted_length(QueueState *queue);
extern bool changes_truncated(Tallied which);
extern bool changes_configuration(const QueueState *queue);
extern bool add_uncommitted_ready(Bounds *bounds, const QueueState *queue);

/* Jobs; queues are pinned until the transaction ends */
extern QueueState *changing_queue(const char *name, int length);
extern void note_length(QueueState *queue, int64 difference);
extern void note_ready(QueueState *queue, const JobPosition *job);
extern void note_claimed(QueueState *queue, const JobPosition *first, int count);
extern void note_freed(QueueState *queue);
extern void note_configured(QueueState *queue);
extern void note_counted(QueueState *queue, Counted what, int64 count);
extern void note_notice(QueueState *queue, const pg_uuid_t *job);

/* Claims made and ended, see pulse.c */
extern void note_pulse(const pg_uuid_t *job, int attempt, bool begins);

/* Wake who waits for a key, see wakeup.c */
extern void note_key(uint64 key);

/* A notification that the worker will send; takes the place over */
extern void note_notice_slot(Notice *notice);

/* The extension was created here, or one of its sessions' schedules changed */
extern void note_created(void);
extern void note_attention(uint32 what);

#endif

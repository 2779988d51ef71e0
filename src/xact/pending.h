/*-------------------------------------------------------------------------
 *
 * pending.h
 *		What the current transaction changes in shared memory, when it commits.
 *
 * Triggers and repo functions note things here as they go.  A rollback, also
 * one to a savepoint, takes them back; the commit applies what is left.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PENDING_H
#define PICTREPO_PENDING_H

#include "lib/ilist.h"

#include "shmem/shmem.h"

typedef struct QueueChange
{
	slist_node	node;
	QueueState *queue;			/* pinned */
	int64		length;
	int64		ready;			/* jobs to wake somebody for */
	int64		claimed;		/* jobs to wake somebody for if it is rolled back */
	int64		freed;			/* jobs that no longer run */
	bool		configured;
	TimestampTz next_due;
	Bounds		came;			/* where jobs became ready */
	Bounds		taken;			/* where they will be again after a rollback */
	int64		counts[COUNTS];
	bool		notice;
	pg_uuid_t	notice_job;
} QueueChange;

typedef struct PulseChange
{
	slist_node	node;
	pg_uuid_t	job;
	int			attempt;
	bool		begins;
} PulseChange;

typedef struct KeyChange
{
	slist_node	node;
	uint64		key;
} KeyChange;

typedef struct NoticeChange
{
	slist_node	node;
	Notice	   *notice;
} NoticeChange;

typedef struct Changes
{
	struct Changes *outer;
	int			level;			/* of nesting */
	int64		tallies[TALLIES];
	bool		truncated[TALLIES];
	bool		created;
	uint32		attention;
	slist_head	queues;
	slist_head	pulses;
	slist_head	keys;
	slist_head	notices;
} Changes;

/* The innermost level; NULL: the transaction has changed nothing */
extern Changes *changes;

/* Rows that came and went */
extern void note_tally(Tallied which, int64 difference);
extern void note_truncated(Tallied which);
extern int64 uncommitted_tally(Tallied which);
extern int64 uncommitted_length(QueueState *queue);
extern bool changes_truncated(Tallied which);
extern bool changes_configuration(const QueueState *queue);
extern bool add_uncommitted_ready(Bounds *bounds, const QueueState *queue);

/* Jobs; queues are pinned until the transaction ends */
extern QueueState *changing_queue(const text *name);
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

/* For the end of a (sub)transaction */
extern void merge_changes(Changes *outer, Changes *inner);
extern void free_changes(Changes *level);

#endif

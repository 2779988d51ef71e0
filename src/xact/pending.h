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

typedef struct PendingQueue
{
	slist_node	node;
	QueueSlot  *queue;			/* pinned */
	int64		length;
	int64		ready;			/* jobs to wake somebody for */
	int64		claimed;		/* jobs to wake somebody for if it is rolled
								 * back */
	int64		freed;			/* jobs that no longer run */
	bool		configured;
	TimestampTz next_due;
	ReadyBounds came;			/* where jobs became ready */
	ReadyBounds taken;			/* where they will be again after a rollback */
	int64		counters[QUEUE_COUNTERS];
	bool		notify_pending;
	pg_uuid_t	notify_job_id;
} PendingQueue;

typedef struct PendingHeartbeat
{
	slist_node	node;
	pg_uuid_t	job;
	int			attempt;
	bool		begins;
} PendingHeartbeat;

typedef struct PendingKey
{
	slist_node	node;
	uint64		key;
} PendingKey;

typedef struct PendingNotification
{
	slist_node	node;
	Notification *notification; /* NULL: no slot was free */
} PendingNotification;

typedef struct PendingChanges
{
	struct PendingChanges *outer;
	int			level;			/* of nesting */
	int64		row_counts[COUNTED_TABLES];
	bool		truncated[COUNTED_TABLES];
	bool		created;
	uint32		requests;
	slist_head	queues;
	slist_head	heartbeats;
	slist_head	keys;
	slist_head	notifications;
} PendingChanges;

/* The innermost level; NULL: the transaction has changed nothing */
extern PendingChanges *pending;

/* Rows that came and went */
extern void pending_row_count(CountedTable which, int64 difference);
extern void pending_truncate(CountedTable which);
extern int64 pending_get_row_count(CountedTable which);
extern int64 pending_get_length(QueueSlot *queue);
extern bool pending_truncates(CountedTable which);
extern bool pending_changes_config(const QueueSlot *queue);
extern bool pending_add_ready_bounds(ReadyBounds *bounds, const QueueSlot *queue);

/* Jobs; queues are pinned until the transaction ends */
extern QueueSlot *pending_queue(const text *name);
extern void pending_length(QueueSlot *queue, int64 difference);
extern void pending_ready(QueueSlot *queue, const JobPosition *job);
extern void pending_claim(QueueSlot *queue, const JobPosition *first, int count);
extern void pending_job_stopped(QueueSlot *queue);
extern void pending_config_change(QueueSlot *queue);
extern void pending_counter(QueueSlot *queue, QueueCounter what, int64 count);
extern void pending_job_notification(QueueSlot *queue, const pg_uuid_t *job);

/* Claims made and ended, see heartbeat.c */
extern void pending_heartbeat(const pg_uuid_t *job, int attempt, bool begins);

/* Wake the waiters with this key, see shmem/wait_queue.c */
extern void pending_wake_key(uint64 key);

/* A notification that the worker will send; the caller fills it in */
extern PendingNotification *pending_notification(void);

/* The extension was created here, or one of its sessions' schedules changed */
extern void pending_extension_created(void);
extern void pending_worker_request(uint32 what);

/* For the end of a (sub)transaction */
extern void pending_merge(PendingChanges *outer, PendingChanges *inner);
extern void pending_free(PendingChanges *level);

#endif

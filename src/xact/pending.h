/*-------------------------------------------------------------------------
 *
 * pending.h
 *		What the current transaction will change in shared memory at its commit.
 *
 * Triggers and repo functions collect changes here.  A rollback discards them, and
 * a rollback to a savepoint discards those since the savepoint.  The commit applies
 * the rest, see xact_callback.c.
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
	int64		length;			/* jobs added, minus jobs removed */
	int64		ready;			/* jobs that became ready: a commit wakes as
								 * many waiters */
	int64		taken;			/* ready jobs claimed, changed or removed: a
								 * rollback wakes as many waiters */
	int64		claiming;		/* jobs that a running statement may claim */
	int64		freed;			/* jobs that no longer run */
	bool		configured;		/* its row in queues changed */
	TimestampTz next_due;		/* of the jobs that are ready later */
	ReadyBounds ready_bounds;	/* of the jobs that became ready, or will */
	ReadyBounds taken_bounds;	/* of the taken jobs */
	int64		counters[QUEUE_COUNTERS];	/* to add */
	bool		notify_pending;
	pg_uuid_t	notify_job_id;
} PendingQueue;

typedef struct Claim
{
	pg_uuid_t	job;
	pg_uuid_t	worker;
	uint64		queue;			/* hash of its name */
	int			attempt;		/* of the job; each claim adds 1 */
} Claim;

typedef struct PendingClaim
{
	slist_node	node;
	Claim		claim;
	MonotonicTime claimed_at;
	int			replaces;		/* attempt of the entry that the job had
								 * before; its own: none */
} PendingClaim;

typedef struct PendingClaimEnd
{
	slist_node	node;
	pg_uuid_t	job;
	int			attempt;
} PendingClaimEnd;

typedef struct PendingKey
{
	slist_node	node;
	uint64		key;
} PendingKey;

typedef struct PendingNotification
{
	dlist_node	node;
	Notification *notification; /* set before the commit; NULL: the
								 * transaction sends it itself */
	const char *channel;
	char		payload[FLEXIBLE_ARRAY_MEMBER];
} PendingNotification;

typedef struct PendingChanges
{
	struct PendingChanges *outer;	/* of an enclosing (sub)transaction */
	int			level;			/* GetCurrentTransactionNestLevel() */
	int64		row_counts[COUNTED_TABLES]; /* rows added, minus rows removed */
	bool		truncated[COUNTED_TABLES];	/* before these rows */
	bool		counts_forgotten;	/* rows may have come past the triggers */
	bool		created;		/* the extension */
	uint32		requests;		/* WORKER_REQ_* flags */
	slist_head	queues;			/* of PendingQueue */
	slist_head	claims;			/* of PendingClaim */
	slist_head	claim_ends;		/* of PendingClaimEnd */
	slist_head	keys;			/* of PendingKey */
	dlist_head	notifications;	/* of PendingNotification, in their order */
} PendingChanges;

/* Of the innermost level that has changes; NULL: none has */
extern PendingChanges *pending;

/* Rows added and removed, and what this transaction has changed so far */
extern void pending_row_count(CountedTable which, int64 difference);
extern void pending_truncate(CountedTable which);
extern void pending_forget_counts(void);
extern int64 pending_get_row_count(CountedTable which);
extern int64 pending_get_length(QueueSlot *queue);
extern bool pending_truncates(CountedTable which);
extern bool pending_forgets_counts(void);
extern bool pending_changes_config(const QueueSlot *queue);
extern bool pending_add_ready_bounds(ReadyBounds *bounds, const QueueSlot *queue);

/*
 * Jobs.  pending_queue pins the slot of a queue until the transaction ends.  The
 * other functions take a slot that pending_queue has returned at this level.
 */
extern QueueSlot *pending_queue(const text *name);
extern void pending_length(QueueSlot *queue, int64 difference);
extern void pending_ready(QueueSlot *queue, const JobPosition *job);
extern void pending_claiming(QueueSlot *queue, int64 difference);
extern void pending_taken(QueueSlot *queue, const JobPosition *job);
extern void pending_job_stopped(QueueSlot *queue);
extern void pending_config_change(QueueSlot *queue);
extern void pending_counter(QueueSlot *queue, QueueCounter what, int64 count);
extern void pending_job_notification(QueueSlot *queue, const pg_uuid_t *job);

/* Claims that begin and end, see heartbeat.c; the caller sets what a claim replaces */
extern PendingClaim *pending_claim_begin(const Claim *claim);
extern void pending_claim_end(const pg_uuid_t *job, int attempt);
extern bool pending_changes_claim(const pg_uuid_t *job);

/* Wake the waiters with this key, see shmem/wait_queue.c */
extern void pending_wake_key(uint64 key);

/* A notification for the worker to send, see notify.c; channel is a constant */
extern void pending_notification(const char *channel, const char *payload);

/* Requests to the launcher and the worker */
extern void pending_extension_created(void);
extern void pending_worker_request(uint32 flags);

/* For the end of a (sub)transaction */
extern void pending_merge(PendingChanges *outer, PendingChanges *inner);
extern void pending_free(PendingChanges *level);

#endif

/*-------------------------------------------------------------------------
 *
 * notify.c
 *		Sending the notifications of pictrepo's channels.
 *
 * A transaction that notifies takes a lock at its commit, and holds it while its
 * WAL is flushed.  So such transactions commit one after the other.  With
 * pictrepo.notify = coalesced and a running worker, transactions leave their
 * notifications in shared memory, and the worker sends them.
 *
 * On queue_status_channel the worker sends one notification per queue at a time,
 * because a listener checks for every job of the queue anyway.  A commit only sets
 * notify_pending in the slot of the queue.  On the other channels the worker sends
 * every notification, in the order of the commits.
 *
 * Otherwise the transaction itself sends the notification.  It also does that
 * when shared memory has no free slot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "common/guc.h"
#include "common/limits.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "xact/notify.h"
#include "xact/pending.h"

#define BASE64_LEN(bytes) (((bytes) + 2) / 3 * 4)

/* The server takes payloads of less than 8000 bytes, pict-rs's limit is 7000. */
StaticAssertDecl(BASE64_LEN(HASH_MAX) + VARIANT_MAX < Min(7000, NOTIFICATION_LEN),
				 "a variant's key fits a notification");

static bool
worker_sends(void)
{
	DatabaseSlot *database = my_database_slot();

	return guc_notify_mode == NOTIFY_COALESCED && database != NULL && worker_running(database);
}

static char *
job_payload(const pg_uuid_t *job, const char *queue)
{
	return psprintf("%s %s", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(job))),
					queue);
}

/*
 * "<job id> <queue>" on queue_status_channel: the job became ready.  queue NULL:
 * the queue has no slot in shared memory.
 */
void
notify_job(QueueSlot *queue, const pg_uuid_t *job, const char *queue_name)
{
	if (guc_notify_mode == NOTIFY_OFF)
		return;
	if (queue != NULL && worker_sends())
		pending_job_notification(queue, job);
	else
		Async_Notify("queue_status_channel", job_payload(job, queue_name));
}

/* ----- notifications of the other channels ----- */

/* Allocate a free slot; NULL: none is free. */
static Notification *
allocate_slot(void)
{
	static int	last = 0;
	Notification *notification = NULL;

	LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
	for (int i = 0; i < NOTIFICATIONS_MAX && shmem->notifications_taken < NOTIFICATIONS_MAX; i++)
	{
		last = (last + 1) % NOTIFICATIONS_MAX;
		if (!OidIsValid(shmem->notification_slots[last].database))
		{
			notification = &shmem->notification_slots[last];
			notification->database = MyDatabaseId;
			notification->ready = false;
			shmem->notifications_taken++;
			break;
		}
	}
	LWLockRelease(shmem->notification_lock);
	return notification;
}

/* The payload must be shorter than NOTIFICATION_LEN. */
void
notify_channel(const char *channel, const char *payload)
{
	PendingNotification *entry;

	if (guc_notify_mode == NOTIFY_OFF)
		return;
	if (worker_sends())
	{
		/*
		 * pending_notification may fail: it must not lose an allocated slot
		 */
		entry = pending_notification();
		entry->notification = allocate_slot();
		if (entry->notification != NULL)
		{
			strlcpy(entry->notification->channel, channel, NAMEDATALEN);
			strlcpy(entry->notification->payload, payload, NOTIFICATION_LEN);
			return;
		}
	}
	Async_Notify(channel, payload);
}

/* ----- for the end of a transaction: these cannot fail ----- */

/* The transaction has committed: the worker may send its notifications. */
void
notify_publish(slist_head *entries)
{
	slist_iter	iter;

	if (slist_is_empty(entries))
		return;
	LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
	slist_foreach(iter, entries)
	{
		Notification *notification = slist_container(PendingNotification, node, iter.cur)->notification;

		if (notification == NULL)
			continue;
		notification->number = ++shmem->notifications;
		notification->ready = true;
	}
	LWLockRelease(shmem->notification_lock);
	worker_request(my_database_slot(), WORKER_REQ_NOTIFY);
}

/* The caller holds notification_lock. */
static void
free_slot(Notification *notification)
{
	notification->database = InvalidOid;
	shmem->notifications_taken--;
}

/* The transaction rolls back, or is prepared: its notifications are not sent. */
void
notify_discard(slist_head *entries)
{
	slist_iter	iter;

	if (slist_is_empty(entries))
		return;
	LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
	slist_foreach(iter, entries)
	{
		Notification *notification = slist_container(PendingNotification, node, iter.cur)->notification;

		if (notification != NULL)
			free_slot(notification);
	}
	LWLockRelease(shmem->notification_lock);
}

/* ----- sending, by the worker ----- */

/*
 * What the current transaction of the worker sends.  They are sent if it commits.
 * If it rolls back, also because the worker is terminated, the next transaction
 * sends them again.
 */
static List *sent_queues = NIL; /* of QueueSlot, pinned */
static List *sent_notifications = NIL;	/* of Notification */

static bool
is_notify_pending(QueueSlot *queue)
{
	bool		notify_pending;

	LWLockAcquire(&queue->lock, LW_SHARED);
	notify_pending = queue->notify_pending;
	LWLockRelease(&queue->lock);
	return notify_pending;
}

static void
collect_queues(void)
{
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	LWLockAcquire(shmem->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
		if (queue->key.database == MyDatabaseId && is_notify_pending(queue))
		{
			/* it may fail: it must not leave a pin */
			sent_queues = lappend(sent_queues, queue);
			pg_atomic_fetch_add_u32(&queue->pins, 1);
		}
	LWLockRelease(shmem->table_lock);
}

static void
send_queue_notification(QueueSlot *queue)
{
	char		name[KEY_MAX + 1] = {0};
	pg_uuid_t	job;

	LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
	queue->notify_pending = false;
	job = queue->notify_job_id;
	LWLockRelease(&queue->lock);
	memcpy(name, queue->key.name, KEY_MAX);
	Async_Notify("queue_status_channel", job_payload(&job, name));
}

static int
compare_numbers(const ListCell *a, const ListCell *b)
{
	const Notification *x = lfirst(a);
	const Notification *y = lfirst(b);

	return (x->number > y->number) - (x->number < y->number);
}

/* The committed notifications of this database, in the order of their commits. */
static void
collect_notifications(void)
{
	LWLockAcquire(shmem->notification_lock, LW_SHARED);
	for (int i = 0; i < NOTIFICATIONS_MAX && shmem->notifications_taken > 0; i++)
	{
		Notification *notification = &shmem->notification_slots[i];

		if (notification->database == MyDatabaseId && notification->ready)
			sent_notifications = lappend(sent_notifications, notification);
	}
	LWLockRelease(shmem->notification_lock);
	list_sort(sent_notifications, compare_numbers);
}

/* The notification of a queue that was not sent is pending again. */
static void
finish_queues(bool sent)
{
	ListCell   *cell;

	foreach(cell, sent_queues)
	{
		QueueSlot  *queue = lfirst(cell);

		if (!sent)
		{
			LWLockAcquire(&queue->lock, LW_EXCLUSIVE);
			queue->notify_pending = true;
			LWLockRelease(&queue->lock);
		}
		queue_slot_unpin(queue);
	}
	list_free(sent_queues);
	sent_queues = NIL;
}

static void
finish_notifications(bool sent)
{
	ListCell   *cell;

	if (sent && sent_notifications != NIL)
	{
		LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
		foreach(cell, sent_notifications)
			free_slot(lfirst(cell));
		LWLockRelease(shmem->notification_lock);
	}
	list_free(sent_notifications);
	sent_notifications = NIL;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	finish_queues(event == XACT_EVENT_COMMIT);
	finish_notifications(event == XACT_EVENT_COMMIT);
}

/* Once for the process: the server keeps the callback. */
static void
register_callback(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
}

/*
 * Send the committed notifications of this database, in a transaction of the
 * worker.  Returns their number.
 */
uint64
notify_send(void)
{
	MemoryContext transaction;
	ListCell   *cell;

	if (my_database_slot() == NULL)
		return 0;
	transaction = MemoryContextSwitchTo(TopMemoryContext);
	register_callback();
	collect_queues();
	collect_notifications();
	MemoryContextSwitchTo(transaction);
	foreach(cell, sent_queues)
		send_queue_notification(lfirst(cell));
	foreach(cell, sent_notifications)
	{
		Notification *notification = lfirst(cell);

		Async_Notify(notification->channel, notification->payload);
	}
	return list_length(sent_queues) + list_length(sent_notifications);
}

/*-------------------------------------------------------------------------
 *
 * notify.c
 *		Sending the notifications of pictrepo's channels.
 *
 * A transaction that notifies takes a lock at its commit, and holds it while its
 * WAL is flushed.  So such transactions commit one after the other.  With
 * pictrepo.notify = coalesced, transactions leave their notifications in shared
 * memory, and the worker sends them.
 *
 * On queue_status_channel the worker sends one notification per queue at a time,
 * because a listener checks for every job of the queue anyway.  A commit only sets
 * notify_pending in the slot of the queue.  On the other channels the worker sends
 * every notification, in the order of the commits.
 *
 * Whether the worker runs is asked just before the commit.  If it does not, or if
 * shared memory has no free slot, the transaction itself sends the notification.
 *
 * The server refuses to prepare a transaction that notifies, and no callback runs
 * when a prepared transaction commits.  So a transaction that is being prepared
 * stores its notifications in a table.  These rows become visible with its other
 * rows, whoever commits it, and after a restart too.  The worker sends and deletes
 * them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/limits.h"
#include "common/uuid.h"
#include "shmem/database_slot.h"
#include "shmem/queue_slot.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/notify.h"
#include "xact/pending.h"

#define QUEUE_CHANNEL "queue_status_channel"

/* the columns of prepared_notifications: id, channel, payload */
#define PREPARED_COLUMNS 3

/* how often the worker looks for notifications of prepared transactions while there are any */
#define PREPARED_INTERVAL (USECS_PER_SEC / 2)

#define BASE64_LEN(bytes) (((bytes) + 2) / 3 * 4)

/* The server takes payloads of less than 8000 bytes, pict-rs's limit is 7000. */
StaticAssertDecl(BASE64_LEN(HASH_MAX) + VARIANT_MAX < Min(7000, NOTIFICATION_LEN),
				 "a variant's key fits a notification");

/* Does the transaction collect its notifications, and decide before its commit? */
static bool
collects(void)
{
	return guc_notify_mode == NOTIFY_COALESCED && my_database_slot() != NULL;
}

static char *
job_payload(const pg_uuid_t *job, const char *queue)
{
	return psprintf("%s %s", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(job))),
					queue);
}

static char *
queue_payload(const PendingQueue *change)
{
	char		name[KEY_MAX + 1] = {0};

	memcpy(name, change->queue->key.name, KEY_MAX);
	return job_payload(&change->notify_job_id, name);
}

/* The payload must be shorter than NOTIFICATION_LEN. */
void
notify_channel(const char *channel, const char *payload)
{
	if (guc_notify_mode == NOTIFY_OFF)
		return;
	if (collects())
		pending_notification(channel, payload);
	else
		Async_Notify(channel, payload);
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
	if (queue != NULL && collects())
		pending_job_notification(queue, job);
	else
		notify_channel(QUEUE_CHANNEL, job_payload(job, queue_name));
}

/* ----- before a commit ----- */

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

/* Leave it in shared memory for the worker; false: there is no room. */
static bool
leave_for_worker(PendingNotification *entry)
{
	entry->notification = allocate_slot();
	if (entry->notification == NULL)
		return false;
	strlcpy(entry->notification->channel, entry->channel, NAMEDATALEN);
	strlcpy(entry->notification->payload, entry->payload, NOTIFICATION_LEN);
	return true;
}

/* The transaction itself sends what the worker cannot.  An error is a rollback. */
void
notify_before_commit(PendingChanges *all)
{
	bool		worker = my_database_slot() != NULL && worker_running(my_database_slot());
	slist_iter	queues;
	dlist_iter	iter;

	slist_foreach(queues, &all->queues)
	{
		PendingQueue *change = slist_container(PendingQueue, node, queues.cur);

		if (change->notify_pending && !worker)
		{
			Async_Notify(QUEUE_CHANNEL, queue_payload(change));
			change->notify_pending = false;
		}
	}
	dlist_foreach(iter, &all->notifications)
	{
		PendingNotification *entry = dlist_container(PendingNotification, node, iter.cur);

		if (!worker || !leave_for_worker(entry))
			Async_Notify(entry->channel, entry->payload);
	}
}

/* ----- before a transaction is prepared ----- */

/*
 * Insert a row without a statement, because the transaction may have any user and
 * search_path.
 */
static void
store_notification(Relation table, const char *channel, const char *payload)
{
	pg_uuid_t	id;
	Datum		values[PREPARED_COLUMNS];
	bool		nulls[PREPARED_COLUMNS] = {false};

	uuid_mint(&id);
	values[0] = UUIDPGetDatum(&id);
	values[1] = CStringGetTextDatum(channel);
	values[2] = CStringGetTextDatum(payload);
	CatalogTupleInsert(table, heap_form_tuple(RelationGetDescr(table), values, nulls));
}

static void
store_notifications(Relation table, PendingChanges *all)
{
	slist_iter	queues;
	dlist_iter	iter;

	slist_foreach(queues, &all->queues)
	{
		PendingQueue *change = slist_container(PendingQueue, node, queues.cur);

		if (change->notify_pending)
			store_notification(table, QUEUE_CHANNEL, queue_payload(change));
	}
	dlist_foreach(iter, &all->notifications)
	{
		PendingNotification *entry = dlist_container(PendingNotification, node, iter.cur);

		store_notification(table, entry->channel, entry->payload);
	}
}

/*
 * Without the table, the extension was dropped, or is older than the library.
 * Somebody may have altered the table.
 */
void
notify_before_prepare(PendingChanges *all)
{
	Oid			schema = get_namespace_oid("pictrepo", true);
	Oid			oid = OidIsValid(schema) ? get_relname_relid("prepared_notifications", schema) : InvalidOid;
	Relation	table;

	if (!OidIsValid(oid))
		return;
	table = table_open(oid, RowExclusiveLock);
	if (RelationGetNumberOfAttributes(table) == PREPARED_COLUMNS)
		store_notifications(table, all);
	table_close(table, NoLock);
}

/* ----- for the end of a transaction: these cannot fail ----- */

/* The transaction has committed: the worker may send its notifications. */
void
notify_publish(PendingChanges *all)
{
	dlist_iter	iter;

	if (dlist_is_empty(&all->notifications))
		return;
	LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
	dlist_foreach(iter, &all->notifications)
	{
		Notification *notification = dlist_container(PendingNotification, node, iter.cur)->notification;

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

/* The transaction rolls back: its notifications are not sent. */
void
notify_discard(PendingChanges *all)
{
	dlist_iter	iter;

	if (dlist_is_empty(&all->notifications))
		return;
	LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
	dlist_foreach(iter, &all->notifications)
	{
		Notification *notification = dlist_container(PendingNotification, node, iter.cur)->notification;

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

/* May the table have notifications of transactions that were prepared? */
static bool expects_prepared = true;

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
	Async_Notify(QUEUE_CHANNEL, job_payload(&job, name));
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
	if (event == XACT_EVENT_ABORT)
		expects_prepared = true;
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

STATEMENT(take_prepared, STMT_READ_WRITE | STMT_WHOLE_TABLE,
		  "WITH taken AS (DELETE FROM pictrepo.prepared_notifications RETURNING id, channel, payload)"
		  " SELECT channel, payload FROM taken ORDER BY id");

/*
 * Send those of prepared transactions that have committed.  The mark is read first:
 * what commits before it is cleared is visible to the statement of the next run.
 */
static uint64
send_prepared(void)
{
	bool		expected = expects_prepared;
	uint64		sent;

	expects_prepared = pg_atomic_read_u32(&my_database_slot()->prepared) != 0;
	if (!expected && !expects_prepared)
		return 0;
	sent = statement_run(&take_prepared, NULL);
	for (uint64 i = 0; i < sent; i++)
		Async_Notify(TextDatumGetCString(result_value(i, 1).value), TextDatumGetCString(result_value(i, 2).value));
	return sent;
}

/* When to look for the notifications of prepared transactions again. */
TimestampTz
notify_next_run(void)
{
	return my_database_slot() != NULL && expects_prepared ? GetCurrentTimestamp() + PREPARED_INTERVAL : DT_NOEND;
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
	return send_prepared() + list_length(sent_queues) + list_length(sent_notifications);
}

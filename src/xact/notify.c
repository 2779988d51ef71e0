/*-------------------------------------------------------------------------
 *
 * notify.c
 *		Serving the notification channels.
 *
 * A NOTIFY makes committing transactions take turns, for as long as each waits
 * for the disk.  So with shared memory and a worker a commit only leaves a
 * note, and the worker sends it: one per queue and round, since who listens
 * looks for all jobs of the queue anyway, and each one of the other channels.
 * A note that comes after the worker has looked is sent in the next round.
 * Where that is not possible the notification goes with the commit.
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

/* A job became ready; queue: its state, if it has one. */
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

/* ----- notes of other channels ----- */

/* A free slot, taken; NULL: there is none. */
static Notification *
take_slot(void)
{
	static int	last = 0;
	Notification *notice = NULL;

	LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
	for (int i = 0; i < NOTIFICATIONS_MAX && shmem->notifications_taken < NOTIFICATIONS_MAX; i++)
	{
		last = (last + 1) % NOTIFICATIONS_MAX;
		if (!OidIsValid(shmem->notification_slots[last].database))
		{
			notice = &shmem->notification_slots[last];
			notice->database = MyDatabaseId;
			notice->ready = false;
			shmem->notifications_taken++;
			break;
		}
	}
	LWLockRelease(shmem->notification_lock);
	return notice;
}

void
notify(const char *channel, const char *payload)
{
	Notification *notice = NULL;

	if (guc_notify_mode == NOTIFY_OFF)
		return;
	if (worker_sends())
		notice = take_slot();
	if (notice == NULL)
	{
		Async_Notify(channel, payload);
		return;
	}
	strlcpy(notice->channel, channel, NAMEDATALEN);
	strlcpy(notice->payload, payload, NOTIFICATION_LEN);
	pending_notification(notice);
}

/* ----- sending, by the worker ----- */

/*
 * What goes out with the transaction that is under way.  Its end, also that of a
 * session that is terminated, says whether it went.
 */
static List *sent_queues = NIL; /* of QueueSlot, pinned */
static List *sent_notifications = NIL;	/* of Notice */

/* Queues of this database that have news; from now on it is no news. */
static void
take_queue_notifications(void)
{
	HASH_SEQ_STATUS scan;
	QueueSlot  *queue;

	LWLockAcquire(shmem->table_lock, LW_SHARED);
	hash_seq_init(&scan, queue_slots);
	while ((queue = hash_seq_search(&scan)) != NULL)
		if (queue->key.database == MyDatabaseId && queue->notify_pending)
		{
			pg_atomic_fetch_add_u32(&queue->pins, 1);
			sent_queues = lappend(sent_queues, queue);
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

/* Committed notes of this database; nobody else touches them. */
static void
take_notifications(void)
{
	for (int i = 0; i < NOTIFICATIONS_MAX && shmem->notifications_taken > 0; i++)
	{
		Notification *notice = &shmem->notification_slots[i];

		LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
		if (notice->database != MyDatabaseId || !notice->ready)
			notice = NULL;
		LWLockRelease(shmem->notification_lock);
		if (notice != NULL)
			sent_notifications = lappend(sent_notifications, notice);
	}
	list_sort(sent_notifications, compare_numbers);
}

/* What was not sent stays to be sent. */
static void
finish_queue_notifications(bool sent)
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
free_sent_notifications(void)
{
	ListCell   *cell;

	LWLockAcquire(shmem->notification_lock, LW_EXCLUSIVE);
	foreach(cell, sent_notifications)
	{
		((Notification *) lfirst(cell))->database = InvalidOid;
		shmem->notifications_taken--;
	}
	LWLockRelease(shmem->notification_lock);
}

static void
finish_notifications(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	finish_queue_notifications(event == XACT_EVENT_COMMIT);
	if (event == XACT_EVENT_COMMIT && sent_notifications != NIL)
		free_sent_notifications();
	list_free(sent_notifications);
	sent_notifications = NIL;
}

/* Once per process: the server keeps the callback. */
static void
watch_transactions(void)
{
	static bool watching = false;

	if (!watching)
		RegisterXactCallback(finish_notifications, NULL);
	watching = true;
}

/* In a transaction of the worker: send what there is; how many. */
uint64
notify_send(void)
{
	MemoryContext transaction;
	ListCell   *cell;

	if (my_database_slot() == NULL)
		return 0;
	transaction = MemoryContextSwitchTo(TopMemoryContext);
	watch_transactions();
	take_queue_notifications();
	take_notifications();
	MemoryContextSwitchTo(transaction);
	foreach(cell, sent_queues)
		send_queue_notification(lfirst(cell));
	foreach(cell, sent_notifications)
	{
		Notification *notice = lfirst(cell);

		Async_Notify(notice->channel, notice->payload);
	}
	return list_length(sent_queues) + list_length(sent_notifications);
}

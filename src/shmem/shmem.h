/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		What lies in shared memory.
 *
 * Everything here is a hint, a pulse or a count that can be made again from
 * the tables.  It is laid out once, when the server starts, in sizes that
 * settings give; whoever finds a table full, or no shared memory at all, takes
 * the durable path.  After a crash the server starts with all of it empty.
 *
 *	ShmemState		1					start time, the launcher, free places
 *	DatabaseSlot	DATABASES_MAX		counts, the worker and its duties
 *	QueueSlot		max_queues			hash table by (database, queue): line,
 *										cursor, length, counters
 *	Pulse			max_running_jobs	hash table by (database, job): heartbeats
 *	Waiter			max_waiters			who waits
 *	KeyedWaitQueue		KEYED_WAIT_QUEUES			who waits for an upload or a variant
 *	Notice			NOTIFICATIONS_MAX			notifications that the worker will send
 *
 * Locks, in the order in which they may be taken: a database's tally lock, the
 * table lock, a pulse partition's lock, a spinlock.  Under a spinlock there is
 * no call that could fail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SHMEM_H
#define PICTREPO_SHMEM_H

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/hsearch.h"
#include "utils/uuid.h"

#include "common/limits.h"
#include "common/maintenance_tasks.h"

#ifdef PICTREPO_INJECTION
#define DATABASES_MAX 8			/* so that a test gets there */
#define NOTIFICATIONS_MAX 16
#else
#define DATABASES_MAX 100
#define NOTIFICATIONS_MAX 1024
#endif
#define KEYED_WAIT_QUEUES 256
#define HEARTBEAT_PARTITIONS 16
#define VISITS_MAX 3
#define NOTIFICATION_LEN 1280
#define LOW_WATER_MARK_LEVELS 8
#define LATE_JOBS_KEPT 16

/* ----- counts, see xact/row_count.c ----- */

typedef enum CountedTable
{
	COUNTED_HASHES,
	COUNTED_JOBS,
	COUNTED_TABLES
} CountedTable;

typedef enum RowCountState
{
	ROW_COUNT_UNKNOWN,			/* nobody has counted yet */
	ROW_COUNT_COUNTING,			/* a backend counts; value has what it cannot
								 * see */
	ROW_COUNT_KNOWN,
} RowCountState;

typedef struct RowCount
{
	LWLock	   *lock;			/* shared to add, exclusive to change the
								 * state */
	RowCountState state;
	pg_atomic_uint64 value;
	int			counter;		/* pid of who counts */
	TransactionId xmin;			/* the snapshot that is, or was, counted */
	FullTransactionId xmax;
	int			xcnt;
	TransactionId *xip;			/* sorted */
} RowCount;

/* ----- databases ----- */

typedef struct MaintenanceTaskState
{
	TimestampTz last_run;		/* 0: never */
	int64		duration;		/* us */
	int64		rows;
	int64		runs;
	int64		errors;
	char		error[200];		/* of the last run; empty: none */
} MaintenanceTaskState;

/* See worker_slot.c for the events that lead from one to another */
typedef enum WorkerState
{
	WORKER_NONE,				/* no worker runs; the launcher starts one */
	WORKER_STARTING,			/* the launcher has asked for one */
	WORKER_RUNNING,				/* one has signed on */
	WORKER_UNWANTED,			/* the last one did not find the extension */
	WORKER_STATES
} WorkerState;

typedef struct WorkerStatus
{
	WorkerState state;
	TimestampTz next_try;		/* no worker starts before */
	int			failures;		/* in a row */
} WorkerStatus;

typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: free */
	RowCount	row_counts[COUNTED_TABLES];
	pg_atomic_uint32 overflowed;	/* some queue has no QueueSlot */

	/* transactions that were prepared may change the tables unnoticed */
	pg_atomic_uint32 prepared;
	pg_atomic_uint32 preparations;

	pg_atomic_uint64 restored;	/* when rows of a dump last came */

	/* the worker; only worker_slot.c writes these fields */
	slock_t		worker_mutex;
	WorkerStatus worker;		/* worker_mutex; the state alone is read
								 * without it, too */
	Latch	   *worker_latch;	/* worker_mutex; NULL: none has signed on */
	int			worker_holds;	/* worker_mutex: statements that need the
								 * database without a worker */
	uint32		creations;		/* worker_mutex: CREATE EXTENSION and ALTER
								 * EXTENSION UPDATE that committed */
	ConditionVariable worker_ended; /* no worker starts or runs */
	pg_atomic_uint64 worker_seen;	/* when the worker last did its tasks */
	pg_atomic_uint32 requests;	/* WORKER_REQ_* flags for the worker */
	MaintenanceTaskState maintenance_tasks[MAINTENANCE_TASKS];	/* maintenance_lock */
} DatabaseSlot;

#define WORKER_REQ_NOTIFY	0x01	/* there is something to notify */
#define WORKER_REQ_SESSIONS	0x02	/* a session with bound jobs has ended */
#define WORKER_REQ_SCHEDULES	0x04	/* a schedule has changed */

/* ----- queues ----- */

typedef struct QueueKey
{
	Oid			database;
	char		name[KEY_MAX];	/* padded with zeros */
} QueueKey;

/* A place in the order in which jobs of a queue are given out. */
typedef struct JobPosition
{
	int32		priority;
	TimestampTz run_at;
	pg_uuid_t	id;
} JobPosition;

/* Lower bounds of the ready jobs, one per priority, highest first; see low_water_mark.c */
typedef struct ReadyBounds
{
	bool		complete;		/* every ready job has its priority here */
	int			levels;
	JobPosition first[LOW_WATER_MARK_LEVELS];
} ReadyBounds;

typedef struct LowWaterMarks
{
	ReadyBounds bounds;
	uint64		late;			/* how many jobs came late, ever */
	JobPosition came_late[LATE_JOBS_KEPT];	/* the last of them, by their
											 * number */
	TimestampTz next_full_scan;
	ReadyBounds found;			/* what a full look that is under way has to
								 * add */
	uint64		full_scan;		/* its number; 0: none is under way */
	TimestampTz full_scan_began;
} LowWaterMarks;

typedef enum QueueCounter
{
	COUNTER_PUSHED,
	COUNTER_POPPED,
	COUNTER_COMPLETED,
	COUNTER_FAILED,
	COUNTER_DIED,
	COUNTER_REAPED,
	COUNTER_WOKEN,
	COUNTER_WAIT_TIME,			/* us in which jobs were due, until they were
								 * popped */
	COUNTER_RUN_TIME,			/* us in which workers held them */
	QUEUE_COUNTERS
} QueueCounter;

typedef struct QueueSlot
{
	QueueKey	key;
	pg_atomic_uint32 pins;		/* who keeps a pointer to it */
	pg_atomic_uint64 length;	/* jobs, committed; see xact/row_count.c */
	bool		uncounted;		/* length is not kept */

	slock_t		mutex;			/* for all below */
	dlist_head	wait_queue;		/* of Waiter */
	TimestampTz next_due;		/* the first in line looks then */
	LowWaterMarks low_water_marks;
	int64		counters[QUEUE_COUNTERS];	/* since the server started */
	uint64		config_version;
	bool		config_known;	/* the two below are as in the table */
	bool		configured;		/* it has a row in queues */
	bool		limited;		/* max_running may be set: ends make room */
	TimestampTz last_reap;		/* by a pop, for want of a worker */
	bool		notify_pending; /* ready jobs that nobody was notified of */
	pg_uuid_t	notify_job_id;
} QueueSlot;

/* ----- waiting, see wait_queue.c ----- */

typedef enum WaitKind
{
	WAIT_FOR_JOB,
	WAIT_FOR_UPLOAD,
	WAIT_FOR_VARIANT,
} WaitKind;

/* a hash of pict-rs's and a long name, or the longest hash and a short one */
#define WAIT_NAME_MAX 192

/* What view waiting shows of a waiter */
typedef struct WaitInfo
{
	int			pid;			/* 0: nobody has the place */
	Oid			database;
	WaitKind	what;
	TimestampTz since;
	int			hash_length;	/* of a variant's hash, with which the name
								 * begins */
	int			length;
	char		name[WAIT_NAME_MAX];	/* of the queue, the variant, cut off;
										 * an upload's id in binary */
} WaitInfo;

typedef struct Waiter
{
	dlist_node	node;			/* in a line, or in the list of free ones */
	Latch	   *latch;
	uint64		key;			/* in a keyed line */
	bool		checking;		/* awake, and checks whether it is there */
	bool		woken;			/* has to check (again) */
	bool		relay;			/* wakes the next one when something was there */
	WaitInfo	info;			/* under shmem->mutex; for view waiting alone */
} Waiter;

typedef struct KeyedWaitQueue
{
	slock_t		mutex;
	dlist_head	wait_queue;
} KeyedWaitQueue;

/* ----- heartbeats, see xact/heartbeat.c ----- */

typedef struct HeartbeatKey
{
	Oid			database;
	pg_uuid_t	job;
} HeartbeatKey;

typedef struct Heartbeat
{
	HeartbeatKey key;
	int32		attempt;
	pg_uuid_t	worker;
	uint64		queue;			/* hash of its name */
	bool		active;			/* the claim is committed */
	bool		suspended;		/* somebody may be taking the job away */
	pg_atomic_uint64 last_beat;
} Heartbeat;

/* ----- notifications, see xact/notify.c ----- */

typedef struct Notification
{
	Oid			database;		/* InvalidOid: free */
	bool		ready;			/* committed, to be sent */
	uint64		number;			/* in the order of commits */
	char		channel[NAMEDATALEN];
	char		payload[NOTIFICATION_LEN];
} Notification;

/* ----- the whole ----- */

typedef struct ShmemState
{
	LWLock	   *table_lock;		/* queues, database slots */
	LWLock	   *heartbeat_locks[HEARTBEAT_PARTITIONS];
	slock_t		mutex;			/* for the lists below */
	dlist_head	free_waiters;
	uint64		notifications;	/* numbers given */
	int			notifications_taken;
	LWLock	   *maintenance_lock;
	slock_t		launcher_mutex;
	Latch	   *launcher_latch; /* launcher_mutex; NULL: no launcher runs */
	pg_atomic_uint32 visits[VISITS_MAX];	/* databases that a new worker
											 * visits; InvalidOid: it found no
											 * extension */
	KeyedWaitQueue keyed_wait_queues[KEYED_WAIT_QUEUES];
	DatabaseSlot databases[DATABASES_MAX];
	Notification notification_slots[NOTIFICATIONS_MAX];
} ShmemState;

/* NULL without shared_preload_libraries */
extern ShmemState *shmem;
extern HTAB *queue_slots;
extern HTAB *heartbeats;
extern Waiter *waiters;

extern void shmem_reserve(void);
extern bool shmem_usable(void);

#endif

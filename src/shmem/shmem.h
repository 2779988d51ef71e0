/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		What lies in shared memory, and what guards it.
 *
 * Shared memory holds hints, heartbeats and counts.  Each can be made again from
 * the tables, so losing it costs time and never data.  The server lays it out
 * when it starts, in sizes that settings give.  A session that finds a table
 * full, or finds no shared memory, works with the tables alone.  After a crash
 * the server starts with empty shared memory.
 *
 *	ShmemState		1					locks, free waiters, notifications
 *	DatabaseSlot	DATABASES_MAX		row counts, the worker and its tasks
 *	QueueSlot		max_queues			hash table by (database, queue): waiters,
 *										low-water marks, length, counters
 *	Heartbeat		max_running_jobs	hash table by (database, job)
 *	Waiter			max_waiters			a session that waits
 *	KeyedWaitQueue	KEYED_WAIT_QUEUES	waiters for an upload or a variant
 *	Notification	NOTIFICATIONS_MAX	what the worker will send
 *
 * Sessions take locks in this order: the lock of a row count, table_lock, a
 * partition of the heartbeats, the lock of a queue slot or of a keyed wait
 * queue, waiter_lock, notification_lock, a spinlock.  maintenance_lock and
 * clock_lock are taken alone.  A spinlock is held for a few assignments, without a call or a loop.
 *
 * Each field says what guards it.  "Owner" is the session that waits, or the
 * transaction that has allocated the place.
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
#include "common/monotonic.h"

#ifdef PICTREPO_INJECTION
#define DATABASES_MAX 8			/* few, so that tests can use them up */
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

/* ----- row counts, see xact/row_count.c ----- */

typedef enum CountedTable
{
	COUNTED_HASHES,
	COUNTED_JOBS,
	COUNTED_TABLES
} CountedTable;

typedef enum RowCountState
{
	ROW_COUNT_UNKNOWN,			/* no session has counted yet */
	ROW_COUNT_COUNTING,			/* a session counts; value has what its
								 * snapshot does not see */
	ROW_COUNT_KNOWN,
} RowCountState;

/* All but value: read under the lock, written under it in exclusive mode */
typedef struct RowCount
{
	LWLock	   *lock;
	RowCountState state;
	pg_atomic_uint64 value;		/* added to under the lock in shared mode */
	int			counter;		/* pid of the session that counts */
	TransactionId xmin;			/* the snapshot that is, or was, counted */
	FullTransactionId xmax;
	int			xcnt;
	TransactionId *xip;			/* sorted */
} RowCount;

/* ----- databases ----- */

typedef struct MaintenanceTaskState
{
	TimestampTz last_run;		/* by the wall clock; 0: never */
	int64		duration;		/* us */
	int64		rows;
	int64		runs;
	int64		errors;
	char		error[200];		/* of the last run; empty: none */
	TimestampTz failing_since;	/* the first of the runs that had an error
								 * since one had none; 0: the last had none */
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
	MonotonicTime next_try;		/* no worker starts before */
	int			failures;		/* in a row */
} WorkerStatus;

typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: free */
	RowCount	row_counts[COUNTED_TABLES];
	pg_atomic_uint32 overflowed;	/* some queue has no QueueSlot */
	pg_atomic_uint32 counters_lost; /* of some queue, since the server started */

	/*
	 * transactions that were prepared may change the tables unnoticed, also
	 * some from before the server started
	 */
	pg_atomic_uint32 prepared;
	pg_atomic_uint32 preparations;

	pg_atomic_uint64 restored;	/* MonotonicTime: when rows of a dump last
								 * came */

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
	pg_atomic_uint64 worker_seen;	/* MonotonicTime: when the worker last did
									 * its tasks */
	pg_atomic_uint32 requests;	/* WORKER_REQ_* flags for the worker */
	MaintenanceTaskState maintenance_tasks[MAINTENANCE_TASKS];	/* maintenance_lock */
} DatabaseSlot;

#define WORKER_REQ_NOTIFY	0x01	/* there is something to notify */
#define WORKER_REQ_SESSIONS	0x02	/* a session with bound jobs has ended */
#define WORKER_REQ_SCHEDULES	0x04	/* a schedule has changed */
#define WORKER_REQ_CLOCK	0x08	/* the wall clock was set back */

/* ----- queues ----- */

typedef struct QueueKey
{
	Oid			database;
	char		name[KEY_MAX];	/* padded with zeros */
} QueueKey;

/* A place in the order in which pops take the jobs of a queue */
typedef struct JobPosition
{
	int32		priority;
	TimestampTz run_at;
	pg_uuid_t	id;
} JobPosition;

/* Lower bounds of the ready jobs, one per priority, highest priority first */
typedef struct ReadyBounds
{
	bool		complete;		/* the priority of every ready job is here */
	int			levels;
	JobPosition first[LOW_WATER_MARK_LEVELS];
} ReadyBounds;

/* See low_water_mark.c */
typedef struct LowWaterMarks
{
	ReadyBounds bounds;
	uint64		late;			/* number of jobs that ever came late */
	JobPosition came_late[LATE_JOBS_KEPT];	/* the last of them, by number */
	MonotonicTime next_full_scan;
	ReadyBounds found;			/* what came while a full scan runs */
	uint64		full_scan;		/* its number; 0: none runs */
	MonotonicTime full_scan_began;
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
	COUNTER_WAIT_TIME,			/* us from the time a job was due to its pop */
	COUNTER_RUN_TIME,			/* us for which workers held jobs */
	QUEUE_COUNTERS
} QueueCounter;

typedef struct QueueSlot
{
	QueueKey	key;
	pg_atomic_uint32 pins;		/* pointers to it that sessions keep */
	pg_atomic_uint64 length;	/* committed jobs; changed under the lock of
								 * the jobs' row count */
	bool		uncounted;		/* length is wrong; written under table_lock
								 * and the lock of the jobs' row count, read
								 * under one of them */
	LWLock		lock;			/* for the fields below */
	dlist_head	wait_queue;		/* of Waiter */
	TimestampTz next_due;		/* by the wall clock: the first waiter wakes
								 * up then */
	MonotonicTime next_unlock;	/* or then, as ready jobs were locked */
	LowWaterMarks low_water_marks;
	int64		counters[QUEUE_COUNTERS];	/* since the server started */
	bool		counted;		/* the counters have every commit */
	uint64		config_version;
	bool		config_known;	/* configured and limited are as in queues */
	MonotonicTime config_read;	/* when they were */
	bool		configured;		/* the queue has a row in queues */
	bool		limited;		/* max_running may be set, so that the end of
								 * a job makes room for another */
	MonotonicTime last_reap;	/* by a pop, where no worker runs */
	bool		notify_pending; /* jobs became ready since the last NOTIFY */
	pg_uuid_t	notify_job_id;
} QueueSlot;

/* ----- waiting, see wait_queue.c ----- */

typedef enum WaitKind
{
	WAIT_FOR_JOB,
	WAIT_FOR_UPLOAD,
	WAIT_FOR_VARIANT,
} WaitKind;

/* holds a hash of pict-rs's and a long name, or the longest hash and a short name */
#define WAIT_NAME_MAX 192

/* What view waiting shows of a waiter */
typedef struct WaitInfo
{
	int			pid;			/* 0: the waiter is free */
	Oid			database;
	WaitKind	what;
	MonotonicTime since;
	int			hash_length;	/* the name begins with a variant's hash */
	int			length;
	char		name[WAIT_NAME_MAX];	/* of the queue or the variant, cut
										 * off; an upload's id in binary */
} WaitInfo;

typedef struct Waiter
{
	dlist_node	node;			/* lock of its wait queue, or waiter_lock */
	Latch	   *latch;			/* owner, before it joins */
	uint64		key;			/* owner, before it joins a keyed queue */
	bool		checking;		/* lock of its wait queue: it checks already */
	bool		woken;			/* lock of its wait queue: it must check again */
	bool		relay;			/* lock of its wait queue: it wakes the next
								 * waiter when it finds something */
	WaitInfo	info;			/* waiter_lock */
} Waiter;

typedef struct KeyedWaitQueue
{
	LWLock		lock;
	dlist_head	waiters;		/* lock */
} KeyedWaitQueue;

/* ----- heartbeats, see xact/heartbeat.c ----- */

typedef struct HeartbeatKey
{
	Oid			database;
	pg_uuid_t	job;
} HeartbeatKey;

/* Read under the lock of the partition, written under it in exclusive mode */
typedef struct Heartbeat
{
	HeartbeatKey key;
	int32		attempt;
	pg_uuid_t	worker;
	uint64		queue;			/* hash of its name */
	bool		active;			/* the claim is committed */
	bool		suspended;		/* a session may be taking the job away */
	pg_atomic_uint64 last_beat; /* MonotonicTime; written in shared mode, too */
} Heartbeat;

/* ----- notifications, see xact/notify.c ----- */

typedef struct Notification
{
	Oid			database;		/* notification_lock; InvalidOid: free */
	bool		ready;			/* notification_lock: committed, not yet sent */
	uint64		number;			/* notification_lock: in the order of commits */
	char		channel[NAMEDATALEN];	/* owner, then the worker */
	char		payload[NOTIFICATION_LEN];	/* owner, then the worker */
} Notification;

/* ----- the clocks, see clock_watch.c ----- */

/* 1 s, 2 s, 4 s and so on, more than any setting of a time */
#define DISTURBANCE_SIZES 32

/* clock_lock */
typedef struct ClockWatch
{
	bool		begun;
	MonotonicTime began;
	MonotonicTime last_look;
	int64		offset;			/* wall clock minus monotonic clock, about */
	MonotonicTime set_back;		/* when the wall clock last was; 0: never */
	MonotonicTime stepped[DISTURBANCE_SIZES];	/* when it last was set, by
												 * that much or more */
	MonotonicTime paused[DISTURBANCE_SIZES];	/* when the server last had
												 * stood still, for so long or
												 * longer */
} ClockWatch;

/* ----- the whole ----- */

typedef struct ShmemState
{
	LWLock	   *table_lock;		/* the table of queue slots, and which
								 * database has which slot */
	LWLock	   *heartbeat_locks[HEARTBEAT_PARTITIONS];
	LWLock	   *waiter_lock;
	dlist_head	free_waiters;	/* waiter_lock */
	LWLock	   *notification_lock;
	uint64		notifications;	/* notification_lock: numbers given */
	int			notifications_taken;	/* notification_lock */
	LWLock	   *maintenance_lock;
	LWLock	   *clock_lock;
	ClockWatch	clock_watch;
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

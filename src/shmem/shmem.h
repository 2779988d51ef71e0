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
 *	SharedState		1					start time, the launcher, free places
 *	DatabaseState	DATABASES_MAX		counts, the worker and its duties
 *	QueueState		max_queues			hash table by (database, queue): line,
 *										cursor, length, counters
 *	Pulse			max_running_jobs	hash table by (database, job): heartbeats
 *	Waiter			max_waiters			who waits
 *	KeyedLine		KEYED_LINES			who waits for an upload or a variant
 *	Notice			NOTICES_MAX			notifications that the worker will send
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
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/hsearch.h"
#include "utils/uuid.h"

#include "common/limits.h"
#include "common/maintenance_tasks.h"

#ifdef PICTREPO_INJECTION
#define DATABASES_MAX 8			/* so that a test gets there */
#define NOTICES_MAX 16
#else
#define DATABASES_MAX 100
#define NOTICES_MAX 1024
#endif
#define KEYED_LINES 256
#define PULSE_PARTITIONS 16
#define NOTICE_LEN 1280
#define CURSOR_LEVELS 8
#define CURSOR_LATE 16

/* ----- counts, see tally.c ----- */

typedef enum Tallied
{
	TALLY_HASHES,
	TALLY_JOBS,
	TALLIES
} Tallied;

typedef enum TallyState
{
	TALLY_UNKNOWN,				/* nobody has counted yet */
	TALLY_COUNTING,				/* a backend counts; value has what it cannot see */
	TALLY_KNOWN,
} TallyState;

typedef struct Tally
{
	LWLock	   *lock;			/* shared to add, exclusive to change the state */
	TallyState	state;
	pg_atomic_uint64 value;
	int			counter;		/* pid of who counts */
	TransactionId xmin;			/* the snapshot that is, or was, counted */
	FullTransactionId xmax;
	int			xcnt;
	TransactionId *xip;			/* sorted */
} Tally;

/* ----- databases ----- */

typedef struct DutyState
{
	TimestampTz last_run;		/* 0: never */
	int64		duration;		/* us */
	int64		rows;
	int64		runs;
	int64		errors;
	char		error[200];		/* of the last run; empty: none */
} DutyState;

typedef enum WorkerState
{
	WORKER_NONE,				/* none runs; the launcher may look */
	WORKER_STARTING,
	WORKER_RUNNING,
	WORKER_UNWANTED,			/* looked, and there is no extension */
} WorkerState;

typedef struct DatabaseState
{
	Oid			database;		/* InvalidOid: free */
	Tally		tallies[TALLIES];
	pg_atomic_uint32 overflowed;	/* some queue has no QueueState */

	/* transactions that were prepared may change the tables unnoticed */
	pg_atomic_uint32 prepared;
	pg_atomic_uint32 preparations;

	/* the worker; under SharedState.mutex */
	WorkerState worker_state;
	int			worker_pid;
	Latch	   *worker_latch;
	TimestampTz worker_next_try;
	int			worker_failures;
	uint32		creations;		/* of the extension, and updates */
	TimestampTz held_until;		/* no worker before: the database is being dropped or copied */
	pg_atomic_uint64 worker_seen;	/* when the worker last reaped */
	pg_atomic_uint64 restored;	/* when rows of a dump last came */
	pg_atomic_uint32 attention; /* ATTEND_* flags for the worker */
	DutyState	duties[DUTIES];
} DatabaseState;

#define ATTEND_NOTICES	0x01	/* there is something to notify */
#define ATTEND_SESSIONS	0x02	/* a session with bound jobs has ended */
#define ATTEND_SCHEDULE	0x04	/* a schedule has changed */
#define ATTEND_STOP		0x08	/* the extension or the database goes */

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

/* Lower bounds of the ready jobs, one per priority, highest first; see cursor.c */
typedef struct Bounds
{
	bool		complete;		/* every ready job has its priority here */
	int			levels;
	JobPosition first[CURSOR_LEVELS];
} Bounds;

typedef struct Cursor
{
	Bounds		bounds;
	uint64		late;			/* how many jobs came late, ever */
	JobPosition came_late[CURSOR_LATE]; /* the last of them, by their number */
	TimestampTz next_full_look;
	Bounds		found;			/* what a full look that is under way has to add */
	uint64		full_look;		/* its number; 0: none is under way */
	TimestampTz full_look_began;
} Cursor;

typedef enum Counted
{
	COUNT_PUSHED,
	COUNT_POPPED,
	COUNT_COMPLETED,
	COUNT_FAILED,
	COUNT_BURIED,
	COUNT_REAPED,
	COUNT_WOKEN,
	COUNT_WAIT_TIME,			/* us in which jobs were due, until they were popped */
	COUNT_RUN_TIME,				/* us in which workers held them */
	COUNTS
} Counted;

typedef struct QueueState
{
	QueueKey	key;
	pg_atomic_uint32 pins;		/* who keeps a pointer to it */
	pg_atomic_uint64 length;	/* jobs, committed; see tally.c */
	bool		uncounted;		/* length is not kept */

	slock_t		mutex;			/* for all below */
	dlist_head	line;			/* of Waiter */
	TimestampTz next_due;		/* the first in line looks then */
	Cursor		cursor;
	int64		counts[COUNTS]; /* since the server started */
	uint64		config_version;
	bool		config_known;	/* the two below are as in the table */
	bool		configured;		/* it has a row in queues */
	bool		limited;		/* max_running may be set: ends make room */
	TimestampTz last_reap;		/* by a pop, for want of a worker */
	bool		notice;			/* ready jobs that nobody was notified of */
	pg_uuid_t	notice_job;
} QueueState;

/* ----- waiting, see wakeup.c ----- */

typedef enum WaitedFor
{
	WAIT_FOR_JOB,
	WAIT_FOR_UPLOAD,
	WAIT_FOR_VARIANT,
} WaitedFor;

/* a hash of pict-rs's and a long name, or the longest hash and a short one */
#define AWAITED_MAX 192

/* What view waiting shows of a waiter */
typedef struct Awaited
{
	int			pid;			/* 0: nobody has the place */
	Oid			database;
	WaitedFor	what;
	TimestampTz since;
	int			hash_length;	/* of a variant's hash, with which the name begins */
	int			length;
	char		name[AWAITED_MAX];	/* of the queue, the variant, cut off; an upload's id in binary */
} Awaited;

typedef struct Waiter
{
	dlist_node	node;			/* in a line, or in the list of free ones */
	Latch	   *latch;
	uint64		key;			/* in a keyed line */
	bool		busy;			/* looks right now */
	bool		called;			/* has to look (again) */
	bool		relay;			/* call the next one when something was there */
	Awaited		awaited;		/* under shared->mutex; nothing goes by it */
} Waiter;

typedef struct KeyedLine
{
	slock_t		mutex;
	dlist_head	line;
} KeyedLine;

/* ----- heartbeats, see pulse.c ----- */

typedef struct PulseKey
{
	Oid			database;
	pg_uuid_t	job;
} PulseKey;

typedef struct Pulse
{
	PulseKey	key;
	int32		attempt;
	pg_uuid_t	worker;
	uint64		queue;			/* hash of its name */
	bool		confirmed;		/* the claim is committed */
	bool		condemned;		/* somebody may be taking the job away */
	pg_atomic_uint64 heartbeat;
} Pulse;

/* ----- notifications, see notify.c ----- */

typedef struct Notice
{
	Oid			database;		/* InvalidOid: free */
	bool		ready;			/* committed, to be sent */
	uint64		number;			/* in the order of commits */
	char		channel[NAMEDATALEN];
	char		payload[NOTICE_LEN];
} Notice;

/* ----- the whole ----- */

typedef struct SharedState
{
	LWLock	   *table_lock;		/* queues, database slots */
	LWLock	   *pulse_locks[PULSE_PARTITIONS];
	slock_t		mutex;			/* for the lists below and the workers' fields */
	dlist_head	free_waiters;
	uint64		notices;		/* numbers given */
	int			notices_taken;
	Latch	   *launcher_latch;
	KeyedLine	keyed_lines[KEYED_LINES];
	DatabaseState databases[DATABASES_MAX];
	Notice		notice_slots[NOTICES_MAX];
} SharedState;

/* NULL without shared_preload_libraries */
extern SharedState *shared;
extern HTAB *queue_states;
extern HTAB *pulses;
extern Waiter *waiters;

extern void reserve_shared_memory(void);
extern bool shared_engine(void);

#endif

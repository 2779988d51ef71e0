/*-------------------------------------------------------------------------
 *
 * advisory_locks.h
 *		Classes of the advisory locks that pictrepo takes.
 *
 * They stand in the field of a LOCKTAG in which the pg_advisory_* functions have
 * 1 or 2, so that no user takes one of them.  status() looks for the last two in
 * pg_locks; server_state() gives it their numbers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ADVISORY_LOCKS_H
#define PICTREPO_ADVISORY_LOCKS_H

#define WORKER_LOCK_CLASS	0x7069	/* one worker in a database */
#define QUEUE_LOCK_CLASS	0x706a	/* whose turn it is to pop from a queue
									 * with a limit */
#define FILE_LOCK_CLASS		0x706b	/* whether something names a file */
#define TRANSFER_LOCK_CLASS 0x706a	/* an object lock on a schema: a transfer
									 * from or to its tables */
#define RESTORE_LOCK_CLASS	0x706d	/* a dump is being restored */

#endif

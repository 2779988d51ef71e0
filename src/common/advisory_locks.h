/*-------------------------------------------------------------------------
 *
 * advisory_locks.h
 *		Classes of the advisory locks that pictrepo takes.
 *
 * The class is the fourth field of the LOCKTAG.  The pg_advisory_* functions
 * set it to 1 or 2, so users cannot take these locks.  status() looks for the
 * lock of a transfer in pg_locks; server_state() gives it the number.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ADVISORY_LOCKS_H
#define PICTREPO_ADVISORY_LOCKS_H

#define WORKER_LOCK_CLASS	0x7069	/* held by the background worker of a
									 * database */
#define QUEUE_LOCK_CLASS	0x706a	/* held while popping from a queue with a
									 * limit */
#define FILE_LOCK_CLASS		0x706b	/* held while references to a file change */
#define TRANSFER_LOCK_CLASS 0x706c	/* on a schema, held during a transfer
									 * from or to the tables of a schema */
#define RESTORE_LOCK_CLASS	0x706d	/* held while a dump is restored, see
									 * restore_guard.c */

#endif

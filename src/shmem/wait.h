/*-------------------------------------------------------------------------
 *
 * wait.h
 *		Blocking until something is there or the time is up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_WAIT_H
#define PICTREPO_WAIT_H

#include "datatype/timestamp.h"

#include "shmem/shmem.h"

/*
 * Look whether it is there by now, whatever the isolation level.  If not, *again may be set to a
 * time at which to look again, called or not.
 */
typedef bool (*WaitCheck) (void *what, TimestampTz *again);

typedef struct WaitSpec
{
	WaitKind	what;
	int64		microseconds;	/* at most */
	QueueSlot  *queue;			/* whose line to wait in; NULL: the key's */
	uint64		key;
	NullableDatum name;			/* for others to see: of the queue, the
								 * variant, text; or the upload, uuid */
	NullableDatum hash;			/* of the variant */
	void		(*rest) (void); /* before each sleep */
} WaitSpec;

extern bool wait_until(const WaitSpec *rules, WaitCheck look, void *what);

#endif

/*-------------------------------------------------------------------------
 *
 * wait.h
 *		Blocking until something is there or the time is up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_WAIT_H
#define PICTREPO_WAIT_H

#include "common/monotonic.h"
#include "shmem/shmem.h"

/*
 * Checks whether it is there, by what is committed now at any isolation level.
 * If it is not, the check may set *again to a time at which it must run again.
 */
typedef bool (*WaitCheck) (void *what, MonotonicTime *again);

typedef struct WaitSpec
{
	WaitKind	what;
	int64		microseconds;	/* to wait at most */
	QueueSlot  *queue;			/* to wait in; NULL: the keyed wait queue */
	uint64		key;
	NullableDatum name;			/* text of the queue or the variant, or uuid
								 * of the upload, for view waiting */
	NullableDatum hash;			/* of the variant */
	MemoryContext memory;		/* for what a check finds; lasts until the
								 * call returns */
	void		(*before_sleep) (void); /* or NULL */
} WaitSpec;

extern bool wait_until(const WaitSpec *spec, WaitCheck check, void *what);

#endif

/*-------------------------------------------------------------------------
 *
 * heartbeat.h
 *		Heartbeats of running jobs, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_HEARTBEAT_H
#define PICTREPO_HEARTBEAT_H

#include "shmem/shmem.h"

/* The attempt of an entry that was made without knowing it */
#define ATTEMPT_UNKNOWN (-1)

typedef struct Claim
{
	pg_uuid_t	job;
	pg_uuid_t	worker;
	uint64		queue;			/* hash of its name */
	int			attempt;		/* of the job; each claim adds 1 */
} Claim;

extern uint64 queue_name_hash(const text *name);

/* Claims */
extern void heartbeat_claim(const Claim *claim);

/* Heartbeats of workers, see job_heartbeat.c */
extern bool heartbeat_record(const Claim *claim);
extern bool heartbeat_reserve(Claim *claim);
extern void heartbeat_settle(const Claim *claim, bool held);
extern void heartbeat_resume(const Claim *claim);

/* For views and for reap.c */
extern bool heartbeat_read(const pg_uuid_t *job, TimestampTz *heartbeat);
extern Datum heartbeat_silent_jobs(TimestampTz before);
extern void heartbeat_suspend(Datum jobs, TimestampTz before);

/* For the end of a transaction: these cannot fail */
extern void heartbeat_activate(const pg_uuid_t *job, int attempt);
extern void heartbeat_remove(const pg_uuid_t *job, int attempt);
extern void heartbeat_remove_all(Oid database);

#endif

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
#include "xact/pending.h"

/* The attempt of an entry or of a heartbeat that was made without knowing it */
#define ATTEMPT_UNKNOWN (-1)

extern uint64 queue_name_hash(const text *name);

/* Claims */
extern void heartbeat_claim(const Claim *claim);

/* Heartbeats of workers, see job_heartbeat.c */
extern bool heartbeat_record(const Claim *claim);
extern bool heartbeat_reserve(Claim *claim);
extern void heartbeat_settle(const Claim *claim, bool held);
extern void heartbeat_resume(const Claim *claim);

/* For views, for reap.c and for sweep.c */
extern TimestampTz heartbeat_show(MonotonicTime time);
extern bool heartbeat_read(const pg_uuid_t *job, TimestampTz *heartbeat);
extern Datum heartbeat_silent_jobs(MonotonicTime before);
extern void heartbeat_suspend(Datum jobs, MonotonicTime before);
extern void heartbeat_forget(const pg_uuid_t *job, MonotonicTime before);

/* For the end of a transaction: these cannot fail */
extern void heartbeat_activate(const PendingClaim *change);
extern void heartbeat_cancel(const Claim *claim);
extern void heartbeat_remove(const pg_uuid_t *job, int attempt);
extern void heartbeat_suspend_ended(const pg_uuid_t *job, int attempt);
extern void heartbeat_remove_all(Oid database);

#endif

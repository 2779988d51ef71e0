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

typedef struct Claim
{
	pg_uuid_t	job;
	pg_uuid_t	worker;
	uint64		queue;			/* hash of its name */
	int			attempt;
} Claim;

extern uint64 hash_of_queue(const text *name);
extern void begin_pulse(const Claim *claim);
extern bool beat_pulse(const Claim *claim);
extern bool announce_pulse(Claim *claim);
extern void settle_pulse(const Claim *claim, bool held);
extern Datum silent_pulses(TimestampTz before);
extern void condemn_pulses(Datum jobs, TimestampTz before);
extern void pardon_pulse(const Claim *claim);
extern bool read_pulse(const pg_uuid_t *job, TimestampTz *heartbeat);

/* At the end of a transaction: cannot fail */
extern void confirm_pulse(const pg_uuid_t *job, int attempt);
extern void end_pulse(const pg_uuid_t *job, int attempt);
extern void end_all_pulses(Oid database);

#endif

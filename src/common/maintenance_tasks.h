/*-------------------------------------------------------------------------
 *
 * maintenance_tasks.h
 *		What the background worker of a database does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_MAINTENANCE_TASKS_H
#define PICTREPO_MAINTENANCE_TASKS_H

typedef enum DutyNumber
{
	DUTY_RESCUE,
	DUTY_PULSES,
	DUTY_REAP,
	DUTY_NOTIFY,
	DUTY_SCHEDULES,
	DUTY_UPLOADS,
	DUTY_CLAIMS,
	DUTY_DEAD_JOBS,
	DUTY_VARIANTS,
	DUTY_PROXIES,
	DUTY_SAMPLES,
	DUTY_SWEEP,
	DUTIES
} DutyNumber;

/* a duty that did so many rows has more to do */
#define DUTY_BATCH 1000

/* the same for what takes locks that others wait for */
#define SMALL_BATCH 100

/* one that had little to do takes one part in so many of the time, at most */
#define DUTY_SHARE 50

#endif

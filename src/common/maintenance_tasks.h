/*-------------------------------------------------------------------------
 *
 * maintenance_tasks.h
 *		What the background worker of a database does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_MAINTENANCE_TASKS_H
#define PICTREPO_MAINTENANCE_TASKS_H

typedef enum MaintenanceTaskId
{
	TASK_REAP_SESSIONS,
	TASK_REAP_HEARTBEATS,
	TASK_REAP,
	TASK_NOTIFY,
	TASK_SCHEDULES,
	TASK_UPLOADS,
	TASK_VARIANT_CLAIMS,
	TASK_DEAD_JOBS,
	TASK_VARIANTS,
	TASK_PROXIES,
	TASK_SAMPLES,
	TASK_SWEEP,
	MAINTENANCE_TASKS
} MaintenanceTaskId;

/* a duty that did so many rows has more to do */
#define TASK_BATCH 1000

/* the same for what takes locks that others wait for */
#define TASK_SMALL_BATCH 100

/* one that had little to do takes one part in so many of the time, at most */
#define TASK_SHARE 50

#endif

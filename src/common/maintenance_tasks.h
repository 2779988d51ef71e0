/*-------------------------------------------------------------------------
 *
 * maintenance_tasks.h
 *		The tasks of the background worker of a database.
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

/* rows per run; a task that processed as many runs again at once */
#define TASK_BATCH 1000

/* the same for a task whose row locks other sessions wait for */
#define TASK_SMALL_BATCH 100

/* a task that found fewer rows uses at most this fraction (1/50) of the time */
#define TASK_SHARE 50

#endif

/*-------------------------------------------------------------------------
 *
 * maintenance.h
 *		The tasks of the background worker: their table, and running them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_MAINTENANCE_H
#define PICTREPO_MAINTENANCE_H

#include "datatype/timestamp.h"

#include "common/maintenance_tasks.h"
#include "common/monotonic.h"

typedef struct MaintenanceTask
{
	const char *name;
	int		   *interval;		/* ms */
	unsigned	requests;		/* WORKER_REQ_* flags on which it runs at once */
	uint64		(*run) (void);	/* in a transaction with SPI; returns the
								 * number of rows that it processed */
	TimestampTz (*next) (void); /* when it must run next, at the latest, by
								 * the wall clock */
	bool		worker_only;	/* run_maintenance() does not run it */
	int			batch;			/* rows after which it runs again at once; 0:
								 * TASK_BATCH */
} MaintenanceTask;

extern const MaintenanceTask maintenance_tasks[MAINTENANCE_TASKS];

extern void maintenance_request(uint32 requests);
extern void maintenance_run_due(void);
extern MonotonicTime maintenance_next_run(void);
extern void maintenance_new_intervals(void);

#endif

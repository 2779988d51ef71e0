/*-------------------------------------------------------------------------
 *
 * maintenance.h
 *		What the background worker does, how often, and one run of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_MAINTENANCE_H
#define PICTREPO_MAINTENANCE_H

#include "datatype/timestamp.h"

#include "common/maintenance_tasks.h"

typedef struct MaintenanceTask
{
	const char *name;
	int		   *interval;		/* ms */
	unsigned	requests;		/* WORKER_REQ_* flags that call for it at once */
	uint64		(*run) (void);	/* in a transaction with SPI; rows done */
	TimestampTz (*next) (void); /* after it: when it has to run, at the latest */
	bool		worker_only;	/* nobody else may run it */
	int			batch;			/* not 0: in place of TASK_BATCH */
} MaintenanceTask;

extern const MaintenanceTask maintenance_tasks[MAINTENANCE_TASKS];

extern void maintenance_request(uint32 requests);
extern void maintenance_run_due(void);
extern long maintenance_sleep_time(void);
extern void maintenance_new_intervals(void);

#endif

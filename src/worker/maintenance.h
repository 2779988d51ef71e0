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

typedef struct Duty
{
	const char *name;
	int		   *interval;		/* ms */
	unsigned	attention;		/* ATTEND_* flags that call for it at once */
	uint64		(*run) (void);	/* in a transaction with SPI; rows done */
	TimestampTz (*next) (void); /* after it: when it has to run, at the latest */
	bool		worker_only;	/* nobody else may run it */
	int			batch;			/* not 0: in place of DUTY_BATCH */
} Duty;

extern const Duty duties[DUTIES];

extern void call_duties(uint32 attention);
extern void do_what_is_due(void);
extern long milliseconds_to_next(void);
extern void heed_new_intervals(void);

#endif

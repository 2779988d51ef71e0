/*-------------------------------------------------------------------------
 *
 * duties.h
 *		What the background worker of a database does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_DUTIES_H
#define PICTREPO_DUTIES_H

#include "datatype/timestamp.h"

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

/* see duties.c, which knows the rooms */
extern const Duty duties[DUTIES];

#endif

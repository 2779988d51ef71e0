/*-------------------------------------------------------------------------
 *
 * cron.h
 *		When something that recurs comes next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_CRON_H
#define PICTREPO_CRON_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "pgtime.h"

/* longest cron text: a list of every minute, hour, day and month is shorter */
#define CRON_MAX 500

typedef enum CronField
{
	CRON_MINUTE,
	CRON_HOUR,
	CRON_DAY,
	CRON_MONTH,
	CRON_WEEKDAY,
} CronField;

#define CRON_FIELDS (CRON_WEEKDAY + 1)

typedef struct Cron
{
	uint64		allowed[CRON_FIELDS];	/* bit n: the value n is allowed */
	bool		either_day;		/* one of day and weekday is enough */
} Cron;

/* NULL when the text is well formed and comes true on some day, else why not */
extern const char *cron_parse(const char *text, Cron *cron);

/* The first time after a given one, or infinity when the calendar ends first */
extern TimestampTz cron_next(const Cron *cron, TimestampTz after, pg_tz *zone);
extern TimestampTz interval_next(const Interval *every, TimestampTz first,
								 TimestampTz after, pg_tz *zone);

#endif

/*-------------------------------------------------------------------------
 *
 * cron.h
 *		Compute the next time of a cron schedule or of an interval.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_CRON_H
#define PICTREPO_CRON_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "pgtime.h"

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
	uint64		allowed[CRON_FIELDS];	/* bit n is set: value n matches */
	bool		either_day;		/* day or weekday must match, not both */
} Cron;

/* Parse a cron text that matches at least one date.  Returns NULL, or a sentence that says what is wrong. */
extern const char *cron_parse(const char *cron_text, Cron *cron);

/* The first time after a given one, or infinity beyond the range of timestamptz */
extern TimestampTz cron_next(const Cron *cron, TimestampTz after, pg_tz *zone);
extern TimestampTz interval_next(const Interval *every, TimestampTz first,
								 TimestampTz after, pg_tz *zone);

#endif

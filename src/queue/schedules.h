/*-------------------------------------------------------------------------
 *
 * schedules.h
 *		Schedules, for the background worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SCHEDULES_H
#define PICTREPO_SCHEDULES_H

#include "datatype/timestamp.h"

/* The caller is in a repo call, or connected to SPI as the extension's owner. */
extern uint64 schedules_run(void);
extern TimestampTz schedules_next_run(void);

#endif

/*-------------------------------------------------------------------------
 *
 * clock_watch.h
 *		Noticing that the wall clock was set, or that the server stood still.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_CLOCK_WATCH_H
#define PICTREPO_CLOCK_WATCH_H

#include "common/monotonic.h"

/* ms; the launcher looks at the clocks this often */
#define CLOCK_WATCH_INTERVAL 500

extern void clock_watch_look(void);
extern void clock_watch_woke(MonotonicTime planned);
extern bool clock_watch_undisturbed(int64 us);
extern bool clock_watch_lasts(int64 us);
extern bool clock_watch_set_back(MonotonicTime since);
extern int64 clock_watch_offset(void);
extern TimestampTz clock_watch_show(MonotonicTime time);
extern NullableDatum retention_cutoff(int seconds);

#endif

/*-------------------------------------------------------------------------
 *
 * worker.h
 *		The background worker of a database, and the launcher that starts it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_WORKER_H
#define PICTREPO_WORKER_H

#include "fmgr.h"

extern void report_no_room(int level);
extern void define_launcher(void);
extern void define_utility_hook(void);

PGDLLEXPORT extern void pictrepo_launcher_main(Datum arg);
PGDLLEXPORT extern void pictrepo_worker_main(Datum arg);

#endif

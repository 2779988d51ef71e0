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

extern void report_no_database_slot(int level);
extern void launcher_register(void);
extern void utility_hook_install(void);

PGDLLEXPORT extern void pictrepo_launcher_main(Datum arg);
PGDLLEXPORT extern void pictrepo_worker_main(Datum arg);

#endif

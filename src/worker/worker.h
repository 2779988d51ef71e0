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

#include "engine/shared.h"

extern bool worker_runs(DatabaseState *database);
extern bool worker_tends(DatabaseState *database);

extern void report_no_room(int level);
extern void define_launcher(void);
extern void wake_launcher(void);
extern bool start_worker(Oid database);

PGDLLEXPORT extern void pictrepo_launcher_main(Datum arg);
PGDLLEXPORT extern void pictrepo_worker_main(Datum arg);

#endif

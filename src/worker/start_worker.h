/*-------------------------------------------------------------------------
 *
 * start_worker.h
 *		Asking the server for a worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_START_WORKER_H
#define PICTREPO_START_WORKER_H

#include "postmaster/bgworker.h"

extern BackgroundWorkerHandle *worker_register(Oid database);
extern void report_no_worker_place(int level);

#endif

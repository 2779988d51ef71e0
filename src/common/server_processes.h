/*-------------------------------------------------------------------------
 *
 * server_processes.h
 *		Processes of the server: which ones run, and since when.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SERVER_PROCESSES_H
#define PICTREPO_SERVER_PROCESSES_H

#include "datatype/timestamp.h"

#define WORKER_TYPE "pictrepo worker"	/* its pg_stat_activity.backend_type */

extern TimestampTz worker_start_time(void);
extern TimestampTz walwriter_start_time(void);
extern char *session_name(void);
extern void server_processes_refresh(void);
extern bool session_runs(const char *name);

#endif

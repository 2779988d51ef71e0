/*-------------------------------------------------------------------------
 *
 * server_processes.c
 *		Processes of the server: which ones run, and since when.
 *
 * pg_stat_activity shows the same list.  But it hides types and start times from a
 * role that is neither a superuser nor a member of pg_read_all_stats.  The owner of
 * the extension may be such a role, and pictrepo's statements run as the owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

#include "common/compat.h"
#include "common/server_processes.h"

typedef bool (*ProcessFilter) (const PgBackendStatus *process, const char *name);

/* The first process for which the filter returns true, or NULL. */
static const PgBackendStatus *
find_process(ProcessFilter filter, const char *name)
{
	for (int i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		const PgBackendStatus *process = &pgstat_get_local_beentry_by_index(i)->backendStatus;

		if (filter(process, name))
			return process;
	}
	return NULL;
}

/*
 * The server copies the list at its first use in a transaction.  Drop the copy, to
 * see the processes that run now.
 */
void
server_processes_refresh(void)
{
	pgstat_clear_backend_activity_snapshot();
}

/* ----- the worker and the walwriter ----- */

static bool
is_worker(const PgBackendStatus *process, const char *type)
{
	const char *own_type;

	if (process->st_backendType != B_BG_WORKER || process->st_databaseid != MyDatabaseId)
		return false;
	own_type = GetBackgroundWorkerTypeByPid(process->st_procpid);
	return own_type != NULL && strcmp(own_type, type) == 0;
}

/* Start of the worker of this database; DT_NOEND if none runs. */
TimestampTz
worker_start_time(void)
{
	const PgBackendStatus *worker;

	server_processes_refresh();
	worker = find_process(is_worker, WORKER_TYPE);
	return worker == NULL ? DT_NOEND : worker->st_proc_start_timestamp;
}

static bool
is_walwriter(const PgBackendStatus *process, const char *unused)
{
	return process->st_backendType == B_WAL_WRITER;
}

/* Start of the walwriter; DT_NOEND if it does not run. */
TimestampTz
walwriter_start_time(void)
{
	const PgBackendStatus *walwriter;

	server_processes_refresh();
	walwriter = find_process(is_walwriter, NULL);
	return walwriter == NULL ? DT_NOEND : walwriter->st_proc_start_timestamp;
}

/* ----- sessions ----- */

#define SESSION_NAME_SIZE 32

/* A session is named as log_line_prefix names it with %c. */
static void
write_session_name(char *name, pg_time_t start, int pid)
{
	snprintf(name, SESSION_NAME_SIZE, "%lx.%x", (long) start, pid);
}

/* The name of this session. */
char *
session_name(void)
{
	char	   *name = palloc(SESSION_NAME_SIZE);

	write_session_name(name, MyStartTime, MyProcPid);
	return name;
}

static bool
is_session(const PgBackendStatus *process, const char *name)
{
	char		own_name[SESSION_NAME_SIZE];

	write_session_name(own_name, timestamptz_to_time_t(process->st_proc_start_timestamp),
					   process->st_procpid);
	return strcmp(own_name, name) == 0;
}

/* Did the session run at the last server_processes_refresh()? */
bool
session_runs(const char *name)
{
	return find_process(is_session, name) != NULL;
}

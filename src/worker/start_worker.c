/*-------------------------------------------------------------------------
 *
 * start_worker.c
 *		Asking the server for a worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"

#include "common/server_processes.h"
#include "shmem/database_slot.h"
#include "shmem/worker_slot.h"
#include "worker/start_worker.h"
#include "worker/worker.h"

/*
 * Ask for a worker in a database.  The server signals this process when the
 * worker starts and when it ends.  NULL: max_worker_processes is used up.
 */
BackgroundWorkerHandle *
worker_register(Oid database)
{
	BackgroundWorkerHandle *handle;
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_main_arg = ObjectIdGetDatum(database),
		.bgw_notify_pid = MyProcPid
	};

	strlcpy(worker.bgw_library_name, "pictrepo", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "pictrepo_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pictrepo worker for database %u", database);
	strlcpy(worker.bgw_type, WORKER_TYPE, sizeof(worker.bgw_type));
	return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : NULL;
}

void
report_no_worker_place(int level)
{
	ereport(level,
			errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			errmsg("no slot is free for a pictrepo worker"),
			errhint("Consider increasing the configuration parameter \"max_worker_processes\"."));
}

/* ----- SQL ----- */

/* Without shared memory, the server's list of processes tells. */
static bool
worker_is_there(void)
{
	DatabaseSlot *database = my_database_slot();

	return database != NULL ? worker_running(database) : worker_start_time() != DT_NOEND;
}

PG_FUNCTION_INFO_V1(pictrepo_start_worker);

/*
 * start_worker() -> bool
 *
 * Start a background worker for this database, where the server does not.
 * False: one runs.  53400 when it does not start or the server has too many
 * databases with pictrepo, 25006 on a standby.
 */
Datum
pictrepo_start_worker(PG_FUNCTION_ARGS)
{
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	PreventCommandDuringRecovery("pictrepo.start_worker()");
	if (worker_is_there())
		PG_RETURN_BOOL(false);
	if (database_slots_full())
		report_no_database_slot(ERROR);
	handle = worker_register(MyDatabaseId);
	if (handle == NULL)
		report_no_worker_place(ERROR);
	if (WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_STARTED)
		PG_RETURN_BOOL(true);

	/* another worker may have started at the same time, and this one left */
	if (worker_is_there())
		PG_RETURN_BOOL(false);
	ereport(ERROR,
			errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			errmsg("could not start a pictrepo worker"),
			errhint("More details may be available in the server log."));
}

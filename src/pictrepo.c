/*-------------------------------------------------------------------------
 *
 * pictrepo.c
 *		The front door: what happens when the server loads the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "common/guc.h"
#include "shmem/shmem.h"
#include "worker/worker.h"
#include "xact/xact_callback.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/*
 * Runs once per process: in the postmaster with shared_preload_libraries,
 * else in each backend at its first pictrepo call.
 */
void
_PG_init(void)
{
	guc_define();
	xact_callback_register();
	if (!preloaded)
		return;
	shmem_reserve();
	launcher_register();
	utility_hook_install();
}

/*-------------------------------------------------------------------------
 *
 * pictrepo.c
 *		The front door: what happens when the server loads the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "engine/changes.h"
#include "engine/settings.h"
#include "engine/shared.h"
#include "engine/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/*
 * Runs once per process: in the postmaster with shared_preload_libraries,
 * else in each backend at its first pictrepo call.
 */
void
_PG_init(void)
{
	define_settings();
	define_changes();
	if (!preloaded)
		return;
	reserve_shared_memory();
	define_launcher();
}

/*-------------------------------------------------------------------------
 *
 * settings.c
 *		The extension's settings.
 *
 * What decides over other sessions' work (when a job counts as abandoned, say)
 * is for superusers only; it can still be set per database or role.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "engine/settings.h"

bool		preloaded = false;

int			node_id = 0;
int			max_document_size = 1024;
int			heartbeat_timeout = 120 * 1000;
int			variant_claim_timeout = 120 * 1000;
int			access_resolution = 60 * 1000;
int			upload_ttl = 24 * 60 * 60;
int			poll_interval = 100;
int			notify_mode = NOTIFY_TRANSACTIONAL;

static const struct config_enum_entry notify_modes[] = {
	{"transactional", NOTIFY_TRANSACTIONAL, false},
	{"off", NOTIFY_OFF, false},
	{NULL, 0, false}
};

static void
define_int(const char *name, const char *description, int *variable,
		   int least, int most, GucContext context, int unit)
{
	DefineCustomIntVariable(name, description, NULL, variable, *variable,
							least, most, context, unit, NULL, NULL, NULL);
}

void
define_settings(void)
{
	preloaded = process_shared_preload_libraries_in_progress;

	define_int("pictrepo.node_id",
			   "Number of this node, part of every id that it mints.",
			   &node_id, 0, 1023, PGC_SIGHUP, 0);
	define_int("pictrepo.max_document_size",
			   "Largest JSON document that is taken (jobs, details, upload results).",
			   &max_document_size, 1, 256 * 1024, PGC_SUSET, GUC_UNIT_KB);
	define_int("pictrepo.heartbeat_timeout",
			   "A running job without a heartbeat for this long is given to another worker.",
			   &heartbeat_timeout, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.variant_claim_timeout",
			   "A claim on a variant without a heartbeat for this long is free again.",
			   &variant_claim_timeout, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.access_resolution",
			   "An access within this time of the last recorded one is not written.",
			   &access_resolution, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.upload_ttl",
			   "An upload that nobody claimed for this long is removed.",
			   &upload_ttl, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S);
	define_int("pictrepo.poll_interval",
			   "Longest pause between two looks of a blocking call.",
			   &poll_interval, 1, 60 * 1000, PGC_SUSET, GUC_UNIT_MS);
	DefineCustomEnumVariable("pictrepo.notify",
							 "How the notification channels are served.",
							 NULL, &notify_mode, notify_mode, notify_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("pictrepo");
}

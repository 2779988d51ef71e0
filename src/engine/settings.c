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

#include "engine/injection.h"
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
int			cursor_mode = CURSOR_ON;
bool		synchronous_claims = false;

int			max_running_jobs = 10000;
int			max_waiters = 1000;
int			max_queues = 2000;

int			reap_interval = 5 * 1000;
int			notify_interval = 50;
int			schedule_interval = 10 * 1000;
int			upload_interval = 60 * 1000;
int			claim_interval = 60 * 1000;
int			dead_job_interval = 10 * 60 * 1000;
int			sweep_interval = 30 * 1000;
int			dead_job_retention = 0;
int			variant_interval = 60 * 1000;
int			variant_retention = 0;
int			proxy_interval = 60 * 1000;
int			proxy_retention = 0;
int			sample_interval = 0;
int			sample_retention = 7 * 24 * 60 * 60;

static const struct config_enum_entry notify_modes[] = {
	{"coalesced", NOTIFY_COALESCED, false},
	{"transactional", NOTIFY_TRANSACTIONAL, false},
	{"off", NOTIFY_OFF, false},
	{NULL, 0, false}
};

static const struct config_enum_entry cursor_modes[] = {
	{"on", CURSOR_ON, false},
	{"off", CURSOR_OFF, false},
	{"corrupt", CURSOR_CORRUPT, true},
	{NULL, 0, false}
};

static void
define_int(const char *name, const char *description, int *variable,
		   int least, int most, GucContext context, int unit)
{
	DefineCustomIntVariable(name, description, NULL, variable, *variable,
							least, most, context, unit, NULL, NULL, NULL);
}

/* Read when shared memory is laid out. */
static void
define_sizes(void)
{
	define_int("pictrepo.max_running_jobs",
			   "Running jobs whose heartbeats are kept in shared memory.",
			   &max_running_jobs, 1, 10 * 1000 * 1000, PGC_POSTMASTER, 0);
	define_int("pictrepo.max_waiters",
			   "Sessions that can wait without looking from time to time.",
			   &max_waiters, 1, 1000 * 1000, PGC_POSTMASTER, 0);
	define_int("pictrepo.max_queues",
			   "Queues that are known in shared memory, in all databases.",
			   &max_queues, 1, 1000 * 1000, PGC_POSTMASTER, 0);
}

static void
define_intervals(void)
{
	define_int("pictrepo.reap_interval",
			   "How often the worker takes jobs away from silent workers.",
			   &reap_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.notify_interval",
			   "Shortest time between two rounds of coalesced notifications.",
			   &notify_interval, 0, 60 * 1000, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.schedule_interval",
			   "How often the worker looks for schedules that changed unnoticed.",
			   &schedule_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.upload_interval",
			   "How often the worker ends uploads whose job died or that nobody claims.",
			   &upload_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.claim_interval",
			   "How often the worker removes claims on variants that have expired.",
			   &claim_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.dead_job_interval",
			   "How often the worker removes old dead jobs.",
			   &dead_job_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.sweep_interval",
			   "How often the worker looks for what escaped shared memory.",
			   &sweep_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.dead_job_retention",
			   "Dead jobs are removed after this time; 0 keeps them.",
			   &dead_job_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.variant_interval",
			   "How often the worker removes variants that nobody looks at.",
			   &variant_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.variant_retention",
			   "Variants that nobody looked at for this time are removed; 0 keeps them.",
			   &variant_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.proxy_interval",
			   "How often the worker deletes aliases of proxied urls that nobody looks at.",
			   &proxy_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.proxy_retention",
			   "Aliases of proxied urls that nobody looked at for this time are deleted; 0 keeps them.",
			   &proxy_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.sample_interval",
			   "How often the worker writes down what is in the queues; 0: never.",
			   &sample_interval, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.sample_retention",
			   "How long that is kept.",
			   &sample_retention, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
}

void
define_settings(void)
{
	preloaded = process_shared_preload_libraries_in_progress;
	notify_mode = preloaded ? NOTIFY_COALESCED : NOTIFY_TRANSACTIONAL;
	if (preloaded)
		define_sizes();
	define_intervals();

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
							 "How the notification channels are served; without preload the default is transactional.",
							 NULL, &notify_mode, notify_mode, notify_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("pictrepo.cursor",
							 "Whether pops begin at the first ready job that is known.",
							 NULL, &cursor_mode, cursor_mode, cursor_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("pictrepo.synchronous_claims",
							 "Whether claims and access times wait for the disk.",
							 NULL, &synchronous_claims, synchronous_claims,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	define_injection();
	MarkGUCPrefixReserved("pictrepo");
}

/*-------------------------------------------------------------------------
 *
 * guc.c
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

#include "common/guc.h"
#include "common/injection_points.h"

bool		preloaded = false;

int			guc_node_id = 0;
int			guc_max_document_size = 1024;
int			guc_heartbeat_timeout = 120 * 1000;
int			guc_variant_claim_timeout = 120 * 1000;
int			guc_access_resolution = 60 * 1000;
int			guc_upload_ttl = 24 * 60 * 60;
int			guc_poll_interval = 100;
int			guc_notify_mode = NOTIFY_TRANSACTIONAL;
int			guc_cursor_mode = LOW_WATER_MARKS_ON;
bool		guc_synchronous_claims = false;

int			guc_max_running_jobs = 10000;
int			guc_max_waiters = 1000;
int			guc_max_queues = 2000;

int			guc_reap_interval = 5 * 1000;
int			guc_notify_interval = 50;
int			guc_schedule_interval = 10 * 1000;
int			guc_upload_interval = 60 * 1000;
int			guc_claim_interval = 60 * 1000;
int			guc_dead_job_interval = 10 * 60 * 1000;
int			guc_sweep_interval = 30 * 1000;
int			guc_dead_job_retention = 0;
int			guc_variant_interval = 60 * 1000;
int			guc_variant_retention = 0;
int			guc_proxy_interval = 60 * 1000;
int			guc_proxy_retention = 0;
int			guc_sample_interval = 0;
int			guc_sample_retention = 7 * 24 * 60 * 60;

static const struct config_enum_entry notify_modes[] = {
	{"coalesced", NOTIFY_COALESCED, false},
	{"transactional", NOTIFY_TRANSACTIONAL, false},
	{"off", NOTIFY_OFF, false},
	{NULL, 0, false}
};

static const struct config_enum_entry cursor_modes[] = {
	{"on", LOW_WATER_MARKS_ON, false},
	{"off", LOW_WATER_MARKS_OFF, false},
	{"corrupt", LOW_WATER_MARKS_CORRUPT, true},
	{NULL, 0, false}
};

static void
define_int(const char *name, const char *description, const char *details, int *variable,
		   int least, int most, GucContext context, int unit)
{
	DefineCustomIntVariable(name, description, details, variable, *variable,
							least, most, context, unit, NULL, NULL, NULL);
}

#define AT_START " The limit is for all databases together. It has no effect without" \
	" shared_preload_libraries."

/*
 * Read when shared memory is laid out.  They are there without it as well, so
 * that a configuration which has them is not called wrong.
 */
static void
define_sizes(void)
{
	GucContext	context = preloaded ? PGC_POSTMASTER : PGC_SIGHUP;

	define_int("pictrepo.max_running_jobs",
			   "Sets the number of running jobs whose heartbeats are in shared memory.",
			   "Further jobs store heartbeats in their rows." AT_START,
			   &guc_max_running_jobs, 1, 10 * 1000 * 1000, context, 0);
	define_int("pictrepo.max_waiters",
			   "Sets the number of sessions that can wait without polling.",
			   "Further sessions poll every pictrepo.poll_interval." AT_START,
			   &guc_max_waiters, 1, 1000 * 1000, context, 0);
	define_int("pictrepo.max_queues",
			   "Sets the number of queues in shared memory.",
			   "Further queues work as without shared memory." AT_START,
			   &guc_max_queues, 1, 1000 * 1000, context, 0);
}

/* How often the background worker does what. */
static void
define_intervals(void)
{
	define_int("pictrepo.reap_interval",
			   "Sets the time between searches for jobs of silent workers and ended sessions.",
			   "A worker is silent if it sends no heartbeat for pictrepo.heartbeat_timeout. The end of a"
			   " session starts an extra search for the jobs bound to it.",
			   &guc_reap_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.notify_interval",
			   "Sets the minimum time between two rounds of coalesced notifications.",
			   "0 sends them without a pause.",
			   &guc_notify_interval, 0, 60 * 1000, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.schedule_interval",
			   "Sets the time between searches for schedules that direct SQL has changed.",
			   "Other schedules run on time with any value.",
			   &guc_schedule_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.upload_interval",
			   "Sets the time between searches for uploads whose job died and for unclaimed uploads.",
			   "An upload whose job died gets a Failure as its result. An unclaimed upload is removed after"
			   " pictrepo.upload_ttl.",
			   &guc_upload_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.claim_interval",
			   "Sets the time between removals of expired claims on variants.",
			   "A claim expires after pictrepo.variant_claim_timeout, even if it is not removed yet.",
			   &guc_claim_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.dead_job_interval",
			   "Sets the time between removals of old dead jobs.",
			   "A dead job is old after pictrepo.dead_job_retention.",
			   &guc_dead_job_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.sweep_interval",
			   "Sets the time between searches for changes that shared memory has missed.",
			   "Prepared transactions and sessions that disable triggers make these changes.",
			   &guc_sweep_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.variant_interval",
			   "Sets the time between removals of variants older than pictrepo.variant_retention.",
			   "A run removes 100 variants, and the next run follows at once while more are left.",
			   &guc_variant_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.proxy_interval",
			   "Sets the time between deletions of proxied aliases older than pictrepo.proxy_retention.",
			   "A run deletes 100 aliases, and the next run follows at once while more are left.",
			   &guc_proxy_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.sample_interval",
			   "Sets the time between samples of the queues and the counts.",
			   "Tables samples and queue_samples store them. 0 takes no samples.",
			   &guc_sample_interval, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
}

/* How long what is kept by the background worker. */
static void
define_retentions(void)
{
	define_int("pictrepo.dead_job_retention",
			   "Sets the time after which dead jobs are removed.",
			   "0 keeps them for ever.",
			   &guc_dead_job_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.variant_retention",
			   "Sets the time without access after which variants are removed.",
			   "Their files are queued for removal. 0 keeps variants for ever.",
			   &guc_variant_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.proxy_retention",
			   "Sets the time without access after which aliases of proxied urls are deleted.",
			   "An image that has no other alias is removed, too, and its files are queued for removal. Uploads"
			   " of users stay. 0 keeps the aliases for ever.",
			   &guc_proxy_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.sample_retention",
			   "Sets the time after which samples are removed.",
			   "The background worker takes a sample every pictrepo.sample_interval.",
			   &guc_sample_retention, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
}

void
guc_define(void)
{
	preloaded = process_shared_preload_libraries_in_progress;
	guc_notify_mode = preloaded ? NOTIFY_COALESCED : NOTIFY_TRANSACTIONAL;
	define_sizes();
	define_intervals();
	define_retentions();

	define_int("pictrepo.node_id",
			   "Sets the number of this server, which is part of every ID that it creates.",
			   "Servers whose repos will be merged need different numbers. id_node(id) returns the number in an"
			   " ID.",
			   &guc_node_id, 0, 1023, PGC_SIGHUP, 0);
	define_int("pictrepo.max_document_size",
			   "Sets the maximum size of a JSON document: a job, details or an upload result.",
			   "The limit is for the size as jsonb, before compression.",
			   &guc_max_document_size, 1, 256 * 1024, PGC_SUSET, GUC_UNIT_KB);
	define_int("pictrepo.heartbeat_timeout",
			   "Sets the time without a heartbeat after which a worker loses its job.",
			   "The job is ready again with one retry less, or dead if it has no retry left. Workers should"
			   " send several heartbeats in this time.",
			   &guc_heartbeat_timeout, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.variant_claim_timeout",
			   "Sets the time without a heartbeat after which a claim on a variant expires.",
			   "Workers should call variant_heartbeat several times in this time.",
			   &guc_variant_claim_timeout, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.access_resolution",
			   "Sets the time after a recorded access in which further accesses are not written.",
			   "0 writes every access.",
			   &guc_access_resolution, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.upload_ttl",
			   "Sets the time after which an unclaimed upload is removed.",
			   "The background worker removes uploads every pictrepo.upload_interval.",
			   &guc_upload_ttl, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S);
	define_int("pictrepo.poll_interval",
			   "Sets the maximum time between two checks of a session that polls.",
			   "A waiting session polls without shared_preload_libraries, on a standby, or beyond"
			   " pictrepo.max_waiters.",
			   &guc_poll_interval, 1, 60 * 1000, PGC_SUSET, GUC_UNIT_MS);
	DefineCustomEnumVariable("pictrepo.notify",
							 "Sets how notifications are sent.",
							 "coalesced: by the background worker after the commit, once per queue and round."
							 " transactional: by NOTIFY, which lets only one transaction at a time commit."
							 " off: not at all. Without shared_preload_libraries, the default is"
							 " transactional.",
							 &guc_notify_mode, guc_notify_mode, notify_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("pictrepo.cursor",
							 "Starts a pop at the first ready job that shared memory knows.",
							 "off is for tests: a pop then reads the queue from its start, with the dead rows"
							 " that an old snapshot keeps.",
							 &guc_cursor_mode, guc_cursor_mode, cursor_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("pictrepo.synchronous_claims",
							 "Makes claims and access times wait for their WAL flush.",
							 "off: a server crash can lose recent claims and access times. The jobs of lost"
							 " claims are handed out again. Pushes and ends of jobs always wait.",
							 &guc_synchronous_claims, guc_synchronous_claims,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	define_injection();
	MarkGUCPrefixReserved("pictrepo");
}

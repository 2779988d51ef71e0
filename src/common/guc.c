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

#define AT_START " It is for all databases together, and takes effect when a server starts" \
	" that has pictrepo in shared_preload_libraries."

/*
 * Read when shared memory is laid out.  They are there without it as well, so
 * that a configuration which has them is not called wrong.
 */
static void
define_sizes(void)
{
	GucContext	context = preloaded ? PGC_POSTMASTER : PGC_SIGHUP;

	define_int("pictrepo.max_running_jobs",
			   "Running jobs whose heartbeats are kept in shared memory.",
			   "Jobs beyond have them in their rows." AT_START,
			   &guc_max_running_jobs, 1, 10 * 1000 * 1000, context, 0);
	define_int("pictrepo.max_waiters",
			   "Sessions that can wait without looking from time to time.",
			   "Sessions beyond look every pictrepo.poll_interval." AT_START,
			   &guc_max_waiters, 1, 1000 * 1000, context, 0);
	define_int("pictrepo.max_queues",
			   "Queues that are known in shared memory.",
			   "Queues beyond are searched and counted as without it." AT_START,
			   &guc_max_queues, 1, 1000 * 1000, context, 0);
}

/* How often the background worker does what. */
static void
define_intervals(void)
{
	define_int("pictrepo.reap_interval",
			   "How often the worker takes jobs away from silent workers.",
			   "Silent is who sent no heartbeat for pictrepo.heartbeat_timeout. Jobs that are bound to a session"
			   " are taken when it ends.",
			   &guc_reap_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.notify_interval",
			   "Shortest time between two rounds of coalesced notifications.",
			   "0 sends them without a pause.",
			   &guc_notify_interval, 0, 60 * 1000, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.schedule_interval",
			   "How often the worker looks for schedules that changed unnoticed.",
			   "All others run on time, whatever this is.",
			   &guc_schedule_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.upload_interval",
			   "How often the worker ends uploads whose job died or that nobody claims.",
			   "The first get a Failure as their result; the others go after pictrepo.upload_ttl.",
			   &guc_upload_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.claim_interval",
			   "How often the worker removes claims on variants that have expired.",
			   "They are free after pictrepo.variant_claim_timeout, removed or not.",
			   &guc_claim_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.dead_job_interval",
			   "How often the worker removes old dead jobs.",
			   "Old are those that died more than pictrepo.dead_job_retention ago.",
			   &guc_dead_job_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.sweep_interval",
			   "How often the worker looks for what escaped shared memory.",
			   "That is what prepared transactions changed.",
			   &guc_sweep_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.variant_interval",
			   "How often the worker removes variants that nobody looks at.",
			   "It does as long as there are any, 100 at a time; see pictrepo.variant_retention.",
			   &guc_variant_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.proxy_interval",
			   "How often the worker deletes aliases of proxied urls that nobody looks at.",
			   "It does as long as there are any, 100 at a time; see pictrepo.proxy_retention.",
			   &guc_proxy_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.sample_interval",
			   "How often the worker writes down what is in the queues.",
			   "The tables samples and queue_samples have it, for graphs. 0: never.",
			   &guc_sample_interval, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
}

/* How long what is kept by the background worker. */
static void
define_retentions(void)
{
	define_int("pictrepo.dead_job_retention",
			   "Dead jobs are removed after this time.",
			   "0 keeps them for ever.",
			   &guc_dead_job_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.variant_retention",
			   "Variants that nobody looked at for this time are removed.",
			   "Their files are queued for removal. 0 keeps them for ever.",
			   &guc_variant_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.proxy_retention",
			   "Aliases of proxied urls that nobody looked at for this time are deleted.",
			   "An image that has no other alias goes along, and its files are queued for removal. What users uploaded"
			   " is not touched. 0 keeps them for ever.",
			   &guc_proxy_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.sample_retention",
			   "Samples are removed after this time.",
			   "They are taken every pictrepo.sample_interval.",
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
			   "Number of this node, part of every id that it mints.",
			   "Servers whose repos will be merged have one each. id_node(id) says where an id is from.",
			   &guc_node_id, 0, 1023, PGC_SIGHUP, 0);
	define_int("pictrepo.max_document_size",
			   "Largest JSON document that is taken (jobs, details, upload results).",
			   "Measured as jsonb, before it is compressed.",
			   &guc_max_document_size, 1, 256 * 1024, PGC_SUSET, GUC_UNIT_KB);
	define_int("pictrepo.heartbeat_timeout",
			   "A running job without a heartbeat for this long is given to another worker.",
			   "It has one retry less then. Workers send heartbeats a few times in this time.",
			   &guc_heartbeat_timeout, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.variant_claim_timeout",
			   "A claim on a variant without a heartbeat for this long is free again.",
			   "Workers call variant_heartbeat a few times in this time.",
			   &guc_variant_claim_timeout, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.access_resolution",
			   "An access within this time of the last recorded one is not written.",
			   "0 writes each.",
			   &guc_access_resolution, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.upload_ttl",
			   "An upload that nobody claimed for this long is removed.",
			   "The background worker does that every pictrepo.upload_interval.",
			   &guc_upload_ttl, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S);
	define_int("pictrepo.poll_interval",
			   "Longest pause between two looks of a blocking call.",
			   "It is for those that nobody can call: without shared_preload_libraries, or beyond pictrepo.max_waiters.",
			   &guc_poll_interval, 1, 60 * 1000, PGC_SUSET, GUC_UNIT_MS);
	DefineCustomEnumVariable("pictrepo.notify",
							 "How the notification channels are served; without preload the default is transactional.",
							 "coalesced: by the background worker just after the commit, once per queue and round."
							 " transactional: by each commit itself, which lets one such commit at a time through."
							 " off: not at all.",
							 &guc_notify_mode, guc_notify_mode, notify_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("pictrepo.cursor",
							 "Whether pops begin at the first ready job that is known.",
							 "off, for tests: at the beginning of the queue, through what an old snapshot keeps.",
							 &guc_cursor_mode, guc_cursor_mode, cursor_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("pictrepo.synchronous_claims",
							 "Whether claims and access times wait for the disk.",
							 "off: after a crash, a job that was just claimed may be ready again, and an access be forgotten."
							 " Pushes and ends of jobs wait in any case.",
							 &guc_synchronous_claims, guc_synchronous_claims,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	define_injection();
	MarkGUCPrefixReserved("pictrepo");
}

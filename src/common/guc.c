/*-------------------------------------------------------------------------
 *
 * guc.c
 *		The extension's settings.
 *
 * Only superusers can change settings that affect the work of other sessions,
 * such as heartbeat_timeout.  Superusers can set them per database or role.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

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
int			guc_restore_timeout = 60 * 60;

static const struct config_enum_entry notify_modes[] = {
	{"coalesced", NOTIFY_COALESCED, false},
	{"transactional", NOTIFY_TRANSACTIONAL, false},
	{"off", NOTIFY_OFF, false},
	{NULL, 0, false}
};

static const struct config_enum_entry cursor_modes[] = {
	{"on", LOW_WATER_MARKS_ON, false},
	{"off", LOW_WATER_MARKS_OFF, false},
#ifdef PICTREPO_INJECTION
	{"corrupt", LOW_WATER_MARKS_CORRUPT, true},
#endif
	{NULL, 0, false}
};

static void
define_int(const char *name, const char *description, const char *details, int *variable,
		   int least, int most, GucContext context, int unit)
{
	DefineCustomIntVariable(name, description, details, variable, *variable,
							least, most, context, unit, NULL, NULL, NULL);
}

#define AT_START " The limit applies to all databases together. It takes effect when the server" \
	" starts with pictrepo in shared_preload_libraries."

/*
 * Sizes of tables in shared memory.  They are defined without preload, too, so
 * that a configuration file may contain them.
 */
static void
define_sizes(void)
{
	GucContext	context = preloaded ? PGC_POSTMASTER : PGC_SIGHUP;

	define_int("pictrepo.max_running_jobs",
			   "Maximum number of running jobs whose heartbeats are kept in shared memory.",
			   "The heartbeats of further jobs are stored in their rows." AT_START,
			   &guc_max_running_jobs, 1, 10 * 1000 * 1000, context, 0);
	define_int("pictrepo.max_waiters",
			   "Maximum number of waiting sessions that can be woken.",
			   "Further sessions check for work every pictrepo.poll_interval." AT_START,
			   &guc_max_waiters, 1, 1000 * 1000, context, 0);
	define_int("pictrepo.max_queues",
			   "Maximum number of queues that are tracked in shared memory.",
			   "Further queues are searched and counted as without preload." AT_START,
			   &guc_max_queues, 1, 1000 * 1000, context, 0);
}

/* How often the background worker runs its tasks. */
static void
define_intervals(void)
{
	define_int("pictrepo.reap_interval",
			   "How often the background worker takes jobs away from silent workers.",
			   "A worker is silent if it sent no heartbeat for pictrepo.heartbeat_timeout. Jobs that are bound to"
			   " a session are taken away when the session ends.",
			   &guc_reap_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.notify_interval",
			   "Minimum time between two rounds of coalesced notifications.",
			   "0 means no pause.",
			   &guc_notify_interval, 0, 60 * 1000, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.schedule_interval",
			   "How often the background worker checks the schedules for unnoticed changes.",
			   "Prepared transactions make such changes. All other schedules run on time regardless of this setting.",
			   &guc_schedule_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.upload_interval",
			   "How often the background worker ends uploads whose job died or that no session claims.",
			   "An upload whose job died gets a Failure as its result."
			   " An unclaimed upload is removed after pictrepo.upload_ttl.",
			   &guc_upload_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.claim_interval",
			   "How often the background worker removes expired variant claims.",
			   "A claim expires after pictrepo.variant_claim_timeout, whether it is removed or not.",
			   &guc_claim_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.dead_job_interval",
			   "How often the background worker removes old dead jobs.",
			   "A dead job is old after pictrepo.dead_job_retention.",
			   &guc_dead_job_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.sweep_interval",
			   "How often the background worker checks the tables for changes that shared memory does not show.",
			   "Prepared transactions make such changes. It also records large counts for standbys.",
			   &guc_sweep_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.variant_interval",
			   "How often the background worker removes variants that are not accessed any more.",
			   "It removes 100 at a time until none is left; see pictrepo.variant_retention.",
			   &guc_variant_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.proxy_interval",
			   "How often the background worker deletes aliases of proxied URLs that are not accessed any more.",
			   "It deletes 100 at a time until none is left; see pictrepo.proxy_retention.",
			   &guc_proxy_interval, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("pictrepo.sample_interval",
			   "How often the background worker takes a sample of the queues.",
			   "The tables samples and queue_samples keep the samples, for graphs. 0 means never.",
			   &guc_sample_interval, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
}

/* How long the background worker keeps old rows. */
static void
define_retentions(void)
{
	define_int("pictrepo.dead_job_retention",
			   "Time after which dead jobs are removed.",
			   "0 means never.",
			   &guc_dead_job_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.variant_retention",
			   "Time without access after which variants are removed.",
			   "Their files are queued for removal. 0 means never.",
			   &guc_variant_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.proxy_retention",
			   "Time without access after which aliases of proxied URLs are deleted.",
			   "An image without another alias is deleted with its last one, and its files are queued for removal."
			   " Uploads of users are not deleted. 0 means never.",
			   &guc_proxy_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.sample_retention",
			   "Time after which samples are removed.",
			   "A sample is taken every pictrepo.sample_interval.",
			   &guc_sample_retention, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
}

/* A setting of the server; NULL: none has the name. */
static const struct config_generic *
find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, ERROR);
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(settings[i]->name, name) == 0)
			return settings[i];
	return NULL;
#endif
}

/*
 * Has a SET of this session given the setting its value?  Not so if the value is
 * the default of the server, the database, the role or the connection.
 */
bool
guc_set_by_session(const char *name)
{
	const struct config_generic *setting = find_setting(name);

	return setting != NULL && setting->source == PGC_S_SESSION;
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
			   "Number of this node, which is part of the ids that it generates.",
			   "Give servers whose repos will be merged different numbers. id_node(id) returns the number in an id.",
			   &guc_node_id, 0, 1023, PGC_SIGHUP, 0);
	define_int("pictrepo.restore_timeout",
			   "Longest time for which the background worker waits for a restore.",
			   "The time begins with pre_restore(), or with the last rows of a restore that was recognized.",
			   &guc_restore_timeout, 1, 7 * 24 * 60 * 60, PGC_SIGHUP, GUC_UNIT_S);
	define_int("pictrepo.max_document_size",
			   "Maximum size of a JSON document (job, details, upload result).",
			   "This is the size as jsonb before compression.",
			   &guc_max_document_size, 1, 256 * 1024, PGC_SUSET, GUC_UNIT_KB);
	define_int("pictrepo.heartbeat_timeout",
			   "Time without a heartbeat after which a running job is given to another worker.",
			   "The job loses one retry. Workers must send several heartbeats in this time.",
			   &guc_heartbeat_timeout, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.variant_claim_timeout",
			   "Time without a heartbeat after which a variant claim expires.",
			   "Workers must call variant_heartbeat several times in this time.",
			   &guc_variant_claim_timeout, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.access_resolution",
			   "Time after a recorded access in which further accesses are not recorded.",
			   "0 records every access.",
			   &guc_access_resolution, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("pictrepo.upload_ttl",
			   "Time after which an unclaimed upload is removed.",
			   "The background worker removes such uploads every pictrepo.upload_interval.",
			   &guc_upload_ttl, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S);
	define_int("pictrepo.poll_interval",
			   "How often a waiting session that cannot be woken checks for work.",
			   "A session cannot be woken without shared_preload_libraries, or beyond pictrepo.max_waiters.",
			   &guc_poll_interval, 1, 60 * 1000, PGC_SUSET, GUC_UNIT_MS);
	DefineCustomEnumVariable("pictrepo.notify",
							 "How notifications are sent.",
							 "coalesced: the background worker sends them after the commit, once per queue and round."
							 " transactional: each commit sends its own, so that only one such commit runs at a time."
							 " off: they are not sent. Without shared_preload_libraries, the default is transactional,"
							 " and a transaction that sends notifications cannot be prepared.",
							 &guc_notify_mode, guc_notify_mode, notify_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("pictrepo.cursor",
							 "Whether a pop begins its search at the first job that can be ready.",
							 "off, for tests: it begins at the start of the queue, and reads rows that are dead but not yet removed.",
							 &guc_cursor_mode, guc_cursor_mode, cursor_modes,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("pictrepo.synchronous_claims",
							 "Whether claims and access times are flushed to disk before the commit returns.",
							 "off: a server crash can lose recent claims and access times; those jobs are handed out again."
							 " Pushes and ends of jobs are always flushed.",
							 &guc_synchronous_claims, guc_synchronous_claims,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	define_injection();
	MarkGUCPrefixReserved("pictrepo");
}

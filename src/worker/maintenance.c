/*-------------------------------------------------------------------------
 *
 * duties.c
 *		What the background worker does, and how often.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "engine/duties.h"
#include "engine/notify.h"
#include "engine/settings.h"
#include "engine/shared.h"
#include "engine/statements.h"
#include "repo/operations.h"
#include "repo/queue.h"
#include "repo/samples.h"
#include "repo/schedules.h"
#include "repo/uploads.h"
#include "repo/variants.h"

static uint64
reap_everywhere(void)
{
	return reap_jobs(NULL_ARG);
}

static uint64
rescue_everywhere(void)
{
	return rescue_jobs(NULL_ARG);
}

const Duty	duties[DUTIES] = {
	[DUTY_RESCUE] = {"rescue", &reap_interval, ATTEND_SESSIONS, rescue_everywhere},
	[DUTY_PULSES] = {"pulses", &reap_interval, 0, reap_silent_pulses},
	[DUTY_REAP] = {"reap", &reap_interval, 0, reap_everywhere},
	[DUTY_NOTIFY] = {"notify", &sweep_interval, ATTEND_NOTICES, send_notices, .worker_only = true},
	[DUTY_SCHEDULES] = {"schedules", &schedule_interval, ATTEND_SCHEDULE, push_due_jobs, next_due_schedule},
	[DUTY_UPLOADS] = {"uploads", &upload_interval, 0, end_uploads},
	[DUTY_CLAIMS] = {"claims", &claim_interval, 0, expire_variant_claims},
	[DUTY_DEAD_JOBS] = {"dead jobs", &dead_job_interval, 0, prune_dead_jobs},
	[DUTY_VARIANTS] = {
		"variants", &variant_interval, 0, expire_old_variants, .batch = SMALL_BATCH
	},
	[DUTY_PROXIES] = {
		"proxies", &proxy_interval, 0, expire_old_proxies, .batch = SMALL_BATCH
	},
	[DUTY_SAMPLES] = {"samples", &sample_interval, 0, take_sample},
	[DUTY_SWEEP] = {"sweep", &sweep_interval, 0, sweep_queues},
};

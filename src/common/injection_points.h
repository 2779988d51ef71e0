/*-------------------------------------------------------------------------
 *
 * injection_points.h
 *		Points at which a test can stop, fail or kill a process.
 *
 * INJECT(point) marks a place where a crash, an error or another session could
 * come between two steps.  In a normal build it does nothing.  In a build with
 * `make PICTREPO_DEBUG=1`, the setting pictrepo.injection selects one point and
 * an action.  pictrepo.injection_points lists the points.
 *
 *	point:error		raises an error (SQLSTATE 38000)
 *	point:fatal		ends the process like pg_terminate_backend(), once
 *	point:crash		kills the process, once
 *	point:wait		waits while pg_advisory_lock(hashtext('point')) is held
 *
 * A new point needs a line here, and a scenario in test/t/026_injection.pl.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_INJECTION_POINTS_H
#define PICTREPO_INJECTION_POINTS_H

/* FAILS(point) allows every action; RUNS(point) does not allow error and fatal */
#define INJECTION_POINTS(FAILS, RUNS) \
	/* jobs */ \
	FAILS(job_pushed) \
	FAILS(row_stored) \
	FAILS(row_noted) \
	FAILS(jobs_pushed) \
	FAILS(claim_locked) \
	FAILS(claim_noted) \
	FAILS(job_ended) \
	FAILS(jobs_reaped) \
	FAILS(heartbeat_announced) \
	FAILS(count_published) \
	/* waiting */ \
	FAILS(wait_joined) \
	FAILS(wait_rested) \
	FAILS(wait_called) \
	/* the end of a transaction */ \
	FAILS(commit_begun) \
	RUNS(commit_visible) \
	RUNS(commit_counted) \
	RUNS(commit_told) \
	RUNS(prepare_begun) \
	RUNS(prepare_told) \
	RUNS(abort_begun) \
	RUNS(abort_told) \
	/* images */ \
	FAILS(content_held) \
	FAILS(alias_stored) \
	FAILS(details_stored) \
	FAILS(ingest_job_ended) \
	FAILS(ingest_stored) \
	FAILS(image_locked) \
	FAILS(image_blocked) \
	FAILS(alias_deleted) \
	FAILS(image_deleted) \
	FAILS(files_sorted) \
	FAILS(files_released) \
	FAILS(variant_claim_ended) \
	FAILS(variant_stored) \
	FAILS(file_moved) \
	FAILS(file_forgotten) \
	FAILS(line_stored) \
	/* transfers */ \
	FAILS(batch_stored) \
	FAILS(batch_noted) \
	FAILS(batch_committed) \
	/* the background worker; one duty_* for each MaintenanceTaskId, in that order */ \
	FAILS(worker_wanted) \
	FAILS(worker_requested) \
	FAILS(worker_started) \
	FAILS(worker_unwanted) \
	FAILS(worker_committed) \
	FAILS(worker_sent_away) \
	FAILS(duty_rescue) \
	FAILS(duty_pulses) \
	FAILS(duty_reap) \
	FAILS(duty_notify) \
	FAILS(duty_schedules) \
	FAILS(duty_uploads) \
	FAILS(duty_claims) \
	FAILS(duty_dead_jobs) \
	FAILS(duty_variants) \
	FAILS(duty_proxies) \
	FAILS(duty_samples) \
	FAILS(duty_sweep)

#ifdef PICTREPO_INJECTION

#define INJECTION_POINT(point) POINT_##point,
typedef enum InjectionPoint
{
	INJECTION_POINTS(INJECTION_POINT, INJECTION_POINT)
	POINTS
} InjectionPoint;
#undef INJECTION_POINT

extern void define_injection(void);
extern void inject(InjectionPoint point);

#define INJECT(point) inject(POINT_##point)
#define INJECT_WHEN(condition, point) ((condition) ? inject(POINT_##point) : (void) 0)
#define INJECT_AFTER_TASK(number) inject(POINT_duty_rescue + (number))

#else

#define define_injection() ((void) 0)
#define INJECT(point) ((void) 0)
#define INJECT_WHEN(condition, point) ((void) 0)
#define INJECT_AFTER_TASK(number) ((void) 0)

#endif
#endif

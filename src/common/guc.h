/*-------------------------------------------------------------------------
 *
 * guc.h
 *		The extension's settings (pictrepo.* in postgresql.conf).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_GUC_H
#define PICTREPO_GUC_H

typedef enum NotifyMode
{
	NOTIFY_OFF,					/* not sent */
	NOTIFY_TRANSACTIONAL,		/* sent by the commit of the change */
	NOTIFY_COALESCED,			/* sent by the background worker after the
								 * commit */
} NotifyMode;

typedef enum LowWaterMarkMode
{
	LOW_WATER_MARKS_OFF,
	LOW_WATER_MARKS_ON,
#ifdef PICTREPO_INJECTION
	LOW_WATER_MARKS_CORRUPT,	/* wrong at random, for tests */
#endif
} LowWaterMarkMode;

/* is pictrepo in shared_preload_libraries?  Shared memory and the background workers need it. */
extern bool preloaded;

extern int	guc_node_id;
extern int	guc_max_document_size;	/* kB */
extern int	guc_heartbeat_timeout;	/* ms */
extern int	guc_variant_claim_timeout;	/* ms */
extern int	guc_access_resolution;	/* ms */
extern int	guc_upload_ttl;		/* s */
extern int	guc_poll_interval;	/* ms */
extern int	guc_notify_mode;
extern int	guc_cursor_mode;
extern bool guc_synchronous_claims;

/* sizes of tables in shared memory */
extern int	guc_max_running_jobs;
extern int	guc_max_waiters;
extern int	guc_max_queues;

/* intervals and retention times of the background worker; intervals in ms */
extern int	guc_reap_interval;
extern int	guc_notify_interval;
extern int	guc_schedule_interval;
extern int	guc_upload_interval;
extern int	guc_claim_interval;
extern int	guc_dead_job_interval;
extern int	guc_sweep_interval;
extern int	guc_dead_job_retention; /* s; 0: for ever */
extern int	guc_variant_interval;
extern int	guc_variant_retention;	/* s; 0: for ever */
extern int	guc_proxy_interval;
extern int	guc_proxy_retention;	/* s; 0: for ever */
extern int	guc_sample_interval;	/* ms; 0: never */
extern int	guc_sample_retention;
extern int	guc_restore_timeout;	/* s */

extern bool guc_set_by_session(const char *name);
extern void guc_define(void);

#endif

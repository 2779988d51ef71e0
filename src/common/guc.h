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
	NOTIFY_OFF,					/* nobody listens */
	NOTIFY_TRANSACTIONAL,		/* sent by the writer's own commit */
	NOTIFY_COALESCED,			/* sent by the worker after the commit */
} NotifyMode;

typedef enum CursorMode
{
	CURSOR_OFF,
	CURSOR_ON,
	CURSOR_CORRUPT,				/* spoilt at random, for tests */
} CursorMode;

/* loaded by the postmaster, so that shared memory and workers can be had? */
extern bool preloaded;

extern int	node_id;
extern int	max_document_size;	/* kB */
extern int	heartbeat_timeout;	/* ms */
extern int	variant_claim_timeout;	/* ms */
extern int	access_resolution;	/* ms */
extern int	upload_ttl;			/* s */
extern int	poll_interval;		/* ms */
extern int	notify_mode;
extern int	cursor_mode;
extern bool synchronous_claims;

/* sizes of shared memory */
extern int	max_running_jobs;
extern int	max_waiters;
extern int	max_queues;

/* the worker's intervals: ms, 0: never */
extern int	reap_interval;
extern int	notify_interval;
extern int	schedule_interval;
extern int	upload_interval;
extern int	claim_interval;
extern int	dead_job_interval;
extern int	sweep_interval;
extern int	dead_job_retention; /* s; 0: for ever */
extern int	variant_interval;
extern int	variant_retention;	/* s; 0: for ever */
extern int	proxy_interval;
extern int	proxy_retention;	/* s; 0: for ever */
extern int	sample_interval;	/* ms; 0: never */
extern int	sample_retention;	/* s */

extern void define_settings(void);

#endif

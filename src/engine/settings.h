/*-------------------------------------------------------------------------
 *
 * settings.h
 *		The extension's settings (pictrepo.* in postgresql.conf).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SETTINGS_H
#define PICTREPO_SETTINGS_H

typedef enum NotifyMode
{
	NOTIFY_OFF,					/* nobody listens */
	NOTIFY_TRANSACTIONAL,		/* sent by the writer's own commit */
} NotifyMode;

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

extern void define_settings(void);

#endif

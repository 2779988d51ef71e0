/*-------------------------------------------------------------------------
 *
 * xact_callback.h
 *		What happens in shared memory at the end of a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_XACT_CALLBACK_H
#define PICTREPO_XACT_CALLBACK_H

extern void xact_callback_register(void);

#endif

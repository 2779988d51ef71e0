/*-------------------------------------------------------------------------
 *
 * xact_callback.h
 *		Applying or undoing pending changes at the end of a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_XACT_CALLBACK_H
#define PICTREPO_XACT_CALLBACK_H

extern void xact_callback_register(void);

#endif

/*-------------------------------------------------------------------------
 *
 * triggers.h
 *		The keys by which triggers wake waiters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_TRIGGERS_H
#define PICTREPO_TRIGGERS_H

extern uint64 upload_wait_key(Datum upload);
extern uint64 variant_wait_key(Datum hash, Datum variant);

#endif

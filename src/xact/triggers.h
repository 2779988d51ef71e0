/*-------------------------------------------------------------------------
 *
 * triggers.h
 *		What triggers and waiters agree upon.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_TRIGGERS_H
#define PICTREPO_TRIGGERS_H

extern uint64 key_of_upload(Datum upload);
extern uint64 key_of_variant(Datum hash, Datum variant);

#endif

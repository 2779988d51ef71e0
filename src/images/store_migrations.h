/*-------------------------------------------------------------------------
 *
 * store_migrations.h
 *		Marks of files that have moved, for other files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_STORE_MIGRATIONS_H
#define PICTREPO_STORE_MIGRATIONS_H

#include "fmgr.h"

/* Within a call.  False: the old one is marked already. */
extern bool mark_migrated(NullableDatum old_identifier, NullableDatum new_identifier);

#endif

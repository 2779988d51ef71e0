/*-------------------------------------------------------------------------
 *
 * store_migrations.h
 *		Marks of moved files, for other source files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_STORE_MIGRATIONS_H
#define PICTREPO_STORE_MIGRATIONS_H

#include "fmgr.h"

/* The caller is in a repo call.  False: old_identifier is marked already. */
extern bool mark_migrated(NullableDatum old_identifier, NullableDatum new_identifier);

#endif

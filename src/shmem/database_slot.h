/*-------------------------------------------------------------------------
 *
 * database_slot.h
 *		What is kept of each database that has the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_DATABASE_SLOT_H
#define PICTREPO_DATABASE_SLOT_H

#include "shmem/shmem.h"

extern DatabaseState *my_database(void);
extern DatabaseState *find_database(Oid database);
extern DatabaseState *database_slot(Oid database);
extern bool database_has_no_room(void);

#endif

/*-------------------------------------------------------------------------
 *
 * database_slot.h
 *		What is kept of each database that has the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_DATABASE_SLOT_H
#define PICTREPO_DATABASE_SLOT_H

#include "nodes/pg_list.h"

#include "shmem/shmem.h"

extern DatabaseSlot *my_database_slot(void);
extern DatabaseSlot *database_slot_find(Oid database);
extern DatabaseSlot *database_slot_lookup(Oid database);
extern List *database_slots_list(void);
extern bool database_slots_full(void);

#endif

/*-------------------------------------------------------------------------
 *
 * reset.h
 *		Beginning anew with a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_RESET_H
#define PICTREPO_RESET_H

#include "postgres_ext.h"

extern void database_slot_reset(Oid database, bool gone);

#endif

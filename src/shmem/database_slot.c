/*-------------------------------------------------------------------------
 *
 * database_slot.c
 *		What is kept of each database that has the extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/pg_list.h"

#include "shmem/database_slot.h"
#include "shmem/shmem.h"

/* Under the table lock. */
DatabaseSlot *
database_slot_lookup(Oid database)
{
	for (int i = 0; i < DATABASES_MAX; i++)
		if (shmem->databases[i].database == database)
			return &shmem->databases[i];
	return NULL;
}

/* A database's state, if it has one. */
DatabaseSlot *
database_slot_find(Oid database)
{
	DatabaseSlot *state;

	LWLockAcquire(shmem->table_lock, LW_SHARED);
	state = database_slot_lookup(database);
	LWLockRelease(shmem->table_lock);
	return state;
}

/* The databases that have a slot, as a List of OIDs. */
List *
database_slots_list(void)
{
	List	   *databases = NIL;

	LWLockAcquire(shmem->table_lock, LW_SHARED);
	for (int i = 0; i < DATABASES_MAX; i++)
		if (OidIsValid(shmem->databases[i].database))
			databases = lappend_oid(databases, shmem->databases[i].database);
	LWLockRelease(shmem->table_lock);
	return databases;
}

/*
 * The state of this database, made at its first use; NULL without shared
 * memory, or when too many databases have one.
 */
DatabaseSlot *
my_database_slot(void)
{
	static DatabaseSlot *mine = NULL;

	if (mine == NULL && shmem_usable() && OidIsValid(MyDatabaseId))
	{
		LWLockAcquire(shmem->table_lock, LW_EXCLUSIVE);
		mine = database_slot_lookup(MyDatabaseId);
		if (mine == NULL && (mine = database_slot_lookup(InvalidOid)) != NULL)
			mine->database = MyDatabaseId;
		LWLockRelease(shmem->table_lock);
	}
	return mine;
}

/*
 * Is this a database too many?  All works as without preload then, but there is
 * no worker, since nobody could tell it anything.
 */
bool
database_slots_full(void)
{
	return shmem_usable() && my_database_slot() == NULL;
}

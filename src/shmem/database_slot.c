/*-------------------------------------------------------------------------
 *
 * database_slot.c
 *		What is kept of each database that has the extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "shmem/database_slot.h"
#include "shmem/shmem.h"

/* Under the table lock. */
DatabaseState *
database_slot(Oid database)
{
	for (int i = 0; i < DATABASES_MAX; i++)
		if (shared->databases[i].database == database)
			return &shared->databases[i];
	return NULL;
}

/* A database's state, if it has one. */
DatabaseState *
find_database(Oid database)
{
	DatabaseState *state;

	LWLockAcquire(shared->table_lock, LW_SHARED);
	state = database_slot(database);
	LWLockRelease(shared->table_lock);
	return state;
}

/*
 * The state of this database, made at its first use; NULL without shared
 * memory, or when too many databases have one.
 */
DatabaseState *
my_database(void)
{
	static DatabaseState *mine = NULL;

	if (mine == NULL && shared_engine() && OidIsValid(MyDatabaseId))
	{
		LWLockAcquire(shared->table_lock, LW_EXCLUSIVE);
		mine = database_slot(MyDatabaseId);
		if (mine == NULL && (mine = database_slot(InvalidOid)) != NULL)
			mine->database = MyDatabaseId;
		LWLockRelease(shared->table_lock);
	}
	return mine;
}

/*
 * Is this a database too many?  All works as without preload then, but there is
 * no worker, since nobody could tell it anything.
 */
bool
database_has_no_room(void)
{
	return shared_engine() && my_database() == NULL;
}

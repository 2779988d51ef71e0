/*-------------------------------------------------------------------------
 *
 * utility_hook.c
 *		Statements that workers are in the way of, or that bring them.
 *
 * A worker's session is in the way of DROP DATABASE and the like.  A hook ends
 * the worker first, and keeps it away until the statement has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "common/compat.h"
#include "common/injection_points.h"
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "worker/worker.h"
#include "xact/pending.h"

/* how long a statement waits for the end of a worker, as long as the server for other sessions */
#define STOP_WAIT_MS 5000

static ProcessUtility_hook_type next_utility_hook = NULL;

/* this transaction has created a database */
static bool database_created = false;

static const char *
template_of(const CreatedbStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return "template1";
}

/* The database that nobody may be connected to while a statement runs; NULL: none. */
static const char *
name_to_leave(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreatedbStmt:
			return template_of((CreatedbStmt *) statement);
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_AlterDatabaseStmt:
			return ((AlterDatabaseStmt *) statement)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) statement)->subname : NULL;
		default:
			return NULL;
	}
}

/* Where the user may run the statement; InvalidOid: none. */
static Oid
database_to_leave(Node *statement)
{
	const char *name = name_to_leave(statement);
	Oid			oid = name != NULL && IsTransactionState() ? get_database_oid(name, true) : InvalidOid;

	return OidIsValid(oid) && owns_database(oid, GetUserId()) ? oid : InvalidOid;
}

/* The statement has ended, with its session perhaps. */
static void
release_worker(int code, Datum database)
{
	worker_slot_release((DatabaseSlot *) DatumGetPointer(database));
}

/* A worker that does not end in time is one of the sessions that the server complains of. */
static void
send_worker_away(DatabaseSlot *database)
{
	worker_slot_hold(database);
	worker_slot_wait_for_end(database, STOP_WAIT_MS);
}

/* What a statement means for workers once it has succeeded */
typedef enum StatementEffect
{
	EFFECT_NONE,
	EFFECT_EXTENSION,			/* ours is there, or another version of it */
	EFFECT_EXTENSION_GONE,		/* if it was ours, the worker has to see that */
	EFFECT_DATABASE				/* there is one more */
} StatementEffect;

/* Does the statement bring the extension, or another version of it? */
static bool
brings_extension(Node *statement)
{
	const char *name = NULL;

	if (IsA(statement, CreateExtensionStmt))
		name = ((CreateExtensionStmt *) statement)->extname;
	else if (IsA(statement, AlterExtensionStmt))
		name = ((AlterExtensionStmt *) statement)->extname;
	return name != NULL && strcmp(name, "pictrepo") == 0;
}

/* Asked before: what runs the statement may free it. */
static StatementEffect
effect_of_statement(Node *statement)
{
	if (brings_extension(statement))
		return EFFECT_EXTENSION;
	if (IsA(statement, DropStmt) && ((DropStmt *) statement)->removeType == OBJECT_EXTENSION)
		return EFFECT_EXTENSION_GONE;
	return IsA(statement, CreatedbStmt) ? EFFECT_DATABASE : EFFECT_NONE;
}

static void
apply_effect(StatementEffect effect)
{
	switch (effect)
	{
		case EFFECT_NONE:
			break;
		case EFFECT_EXTENSION:
			if (my_database_slot() != NULL)
				pending_extension_created();
			else
				report_no_database_slot(WARNING);
			break;
		case EFFECT_EXTENSION_GONE:
			if (database_slot_find(MyDatabaseId) != NULL && my_database_slot() != NULL)
				pending_worker_request(WORKER_REQ_SESSIONS);
			break;
		case EFFECT_DATABASE:
			database_created = true;
			break;
	}
}

/* The launcher cannot see a new database before. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && database_created)
		launcher_wake();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		database_created = false;
}

static void
call_next(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		  ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
		  DestReceiver *dest, QueryCompletion *qc)
{
	(next_utility_hook ? next_utility_hook : standard_ProcessUtility)
		(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/* The database that a statement needs without a worker; NULL: none. */
static DatabaseSlot *
slot_to_leave(Node *statement)
{
	Oid			oid = database_to_leave(statement);

	return OidIsValid(oid) && oid != MyDatabaseId ? database_slot_find(oid) : NULL;
}

static void
watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
			  DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *statement = pstmt->utilityStmt;
	StatementEffect effect = effect_of_statement(statement);
	DatabaseSlot *database = shmem_usable() ? slot_to_leave(statement) : NULL;
	bool		restores = shmem_usable() && restore_guard_recognizes(statement);

	if (restores)
		restore_guard_enter();
	if (database == NULL)
		call_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
	{
		PG_ENSURE_ERROR_CLEANUP(release_worker, PointerGetDatum(database));
		{
			send_worker_away(database);
			INJECT(worker_sent_away);
			call_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		}
		PG_END_ENSURE_ERROR_CLEANUP(release_worker, PointerGetDatum(database));
		release_worker(0, PointerGetDatum(database));
	}
	if (restores)
		restore_guard_touch();
	if (shmem_usable() && IsTransactionState())
		apply_effect(effect);
}

/* From _PG_init, in the postmaster. */
void
utility_hook_install(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	RegisterXactCallback(at_transaction_end, NULL);
}

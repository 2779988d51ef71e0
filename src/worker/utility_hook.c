/*-------------------------------------------------------------------------
 *
 * utility_hook.c
 *		Statements that need a database without its worker, or a new worker.
 *
 * DROP DATABASE and other statements fail while a session is connected to the
 * database, and a worker is one.  A hook ends the worker first.  The launcher
 * starts no other one until the statement or its session has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "common/compat.h"
#include "common/injection_points.h"
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "worker/worker.h"
#include "xact/pending.h"

/* the server waits as long for the end of other sessions */
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

/* The database to which no session may be connected while a statement runs; NULL: none. */
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

/* The same, if the user may run the statement; InvalidOid: none. */
static Oid
database_to_leave(Node *statement)
{
	const char *name = name_to_leave(statement);
	Oid			oid = name != NULL && IsTransactionState() ? get_database_oid(name, true) : InvalidOid;

	return OidIsValid(oid) && owns_database(oid, GetUserId()) ? oid : InvalidOid;
}

/* The statement has ended, perhaps because its session does. */
static void
release_worker(int code, Datum database)
{
	worker_slot_release((DatabaseSlot *) DatumGetPointer(database));
}

/* If the worker does not end in time, the statement fails as it does for other sessions. */
static void
send_worker_away(DatabaseSlot *database)
{
	worker_slot_hold(database);
	worker_slot_wait_for_end(database, STOP_WAIT_MS);
}

/* What a statement that succeeds does for workers */
typedef enum StatementEffect
{
	EFFECT_NONE,
	EFFECT_EXTENSION,			/* it creates or updates this extension */
	EFFECT_EXTENSION_GONE,		/* it drops an extension, perhaps this one */
	EFFECT_TRIGGERS,			/* it turns triggers of this extension on or
								 * off */
	EFFECT_PREPARED,			/* it commits what a prepared transaction did */
	EFFECT_DATABASE				/* it creates a database */
} StatementEffect;

/* Does the statement create or update this extension? */
static bool
changes_extension(Node *statement)
{
	const char *name = NULL;

	if (IsA(statement, CreateExtensionStmt))
		name = ((CreateExtensionStmt *) statement)->extname;
	else if (IsA(statement, AlterExtensionStmt))
		name = ((AlterExtensionStmt *) statement)->extname;
	return name != NULL && strcmp(name, "pictrepo") == 0;
}

static bool
is_about_triggers(const AlterTableCmd *command)
{
	return command->subtype >= AT_EnableTrig && command->subtype <= AT_DisableTrigUser;
}

/* Does the statement turn triggers of a table of this extension on or off? */
static bool
switches_triggers(const AlterTableStmt *statement)
{
	Oid			table = IsTransactionState() ? RangeVarGetRelid(statement->relation, NoLock, true) : InvalidOid;
	ListCell   *cell;

	if (!OidIsValid(table) ||
		get_rel_namespace(table) != get_namespace_oid("pictrepo", true))
		return false;
	foreach(cell, statement->cmds)
		if (is_about_triggers(lfirst_node(AlterTableCmd, cell)))
			return true;
	return false;
}

/* Called before the statement runs, which may free its parse tree. */
static StatementEffect
effect_of_statement(Node *statement)
{
	if (changes_extension(statement))
		return EFFECT_EXTENSION;
	if (IsA(statement, DropStmt) && ((DropStmt *) statement)->removeType == OBJECT_EXTENSION)
		return EFFECT_EXTENSION_GONE;
	if (IsA(statement, AlterTableStmt) && switches_triggers((AlterTableStmt *) statement))
		return EFFECT_TRIGGERS;
	if (IsA(statement, TransactionStmt) &&
		((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED)
		return EFFECT_PREPARED;
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
		case EFFECT_TRIGGERS:
			if (my_database_slot() != NULL)
				pending_forget_counts();
			break;
		case EFFECT_PREPARED:
			/* no callback runs that knows what it did; it has committed */
			if (OidIsValid(get_extension_oid("pictrepo", true)) && my_database_slot() != NULL)
				worker_slot_prepared_committed(my_database_slot());
			break;
		case EFFECT_DATABASE:
			database_created = true;
			break;
	}
}

/* The launcher sees a new database after the commit only. */
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
	{
		restore_guard_enter();
		PG_ENSURE_ERROR_CLEANUP(restore_guard_leave, (Datum) 0);
		{
			call_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
			restore_guard_loaded();
		}
		PG_END_ENSURE_ERROR_CLEANUP(restore_guard_leave, (Datum) 0);
		restore_guard_leave(0, (Datum) 0);
	}
	else if (database == NULL)
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

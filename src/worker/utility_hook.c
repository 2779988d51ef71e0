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
#include "utils/timestamp.h"

#include "common/compat.h"
#include "common/injection_points.h"
#include "shmem/database_slot.h"
#include "shmem/restore_guard.h"
#include "shmem/shmem.h"
#include "shmem/worker_slot.h"
#include "worker/worker.h"
#include "xact/pending.h"

/* how long a statement keeps the worker away from a database, at most */
#define HOLD_LASTS (60 * USECS_PER_SEC)
#define STOP_WAIT_MS 5000

static ProcessUtility_hook_type next_utility_hook = NULL;

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

static void
hold_worker(DatabaseSlot *database, TimestampTz until)
{
	SpinLockAcquire(&shmem->mutex);
	database->held_until = until;
	SpinLockRelease(&shmem->mutex);
}

/* The statement has ended, with its session perhaps. */
static void
let_worker_back(int code, Datum datum)
{
	DatabaseSlot *database = (DatabaseSlot *) DatumGetPointer(datum);

	hold_worker(database, 0);
	pg_atomic_fetch_and_u32(&database->requests, ~WORKER_REQ_STOP);
	launcher_wake();
}

static void
send_worker_away(DatabaseSlot *database)
{
	hold_worker(database, GetCurrentTimestamp() + HOLD_LASTS);
	for (int waited = 0; waited < STOP_WAIT_MS; waited += 10)
	{
		if (database->worker_state != WORKER_RUNNING && database->worker_state != WORKER_STARTING)
			break;
		worker_request(database, WORKER_REQ_STOP);
		pg_usleep(10 * 1000);
		CHECK_FOR_INTERRUPTS();
	}
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
apply_effect(StatementEffect meaning)
{
	switch (meaning)
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
			launcher_wake();
			break;
	}
}

static void
call_next(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		  ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
		  DestReceiver *dest, QueryCompletion *qc)
{
	(next_utility_hook ? next_utility_hook : standard_ProcessUtility)
		(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
			  DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *statement = pstmt->utilityStmt;
	Oid			oid = shmem_usable() ? database_to_leave(statement) : InvalidOid;
	DatabaseSlot *database = OidIsValid(oid) && oid != MyDatabaseId ? database_slot_find(oid) : NULL;
	StatementEffect meaning = effect_of_statement(statement);

	if (database == NULL)
	{
		bool		restores = shmem_usable() && restore_guard_recognizes(statement);

		if (restores)
			restore_guard_enter();
		call_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		if (restores)
			restore_guard_touch();
		if (shmem_usable() && IsTransactionState())
			apply_effect(meaning);
		return;
	}

	PG_ENSURE_ERROR_CLEANUP(let_worker_back, PointerGetDatum(database));
	{
		send_worker_away(database);
		INJECT(worker_sent_away);
		call_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_END_ENSURE_ERROR_CLEANUP(let_worker_back, PointerGetDatum(database));
	let_worker_back(0, PointerGetDatum(database));
	apply_effect(meaning);
}

/* From _PG_init, in the postmaster. */
void
utility_hook_install(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
}

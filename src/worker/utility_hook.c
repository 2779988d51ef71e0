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
hold_worker(DatabaseState *database, TimestampTz until)
{
	SpinLockAcquire(&shared->mutex);
	database->held_until = until;
	SpinLockRelease(&shared->mutex);
}

/* The statement has ended, with its session perhaps. */
static void
let_worker_back(int code, Datum datum)
{
	DatabaseState *database = (DatabaseState *) DatumGetPointer(datum);

	hold_worker(database, 0);
	pg_atomic_fetch_and_u32(&database->attention, ~ATTEND_STOP);
	wake_launcher();
}

static void
send_worker_away(DatabaseState *database)
{
	hold_worker(database, GetCurrentTimestamp() + HOLD_LASTS);
	for (int waited = 0; waited < STOP_WAIT_MS; waited += 10)
	{
		if (database->worker_state != WORKER_RUNNING && database->worker_state != WORKER_STARTING)
			break;
		attend(database, ATTEND_STOP);
		pg_usleep(10 * 1000);
		CHECK_FOR_INTERRUPTS();
	}
}

/* What a statement means for workers once it has succeeded */
typedef enum Meaning
{
	MEANS_NOTHING,
	MEANS_EXTENSION,			/* ours is there, or another version of it */
	MEANS_EXTENSION_GONE,		/* if it was ours, the worker has to see that */
	MEANS_DATABASE				/* there is one more */
} Meaning;

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
static Meaning
meaning_of(Node *statement)
{
	if (brings_extension(statement))
		return MEANS_EXTENSION;
	if (IsA(statement, DropStmt) && ((DropStmt *) statement)->removeType == OBJECT_EXTENSION)
		return MEANS_EXTENSION_GONE;
	return IsA(statement, CreatedbStmt) ? MEANS_DATABASE : MEANS_NOTHING;
}

static void
act_on(Meaning meaning)
{
	switch (meaning)
	{
		case MEANS_NOTHING:
			break;
		case MEANS_EXTENSION:
			if (my_database() != NULL)
				note_created();
			else
				report_no_room(WARNING);
			break;
		case MEANS_EXTENSION_GONE:
			if (find_database(MyDatabaseId) != NULL && my_database() != NULL)
				note_attention(ATTEND_SESSIONS);
			break;
		case MEANS_DATABASE:
			wake_launcher();
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
	Oid			oid = shared_engine() ? database_to_leave(statement) : InvalidOid;
	DatabaseState *database = OidIsValid(oid) && oid != MyDatabaseId ? find_database(oid) : NULL;
	Meaning		meaning = meaning_of(statement);

	if (database == NULL)
	{
		bool		restores = shared_engine() && is_part_of_restore(statement);

		if (restores)
			begin_restore();
		call_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		if (restores)
			note_restored();
		if (shared_engine() && IsTransactionState())
			act_on(meaning);
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
	act_on(meaning);
}

/* From _PG_init, in the postmaster. */
void
define_utility_hook(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
}

/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Hide the differences between PostgreSQL 15 and 18.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_COMPAT_H
#define PICTREPO_COMPAT_H

#include "utils/wait_event.h"

/* Since 16, VARDATA and related macros have their own header. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Since 18, pg_noreturn precedes the declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* Since 16, one function checks the ownership of objects of any kind. */
#if PG_VERSION_NUM >= 160000
#define owns_database(oid, role) object_ownercheck(DatabaseRelationId, oid, role)
#else
#define owns_database(oid, role) pg_database_ownercheck(oid, role)
#endif

/* Before 16, the copied list of processes has another accessor. */
#if PG_VERSION_NUM < 160000
#define pgstat_get_local_beentry_by_index(i) pgstat_fetch_stat_local_beentry(i)
#endif

/* Before 16, the type of a walker has no parameters, which is an error in C23. */
#if PG_VERSION_NUM >= 160000
#define walk_expression(node, walker, context) expression_tree_walker(node, walker, context)
#else
#define walk_expression(node, walker, context) \
	expression_tree_walker(node, (bool (*) ()) (void *) (walker), context)
#endif

/* Before 18, ExecutorRun has a parameter execute_once. */
#if PG_VERSION_NUM >= 180000
#define run_executor(query) ExecutorRun(query, ForwardScanDirection, 0)
#else
#define run_executor(query) ExecutorRun(query, ForwardScanDirection, 0, true)
#endif

/* Since 18, index_beginscan takes counters for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define begin_index_scan(table, index, snapshot, keys) index_beginscan(table, index, snapshot, NULL, keys, 0)
#else
#define begin_index_scan(table, index, snapshot, keys) index_beginscan(table, index, snapshot, keys, 0)
#endif

/*
 * The wait event set for the client connection.  libpq/libpq.h declares it, but
 * including that header needs the headers of GSSAPI.
 */
#include "storage/latch.h"
extern PGDLLIMPORT WaitEventSet *FeBeWaitSet;
#define FEBE_SOCKET_POSITION 0

/* Since 17, extensions can name their wait events. */
#if PG_VERSION_NUM >= 170000
#define extension_wait_event(name) WaitEventExtensionNew(name)
#else
#define extension_wait_event(name) PG_WAIT_EXTENSION
#endif

#endif

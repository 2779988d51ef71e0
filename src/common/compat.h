/*-------------------------------------------------------------------------
 *
 * compat.h
 *		The differences between PostgreSQL 15 and 18 that pictrepo meets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_COMPAT_H
#define PICTREPO_COMPAT_H

#include "utils/wait_event.h"

/* VARDATA and its kin moved out of postgres.h with 16. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* The marker of functions that do not return stands first since 18. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* Ownership of a database is asked like that of any object since 16. */
#if PG_VERSION_NUM >= 160000
#define owns_database(oid, role) object_ownercheck(DatabaseRelationId, oid, role)
#else
#define owns_database(oid, role) pg_database_ownercheck(oid, role)
#endif

/* Walkers have a type since 16; until then a compiler of C23 took theirs for (void). */
#if PG_VERSION_NUM >= 160000
#define walk_expression(node, walker, context) expression_tree_walker(node, walker, context)
#else
#define walk_expression(node, walker, context) \
	expression_tree_walker(node, (bool (*) ()) (void *) (walker), context)
#endif

/* A query was run in pieces, or once, until 18. */
#if PG_VERSION_NUM >= 180000
#define run_executor(query) ExecutorRun(query, ForwardScanDirection, 0)
#else
#define run_executor(query) ExecutorRun(query, ForwardScanDirection, 0, true)
#endif

/* A scan counts for EXPLAIN what it does since 18. */
#if PG_VERSION_NUM >= 180000
#define begin_index_scan(table, index, snapshot, keys) index_beginscan(table, index, snapshot, NULL, keys, 0)
#else
#define begin_index_scan(table, index, snapshot, keys) index_beginscan(table, index, snapshot, keys, 0)
#endif

/*
 * The wait for the client, as libpq/libpq.h has it, which cannot be included
 * where the headers of GSSAPI are not installed.
 */
#include "storage/latch.h"
extern PGDLLIMPORT WaitEventSet *FeBeWaitSet;
#define FEBE_SOCKET_POSITION 0

/* Named wait events for extensions came with 17. */
#if PG_VERSION_NUM >= 170000
#define extension_wait_event(name) WaitEventExtensionNew(name)
#else
#define extension_wait_event(name) PG_WAIT_EXTENSION
#endif

#endif

/*-------------------------------------------------------------------------
 *
 * fast_path.h
 *		Read and insert single rows without an SQL statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_FAST_PATH_H
#define PICTREPO_FAST_PATH_H

#include "access/attnum.h"
#include "nodes/parsenodes.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#define FAST_MAX_COLUMNS 24

typedef struct FastColumn
{
	const char *name;
	Oid			type;
} FastColumn;

/* A table of the repo, and the columns that are read or written */
typedef struct FastTable
{
	const char *name;
	int			count;
	FastColumn	columns[FAST_MAX_COLUMNS];

	/* the result of the last catalog lookup */
	uint64		version;		/* user_code_version() then; 0: no lookup yet */
	Oid			user;			/* the current user then */
	Oid			relation;		/* invalid: use a statement */
	AttrNumber	numbers[FAST_MAX_COLUMNS];
} FastTable;

/* FAST_TABLE(name, {column, type oid}...) is an initializer. */
#define FAST_TABLE(table, ...) { \
		.name = (table), \
		.count = sizeof((FastColumn[]) {__VA_ARGS__}) / sizeof(FastColumn), \
		.columns = {__VA_ARGS__} \
	}

/*
 * A further condition on the table, looked up together with it.  The FastTable
 * is the first member of a FastLookup or FastInsert.
 */
typedef bool (*FastTableSuits) (FastTable *table, Relation relation);

extern bool fast_path_usable(FastTable *table, LOCKMODE lock, AclMode right, FastTableSuits suits);

/*
 * FAST_LOOKUP(name, table, {column, type oid}...) defines a static FastLookup.
 * The first column is the key.  Its type has variable length.
 */
typedef struct FastLookup
{
	FastTable	table;
	Oid			index;			/* unique index on the key */
	RegProcedure equal;
	Oid			collation;
} FastLookup;

#define FAST_LOOKUP(name, from, ...) \
	static FastLookup name = {.table = FAST_TABLE(from, __VA_ARGS__)}

typedef enum FastLookupResult
{
	FAST_LOOKUP_NO_ROW,
	FAST_LOOKUP_ROW,
	FAST_LOOKUP_UNUSABLE		/* use a statement */
} FastLookupResult;

extern FastLookupResult fast_lookup(FastLookup *lookup, NullableDatum key, NullableDatum *row);

/* FAST_INSERT(name, table, {column, type oid}...) defines a static FastInsert. */
typedef struct FastInsert
{
	FastTable	table;
	NullableDatum defaults[FAST_MAX_COLUMNS];	/* by attribute number */
} FastInsert;

#define FAST_INSERT(name, into, ...) \
	static FastInsert name = {.table = FAST_TABLE(into, __VA_ARGS__)}

extern bool fast_insert(FastInsert *insertion, const NullableDatum *values);

#endif

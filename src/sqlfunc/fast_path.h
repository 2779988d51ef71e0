/*-------------------------------------------------------------------------
 *
 * fast_path.h
 *		Rows read and stored without a statement.
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

/* FAST_TABLE(name, {column, type oid}...) initializes one. */
typedef struct FastTable
{
	const char *name;
	int			count;
	FastColumn	columns[FAST_MAX_COLUMNS];

	/* looked up when the tables changed */
	uint64		version;		/* 0: never */
	Oid			user;			/* for whom */
	Oid			relation;		/* invalid: it takes a statement */
	AttrNumber	numbers[FAST_MAX_COLUMNS];
} FastTable;

#define FAST_TABLE(table, ...) { \
		.name = (table), \
		.count = sizeof((FastColumn[]) {__VA_ARGS__}) / sizeof(FastColumn), \
		.columns = {__VA_ARGS__} \
	}

/* What else is needed of it: its own table is the first of what it is in. */
typedef bool (*FastTableSuits) (FastTable *table, Relation relation);

extern bool fast_path_usable(FastTable *table, LOCKMODE lock, AclMode right, FastTableSuits suits);

/*
 * FAST_LOOKUP(name, table, {column, type oid}...) defines one that is static; the
 * first column is the key, of a type of variable length.
 */
typedef struct FastLookup
{
	FastTable	table;
	Oid			index;			/* of the key */
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

/* FAST_INSERT(name, table, {column, type oid}...) defines one that is static. */
typedef struct FastInsert
{
	FastTable	table;
	NullableDatum defaults[FAST_MAX_COLUMNS];	/* of all columns that it has */
} FastInsert;

#define FAST_INSERT(name, into, ...) \
	static FastInsert name = {.table = FAST_TABLE(into, __VA_ARGS__)}

extern bool fast_insert(FastInsert *insertion, const NullableDatum *values);

#endif

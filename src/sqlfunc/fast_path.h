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

#define PLAIN_MAX_COLUMNS 24

typedef struct PlainColumn
{
	const char *name;
	Oid			type;
} PlainColumn;

/* PLAIN_TABLE(name, {column, type oid}...) initializes one. */
typedef struct PlainTable
{
	const char *name;
	int			count;
	PlainColumn columns[PLAIN_MAX_COLUMNS];

	/* looked up when the tables changed */
	uint64		version;		/* 0: never */
	Oid			user;			/* for whom */
	Oid			relation;		/* invalid: it takes a statement */
	AttrNumber	numbers[PLAIN_MAX_COLUMNS];
} PlainTable;

#define PLAIN_TABLE(table, ...) { \
		.name = (table), \
		.count = sizeof((PlainColumn[]) {__VA_ARGS__}) / sizeof(PlainColumn), \
		.columns = {__VA_ARGS__} \
	}

/* What else is needed of it: its own table is the first of what it is in. */
typedef bool (*SuitsPlain) (PlainTable *table, Relation relation);

extern bool is_still_plain(PlainTable *table, LOCKMODE lock, AclMode right, SuitsPlain suits);

/*
 * LOOKS_UP(name, table, {column, type oid}...) defines one that is static; the
 * first column is the key, of a type of variable length.
 */
typedef struct Lookup
{
	PlainTable	table;
	Oid			index;			/* of the key */
	RegProcedure equal;
	Oid			collation;
} Lookup;

#define LOOKS_UP(name, from, ...) \
	static Lookup name = {.table = PLAIN_TABLE(from, __VA_ARGS__)}

typedef enum LookupResult
{
	LOOKUP_NOTHING,
	LOOKUP_ROW,
	LOOKUP_UNABLE				/* use a statement */
} LookupResult;

extern LookupResult find_row(Lookup *lookup, NullableDatum key, NullableDatum *row);

/* INSERTS(name, table, {column, type oid}...) defines one that is static. */
typedef struct Insertion
{
	PlainTable	table;
	NullableDatum defaults[PLAIN_MAX_COLUMNS];	/* of all columns that it has */
} Insertion;

#define INSERTS(name, into, ...) \
	static Insertion name = {.table = PLAIN_TABLE(into, __VA_ARGS__)}

extern bool insert_row(Insertion *insertion, const NullableDatum *values);

#endif

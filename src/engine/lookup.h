/*-------------------------------------------------------------------------
 *
 * lookup.h
 *		Rows found by their key without a statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_LOOKUP_H
#define PICTREPO_LOOKUP_H

#include "access/attnum.h"
#include "fmgr.h"

#define LOOKUP_MAX_COLUMNS 8

typedef struct LookupColumn
{
	const char *name;
	Oid			type;
} LookupColumn;

/*
 * LOOKS_UP(name, table, {column, type oid}...) defines one that is static; the
 * first column is the key, of a type of variable length.
 */
typedef struct Lookup
{
	const char *table;
	int			count;
	LookupColumn columns[LOOKUP_MAX_COLUMNS];

	/* looked up when the tables changed */
	uint64		version;		/* 0: never */
	Oid			user;			/* for whom */
	Oid			relation;		/* invalid: it takes a statement */
	Oid			index;
	RegProcedure equal;
	Oid			collation;
	AttrNumber	numbers[LOOKUP_MAX_COLUMNS];
} Lookup;

#define LOOKS_UP(name, from, ...) \
	static Lookup name = { \
		.table = (from), \
		.count = sizeof((LookupColumn[]) {__VA_ARGS__}) / sizeof(LookupColumn), \
		.columns = {__VA_ARGS__} \
	}

typedef enum LookupResult
{
	LOOKUP_NOTHING,
	LOOKUP_ROW,
	LOOKUP_UNABLE				/* use a statement */
} LookupResult;

extern LookupResult find_row(Lookup *lookup, NullableDatum key, NullableDatum *row);

#endif

/*-------------------------------------------------------------------------
 *
 * lookup.h
 *		Rows found by their key without a statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_LOOKUP_H
#define PICTREPO_LOOKUP_H

#include "fmgr.h"

#include "engine/plain.h"

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

#endif

/*-------------------------------------------------------------------------
 *
 * direct.h
 *		Rows put into a table without a statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_DIRECT_H
#define PICTREPO_DIRECT_H

#include "fmgr.h"

#include "engine/plain.h"

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

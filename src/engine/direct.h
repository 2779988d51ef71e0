/*-------------------------------------------------------------------------
 *
 * direct.h
 *		Rows put into a table without a statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_DIRECT_H
#define PICTREPO_DIRECT_H

#include "access/attnum.h"
#include "fmgr.h"

#define DIRECT_MAX_COLUMNS 24

typedef struct InsertedColumn
{
	const char *name;
	Oid			type;
} InsertedColumn;

/* INSERTS(name, table, {column, type oid}...) defines one that is static. */
typedef struct Insertion
{
	const char *table;
	int			count;
	InsertedColumn columns[DIRECT_MAX_COLUMNS];

	/* looked up when the tables changed */
	uint64		version;		/* 0: never */
	Oid			user;			/* for whom */
	Oid			relation;		/* invalid: it takes a statement */
	AttrNumber	numbers[DIRECT_MAX_COLUMNS];
	NullableDatum defaults[DIRECT_MAX_COLUMNS]; /* of all columns of the table */
} Insertion;

#define INSERTS(name, into, ...) \
	static Insertion name = { \
		.table = (into), \
		.count = sizeof((InsertedColumn[]) {__VA_ARGS__}) / sizeof(InsertedColumn), \
		.columns = {__VA_ARGS__} \
	}

extern bool insert_row(Insertion *insertion, const NullableDatum *values);

#endif

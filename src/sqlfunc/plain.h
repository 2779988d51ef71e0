/*-------------------------------------------------------------------------
 *
 * plain.h
 *		Tables that are as they were made, to be read and written without a
 *		statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PLAIN_H
#define PICTREPO_PLAIN_H

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

#endif

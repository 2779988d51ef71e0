/*-------------------------------------------------------------------------
 *
 * pictrs_tables.h
 *		The tables of pict-rs: their names, columns and types.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_TABLES_H
#define PICTREPO_PICTRS_TABLES_H

#include "fmgr.h"

/* The tables, in the order of the transfer: parents first */
typedef enum PictrsTableId
{
	PICTRS_HASHES,
	PICTRS_VARIANTS,
	PICTRS_ALIASES,
	PICTRS_PROXIES,
	PICTRS_DETAILS,
	PICTRS_SETTINGS,
	PICTRS_STORE_MIGRATIONS,
	PICTRS_UPLOADS,
	PICTRS_JOB_QUEUE,
	PICTRS_KEYED_NOTIFICATIONS,
	PICTRS_TABLES
} PictrsTableId;

/* The columns of the widest table */
#define PICTRS_COLUMNS 9

typedef struct PictrsColumn
{
	const char *name;			/* NULL: end of the columns */
	Oid			type;			/* TEXTOID: text or varchar; ANYENUMOID: any
								 * enum */
	const char *fallback;		/* SQL: value if we have none, as pict-rs
								 * takes no null */
} PictrsColumn;

typedef struct PictrsTable
{
	const char *name;
	const char *own_name;		/* the table of pictrepo with the same rows */
	PictrsColumn columns[PICTRS_COLUMNS + 1];
} PictrsTable;

extern const PictrsTable pictrs_tables[PICTRS_TABLES];

extern char *listed_columns(const PictrsTable *table);
extern void check_pictrs_tables(Oid schema, const char *quoted_schema);

#endif

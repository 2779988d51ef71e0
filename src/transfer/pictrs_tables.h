/*-------------------------------------------------------------------------
 *
 * pictrs_tables.h
 *		What pict-rs's own tables are like.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_TABLES_H
#define PICTREPO_PICTRS_TABLES_H

#include "fmgr.h"

/* pict-rs's tables, parents first: in this order they are moved */
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

/* The widest has so many columns. */
#define PICTRS_COLUMNS 9

typedef struct PictrsColumn
{
	const char *name;			/* NULL: there are no more */
	Oid			type;			/* TEXTOID: varchar as well; ANYENUMOID: any
								 * enum */
} PictrsColumn;

typedef struct PictrsTable
{
	const char *name;
	const char *own_name;		/* the table of pictrepo that has its rows */
	PictrsColumn columns[PICTRS_COLUMNS + 1];
} PictrsTable;

extern const PictrsTable pictrs_tables[PICTRS_TABLES];

extern char *listed_columns(const PictrsTable *table);
extern void check_pictrs_tables(Oid schema, const char *quoted_schema);

#endif

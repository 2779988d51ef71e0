/*-------------------------------------------------------------------------
 *
 * pictrs_transfer.h
 *		A transfer from or to pict-rs's own tables, and the batch that is under way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_TRANSFER_H
#define PICTREPO_PICTRS_TRANSFER_H

#include "fmgr.h"

#include "transfer/pictrs_tables.h"

/* Rows on their way from one table to the other */
typedef struct TransferBatch
{
	int			width;			/* columns that are written */
	Oid			types[PICTRS_COLUMNS];
	NullableDatum (*rows)[PICTRS_COLUMNS];
	char	  **keys;			/* as a reader is to see them */
	int64	   *places;			/* which of the rows that were read */
	int			count;			/* of the rows that are fit to be written */
	int			read;
	Size		bytes;
	NullableDatum reached;		/* position of the last row, text[] */

	/* those that are not */
	Datum	   *bad_places;
	Datum	   *bad_keys;
	Datum	   *bad_messages;
	int			bad;
} TransferBatch;

typedef struct Transfer
{
	FunctionCallInfo fcinfo;
	const struct TransferKind *kind;
	char	   *schema;
	const char *quoted_schema;
	Oid			schema_oid;
	int			batch_size;
	PictrsTableId table;
	NullableDatum reached;		/* text[]; null: at the beginning */
	int64		rows_read;		/* of this table, so far */
	MemoryContext memory;		/* of the whole call */
	MemoryContext batch_memory;
	TransferBatch batch;
} Transfer;

/*
 * One of the two ways.  What touches pict-rs's side runs with the caller's
 * rights, what touches pictrepo's with the owner's; no statement does both.
 */
typedef struct TransferKind
{
	const char *direction;
	const char *name;			/* of the procedure */
	bool		reads_pictrs;

	/* as the caller: see to it that the schema is there, and then its tables */
	void		(*prepare_schema) (Transfer *transfer);
	void		(*prepare_tables) (Transfer *transfer);

	/*
	 * The query for a batch, of batch_size rows behind $1 (text[]) where
	 * something was reached.  It gives the columns that take wants, the
	 * position of the row and its key, as text[] and text.
	 */
	char	   *(*query) (Transfer *transfer);

	/* Which columns of which types are written? */
	int			(*columns) (Transfer *transfer, Oid *types);

	/* Make a row that was read one to be written; else say why not. */
	const char *(*take) (Transfer *transfer, NullableDatum *row);

	/* Write rows, which come as arrays, one per column; how many were new. */
	uint64		(*write) (Transfer *transfer, const NullableDatum *arrays);
} TransferKind;

static inline const PictrsTable *
current_table(const Transfer *transfer)
{
	return &pictrs_tables[transfer->table];
}

#endif

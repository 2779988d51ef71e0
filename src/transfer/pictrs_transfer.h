/*-------------------------------------------------------------------------
 *
 * pictrs_transfer.h
 *		A transfer from or to the tables of pict-rs, and its current batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_TRANSFER_H
#define PICTREPO_PICTRS_TRANSFER_H

#include "fmgr.h"

#include "transfer/pictrs_tables.h"

/* Rows that were read from one side, and are written to the other */
typedef struct TransferBatch
{
	int			width;			/* number of written columns */
	Oid			types[PICTRS_COLUMNS];
	NullableDatum (*rows)[PICTRS_COLUMNS];
	char	  **keys;			/* for transfer_errors */
	int64	   *places;			/* number of the row in the table's order */
	int			count;			/* of rows to write */
	int			read;			/* all rows, bad ones included */
	Size		bytes;
	NullableDatum reached;		/* position of the last row, text[] */

	/* what has become of the rows; the others exist with the same values */
	int			stored;
	int			bad;			/* cannot be stored */
	int			different;		/* exist with other values */

	/* the bad and the different rows, for transfer_errors */
	Datum	   *error_places;
	Datum	   *error_keys;
	Datum	   *error_messages;
	int			errors;
} TransferBatch;

/* The table that the current batch is written to */
typedef struct TransferTarget
{
	const char *table;			/* with its schema, quoted */
	const char *columns[PICTRS_COLUMNS];	/* of the arrays that are written */
	const char *join;			/* how its row t is found for a given row n:
								 * ON or USING */
} TransferTarget;

typedef struct Transfer
{
	FunctionCallInfo fcinfo;
	const struct TransferKind *kind;
	char	   *schema;
	const char *quoted_schema;
	Oid			schema_oid;
	int			batch_size;
	PictrsTableId table;
	NullableDatum reached;		/* position of the last row, text[]; null:
								 * none yet */
	int64		rows_read;		/* of this table, before this batch */
	MemoryContext memory;		/* of the whole call */
	MemoryContext batch_memory;
	TransferBatch batch;
} Transfer;

/*
 * Import or export.  pictrs_side.c says with whose rights the statements of each
 * side run.
 */
typedef struct TransferKind
{
	const char *direction;
	const char *name;			/* of the procedure */
	bool		reads_pictrs;	/* import: reads the side of pict-rs */

	/*
	 * Run with the caller's rights: check or create the schema, and then its
	 * tables.
	 */
	void		(*prepare_schema) (Transfer *transfer);
	void		(*prepare_tables) (Transfer *transfer);

	/*
	 * The query for the next batch_size rows.  If transfer->reached is not
	 * null, the rows are after that position, which is $1.  It returns the
	 * columns for convert, and then the position of the row as text[] and its
	 * key as text.
	 */
	char	   *(*query) (Transfer *transfer);

	/* The number of written columns, and their types. */
	int			(*columns) (Transfer *transfer, Oid *types);

	/*
	 * Convert a row from the form of one side to that of the other, in place.
	 * Returns NULL, or why the row cannot be stored.
	 */
	const char *(*convert) (Transfer *transfer, NullableDatum *row);

	/*
	 * Write rows, given as one array per column.  Returns how many were
	 * stored.
	 */
	uint64		(*write) (Transfer *transfer, const NullableDatum *arrays);

	/* Fill the target of the current table. */
	void		(*target) (Transfer *transfer, TransferTarget *target);
} TransferKind;

static inline const PictrsTable *
current_table(const Transfer *transfer)
{
	return &pictrs_tables[transfer->table];
}

#endif

/*-------------------------------------------------------------------------
 *
 * pictrs_batch.c
 *		A batch of rows of a transfer: reading it from one side, and writing it
 *		to the other one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "common/shown_text.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "transfer/pictrs_batch.h"
#include "transfer/pictrs_compare.h"
#include "transfer/pictrs_side.h"

/* a batch ends when its values have this many bytes, or a few more */
#define BATCH_BYTES_MAX (16 * 1024 * 1024)

/* rows that are fetched from the query at once */
#define FETCHED_ROWS 500

/* ----- bad and different rows ----- */

/* Add a row to transfer_errors.  Its key may be a long URL, and is clipped. */
static void
add_error(TransferBatch *batch, int64 place, const char *key, const char *message)
{
	batch->error_places[batch->errors] = Int64GetDatum(place);
	batch->error_keys[batch->errors] = CStringGetTextDatum(shown_text(key, strlen(key)));
	batch->error_messages[batch->errors] = CStringGetTextDatum(message);
	batch->errors++;
}

static void
add_bad_row(TransferBatch *batch, int64 place, const char *key, const char *message)
{
	add_error(batch, place, key, message);
	batch->bad++;
}

/* Is the error caused by the values of a row, so that other rows can be stored? */
static bool
is_about_row(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
		case ERRCODE_WITH_CHECK_OPTION_VIOLATION:
		case ERRCODE_PLPGSQL_ERROR:
			return true;
		default:
			return false;
	}
}

/* Only the message: the detail may show the whole row, with its delete token. */
static const char *
message_for(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION)
		return "the row that it refers to does not exist";
	return error->message;
}

/* ----- reading a batch ----- */

static void
begin_batch(Transfer *transfer)
{
	TransferBatch *batch = &transfer->batch;
	MemoryContext before;

	MemoryContextReset(transfer->batch_memory);
	before = MemoryContextSwitchTo(transfer->batch_memory);
	memset(batch, 0, sizeof(TransferBatch));
	batch->reached = NULL_ARG;
	batch->width = transfer->kind->columns(transfer, batch->types);
	batch->rows = palloc(sizeof(*batch->rows) * transfer->batch_size);
	batch->keys = palloc_array(char *, transfer->batch_size);
	batch->places = palloc_array(int64, transfer->batch_size);
	batch->error_places = palloc_array(Datum, transfer->batch_size);
	batch->error_keys = palloc_array(Datum, transfer->batch_size);
	batch->error_messages = palloc_array(Datum, transfer->batch_size);
	MemoryContextSwitchTo(before);
}

/* Copy a value of the last result, and count its bytes.  The copy lives as long as the batch. */
static NullableDatum
copy_value(TransferBatch *batch, uint64 row, int column)
{
	NullableDatum value = result_value(row, column);
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, column - 1);

	if (value.isnull)
		return value;
	if (attribute->attlen == -1)
	{
		value.value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value.value));
		batch->bytes += VARSIZE_ANY(DatumGetPointer(value.value));
	}
	else
		value.value = datumCopy(value.value, attribute->attbyval, attribute->attlen);
	return value;
}

/* Add a row of the last result.  Its last columns are the position and the key. */
static void
add_row(Transfer *transfer, uint64 row)
{
	TransferBatch *batch = &transfer->batch;
	int			columns = SPI_tuptable->tupdesc->natts - 2;
	NullableDatum *values = batch->rows[batch->count];
	NullableDatum key = copy_value(batch, row, columns + 2);
	char	   *shown = key.isnull ? "(null)" : TextDatumGetCString(key.value);
	int64		place = transfer->rows_read + ++batch->read;
	const char *why;

	for (int i = 0; i < columns; i++)
		values[i] = copy_value(batch, row, i + 1);
	batch->reached = copy_value(batch, row, columns + 1);
	why = transfer->kind->convert(transfer, values);
	if (why != NULL)
		add_bad_row(batch, place, shown, why);
	else
	{
		batch->keys[batch->count] = shown;
		batch->places[batch->count] = place;
		batch->count++;
	}
}

/* Read the next batch.  False: it is the last one of the table. */
bool
read_batch(Transfer *transfer)
{
	Oid			type = TEXTARRAYOID;
	char		null = transfer->reached.isnull ? 'n' : ' ';
	TransferBatch *batch = &transfer->batch;
	TransferSide side;
	Portal		portal;
	uint64		fetched;
	MemoryContext before;

	begin_batch(transfer);
	begin_side(transfer, &side, transfer->kind->reads_pictrs);
	portal = SPI_cursor_open_with_args(NULL, transfer->kind->query(transfer), 1, &type,
									   &transfer->reached.value, &null, false, 0);
	do
	{
		SPI_cursor_fetch(portal, true, FETCHED_ROWS);
		fetched = SPI_processed;
		before = MemoryContextSwitchTo(transfer->batch_memory);
		for (uint64 i = 0; i < fetched; i++)
		{
			CHECK_FOR_INTERRUPTS();
			add_row(transfer, i);
		}
		MemoryContextSwitchTo(before);
		SPI_freetuptable(SPI_tuptable);
	} while (fetched == FETCHED_ROWS && batch->bytes < BATCH_BYTES_MAX);
	SPI_cursor_close(portal);
	end_side(&side);
	return batch->read == transfer->batch_size || fetched == FETCHED_ROWS;
}

/* ----- writing a batch ----- */

/* Some of a batch's rows */
typedef struct TransferPart
{
	Transfer   *transfer;
	int			first;
	int			count;
	int			stored;
	RowDifference *differences;
	int			different;
} TransferPart;

/* The values of a column, as an array. */
static NullableDatum
column_of_part(TransferPart *part, int column)
{
	TransferBatch *batch = &part->transfer->batch;
	Datum	   *values = palloc_array(Datum, part->count);
	bool	   *nulls = palloc_array(bool, part->count);
	int			lower = 1;
	Oid			type = batch->types[column];
	int16		length;
	bool		by_value;
	char		align;

	for (int i = 0; i < part->count; i++)
	{
		values[i] = batch->rows[part->first + i][column].value;
		nulls[i] = batch->rows[part->first + i][column].isnull;
	}
	get_typlenbyvalalign(type, &length, &by_value, &align);
	return not_null(PointerGetDatum(construct_md_array(values, nulls, 1, &part->count, &lower,
													   type, length, by_value, align)));
}

static void
write_part(void *what)
{
	TransferPart *part = what;
	NullableDatum arrays[PICTRS_COLUMNS];

	/* an error frees this memory with the subtransaction */
	MemoryContextSwitchTo(CurTransactionContext);
	for (int i = 0; i < part->transfer->batch.width; i++)
		arrays[i] = column_of_part(part, i);
	part->stored = part->transfer->kind->write(part->transfer, arrays);
	if (part->stored < part->count)
		part->differences = find_differences(part->transfer, arrays, &part->different);
}

/* Note what a part that was written did not change. */
static void
add_part(TransferBatch *batch, const TransferPart *part)
{
	batch->stored += part->stored;
	batch->different += part->different;
	for (int i = 0; i < part->different; i++)
	{
		int			row = part->first + part->differences[i].row;

		add_error(batch, batch->places[row], batch->keys[row], part->differences[i].message);
	}
}

/*
 * Write rows in a subtransaction.  If a row causes an error, write each half in a
 * subtransaction of its own, and so on down to the bad row.
 */
static void
write_rows(Transfer *transfer, int first, int count)
{
	TransferPart part = {.transfer = transfer, .first = first, .count = count};
	TransferBatch *batch = &transfer->batch;
	ErrorData  *error;

	if (count == 0)
		return;
	if (try_in_subtransaction(write_part, &part, &error))
		add_part(batch, &part);
	else if (!is_about_row(error))
		ReThrowError(error);
	else if (count == 1)
		add_bad_row(batch, batch->places[first], batch->keys[first], message_for(error));
	else
	{
		FreeErrorData(error);
		write_rows(transfer, first, count / 2);
		write_rows(transfer, first + count / 2, count - count / 2);
	}
}

void
write_batch(Transfer *transfer)
{
	MemoryContext before;
	TransferSide side;

	begin_side(transfer, &side, !transfer->kind->reads_pictrs);
	before = MemoryContextSwitchTo(transfer->batch_memory);
	write_rows(transfer, 0, transfer->batch.count);
	MemoryContextSwitchTo(before);
	end_side(&side);
}

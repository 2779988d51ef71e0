/*-------------------------------------------------------------------------
 *
 * pictrs.c
 *		What moving from and to pict-rs's own tables has in common.
 *
 * Table by table, in the order of a key, and so many rows in each transaction,
 * that also writes to pictrepo.transfers how far it is: so a call that was
 * killed can be followed by one that goes on, and other sessions see it come
 * along.  Rows that are there already stay, so that doing it again does no harm.
 *
 * The tables of pict-rs's form are somebody else's, with views, triggers and
 * row security in their place for all we know.  What they run must not get the
 * rights of the extension's owner.  So rows are read into memory on one side
 * and written from there on the other: with the caller's rights on that of
 * pict-rs, with the owner's on ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "common/advisory_locks.h"
#include "common/injection_points.h"
#include "common/progress.h"
#include "common/shown_text.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"
#include "transfer/pictrs.h"

/* most rows in a batch, and bytes after which it is long enough anyway */
#define BATCH_MAX 100000
#define BATCH_BYTES_MAX (16 * 1024 * 1024)

/* rows that come out of a query at a time */
#define FETCHED_ROWS 500

const PictrsTable pictrs_tables[PICTRS_TABLES] = {
	[PICTRS_HASHES] = {"hashes", "hashes", {
		{"hash", TEXTOID}, {"identifier", TEXTOID}, {"motion_identifier", TEXTOID},
		{"created_at", TIMESTAMPOID}, {"blurhash", TEXTOID}
	}},
	[PICTRS_VARIANTS] = {"variants", "variants", {
		{"id", UUIDOID}, {"hash", TEXTOID}, {"variant", TEXTOID}, {"identifier", TEXTOID},
		{"accessed", TIMESTAMPOID}
	}},
	[PICTRS_ALIASES] = {"aliases", "aliases", {
		{"alias", TEXTOID}, {"hash", TEXTOID}, {"token", TEXTOID}
	}},
	[PICTRS_PROXIES] = {"proxies", "proxies", {
		{"url", TEXTOID}, {"alias", TEXTOID}, {"accessed", TIMESTAMPOID}
	}},
	[PICTRS_DETAILS] = {"details", "details", {
		{"identifier", TEXTOID}, {"json", JSONBOID}
	}},
	[PICTRS_SETTINGS] = {"settings", "settings", {
		{"key", TEXTOID}, {"value", TEXTOID}
	}},
	[PICTRS_STORE_MIGRATIONS] = {"store_migrations", "store_migrations", {
		{"old_identifier", TEXTOID}, {"new_identifier", TEXTOID}
	}},
	[PICTRS_UPLOADS] = {"uploads", "uploads", {
		{"id", UUIDOID}, {"result", JSONBOID}, {"created_at", TIMESTAMPOID}
	}},
	[PICTRS_JOB_QUEUE] = {"job_queue", "job_queue", {
		{"id", UUIDOID}, {"queue", TEXTOID}, {"job", JSONBOID}, {"worker", UUIDOID},
		{"status", ANYENUMOID}, {"queue_time", TIMESTAMPOID}, {"heartbeat", TIMESTAMPOID},
		{"unique_key", TEXTOID}, {"retry", INT4OID}
	}},
	[PICTRS_KEYED_NOTIFICATIONS] = {"keyed_notifications", "variant_claims", {
		{"key", TEXTOID}, {"heartbeat", TIMESTAMPOID}
	}},
};

const PictrsTable *
current_table(const Transfer *transfer)
{
	return &pictrs_tables[transfer->table];
}

/* "a, b, c" */
char *
listed_columns(const PictrsTable *table)
{
	StringInfoData list;

	initStringInfo(&list);
	for (const PictrsColumn *column = table->columns; column->name != NULL; column++)
		appendStringInfo(&list, "%s%s", column == table->columns ? "" : ", ", column->name);
	return list.data;
}

/* ----- whose rights ----- */

/*
 * As repo_call_begin, but with the caller's own rights: a search_path that makes
 * our SQL mean what it says, and plans that go by the key, whatever is known
 * of the table.  A trigger of the caller's may SET ROLE; that is the caller's.
 */
static int
begin_foreign(void)
{
	int			guc_level = NewGUCNestLevel();

	set_safe_search_path();
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("enable_bitmapscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	return guc_level;
}

static void
end_foreign(int guc_level)
{
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
}

/* One side or the other */
typedef struct TransferSide
{
	bool		is_pictrs;
	int			guc_level;
	RepoCall	call;
} TransferSide;

static void
begin_side(Transfer *transfer, TransferSide *side, bool is_pictrs)
{
	side->is_pictrs = is_pictrs;
	if (is_pictrs)
		side->guc_level = begin_foreign();
	else
		repo_call_begin_with_path(&side->call, transfer->fcinfo);
}

static void
end_side(TransferSide *side)
{
	if (side->is_pictrs)
		end_foreign(side->guc_level);
	else
		repo_call_end(&side->call);
}

/* Within a side of pict-rs's: run a statement without arguments. */
void
run_foreign(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not run a pictrepo statement: %s", SPI_result_code_string(result)));
}

/* ----- are these pict-rs's tables? ----- */

static const char upgrade_hint[] =
	"The tables must be as the latest pict-rs 0.5 makes them; start it once to bring them up to date.";

static bool
is_of_type(Oid given_type, Oid type)
{
	if (type == ANYENUMOID)
		return type_is_enum(given_type);
	return given_type == type || (type == TEXTOID && given_type == VARCHAROID);
}

static void
check_column(const Transfer *transfer, const char *table, Oid relation, const PictrsColumn *column)
{
	HeapTuple	tuple = SearchSysCacheAttName(relation, column->name);
	Oid			type;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("table %s.%s has no column \"%s\"", transfer->quoted_schema, table,
					   column->name),
				errhint("%s", upgrade_hint));
	type = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypid;
	ReleaseSysCache(tuple);
	if (!is_of_type(type, column->type))
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column \"%s\" of table %s.%s has type %s", column->name,
					   transfer->quoted_schema, table, format_type_be(type)),
				errdetail("pict-rs has %s there.",
						  column->type == ANYENUMOID ? "an enum" : format_type_be(column->type)),
				errhint("%s", upgrade_hint));
}

/* 42P01, 42703 or 42804 where something is missing or different. */
void
check_pictrs_tables(Transfer *transfer)
{
	for (int i = 0; i < PICTRS_TABLES; i++)
	{
		const PictrsTable *table = &pictrs_tables[i];
		Oid			relation = get_relname_relid(table->name, transfer->schema_oid);

		if (!OidIsValid(relation))
			ereport(ERROR,
					errcode(ERRCODE_UNDEFINED_TABLE),
					errmsg("schema %s has no table \"%s\"", transfer->quoted_schema, table->name),
					errhint("%s", upgrade_hint));
		for (const PictrsColumn *column = table->columns; column->name != NULL; column++)
			check_column(transfer, table->name, relation, column);
	}
}

/* ----- bad rows ----- */

/* Clipped, so that whoever reads the errors sees more than one url. */
static void
note_bad(TransferBatch *batch, int64 place, const char *key, const char *message)
{
	batch->bad_places[batch->bad] = Int64GetDatum(place);
	batch->bad_keys[batch->bad] = CStringGetTextDatum(shown_text(key, strlen(key)));
	batch->bad_messages[batch->bad] = CStringGetTextDatum(message);
	batch->bad++;
}

/* Is it about a row, so that others may do better? */
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

/* The message alone: a detail may show a whole row, with its token. */
static const char *
message_for(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION)
		return "what it belongs to is not there";
	return error->message;
}

/* ----- reading a batch ----- */

static void
begin_batch(Transfer *transfer)
{
	TransferBatch	   *batch = &transfer->batch;
	MemoryContext before;

	MemoryContextReset(transfer->batch_memory);
	before = MemoryContextSwitchTo(transfer->batch_memory);
	memset(batch, 0, sizeof(TransferBatch));
	batch->reached = NULL_ARG;
	batch->width = transfer->kind->columns(transfer, batch->types);
	batch->rows = palloc(sizeof(*batch->rows) * transfer->batch_size);
	batch->keys = palloc_array(char *, transfer->batch_size);
	batch->places = palloc_array(int64, transfer->batch_size);
	batch->bad_places = palloc_array(Datum, transfer->batch_size);
	batch->bad_keys = palloc_array(Datum, transfer->batch_size);
	batch->bad_messages = palloc_array(Datum, transfer->batch_size);
	MemoryContextSwitchTo(before);
}

/* A value of the last result, for the time of the batch, whatever becomes of its table. */
static NullableDatum
taken_value(TransferBatch *batch, uint64 row, int column)
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

/* The key is the last column, before it is the position. */
static void
take_row(Transfer *transfer, uint64 row)
{
	TransferBatch	   *batch = &transfer->batch;
	int			columns = SPI_tuptable->tupdesc->natts - 2;
	NullableDatum *values = batch->rows[batch->count];
	NullableDatum key = taken_value(batch, row, columns + 2);
	char	   *shown = key.isnull ? "(null)" : TextDatumGetCString(key.value);
	int64		place = transfer->rows_read + ++batch->read;
	const char *why;

	for (int i = 0; i < columns; i++)
		values[i] = taken_value(batch, row, i + 1);
	batch->reached = taken_value(batch, row, columns + 1);
	why = transfer->kind->take(transfer, values);
	if (why != NULL)
		note_bad(batch, place, shown, why);
	else
	{
		batch->keys[batch->count] = shown;
		batch->places[batch->count] = place;
		batch->count++;
	}
}

/* Read the next batch; false: it is the last one. */
static bool
read_batch(Transfer *transfer)
{
	Oid			type = TEXTARRAYOID;
	char		null = transfer->reached.isnull ? 'n' : ' ';
	TransferBatch	   *batch = &transfer->batch;
	TransferSide		side;
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
			take_row(transfer, i);
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
	uint64		stored;
} TransferPart;

/* A column of these rows, as an array. */
static NullableDatum
column_of_part(TransferPart *part, int column)
{
	TransferBatch	   *batch = &part->transfer->batch;
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
	TransferPart	   *part = what;
	NullableDatum arrays[PICTRS_COLUMNS];

	/* gone with the subtransaction, should it fail */
	MemoryContextSwitchTo(CurTransactionContext);
	for (int i = 0; i < part->transfer->batch.width; i++)
		arrays[i] = column_of_part(part, i);
	part->stored = part->transfer->kind->write(part->transfer, arrays);
}

/* Write rows; where that fails, half of them at a time, down to those that are to blame. */
static uint64
write_rows(Transfer *transfer, int first, int count)
{
	TransferPart		part = {.transfer = transfer, .first = first, .count = count};
	TransferBatch	   *batch = &transfer->batch;
	ErrorData  *error;

	if (count == 0 || try_in_subtransaction(write_part, &part, &error))
		return part.stored;
	if (!is_about_row(error))
		ReThrowError(error);
	if (count == 1)
	{
		note_bad(batch, batch->places[first], batch->keys[first], message_for(error));
		return 0;
	}
	FreeErrorData(error);
	return write_rows(transfer, first, count / 2) +
		write_rows(transfer, first + count / 2, count - count / 2);
}

static uint64
write_batch(Transfer *transfer)
{
	MemoryContext before;
	uint64		stored;
	TransferSide		side;

	begin_side(transfer, &side, !transfer->kind->reads_pictrs);
	before = MemoryContextSwitchTo(transfer->batch_memory);
	stored = write_rows(transfer, 0, transfer->batch.count);
	MemoryContextSwitchTo(before);
	end_side(&side);
	return stored;
}

/* ----- how far it is ----- */

STATEMENT(forget_transfer, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.transfers WHERE direction = $1 AND schema = $2",
		  TEXTOID, TEXTOID);

STATEMENT(note_start, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.transfers (direction, schema, relation, source_rows) VALUES ($1, $2, $3, $4)",
		  TEXTOID, TEXTOID, TEXTOID, INT8OID);

STATEMENT(is_unfinished, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.transfers WHERE direction = $1 AND schema = $2 AND finished IS NULL",
		  TEXTOID, TEXTOID);

STATEMENT(state_of_table, STMT_READ_WRITE,
		  "SELECT reached, rows_read, source_rows, finished IS NULL FROM pictrepo.transfers"
		  " WHERE direction = $1 AND schema = $2 AND relation = $3",
		  TEXTOID, TEXTOID, TEXTOID);

STATEMENT(note_batch, STMT_READ_WRITE,
		  "UPDATE pictrepo.transfers SET rows_read = rows_read + $4, stored = stored + $5,"
		  " bad = bad + $6, present = present + $4 - $5 - $6, reached = coalesce($7, reached),"
		  " updated = clock_timestamp()"
		  " WHERE direction = $1 AND schema = $2 AND relation = $3 AND finished IS NULL",
		  TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTARRAYOID);

STATEMENT(note_bad_rows, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.transfer_errors (direction, schema, relation, place, key, message)"
		  " SELECT $1, $2, $3, place, key, message"
		  " FROM unnest($4, $5, $6) AS bad (place, key, message)",
		  TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID);

STATEMENT(note_end, STMT_READ_WRITE,
		  "UPDATE pictrepo.transfers SET finished = clock_timestamp()"
		  " WHERE direction = $1 AND schema = $2 AND relation = $3",
		  TEXTOID, TEXTOID, TEXTOID);

STATEMENT(note_counts, STMT_READ_WRITE,
		  "UPDATE pictrepo.transfers SET source_rows = $4, target_rows = $5"
		  " WHERE direction = $1 AND schema = $2 AND relation = $3",
		  TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID);

STATEMENT(sum_of_transfer, STMT_READ_WRITE,
		  "SELECT sum(stored)::bigint, sum(present)::bigint, sum(bad)::bigint,"
		  " bool_and(source_rows = rows_read AND target_rows >= stored + present)"
		  " FROM pictrepo.transfers WHERE direction = $1 AND schema = $2",
		  TEXTOID, TEXTOID);

/* The first arguments of all these */
#define TRANSFER_ARGS(transfer) \
	not_null(CStringGetTextDatum((transfer)->kind->direction)), \
	not_null(CStringGetTextDatum((transfer)->schema))
#define TABLE_ARGS(transfer) \
	TRANSFER_ARGS(transfer), not_null(CStringGetTextDatum(current_table(transfer)->name))

/* All rows of the current table, on a side of the two. */
static int64
count_rows(Transfer *transfer, bool in_pictrs)
{
	const PictrsTable *table = current_table(transfer);
	int64		count;
	TransferSide		side;

	begin_side(transfer, &side, in_pictrs);
	if (in_pictrs)
	{
		/* here it is the key that is the detour */
		(void) set_config_option("enable_seqscan", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		run_foreign(psprintf("SELECT count(*) FROM %s.%s", transfer->quoted_schema, table->name));
	}
	else
		run_foreign(psprintf("SELECT count(*) FROM pictrepo.%s", table->own_name));
	count = DatumGetInt64(result_value(0, 1).value);
	end_side(&side);
	return count;
}

/* Go on with what was not finished, or begin at the beginning. */
static void
begin_transfer(Transfer *transfer, bool resume)
{
	int64		counts[PICTRS_TABLES];
	RepoCall	call;
	bool		unfinished;

	repo_call_begin(&call, transfer->fcinfo);
	unfinished = statement_run(&is_unfinished, ARGS(TRANSFER_ARGS(transfer))) > 0;
	repo_call_end(&call);
	if (resume && unfinished)
		return;
	for (int i = 0; i < PICTRS_TABLES; i++)
	{
		transfer->table = i;
		counts[i] = count_rows(transfer, transfer->kind->reads_pictrs);
	}
	repo_call_begin(&call, transfer->fcinfo);
	statement_run(&forget_transfer, ARGS(TRANSFER_ARGS(transfer)));
	for (int i = 0; i < PICTRS_TABLES; i++)
	{
		transfer->table = i;
		statement_run(&note_start,
					  ARGS(TABLE_ARGS(transfer), not_null(Int64GetDatum(counts[i]))));
	}
	repo_call_end(&call);
}

static void
remember_reached(Transfer *transfer, NullableDatum reached)
{
	MemoryContext before = MemoryContextSwitchTo(transfer->memory);

	if (!transfer->reached.isnull)
		pfree(DatumGetPointer(transfer->reached.value));
	transfer->reached = reached;
	if (!reached.isnull)
		transfer->reached.value = PointerGetDatum(PG_DETOAST_DATUM_COPY(reached.value));
	MemoryContextSwitchTo(before);
}

/* 55000: somebody removed the rows that say how far it is. */
static void
refuse_forgotten(const Transfer *transfer)
{
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("pictrepo.transfers knows nothing of this %s any more", transfer->kind->direction),
			errhint("Call %s again.", transfer->kind->name));
}

/* Where is the current table?  False: it is done. */
static bool
begin_table(Transfer *transfer)
{
	RepoCall	call;
	bool		unfinished;

	repo_call_begin(&call, transfer->fcinfo);
	if (statement_run(&state_of_table, ARGS(TABLE_ARGS(transfer))) == 0)
		refuse_forgotten(transfer);
	remember_reached(transfer, result_value(0, 1));
	transfer->rows_read = DatumGetInt64(result_value(0, 2).value);
	unfinished = DatumGetBool(result_value(0, 4).value);
	if (unfinished)
		progress_report(current_table(transfer)->name, transfer->rows_read,
						DatumGetInt64(result_value(0, 3).value));
	repo_call_end(&call);
	return unfinished;
}

static void
note_progress(Transfer *transfer, uint64 stored)
{
	TransferBatch	   *batch = &transfer->batch;
	RepoCall	call;

	repo_call_begin(&call, transfer->fcinfo);
	if (statement_run(&note_batch,
					  ARGS(TABLE_ARGS(transfer), not_null(Int64GetDatum(batch->read)),
						   not_null(Int64GetDatum((int64) stored)), not_null(Int64GetDatum(batch->bad)),
						   batch->reached)) == 0)
		refuse_forgotten(transfer);
	if (batch->bad > 0)
		statement_run(&note_bad_rows,
					  ARGS(TABLE_ARGS(transfer),
						   array_of(batch->bad_places, batch->bad, INT8OID),
						   array_of(batch->bad_keys, batch->bad, TEXTOID),
						   array_of(batch->bad_messages, batch->bad, TEXTOID)));
	repo_call_end(&call);
}

static void
finish_table(Transfer *transfer)
{
	RepoCall	call;

	repo_call_begin(&call, transfer->fcinfo);
	statement_run(&note_end, ARGS(TABLE_ARGS(transfer)));
	repo_call_end(&call);
}

/* After the last table, in its transaction: count both sides of all. */
static void
compare_counts(Transfer *transfer)
{
	for (transfer->table = 0; transfer->table < PICTRS_TABLES; transfer->table++)
	{
		int64		source_rows = count_rows(transfer, transfer->kind->reads_pictrs);
		int64		target_rows = count_rows(transfer, !transfer->kind->reads_pictrs);
		RepoCall	call;

		repo_call_begin(&call, transfer->fcinfo);
		statement_run(&note_counts,
					  ARGS(TABLE_ARGS(transfer), not_null(Int64GetDatum(source_rows)),
						   not_null(Int64GetDatum(target_rows))));
		repo_call_end(&call);
	}
}

/* ----- the whole ----- */

/* What is done so far stays, and can be seen by others. */
static void
end_transaction(void)
{
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	SPI_finish();
	EnsurePortalSnapshotExists();
}

/* All that is left of the current table; true: it was the last one. */
static bool
transfer_table(Transfer *transfer)
{
	bool		more = true;
	bool		is_last = transfer->table == PICTRS_TABLES - 1;

	while (more && begin_table(transfer))
	{
		uint64		stored;

		more = read_batch(transfer);
		stored = write_batch(transfer);
		INJECT(batch_stored);
		note_progress(transfer, stored);
		INJECT(batch_noted);
		if (!more)
			finish_table(transfer);
		if (!more && is_last)
			compare_counts(transfer);
		end_transaction();
		INJECT(batch_committed);
	}
	return is_last;
}

/*
 * One transfer per schema at a time.  A lock of the kind that VACUUM takes: it
 * outlives transactions, and ends with the error that ends the call.
 */
static LOCKTAG
lock_of_transfer(const Transfer *transfer)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, NamespaceRelationId, transfer->schema_oid, TRANSFER_LOCK_CLASS);
	return tag;
}

static void
lock_transfer(const Transfer *transfer)
{
	LOCKTAG		tag = lock_of_transfer(transfer);

	switch (LockAcquire(&tag, ExclusiveLock, true, true))
	{
		case LOCKACQUIRE_OK:
			return;
		case LOCKACQUIRE_ALREADY_HELD:
			LockRelease(&tag, ExclusiveLock, true);
			break;
		default:
			break;
	}
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_IN_USE),
			errmsg("another session is importing from or exporting to schema %s",
				   transfer->quoted_schema),
			errhint("See how far it is in pictrepo.transfers."));
}

static void
unlock_transfer(const Transfer *transfer)
{
	LOCKTAG		tag = lock_of_transfer(transfer);

	LockRelease(&tag, ExclusiveLock, true);
}

/* 2D000: also in a subtransaction, such as a block with an exception handler. */
static void
refuse_transaction_block(FunctionCallInfo fcinfo, const TransferKind *kind)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context == NULL || !IsA(context, CallContext) || context->atomic || IsSubTransaction())
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				errmsg("%s cannot be called in a transaction block", kind->name),
				errdetail("It commits after each batch."),
				errhint("Call it on its own."));
}

/* The side of pict-rs's: its schema and tables, and nobody else at it. */
static void
prepare(Transfer *transfer)
{
	int			guc_level = begin_foreign();

	transfer->kind->prepare_schema(transfer);
	transfer->schema_oid = get_namespace_oid(transfer->schema, false);
	lock_transfer(transfer);
	transfer->kind->prepare_tables(transfer);
	end_foreign(guc_level);
}

static Datum
answer(Transfer *transfer)
{
	NullableDatum columns[4];
	RepoCall	call;

	repo_call_begin(&call, transfer->fcinfo);
	statement_run(&sum_of_transfer, ARGS(TRANSFER_ARGS(transfer)));
	for (int i = 0; i < lengthof(columns); i++)
		columns[i] = result_value_copy(0, i + 1);
	repo_call_end(&call);
	return form_row(transfer->fcinfo, columns);
}

Datum
run_transfer(FunctionCallInfo fcinfo, const TransferKind *kind)
{
	Transfer	transfer = {.fcinfo = fcinfo, .kind = kind, .reached = NULL_ARG};
	bool		resume;
	Datum		result;

	transfer.schema = TextDatumGetCString(text_argument(fcinfo, 0, NAMEDATALEN - 1).value);
	transfer.quoted_schema = quote_identifier(transfer.schema);
	transfer.batch_size = DatumGetInt32(limit_argument(fcinfo, 1, 1, BATCH_MAX).value);
	resume = DatumGetBool(any_argument(fcinfo, 2).value);
	transfer.memory = CurrentMemoryContext;
	transfer.batch_memory = AllocSetContextCreate(CurrentMemoryContext, "pictrepo batch",
												  ALLOCSET_DEFAULT_SIZES);
	PreventCommandDuringRecovery(kind->name);
	PreventCommandIfReadOnly(kind->name);
	refuse_transaction_block(fcinfo, kind);

	prepare(&transfer);
	begin_transfer(&transfer, resume);
	end_transaction();
	transfer.table = 0;
	while (!transfer_table(&transfer))
		transfer.table++;
	result = answer(&transfer);
	unlock_transfer(&transfer);
	progress_end();
	MemoryContextDelete(transfer.batch_memory);
	return result;
}

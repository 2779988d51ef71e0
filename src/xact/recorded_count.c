/*-------------------------------------------------------------------------
 *
 * recorded_count.c
 *		Row counts for standby servers, kept in a table.
 *
 * On a standby no callback runs, so shared memory counts nothing.  The primary
 * records its large counts in table row_counts at each sweep, and a standby
 * answers with these.  Small numbers are not recorded: counting them takes no
 * longer than a moment, and is exact.
 *
 * A primary without a worker leaves the table as it is.  So a standby relies on
 * a record only if it is not much older than the last commit that came.  The
 * primary renews a record from time to time even if the number has not changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "xact/recorded_count.h"

/* a count of fewer rows is not recorded */
#define RECORDED_ROWS_MIN "10000"

static const char *const table_names[COUNTED_TABLES] = {
	[COUNTED_HASHES] = "hashes",
	[COUNTED_JOBS] = "job_queue",
};

STATEMENT(find_recorded, STMT_READ_ONLY,
		  "SELECT rows FROM pictrepo.row_counts WHERE relation = $1 AND queue = $2"
		  " AND counted_at > pg_catalog.pg_last_xact_replay_timestamp() - interval '10 minutes'",
		  TEXTOID, TEXTOID);

/* The recorded number of rows, or of the jobs of one queue.  False: count. */
bool
recorded_count_get(CountedTable which, NullableDatum queue, int64 *count)
{
	NullableDatum args[] = {
		not_null(CStringGetTextDatum(table_names[which])),
		queue.isnull ? not_null(CStringGetTextDatum("")) : queue
	};

	if (!RecoveryInProgress() || statement_run(&find_recorded, args) == 0)
		return false;
	*count = DatumGetInt64(result_value(0, 1).value);
	return true;
}

STATEMENT(remove_small, STMT_READ_WRITE | STMT_WHOLE_TABLE,
		  "DELETE FROM pictrepo.row_counts c WHERE c.relation = $1 AND NOT EXISTS"
		  " (SELECT FROM unnest($2, $3) AS n (queue, rows)"
		  "  WHERE n.queue = c.queue AND n.rows >= " RECORDED_ROWS_MIN ")",
		  TEXTOID, TEXTARRAYOID, INT8ARRAYOID);

STATEMENT(record_large, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.row_counts AS c (relation, queue, rows, counted_at)"
		  " SELECT $1, n.queue, n.rows, clock_timestamp() FROM unnest($2, $3) AS n (queue, rows)"
		  " WHERE n.rows >= " RECORDED_ROWS_MIN " ORDER BY n.queue"
		  " ON CONFLICT (relation, queue) DO UPDATE SET rows = excluded.rows, counted_at = excluded.counted_at"
		  " WHERE c.rows <> excluded.rows OR c.counted_at < excluded.counted_at - interval '5 minutes'",
		  TEXTOID, TEXTARRAYOID, INT8ARRAYOID);

/* Record the numbers of rows by queue; queue '': of all rows. */
void
recorded_count_set(CountedTable which, NullableDatum queues, NullableDatum numbers)
{
	NullableDatum args[] = {not_null(CStringGetTextDatum(table_names[which])), queues, numbers};

	statement_run(&remove_small, args);
	statement_run(&record_large, args);
}

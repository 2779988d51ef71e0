/*-------------------------------------------------------------------------
 *
 * expire.c
 *		Operations: removing what nobody looks at any more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "common/guc.h"
#include "common/limits.h"
#include "common/maintenance_tasks.h"
#include "common/progress.h"
#include "images/access_times.h"
#include "operations/operations.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"

STATEMENT(delete_old_variants, STMT_READ_WRITE,
		  "WITH gone AS (DELETE FROM pictrepo.variants WHERE ctid = ANY (ARRAY("
		  "SELECT ctid FROM pictrepo.variants WHERE accessed < $1"
		  " ORDER BY accessed, hash, variant LIMIT $2 OFFSET $3 FOR UPDATE SKIP LOCKED))"
		  " RETURNING identifier)"
		  " SELECT count(*), array_agg(identifier) FROM gone",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

/* After that statement: the files go as well; how many variants there were. */
static uint64
release_old_variants(void)
{
	int64		count = DatumGetInt64(result_value(0, 1).value);

	release_files(result_value_copy(0, 2));
	return count;
}

STATEMENT(old_aliases, STMT_READ_WRITE,
		  "SELECT alias, $1 FROM (" OLDER_ALIASES " LIMIT $2 OFFSET $3) AS old",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

STATEMENT(try_lock_hash, STMT_READ_WRITE,
		  "SELECT h.hash FROM pictrepo.aliases a JOIN pictrepo.hashes h ON h.hash = a.hash"
		  " WHERE a.alias = $1 FOR UPDATE OF h SKIP LOCKED",
		  TEXTOID);

/* The alias before its urls, as in a removal; and they stay untouched from now on. */
STATEMENT(lock_old_alias, STMT_READ_WRITE,
		  "WITH alias AS MATERIALIZED (SELECT a.alias FROM pictrepo.aliases a"
		  " WHERE a.alias = $1 AND a.hash = $2 FOR UPDATE SKIP LOCKED),"
		  " urls AS MATERIALIZED (SELECT p.accessed FROM pictrepo.proxies p"
		  " WHERE p.alias = (SELECT alias FROM alias) FOR UPDATE)"
		  " SELECT max(accessed) < $3 FROM urls",
		  TEXTOID, BYTEAOID, TIMESTAMPTZOID);

/* Delete an alias if it is old still, now that nobody can touch it. */
static bool
remove_old_alias(NullableDatum alias, NullableDatum before, Files *files)
{
	NullableDatum hash;
	NullableDatum old;

	if (statement_run(&try_lock_hash, &alias) == 0)
		return false;
	hash = result_value_copy(0, 1);
	statement_run(&lock_old_alias, ARGS(alias, hash, before));
	old = result_value(0, 1);
	if (old.isnull || !DatumGetBool(old.value))
		return false;
	remove_alias(alias, hash, files);
	return true;
}

/* After that statement: how many of the aliases could be deleted. */
static uint64
remove_old_aliases(void)
{
	uint64		found = SPI_processed;
	NullableDatum *aliases = palloc_array(NullableDatum, found + 1);
	NullableDatum before = found > 0 ? result_value_copy(0, 2) : NULL_ARG;
	Files		files = NULL;
	uint64		removed = 0;

	for (uint64 i = 0; i < found; i++)
		aliases[i] = result_value_copy(i, 1);
	for (uint64 i = 0; i < found; i++)
	{
		CHECK_FOR_INTERRUPTS();
		progress_report("proxies", i, found);
		removed += remove_old_alias(aliases[i], before, &files);
	}
	files_release(files);
	return removed;
}

/* ----- as calls ----- */

/*
 * max: 1 to 10000.  What another transaction has locked is left for the next
 * time.
 */
static Datum
expire(FunctionCallInfo fcinfo, SqlStatement *find, uint64 (*take) (void))
{
	NullableDatum before = any_argument(fcinfo, 0);
	NullableDatum max = limit_argument(fcinfo, 1, 1, PAGE_MAX);
	int64		count;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	statement_run(find, ARGS(before, max, not_null(Int32GetDatum(0))));
	count = take();
	repo_call_end(&call);
	progress_end();
	PG_RETURN_INT64(count);
}

PG_FUNCTION_INFO_V1(pictrepo_expire_variants);

/*
 * expire_variants(before timestamptz, max int) -> bigint
 *
 * 22004, 22023.
 */
Datum
pictrepo_expire_variants(PG_FUNCTION_ARGS)
{
	return expire(fcinfo, &delete_old_variants, release_old_variants);
}

PG_FUNCTION_INFO_V1(pictrepo_expire_proxies);

/*
 * expire_proxies(before timestamptz, max int) -> bigint
 *
 * 22004, 22023.
 */
Datum
pictrepo_expire_proxies(PG_FUNCTION_ARGS)
{
	return expire(fcinfo, &old_aliases, remove_old_aliases);
}

/* ----- for the background worker ----- */

/* retention in seconds; 0: for ever */
static uint64
expire_retained(SqlStatement *find, int retention, uint64 (*take) (void))
{
	if (retention == 0)
		return 0;
	return row_batch_run(find, ARGS(seconds_ago(retention)), TASK_SMALL_BATCH, take);
}

uint64
expire_old_variants(void)
{
	return expire_retained(&delete_old_variants, guc_variant_retention, release_old_variants);
}

uint64
expire_old_proxies(void)
{
	return expire_retained(&old_aliases, guc_proxy_retention, remove_old_aliases);
}

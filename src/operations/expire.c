/*-------------------------------------------------------------------------
 *
 * expire.c
 *		Operations: removing variants and proxied images that were not served
 *		for a long time.
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
#include "shmem/clock_watch.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/statement.h"

STATEMENT(delete_old_variants, STMT_READ_WRITE,
		  "WITH deleted AS (DELETE FROM pictrepo.variants WHERE ctid = ANY (ARRAY("
		  "SELECT ctid FROM pictrepo.variants WHERE accessed < $1"
		  " ORDER BY accessed, hash, variant LIMIT $2 OFFSET $3 FOR UPDATE SKIP LOCKED))"
		  " RETURNING identifier)"
		  " SELECT count(*), array_agg(identifier) FROM deleted",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

/* After delete_old_variants: release the files of the variants.  Returns how many variants. */
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

/*
 * Lock an alias, then its URLs, in the order of delete.c.  Is its access time still
 * too old?  The lock on the URLs keeps other sessions from changing it.
 */
STATEMENT(lock_old_alias, STMT_READ_WRITE,
		  "WITH alias AS MATERIALIZED (SELECT a.alias FROM pictrepo.aliases a"
		  " WHERE a.alias = $1 AND a.hash = $2 FOR UPDATE SKIP LOCKED),"
		  " urls AS MATERIALIZED (SELECT p.accessed FROM pictrepo.proxies p"
		  " WHERE p.alias = (SELECT alias FROM alias) FOR UPDATE)"
		  " SELECT max(accessed) < $3 FROM urls",
		  TEXTOID, BYTEAOID, TIMESTAMPTZOID);

/*
 * Lock an alias, and remove it if its access time is still too old.  False: it is
 * not, or another transaction has locked the rows.
 */
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

/* After old_aliases: remove the aliases.  Returns how many were removed. */
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

/* ----- SQL functions ----- */

/*
 * Run a statement that finds rows, and the function that removes what it found.
 * Rows that another transaction has locked are skipped.
 */
static Datum
expire(FunctionCallInfo fcinfo, SqlStatement *find, uint64 (*remove_found) (void))
{
	NullableDatum before = any_argument(fcinfo, 0);
	NullableDatum max = limit_argument(fcinfo, 1, 1, PAGE_MAX);
	int64		count;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	statement_run(find, ARGS(before, max, not_null(Int32GetDatum(0))));
	count = remove_found();
	repo_call_end(&call);
	progress_end();
	PG_RETURN_INT64(count);
}

PG_FUNCTION_INFO_V1(pictrepo_expire_variants);

/*
 * expire_variants(before timestamptz, max int) -> bigint
 *
 * Remove variants that were last served before a time, and their files.  max: 1 to
 * 10000 variants, oldest first.  Returns how many were removed.
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
 * Remove aliases of proxied URLs that were last served before a time, and images
 * without other aliases.  max: 1 to 10000 aliases, oldest first.  Returns how many
 * were removed.
 */
Datum
pictrepo_expire_proxies(PG_FUNCTION_ARGS)
{
	return expire(fcinfo, &old_aliases, remove_old_aliases);
}

/* ----- for the background worker ----- */

/* retention: in seconds; 0: keep them */
static uint64
expire_retained(SqlStatement *find, int retention, uint64 (*remove_found) (void))
{
	if (retention == 0)
		return 0;
	return row_batch_run(find, ARGS(retention_cutoff(retention)), TASK_SMALL_BATCH, remove_found);
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

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
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"

STATEMENT(delete_old_variants, STMT_READ_WRITE,
		  "WITH deleted AS (DELETE FROM pictrepo.variants WHERE ctid = ANY (ARRAY(SELECT old.ctid FROM"
		  " (SELECT tableoid, ctid FROM pictrepo.variants WHERE accessed < $1"
		  " ORDER BY accessed, hash, variant OFFSET 0) old"
		  " WHERE " TRY_LOCK("old") " LIMIT $2 OFFSET $3))"
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

/* Lock old aliases with their hashes and URLs, if all of these are free. */
STATEMENT(lock_old_aliases, STMT_READ_WRITE,
		  "SELECT old.alias, $1 FROM (" OLDER_ALIASES " OFFSET 0) old WHERE (SELECT "
		  TRY_LOCK("h") " AND " TRY_LOCK("a") " AND"
		  " (SELECT bool_and(" TRY_LOCK("p") ") FROM pictrepo.proxies p WHERE p.alias = a.alias)"
		  " FROM pictrepo.aliases a JOIN pictrepo.hashes h ON h.hash = a.hash WHERE a.alias = old.alias)"
		  " LIMIT $2 OFFSET $3",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

/* The hash of a locked alias, unless a URL has come that is not too old. */
STATEMENT(hash_of_old_alias, STMT_READ_WRITE,
		  "SELECT a.hash FROM pictrepo.aliases a WHERE a.alias = $1"
		  " AND $2 > (SELECT max(p.accessed) FROM pictrepo.proxies p WHERE p.alias = a.alias)",
		  TEXTOID, TIMESTAMPTZOID);

/* Remove a locked alias if its access time is still too old.  Was it? */
static bool
remove_old_alias(NullableDatum alias, NullableDatum before, Files *files)
{
	if (statement_run(&hash_of_old_alias, ARGS(alias, before)) == 0)
		return false;
	remove_alias(alias, result_value_copy(0, 1), files);
	return true;
}

/* After lock_old_aliases: remove the aliases.  Returns how many were removed. */
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

/* Run a statement that finds rows, and the function that removes what it found. */
static Datum
expire(FunctionCallInfo fcinfo, SqlStatement *find, uint64 (*remove_found) (void))
{
	NullableDatum before = any_argument(fcinfo, 0);
	int			max = DatumGetInt32(limit_argument(fcinfo, 1, 1, PAGE_MAX).value);
	uint64		count;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	count = row_batch_run(find, &before, max, remove_found);
	repo_call_end(&call);
	progress_end();
	PG_RETURN_INT64((int64) count);
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
	return expire(fcinfo, &lock_old_aliases, remove_old_aliases);
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
	return expire_retained(&lock_old_aliases, guc_proxy_retention, remove_old_aliases);
}

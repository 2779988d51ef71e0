/*-------------------------------------------------------------------------
 *
 * access_times.c
 *		AliasAccessRepo and VariantAccessRepo: when aliases and variants were
 *		last served.
 *
 * A variant has its access time in its row.  An alias of a proxied URL has it in
 * the rows of its URLs in proxies, where an index finds the oldest.  Any other
 * alias was uploaded by a user, and has it in its own row, without an index.  So
 * uploaded images never expire, and their access times are cheap to write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "images/access_times.h"
#include "images/aliases.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"
#include "xact/async_commit.h"

/* The number of rows to return; NULL: all of them. */
static NullableDatum
max_argument(FunctionCallInfo fcinfo, int n)
{
	if (!PG_ARGISNULL(n) && PG_GETARG_INT64(n) < 0)
		bad_argument(fcinfo, n, psprintf("The value is " INT64_FORMAT "; it must not be negative.",
										 PG_GETARG_INT64(n)),
					 "Pass NULL to get all rows.");
	return fcinfo->args[n];
}

/*
 * Set an access time to now, unless the stored one is at most
 * pictrepo.access_resolution away.  It is in the future if the clock was set back.
 * args is the key, with one free element after
 * it.  If url_write is not NULL, read also returns whether the alias has URLs,
 * and url_write replaces write for such an alias.
 *
 * The writing statements skip a row that another session has locked or changed:
 * it either sets the access time, too, or removes the row.  So serving never
 * waits for a row lock, and cannot cause a deadlock with a session that removes
 * the image.
 */
static bool
touch(SqlStatement *read, SqlStatement *write, SqlStatement *url_write, NullableDatum *args)
{
	TimestampTz now = GetCurrentTimestamp();
	NullableDatum accessed;

	args[read->nargs] = not_null(TimestampTzGetDatum(now));
	if (statement_run(read, args) == 0)
		return false;
	accessed = result_value(0, 1);
	if (accessed.isnull ||
		llabs(now - DatumGetTimestampTz(accessed.value)) >= guc_access_resolution * INT64CONST(1000))
	{
		if (url_write != NULL && DatumGetBool(result_value(0, 2).value))
			write = url_write;
		async_commit_begin_write();
		statement_run(write, args);
		async_commit_end_write();
	}
	return true;
}

/* ----- aliases ----- */

#define ACCESS_OF_ALIAS \
	"SELECT " ALIAS_ACCESSED("a") "," \
	" EXISTS (SELECT FROM pictrepo.proxies p WHERE p.alias = a.alias)" \
	" FROM pictrepo.aliases a WHERE a.alias = $1"

STATEMENT(access_of_alias, STMT_READ_ONLY,
		  ACCESS_OF_ALIAS, TEXTOID);
STATEMENT(access_of_alias_now, STMT_READ_WRITE,
		  ACCESS_OF_ALIAS, TEXTOID);

STATEMENT(set_alias_access, STMT_READ_WRITE,
		  "WITH proxied AS (UPDATE pictrepo.proxies SET accessed = $2 WHERE alias = $1 RETURNING 1),"
		  " uploaded AS (UPDATE pictrepo.aliases a SET accessed = $2 WHERE alias = $1"
		  " AND NOT EXISTS (SELECT FROM pictrepo.proxies p WHERE p.alias = a.alias) RETURNING 1)"
		  " SELECT FROM proxied UNION ALL SELECT FROM uploaded",
		  TEXTOID, TIMESTAMPTZOID);

/*
 * Run a statement that changes the rows of an alias and of its URLs.  Returns
 * bool: did it change a row?  It locks the alias first, as a removal does.
 */
static Datum
change_alias_and_urls(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args)
{
	return BoolGetDatum(DatumGetInt64(return_count_with_alias_locked(fcinfo, statement, args)) > 0);
}

/*
 * Of several URLs, set the one with the latest access time, because only the
 * latest counts.
 */
STATEMENT(touch_url, STMT_READ_WRITE,
		  "UPDATE pictrepo.proxies u SET accessed = $2 WHERE u.digest = ("
		  "SELECT p.digest FROM pictrepo.proxies p WHERE p.alias = $1"
		  " ORDER BY p.accessed DESC NULLS LAST, p.digest LIMIT 1)"
		  " AND " TRY_LOCK_NO_KEY("u"),
		  TEXTOID, TIMESTAMPTZOID);

STATEMENT(touch_alias_row, STMT_READ_WRITE,
		  "UPDATE pictrepo.aliases a SET accessed = $2 WHERE a.alias = $1"
		  " AND NOT EXISTS (SELECT FROM pictrepo.proxies p WHERE p.alias = a.alias)"
		  " AND " TRY_LOCK_NO_KEY("a"),
		  TEXTOID, TIMESTAMPTZOID);

bool
touch_alias(NullableDatum alias)
{
	NullableDatum args[2] = {alias};

	return touch(&access_of_alias_now, &touch_alias_row, &touch_url, args);
}

PG_FUNCTION_INFO_V1(pictrepo_accessed_alias);

/*
 * accessed_alias(alias text) -> bool
 *
 * Set the alias's access time to now.  False: the alias does not exist.
 */
Datum
pictrepo_accessed_alias(PG_FUNCTION_ARGS)
{
	NullableDatum alias = alias_argument(fcinfo, 0);
	bool		found;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	found = touch_alias(alias);
	repo_call_end(&call);
	PG_RETURN_BOOL(found);
}

PG_FUNCTION_INFO_V1(pictrepo_set_accessed_alias);

/*
 * set_accessed_alias(alias text, at timestamptz) -> bool
 *
 * Set the alias's access time.  False: the alias does not exist.
 */
Datum
pictrepo_set_accessed_alias(PG_FUNCTION_ARGS)
{
	return change_alias_and_urls(fcinfo, &set_alias_access,
								 ARGS(alias_argument(fcinfo, 0), time_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_alias_accessed_at);

/*
 * alias_accessed_at(alias text) -> timestamptz
 *
 * When the alias was last served.  NULL: never, or the alias does not exist.
 */
Datum
pictrepo_alias_accessed_at(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &access_of_alias, ARGS(alias_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_older_aliases);

STATEMENT(older_aliases, STMT_READ_ONLY,
		  OLDER_ALIASES " LIMIT $2",
		  TIMESTAMPTZOID, INT8OID);

/*
 * older_aliases(before timestamptz, max bigint) -> setof (alias text, accessed timestamptz)
 *
 * The aliases of proxied URLs that were last served before a time, ordered by
 * (accessed, alias).  max NULL: all of them.  Error 22023 for a negative max.
 */
Datum
pictrepo_older_aliases(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &older_aliases,
					   ARGS(any_argument(fcinfo, 0), max_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_remove_alias_access);

STATEMENT(clear_alias_access, STMT_READ_WRITE,
		  "WITH proxied AS (UPDATE pictrepo.proxies SET accessed = NULL"
		  " WHERE alias = $1 AND accessed IS NOT NULL RETURNING 1),"
		  " uploaded AS (UPDATE pictrepo.aliases SET accessed = NULL"
		  " WHERE alias = $1 AND accessed IS NOT NULL RETURNING 1)"
		  " SELECT FROM uploaded UNION ALL SELECT FROM proxied",
		  TEXTOID);

/*
 * remove_alias_access(alias text) -> bool
 *
 * Clear the alias's access time.  False: it has none, or the alias does not
 * exist.
 */
Datum
pictrepo_remove_alias_access(PG_FUNCTION_ARGS)
{
	return change_alias_and_urls(fcinfo, &clear_alias_access, ARGS(alias_argument(fcinfo, 0)));
}

/* ----- variants ----- */

#define ACCESS_OF_VARIANT \
	"SELECT accessed FROM pictrepo.variants WHERE hash = $1 AND variant = $2"

STATEMENT(access_of_variant, STMT_READ_ONLY,
		  ACCESS_OF_VARIANT, BYTEAOID, TEXTOID);
STATEMENT(access_of_variant_now, STMT_READ_WRITE,
		  ACCESS_OF_VARIANT, BYTEAOID, TEXTOID);

STATEMENT(set_variant_access, STMT_READ_WRITE,
		  "UPDATE pictrepo.variants SET accessed = $3 WHERE hash = $1 AND variant = $2",
		  BYTEAOID, TEXTOID, TIMESTAMPTZOID);

STATEMENT(touch_variant_row, STMT_READ_WRITE,
		  "UPDATE pictrepo.variants v SET accessed = $3 WHERE v.hash = $1 AND v.variant = $2"
		  " AND " TRY_LOCK_NO_KEY("v"),
		  BYTEAOID, TEXTOID, TIMESTAMPTZOID);

bool
touch_variant(NullableDatum hash, NullableDatum variant)
{
	NullableDatum args[3] = {hash, variant};

	return touch(&access_of_variant_now, &touch_variant_row, NULL, args);
}

PG_FUNCTION_INFO_V1(pictrepo_accessed_variant);

/*
 * accessed_variant(hash bytea, variant text) -> bool
 *
 * Set the variant's access time to now.  False: the variant does not exist.
 */
Datum
pictrepo_accessed_variant(PG_FUNCTION_ARGS)
{
	NullableDatum hash = hash_argument(fcinfo, 0);
	NullableDatum variant = variant_argument(fcinfo, 1);
	bool		found;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	found = touch_variant(hash, variant);
	repo_call_end(&call);
	PG_RETURN_BOOL(found);
}

PG_FUNCTION_INFO_V1(pictrepo_set_accessed_variant);

/*
 * set_accessed_variant(hash bytea, variant text, at timestamptz) -> bool
 *
 * Set the variant's access time.  False: the variant does not exist.
 */
Datum
pictrepo_set_accessed_variant(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &set_variant_access,
						ARGS(hash_argument(fcinfo, 0), variant_argument(fcinfo, 1),
							 time_argument(fcinfo, 2)));
}

PG_FUNCTION_INFO_V1(pictrepo_variant_accessed_at);

/*
 * variant_accessed_at(hash bytea, variant text) -> timestamptz
 *
 * When the variant was last served.  NULL: the access time was removed, or the
 * variant does not exist.
 */
Datum
pictrepo_variant_accessed_at(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &access_of_variant,
						ARGS(hash_argument(fcinfo, 0), variant_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_older_variants);

STATEMENT(older_variants, STMT_READ_ONLY,
		  "SELECT hash, variant, accessed FROM pictrepo.variants WHERE accessed < $1"
		  " ORDER BY accessed, hash, variant LIMIT $2",
		  TIMESTAMPTZOID, INT8OID);

/*
 * older_variants(before timestamptz, max bigint) -> setof (hash, variant, accessed)
 *
 * The variants that were last served before a time, ordered by (accessed, hash,
 * variant).  max NULL: all of them.  Error 22023 for a negative max.
 */
Datum
pictrepo_older_variants(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &older_variants,
					   ARGS(any_argument(fcinfo, 0), max_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_remove_variant_access);

STATEMENT(clear_variant_access, STMT_READ_WRITE,
		  "UPDATE pictrepo.variants SET accessed = NULL"
		  " WHERE hash = $1 AND variant = $2 AND accessed IS NOT NULL",
		  BYTEAOID, TEXTOID);

/*
 * remove_variant_access(hash bytea, variant text) -> bool
 *
 * Clear the variant's access time.  False: it has none, or the variant does not
 * exist.
 */
Datum
pictrepo_remove_variant_access(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &clear_variant_access,
						ARGS(hash_argument(fcinfo, 0), variant_argument(fcinfo, 1)));
}

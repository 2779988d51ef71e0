/*-------------------------------------------------------------------------
 *
 * access_times.c
 *		AliasAccessRepo and VariantAccessRepo: when things were last served.
 *
 * A variant's access time is in its row.  So is an alias's, but for an alias
 * that stands for a proxied url: its time is in proxies, where an index finds
 * the oldest.  So what users uploaded can never come up for expiry, and their
 * access times cost no index.
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
#include "sqlfunc/statement.h"
#include "xact/async_commit.h"

/* rows that a max of NULL stands for: all */
static NullableDatum
max_argument(FunctionCallInfo fcinfo, int n)
{
	if (!PG_ARGISNULL(n) && PG_GETARG_INT64(n) < 0)
		bad_argument(fcinfo, n, psprintf("It is " INT64_FORMAT ".", PG_GETARG_INT64(n)),
					 "NULL stands for all.");
	return fcinfo->args[n];
}

/*
 * Something was served now: write that unless a time is on record that is near
 * enough.  args are the key, with room for the time behind it.  Where the time
 * may be in one of two tables, read says so, too: elsewhere is for the other.
 *
 * Where somebody is at the row, nothing is written: another one notes an access
 * just now, or it goes.  So serving waits for nobody, and whoever removes an
 * image does not meet a request that has one of its rows and wants another.
 */
static bool
touch(SqlStatement *read, SqlStatement *write, SqlStatement *elsewhere, NullableDatum *args)
{
	TimestampTz now = GetCurrentTimestamp();
	NullableDatum accessed;

	args[read->nargs] = not_null(TimestampTzGetDatum(now));
	if (statement_run(read, args) == 0)
		return false;
	accessed = result_value(0, 1);
	if (accessed.isnull ||
		DatumGetTimestampTz(accessed.value) + (int64) guc_access_resolution * 1000 <= now)
	{
		if (elsewhere != NULL && DatumGetBool(result_value(0, 2).value))
			write = elsewhere;
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
		  " plain AS (UPDATE pictrepo.aliases a SET accessed = $2 WHERE alias = $1"
		  " AND NOT EXISTS (SELECT FROM pictrepo.proxies p WHERE p.alias = a.alias) RETURNING 1)"
		  " SELECT FROM proxied UNION ALL SELECT FROM plain",
		  TEXTOID, TIMESTAMPTZOID);

/* bool: is there such an alias?  It is locked first, as by who removes it. */
static Datum
change_urls(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args)
{
	return BoolGetDatum(DatumGetInt64(return_count_with_alias_locked(fcinfo, statement, args)) > 0);
}

/*
 * Of several urls the one served last, whose time counts.  More would be locked
 * one after the other, and SKIP LOCKED does wait where the row has been updated
 * since: for who has the next one and wants this one.
 */
STATEMENT(touch_url, STMT_READ_WRITE,
		  "UPDATE pictrepo.proxies SET accessed = $2 WHERE digest = ("
		  "SELECT digest FROM pictrepo.proxies WHERE digest = ("
		  "SELECT p.digest FROM pictrepo.proxies p WHERE p.alias = $1"
		  " ORDER BY p.accessed DESC NULLS LAST, p.digest LIMIT 1)"
		  " FOR NO KEY UPDATE SKIP LOCKED)",
		  TEXTOID, TIMESTAMPTZOID);

STATEMENT(touch_plain_alias, STMT_READ_WRITE,
		  "UPDATE pictrepo.aliases SET accessed = $2 WHERE alias = ("
		  "SELECT a.alias FROM pictrepo.aliases a WHERE a.alias = $1"
		  " AND NOT EXISTS (SELECT FROM pictrepo.proxies p WHERE p.alias = a.alias)"
		  " FOR NO KEY UPDATE OF a SKIP LOCKED)",
		  TEXTOID, TIMESTAMPTZOID);

bool
touch_alias(NullableDatum alias)
{
	NullableDatum args[2] = {alias};

	return touch(&access_of_alias_now, &touch_plain_alias, &touch_url, args);
}

PG_FUNCTION_INFO_V1(pictrepo_accessed_alias);

/*
 * accessed_alias(alias text) -> bool
 *
 * The alias was served now.  False: no such alias.  22004, 22023, 22001.
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
 * Exactly this time, finite.  False: no such alias.  22004, 22023, 22001.
 */
Datum
pictrepo_set_accessed_alias(PG_FUNCTION_ARGS)
{
	return change_urls(fcinfo, &set_alias_access,
					   ARGS(alias_argument(fcinfo, 0), time_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_alias_accessed_at);

/*
 * alias_accessed_at(alias text) -> timestamptz
 *
 * NULL: never served, or no such alias.  22004, 22023, 22001.
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
 * Aliases of proxied urls last served before the time, oldest first, by
 * (accessed, alias).  22004, 22023.
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
		  " plain AS (UPDATE pictrepo.aliases SET accessed = NULL"
		  " WHERE alias = $1 AND accessed IS NOT NULL RETURNING 1)"
		  " SELECT FROM plain UNION ALL SELECT FROM proxied",
		  TEXTOID);

/*
 * remove_alias_access(alias text) -> bool
 *
 * Forget the access time; false: there was none.  22004, 22023, 22001.
 */
Datum
pictrepo_remove_alias_access(PG_FUNCTION_ARGS)
{
	return change_urls(fcinfo, &clear_alias_access, ARGS(alias_argument(fcinfo, 0)));
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

STATEMENT(set_variant_accessed, STMT_READ_WRITE,
		  "UPDATE pictrepo.variants SET accessed = $3 WHERE hash = $1 AND variant = ("
		  "SELECT variant FROM pictrepo.variants WHERE hash = $1 AND variant = $2"
		  " FOR NO KEY UPDATE SKIP LOCKED)",
		  BYTEAOID, TEXTOID, TIMESTAMPTZOID);

bool
touch_variant(NullableDatum hash, NullableDatum variant)
{
	NullableDatum args[3] = {hash, variant};

	return touch(&access_of_variant_now, &set_variant_accessed, NULL, args);
}

PG_FUNCTION_INFO_V1(pictrepo_accessed_variant);

/*
 * accessed_variant(hash bytea, variant text) -> bool
 *
 * The variant was served now.  False: no such variant.  22004, 22023, 22001.
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
 * Exactly this time, finite.  False: no such variant.  22004, 22023, 22001.
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
 * NULL: not known, or no such variant.  22004, 22023, 22001.
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
 * Variants last served before the time, oldest first, by (accessed, hash,
 * variant).  22004, 22023.
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
 * Forget the access time; false: there was none.  22004, 22023, 22001.
 */
Datum
pictrepo_remove_variant_access(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &clear_variant_access,
						ARGS(hash_argument(fcinfo, 0), variant_argument(fcinfo, 1)));
}

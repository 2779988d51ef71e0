/*-------------------------------------------------------------------------
 *
 * delete.c
 *		Operations: deleting aliases and images.
 *
 * Whether an alias was the last one is decided with the hash locked and by the
 * latest snapshot: whoever stores an alias holds the hash as well.
 *
 * All take their locks in one order, so that no two calls lock each other out:
 * hashes (several by their bytes), aliases, urls, variants, claims, and in the
 * end what stands for files.  So files are released when all else is done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "common/injection_points.h"
#include "images/aliases.h"
#include "operations/operations.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

STATEMENT(hash_of_alias, STMT_READ_WRITE,
		  "SELECT hash FROM pictrepo.aliases WHERE alias = $1", TEXTOID);

STATEMENT(lock_hash, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.hashes WHERE hash = $1 FOR UPDATE", BYTEAOID);

STATEMENT(alias_is_of_hash, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.aliases WHERE alias = $1 AND hash = $2", TEXTOID, BYTEAOID);

/*
 * The hash of an alias, locked, so that no alias comes or goes by another
 * operation; NULL: no such alias.
 */
static NullableDatum
lock_image(NullableDatum alias)
{
	for (;;)
	{
		NullableDatum hash;

		if (statement_run(&hash_of_alias, &alias) == 0)
			return NULL_ARG;
		hash = result_value_copy(0, 1);
		if (statement_run(&lock_hash, &hash) > 0 &&
			statement_run(&alias_is_of_hash, ARGS(alias, hash)) > 0)
		{
			INJECT(image_locked);
			return hash;
		}
		/* it was deleted meanwhile, and may be back as that of another hash */
		check_can_retry();
	}
}

/*
 * What goes is what counts, not what was there before: variants expire and
 * move without their hash.
 */
STATEMENT(delete_images, STMT_READ_WRITE,
		  "WITH variant AS (DELETE FROM pictrepo.variants WHERE hash = ANY ($1) RETURNING identifier),"
		  " image AS (DELETE FROM pictrepo.hashes WHERE hash = ANY ($1)"
		  " RETURNING identifier, motion_identifier)"
		  " SELECT identifier FROM variant UNION ALL SELECT identifier FROM image"
		  " UNION ALL SELECT motion_identifier FROM image WHERE motion_identifier IS NOT NULL",
		  BYTEAARRAYOID);

STATEMENT(delete_aliases, STMT_READ_WRITE,
		  "WITH gone AS (DELETE FROM pictrepo.aliases WHERE hash = ANY ($1) RETURNING alias)"
		  " SELECT alias FROM gone ORDER BY alias",
		  BYTEAARRAYOID);

/* The hashes are locked and have no aliases: they go with all that belongs to them. */
static void
remove_images(NullableDatum hashes, Files *files)
{
	statement_run(&delete_images, &hashes);
	INJECT(image_deleted);
	files_add_result(files);
}

/* The hashes are locked: they go with their aliases. */
void
remove_aliases_and_images(NullableDatum hashes, Files *files)
{
	statement_run(&delete_aliases, &hashes);
	remove_images(hashes, files);
}

STATEMENT(any_alias_of_hash, STMT_READ_ONLY,
		  "SELECT FROM pictrepo.aliases WHERE hash = $1 LIMIT 1", BYTEAOID);

static bool
has_aliases(NullableDatum hash)
{
	return statement_run_latest(&any_alias_of_hash, &hash) > 0;
}

/* The hash is locked: an alias of it goes, and with the last one the image. */
void
remove_alias(NullableDatum alias, NullableDatum hash, Files *files)
{
	alias_delete(alias);
	INJECT(alias_deleted);
	if (!has_aliases(hash))
		remove_images(array_of(&hash.value, 1, BYTEAOID), files);
}

PG_FUNCTION_INFO_V1(pictrepo_delete_alias);

/*
 * delete_alias(alias text, delete_token text) -> text
 *
 * "deleted", "missing" or "forbidden".  22004, 22023, 22001.
 */
Datum
pictrepo_delete_alias(PG_FUNCTION_ARGS)
{
	NullableDatum alias = alias_argument(fcinfo, 0);
	NullableDatum token = token_argument(fcinfo, 1);
	const char *outcome = "missing";
	Files		files = NULL;
	NullableDatum hash;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	hash = lock_image(alias);
	if (!hash.isnull)
		outcome = delete_token_matches(alias, token) ? "deleted" : "forbidden";
	if (strcmp(outcome, "deleted") == 0)
		remove_alias(alias, hash, &files);
	files_release(files);
	repo_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/* ----- moderation ----- */

STATEMENT(insert_block, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.blocked (hash) VALUES ($1) ON CONFLICT DO NOTHING", BYTEAOID);

PG_FUNCTION_INFO_V1(pictrepo_purge);

/*
 * purge(alias text, block bool) -> setof text
 *
 * The aliases that are gone, in byte order; no row: no such alias.  22004,
 * 22023, 22001.
 */
Datum
pictrepo_purge(PG_FUNCTION_ARGS)
{
	NullableDatum alias = alias_argument(fcinfo, 0);
	bool		block = DatumGetBool(any_argument(fcinfo, 1).value);
	Files		files = NULL;
	NullableDatum hash;
	RepoCall	call;

	rows_begin(fcinfo);
	repo_call_begin(&call, fcinfo);
	hash = lock_image(alias);
	if (!hash.isnull)
	{
		NullableDatum image = array_of(&hash.value, 1, BYTEAOID);

		if (block)
			statement_run(&insert_block, &hash);
		INJECT(image_blocked);
		statement_run(&delete_aliases, &image);
		rows_add_result(fcinfo);
		remove_images(image, &files);
		files_release(files);
	}
	repo_call_end(&call);
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(pictrepo_block_hash);

/*
 * block_hash(hash bytea) -> bool
 *
 * False: it is blocked already.  22004, 22023, 22001.
 */
Datum
pictrepo_block_hash(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &insert_block, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_unblock_hash);

STATEMENT(delete_block, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.blocked WHERE hash = $1", BYTEAOID);

/*
 * unblock_hash(hash bytea) -> bool
 *
 * False: it was not blocked.  22004, 22023, 22001.
 */
Datum
pictrepo_unblock_hash(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_block, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_blocked_hashes);

STATEMENT(all_blocked, STMT_READ_ONLY | STMT_WHOLE_TABLE,
		  "SELECT hash, blocked_at FROM pictrepo.blocked ORDER BY blocked_at DESC, hash");

/*
 * blocked_hashes() -> setof (hash bytea, blocked_at timestamptz)
 *
 * Latest first.
 */
Datum
pictrepo_blocked_hashes(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &all_blocked, NULL);
}

/*-------------------------------------------------------------------------
 *
 * delete.c
 *		Operations: deleting aliases and images.
 *
 * An image is removed together with its last alias.  The check for other aliases
 * runs with the hash locked FOR UPDATE and with the latest snapshot.  Every session
 * that stores an alias locks the hash, too.  So it either commits before the check,
 * which then sees its alias, or waits until the removal has ended.
 *
 * All operations lock rows in this order, which prevents deadlocks:
 *
 *	1. hashes, several in the order of their bytes
 *	2. aliases
 *	3. proxies (the URLs)
 *	4. variants
 *	5. variant_claims
 *	6. details, and the advisory locks on files, see files.c
 *
 * So each operation releases files at its end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
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
 * Lock the hash of an alias FOR UPDATE, and return it.  Until this transaction
 * ends, no other operation adds an alias to the hash or removes one.  NULL: the
 * alias does not exist.
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

		/* another session deleted the alias, or stored it for another hash */
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Delete images, and return the files of the deleted rows.  A SELECT before the
 * DELETE could return other files: variants expire, and their files move, without
 * a lock on the hash.
 */
STATEMENT(delete_images, STMT_READ_WRITE,
		  "WITH variant AS (DELETE FROM pictrepo.variants WHERE hash = ANY ($1) RETURNING identifier),"
		  " image AS (DELETE FROM pictrepo.hashes WHERE hash = ANY ($1)"
		  " RETURNING identifier, motion_identifier)"
		  " SELECT identifier FROM variant UNION ALL SELECT identifier FROM image"
		  " UNION ALL SELECT motion_identifier FROM image WHERE motion_identifier IS NOT NULL",
		  BYTEAARRAYOID);

STATEMENT(delete_aliases, STMT_READ_WRITE,
		  "WITH deleted AS (DELETE FROM pictrepo.aliases WHERE hash = ANY ($1) RETURNING alias)"
		  " SELECT alias FROM deleted ORDER BY alias",
		  BYTEAARRAYOID);

/* Remove images, and collect their files.  Their hashes are locked, and have no aliases. */
static void
remove_images(NullableDatum hashes, Files *files)
{
	statement_run(&delete_images, &hashes);
	INJECT(image_deleted);
	files_add_result(files);
}

/* Remove images with their aliases, and collect their files.  Their hashes are locked. */
void
remove_aliases_and_images(NullableDatum hashes, Files *files)
{
	statement_run(&delete_aliases, &hashes);
	remove_images(hashes, files);
}

STATEMENT(any_alias_of_hash, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.aliases WHERE hash = $1 LIMIT 1", BYTEAOID);

static bool
has_aliases(NullableDatum hash)
{
	return statement_run(&any_alias_of_hash, &hash) > 0;
}

/* Remove an alias, and the image if it was the last one.  The hash is locked. */
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
 * Delete an alias, and its image if it was the last one.  Returns "deleted",
 * "missing" (the alias does not exist), or "forbidden" (it has another token).
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
 * Remove the image of an alias with all its aliases.  With block, the content can
 * no longer be ingested.  Returns the removed aliases, in byte order.  No rows: the
 * alias does not exist.
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
 * Block a content from ingestion.  False: it is blocked already.
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
 * Allow a blocked content again.  False: it is not blocked.
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
 * The blocked contents, the one that was blocked last first.
 */
Datum
pictrepo_blocked_hashes(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &all_blocked, NULL);
}

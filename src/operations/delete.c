/*-------------------------------------------------------------------------
 *
 * operations_remove.c
 *		Operations: deleting aliases and images, and what becomes of their files.
 *
 * Whether an alias was the last one is decided with the hash locked and by the
 * latest snapshot: whoever stores an alias holds the hash as well.  A file that
 * nothing names any more is queued for removal in the same transaction.
 *
 * All take their locks in one order, so that no two calls lock each other out:
 * hashes (several by their bytes), aliases, urls, variants, claims, and in the
 * end what stands for files.  So files are released when all else is done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "engine/arguments.h"
#include "engine/batches.h"
#include "engine/duties.h"
#include "engine/injection.h"
#include "engine/progress.h"
#include "engine/settings.h"
#include "engine/statements.h"
#include "repo/operations.h"

/* ----- files ----- */

/*
 * Whoever names a file that is known already holds its details, and is waited
 * for.  In order, as two releases may have several files in common.
 */
WRITES(lock_details,
	   "SELECT FROM pictrepo.details WHERE identifier = ANY ($1) ORDER BY identifier FOR UPDATE",
	   TEXTARRAYOID);

/* Those that something names still, and the others */
READS(sort_files,
	  "SELECT array_agg(file ORDER BY file) FILTER (WHERE named),"
	  " array_agg(file ORDER BY file) FILTER (WHERE NOT named)"
	  " FROM (SELECT file, EXISTS (SELECT FROM pictrepo.hashes h WHERE h.identifier = file"
	  " UNION ALL SELECT FROM pictrepo.hashes h WHERE h.motion_identifier = file"
	  " UNION ALL SELECT FROM pictrepo.variants v WHERE v.identifier = file) AS named"
	  " FROM (SELECT DISTINCT file COLLATE \"C\" AS file FROM unnest($1) AS file) given"
	  " WHERE file IS NOT NULL) files",
	  TEXTARRAYOID);

WRITES(delete_details,
	   "DELETE FROM pictrepo.details WHERE identifier = ANY ($1)", TEXTARRAYOID);

WRITES(queue_removals,
	   "SELECT pictrepo.push_many('cleanup', array_agg(jsonb_build_object('Identifier',"
	   " jsonb_build_object('identifier', file)) ORDER BY place))"
	   " FROM unnest($1) WITH ORDINALITY AS files (file, place)",
	   TEXTARRAYOID);

/* no user takes this with the pg_advisory_* functions */
#define FILE_LOCK_CLASS 0x706b

/* Until the transaction ends, nobody else finds out whether something names the files. */
static void
lock_files(Datum files)
{
	Datum	   *file;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(files), TEXTOID, -1, false, TYPALIGN_INT,
					  &file, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		text	   *name = DatumGetTextPP(file[i]);
		uint64		hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(name),
											   VARSIZE_ANY_EXHDR(name), 0);
		LOCKTAG		tag;

		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash,
							 FILE_LOCK_CLASS);
		(void) LockAcquire(&tag, ExclusiveLock, false, false);
	}
}

/*
 * Of these files, those that nothing names any more lose their details and go.
 *
 * What names a file may be going just now in a transaction that sees our own
 * name still, so that each would leave the file to the other.  So whoever is
 * not the only one looks again with the file locked: the one who looks last
 * sees that the others are gone.
 */
void
release_files(NullableDatum files)
{
	NullableDatum named;
	NullableDatum superfluous;

	if (files.isnull)
		return;
	run_latest(&lock_details, &files);
	run_latest(&sort_files, &files);
	named = kept_value(0, 1);
	superfluous = kept_value(0, 2);
	if (!named.isnull)
	{
		lock_files(named.value);
		run_latest(&sort_files, &files);
		superfluous = kept_value(0, 2);
	}
	INJECT(files_sorted);
	if (!superfluous.isnull)
	{
		run_latest(&delete_details, &superfluous);
		run_statement(&queue_removals, &superfluous);
		INJECT(files_released);
	}
}

void
release_file(NullableDatum file)
{
	release_files(given(PointerGetDatum(construct_array(&file.value, 1, TEXTOID, -1, false,
														TYPALIGN_INT))));
}

/* Files to be released when all else is done; in the call's memory. */
typedef ArrayBuildState *Files;

/* Those that the last statement gave, one a row */
static void
note_files(Files *files)
{
	for (uint64 i = 0; i < SPI_processed; i++)
		*files = accumArrayResult(*files, result_value(i, 1).value, false, TEXTOID,
								  CurrentMemoryContext);
}

static void
release_noted(Files files)
{
	if (files != NULL)
		release_files(given(makeArrayResult(files, CurrentMemoryContext)));
}

/* ----- images ----- */

READS_NOW(hash_of_alias, "SELECT hash FROM pictrepo.aliases WHERE alias = $1", TEXTOID);

WRITES(lock_hash, "SELECT FROM pictrepo.hashes WHERE hash = $1 FOR UPDATE", BYTEAOID);

READS_NOW(alias_is_of_hash,
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

		if (run_statement(&hash_of_alias, &alias) == 0)
			return NULL_ARG;
		hash = kept_value(0, 1);
		if (run_statement(&lock_hash, &hash) > 0 &&
			run_statement(&alias_is_of_hash, ARGS(alias, hash)) > 0)
		{
			INJECT(image_locked);
			return hash;
		}
		/* it was deleted meanwhile, and may be back as that of another hash */
		look_again();
	}
}

/*
 * What goes is what counts, not what was there before: variants expire and
 * move without their hash.
 */
WRITES(delete_images,
	   "WITH variant AS (DELETE FROM pictrepo.variants WHERE hash = ANY ($1) RETURNING identifier),"
	   " image AS (DELETE FROM pictrepo.hashes WHERE hash = ANY ($1)"
	   " RETURNING identifier, motion_identifier)"
	   " SELECT identifier FROM variant UNION ALL SELECT identifier FROM image"
	   " UNION ALL SELECT motion_identifier FROM image WHERE motion_identifier IS NOT NULL",
	   BYTEAARRAYOID);

WRITES(delete_aliases,
	   "WITH gone AS (DELETE FROM pictrepo.aliases WHERE hash = ANY ($1) RETURNING alias)"
	   " SELECT alias FROM gone ORDER BY alias",
	   BYTEAARRAYOID);

/* The hashes are locked and have no aliases: they go with all that belongs to them. */
static void
remove_images(NullableDatum hashes, Files *files)
{
	run_statement(&delete_images, &hashes);
	INJECT(image_deleted);
	note_files(files);
}

static NullableDatum
only_hash(NullableDatum hash)
{
	return given(PointerGetDatum(construct_array(&hash.value, 1, BYTEAOID, -1, false,
												 TYPALIGN_INT)));
}

WRITES(delete_alias_of_image, "DELETE FROM pictrepo.aliases WHERE alias = $1", TEXTOID);

READS(any_alias_of_hash, "SELECT FROM pictrepo.aliases WHERE hash = $1 LIMIT 1", BYTEAOID);

static bool
has_aliases(NullableDatum hash)
{
	return run_latest(&any_alias_of_hash, &hash) > 0;
}

/* The hash is locked: an alias of it goes, and with the last one the image. */
static void
remove_alias(NullableDatum alias, NullableDatum hash, Files *files)
{
	run_statement(&delete_alias_of_image, &alias);
	INJECT(alias_deleted);
	if (!has_aliases(hash))
		remove_images(only_hash(hash), files);
}

PG_FUNCTION_INFO_V1(pictrepo_delete_alias);

/* NULL: no such alias; compared in constant time */
READS_NOW(token_fits, "SELECT pictrepo.check_delete_token($1, $2)", TEXTOID, TEXTOID);

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

	begin_call(&call, fcinfo);
	hash = lock_image(alias);
	if (!hash.isnull)
	{
		run_statement(&token_fits, ARGS(alias, token));
		outcome = DatumGetBool(result_value(0, 1).value) ? "deleted" : "forbidden";
	}
	if (strcmp(outcome, "deleted") == 0)
		remove_alias(alias, hash, &files);
	release_noted(files);
	end_call(&call);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/* ----- moderation ----- */

WRITES(insert_block,
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

	begin_rows(fcinfo);
	begin_call(&call, fcinfo);
	hash = lock_image(alias);
	if (!hash.isnull)
	{
		NullableDatum image = only_hash(hash);

		if (block)
			run_statement(&insert_block, &hash);
		INJECT(image_blocked);
		run_statement(&delete_aliases, &image);
		give_result_rows(fcinfo);
		remove_images(image, &files);
		release_noted(files);
	}
	end_call(&call);
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
	return answer_whether(fcinfo, &insert_block, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_unblock_hash);

WRITES(delete_block, "DELETE FROM pictrepo.blocked WHERE hash = $1", BYTEAOID);

/*
 * unblock_hash(hash bytea) -> bool
 *
 * False: it was not blocked.  22004, 22023, 22001.
 */
Datum
pictrepo_unblock_hash(PG_FUNCTION_ARGS)
{
	return answer_whether(fcinfo, &delete_block, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_blocked_hashes);

READS_ALL(all_blocked, "SELECT hash, blocked_at FROM pictrepo.blocked ORDER BY blocked_at DESC, hash");

/*
 * blocked_hashes() -> setof (hash bytea, blocked_at timestamptz)
 *
 * Latest first.
 */
Datum
pictrepo_blocked_hashes(PG_FUNCTION_ARGS)
{
	return answer_rows(fcinfo, &all_blocked, NULL);
}

/* ----- lost files ----- */

/* All that name the file in any way, before any of them goes */
WRITES(lock_hashes_of_file,
	   "WITH locked AS MATERIALIZED (SELECT hash FROM pictrepo.hashes WHERE hash = ANY (ARRAY("
	   HASHES_OF_FILE ")) ORDER BY hash FOR UPDATE)"
	   " SELECT array_agg(hash) FROM locked",
	   TEXTOID);

READS_NOW(images_of_file,
		  "SELECT array_agg(hash) FROM pictrepo.hashes WHERE hash = ANY ($2) AND identifier = $1",
		  TEXTOID, BYTEAARRAYOID);

WRITES(forget_motion,
	   "UPDATE pictrepo.hashes SET motion_identifier = NULL"
	   " WHERE hash = ANY ($2) AND motion_identifier = $1",
	   TEXTOID, BYTEAARRAYOID);

WRITES(forget_variant,
	   "DELETE FROM pictrepo.variants WHERE hash = ANY ($2) AND identifier = $1",
	   TEXTOID, BYTEAARRAYOID);

WRITES(forget_details, "DELETE FROM pictrepo.details WHERE identifier = $1", TEXTOID);

/* Images whose file is lost, of locked hashes: how many there were. */
static uint64
remove_images_of(const NullableDatum *file_and_hashes, Files *files)
{
	NullableDatum images;

	run_statement(&images_of_file, file_and_hashes);
	images = kept_value(0, 1);
	if (images.isnull)
		return 0;
	run_statement(&delete_aliases, &images);
	remove_images(images, files);
	return 1;
}

/* What names the file: how much there was. */
static uint64
forget_names(NullableDatum file, Files *files)
{
	NullableDatum file_and_hashes[2] = {file};
	uint64		forgotten;

	run_statement(&lock_hashes_of_file, &file);
	file_and_hashes[1] = kept_value(0, 1);
	if (file_and_hashes[1].isnull)
		return 0;
	forgotten = remove_images_of(file_and_hashes, files);
	forgotten += run_statement(&forget_motion, file_and_hashes);
	forgotten += run_statement(&forget_variant, file_and_hashes);
	return forgotten;
}

PG_FUNCTION_INFO_V1(pictrepo_forget_missing);

/*
 * forget_missing(identifier text) -> bool
 *
 * False: nothing names the file.  22004, 22023, 22001.
 */
Datum
pictrepo_forget_missing(PG_FUNCTION_ARGS)
{
	NullableDatum file = identifier_argument(fcinfo, 0);
	Files		files = NULL;
	uint64		forgotten;
	RepoCall	call;

	begin_call(&call, fcinfo);
	forgotten = forget_names(file, &files);
	INJECT(file_forgotten);
	release_noted(files);
	forgotten += run_statement(&forget_details, &file);
	end_call(&call);
	PG_RETURN_BOOL(forgotten > 0);
}

/* ----- what nobody looks at any more ----- */

WRITES(delete_old_variants,
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

	release_files(kept_value(0, 2));
	return count;
}

PG_FUNCTION_INFO_V1(pictrepo_expire_variants);

/*
 * expire_variants(before timestamptz, max int) -> bigint
 *
 * max: 1 to 10000.  Those that somebody is at are left for the next time.
 * 22004, 22023.
 */
Datum
pictrepo_expire_variants(PG_FUNCTION_ARGS)
{
	NullableDatum before = any_argument(fcinfo, 0);
	NullableDatum max = limit_argument(fcinfo, 1, 1, PAGE_MAX);
	int64		count;
	RepoCall	call;

	begin_call(&call, fcinfo);
	run_statement(&delete_old_variants, ARGS(before, max, given(Int32GetDatum(0))));
	count = release_old_variants();
	end_call(&call);
	PG_RETURN_INT64(count);
}

READS_NOW(old_aliases,
		  "SELECT alias, $1 FROM pictrepo.older_aliases($1, $2 + $3) OFFSET $3",
		  TIMESTAMPTZOID, INT4OID, INT4OID);

WRITES(try_lock_hash,
	   "SELECT h.hash FROM pictrepo.aliases a JOIN pictrepo.hashes h ON h.hash = a.hash"
	   " WHERE a.alias = $1 FOR UPDATE OF h SKIP LOCKED",
	   TEXTOID);

/* The alias before its urls, as in a removal; and they stay untouched from now on. */
WRITES(lock_old_alias,
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

	if (run_statement(&try_lock_hash, &alias) == 0)
		return false;
	hash = kept_value(0, 1);
	run_statement(&lock_old_alias, ARGS(alias, hash, before));
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
	NullableDatum before = found > 0 ? kept_value(0, 2) : NULL_ARG;
	Files		files = NULL;
	uint64		removed = 0;

	for (uint64 i = 0; i < found; i++)
		aliases[i] = kept_value(i, 1);
	for (uint64 i = 0; i < found; i++)
	{
		CHECK_FOR_INTERRUPTS();
		report_progress("proxies", i, found);
		removed += remove_old_alias(aliases[i], before, &files);
	}
	release_noted(files);
	return removed;
}

PG_FUNCTION_INFO_V1(pictrepo_expire_proxies);

/*
 * expire_proxies(before timestamptz, max int) -> bigint
 *
 * max: 1 to 10000.  Those that somebody is at are left for the next time.
 * 22004, 22023.
 */
Datum
pictrepo_expire_proxies(PG_FUNCTION_ARGS)
{
	NullableDatum before = any_argument(fcinfo, 0);
	NullableDatum max = limit_argument(fcinfo, 1, 1, PAGE_MAX);
	int64		count;
	RepoCall	call;

	begin_call(&call, fcinfo);
	run_statement(&old_aliases, ARGS(before, max, given(Int32GetDatum(0))));
	count = remove_old_aliases();
	end_call(&call);
	end_progress();
	PG_RETURN_INT64(count);
}

/* ----- for the background worker ----- */

static NullableDatum
retained_since(int retention)
{
	return given(TimestampTzGetDatum(GetCurrentTimestamp() - retention * USECS_PER_SEC));
}

uint64
expire_old_variants(void)
{
	if (variant_retention == 0)
		return 0;
	return run_batch(&delete_old_variants, ARGS(retained_since(variant_retention)), SMALL_BATCH,
					 release_old_variants);
}

uint64
expire_old_proxies(void)
{
	if (proxy_retention == 0)
		return 0;
	return run_batch(&old_aliases, ARGS(retained_since(proxy_retention)), SMALL_BATCH,
					 remove_old_aliases);
}

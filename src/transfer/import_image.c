/*-------------------------------------------------------------------------
 *
 * import_image.c
 *		Import: storing the line of an image.
 *
 * The line has an image with its aliases, URLs, variants and details.  They are
 * locked in the order of the operations, see operations/delete.c, and rows of one
 * table in the order of their keys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "common/uuid.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "transfer/import_image.h"

/* $1 is the image as jsonb, $2 its hash, $3 its aliases in their normal form. */

STATEMENT(insert_hash, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.hashes (hash, identifier, motion_identifier, blurhash, created_at)"
		  " VALUES ($2, $1 ->> 'identifier', $1 ->> 'motion_identifier', $1 ->> 'blurhash',"
		  " coalesce(($1 ->> 'created_at')::timestamptz, now())) ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID);

STATEMENT(hold_hash, STMT_READ_WRITE,
		  "SELECT identifier <> $1 ->> 'identifier'"
		  " OR coalesce(motion_identifier <> $1 ->> 'motion_identifier', false)"
		  " OR coalesce(blurhash <> $1 ->> 'blurhash', false),"
		  " motion_identifier IS NULL AND $1 ->> 'motion_identifier' IS NOT NULL"
		  " OR blurhash IS NULL AND $1 ->> 'blurhash' IS NOT NULL"
		  " FROM pictrepo.hashes WHERE hash = $2 FOR KEY SHARE",
		  JSONBOID, BYTEAOID);

STATEMENT(complete_hash, STMT_READ_WRITE,
		  "UPDATE pictrepo.hashes SET"
		  " motion_identifier = coalesce(motion_identifier, $1 ->> 'motion_identifier'),"
		  " blurhash = coalesce(blurhash, $1 ->> 'blurhash') WHERE hash = $2",
		  JSONBOID, BYTEAOID);

STATEMENT(block_of_hash, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.blocked WHERE hash = $2", JSONBOID, BYTEAOID);

STATEMENT(delete_hash, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.hashes WHERE hash = $2", JSONBOID, BYTEAOID);

#define GIVEN_ALIASES "ROWS FROM (jsonb_array_elements($1 -> 'aliases'), unnest($3)) AS given (value, alias)"

STATEMENT(insert_aliases, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.aliases (alias, hash, delete_token, accessed, created_at)"
		  " SELECT given.alias, $2, value ->> 'delete_token', (value ->> 'accessed')::timestamptz,"
		  " coalesce((value ->> 'created_at')::timestamptz, now())"
		  " FROM " GIVEN_ALIASES " ORDER BY given.alias COLLATE \"C\" ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID, TEXTARRAYOID);

STATEMENT(other_alias, STMT_READ_WRITE,
		  "SELECT FROM " GIVEN_ALIASES " JOIN pictrepo.aliases a ON a.alias = given.alias"
		  " WHERE a.hash <> $2 OR a.delete_token <> value ->> 'delete_token' LIMIT 1",
		  JSONBOID, BYTEAOID, TEXTARRAYOID);

#define GIVEN_URLS "jsonb_array_elements(nullif(given.value -> 'urls', 'null')) AS u (url)"

/* Only URLs of aliases that belong to this image. */
STATEMENT(insert_urls, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.proxies (digest, url, alias, accessed)"
		  " SELECT pictrepo.url_digest(u.url ->> 'url'), u.url ->> 'url', a.alias,"
		  " (u.url ->> 'accessed')::timestamptz"
		  " FROM " GIVEN_ALIASES
		  " JOIN pictrepo.aliases a ON a.alias = given.alias AND a.hash = $2,"
		  " " GIVEN_URLS
		  " ORDER BY 1 FOR KEY SHARE OF a ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID, TEXTARRAYOID);

STATEMENT(other_url, STMT_READ_WRITE,
		  "SELECT FROM " GIVEN_ALIASES ", " GIVEN_URLS ","
		  " pictrepo.proxies p WHERE p.digest = pictrepo.url_digest(u.url ->> 'url') AND p.alias <> given.alias"
		  " LIMIT 1",
		  JSONBOID, BYTEAOID, TEXTARRAYOID);

STATEMENT(insert_variants, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.variants (hash, variant, identifier, accessed)"
		  " SELECT $2, v ->> 'variant', v ->> 'identifier', (v ->> 'accessed')::timestamptz"
		  " FROM jsonb_array_elements($1 -> 'variants') AS v"
		  " ORDER BY (v ->> 'variant') COLLATE \"C\" ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID);

STATEMENT(other_variant, STMT_READ_WRITE,
		  "SELECT FROM jsonb_array_elements($1 -> 'variants') AS g, pictrepo.variants v"
		  " WHERE v.hash = $2 AND v.variant = g ->> 'variant' AND v.identifier <> g ->> 'identifier' LIMIT 1",
		  JSONBOID, BYTEAOID);

#define GIVEN_DETAILS \
	"(SELECT $1 ->> 'identifier' AS identifier, $1 -> 'details' AS details" \
	" UNION ALL SELECT $1 ->> 'motion_identifier', $1 -> 'motion_details'" \
	" UNION ALL SELECT v ->> 'identifier', v -> 'details'" \
	" FROM jsonb_array_elements(nullif($1 -> 'variants', 'null')) AS v) AS given"

STATEMENT(insert_all_details, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.details (identifier, details)"
		  " SELECT given.identifier, given.details FROM " GIVEN_DETAILS " WHERE given.details <> 'null'"
		  " ORDER BY given.identifier COLLATE \"C\" ON CONFLICT DO NOTHING",
		  JSONBOID);

/* Only details of files to which the stored image refers: the line may have others. */
STATEMENT(insert_held_details, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.details (identifier, details)"
		  " SELECT given.identifier, given.details FROM " GIVEN_DETAILS
		  " WHERE given.details <> 'null' AND given.identifier IN"
		  " (SELECT identifier FROM pictrepo.hashes WHERE hash = $2"
		  " UNION ALL SELECT motion_identifier FROM pictrepo.hashes WHERE hash = $2"
		  " UNION ALL SELECT identifier FROM pictrepo.variants WHERE hash = $2)"
		  " ORDER BY given.identifier COLLATE \"C\" ON CONFLICT DO NOTHING",
		  JSONBOID, BYTEAOID);

STATEMENT(other_image_details, STMT_READ_WRITE,
		  "SELECT FROM " GIVEN_DETAILS ", pictrepo.details d"
		  " WHERE d.identifier = given.identifier AND given.details <> 'null' AND d.details <> given.details LIMIT 1",
		  JSONBOID, BYTEAOID);

STATEMENT(values_of_image, STMT_READ_ONLY,
		  "SELECT decode($1 ->> 'hash', 'hex'),"
		  " ARRAY(SELECT a ->> 'alias' FROM jsonb_array_elements(nullif($1 -> 'aliases', 'null'))"
		  " WITH ORDINALITY AS listed (a, place) ORDER BY place)",
		  JSONBOID);

static NullableDatum
normal_aliases(NullableDatum aliases)
{
	Datum	   *elements;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(aliases.value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		elements[i] = PointerGetDatum(alias_normalize(DatumGetTextPP(elements[i])));
	return array_of(elements, count, TEXTOID);
}

/* What the import has done with an image so far */
typedef struct ImageMerge
{
	bool		created;
	bool		changed;
	bool		conflicts;
} ImageMerge;

/*
 * Store the hash, or lock it if it exists, and add what it is missing.  No other
 * session can remove it until this transaction ends.
 */
static void
hold_image(const NullableDatum *args, ImageMerge *merging)
{
	bool		incomplete;

	for (;;)
	{
		merging->created = statement_run(&insert_hash, args) > 0;
		if (merging->created)
			return;
		if (statement_run(&hold_hash, args) > 0)
			break;
		/* another session has removed it since the INSERT */
		CHECK_FOR_INTERRUPTS();
	}
	merging->conflicts = DatumGetBool(result_value(0, 1).value);
	incomplete = DatumGetBool(result_value(0, 2).value);
	if (incomplete && statement_run(&block_of_hash, args) == 0)
		merging->changed = statement_run(&complete_hash, args) > 0;
}

/*
 * Insert the rows that are missing.  rows: how many the line has.  If fewer were
 * inserted, the others exist, perhaps with different values.  The second statement
 * looks for those.  Returns how many rows were inserted.
 */
static uint64
add_missing(SqlStatement *insert, SqlStatement *other, const NullableDatum *args, uint64 rows,
			ImageMerge *merging)
{
	uint64		added;

	if (rows == 0)
		return 0;
	added = statement_run(insert, args);
	if (added > 0)
		merging->changed = true;
	if (added < rows && statement_run(other, args) > 0)
		merging->conflicts = true;
	return added;
}

const char *
import_image(const ExportLine *line, NullableDatum image)
{
	ImageMerge	merging = {false};
	NullableDatum args[3] = {image};
	uint64		aliases;

	statement_run(&values_of_image, &image);
	args[1] = result_value_copy(0, 1);
	args[2] = normal_aliases(result_value_copy(0, 2));

	hold_image(args, &merging);
	if (statement_run(&block_of_hash, args) > 0)
	{
		if (merging.created)
			statement_run(&delete_hash, args);
		return "blocked";
	}
	aliases = add_missing(&insert_aliases, &other_alias, args, line->aliases, &merging);
	if (merging.created && line->aliases > 0 && aliases == 0)
	{
		/* without an alias, no client could request or delete the image */
		statement_run(&delete_hash, args);
		return "conflict";
	}
	add_missing(&insert_urls, &other_url, args, line->urls, &merging);
	add_missing(&insert_variants, &other_variant, args, line->variants, &merging);
	add_missing(merging.conflicts ? &insert_held_details : &insert_all_details, &other_image_details,
				args, line->details, &merging);
	if (merging.conflicts)
		return "conflict";
	if (merging.created)
		return "stored";
	return merging.changed ? "merged" : "exists";
}

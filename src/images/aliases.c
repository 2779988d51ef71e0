/*-------------------------------------------------------------------------
 *
 * aliases.c
 *		AliasRepo: aliases, under which the image host serves its images, and
 *		their delete tokens.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "common/limits.h"
#include "common/uuid.h"
#include "images/aliases.h"
#include "images/hashes.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_create_alias);

STATEMENT(insert_alias, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.aliases (alias, delete_token, hash)"
		  " SELECT $1, $2, hash FROM pictrepo.hashes WHERE hash = $3 FOR KEY SHARE"
		  " ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, BYTEAOID);

/*
 * create_alias(alias text, delete_token text, hash bytea) -> bool
 *
 * Store an alias.  False: the alias exists, and stays as it is.  Error 23503 if
 * the hash does not exist.
 */
Datum
pictrepo_create_alias(PG_FUNCTION_ARGS)
{
	NullableDatum args[] = {
		alias_argument(fcinfo, 0), token_argument(fcinfo, 1), hash_argument(fcinfo, 2)
	};

	return return_inserted(fcinfo, &insert_alias, args, hash_exists, 2);
}

PG_FUNCTION_INFO_V1(pictrepo_delete_token);

#define TOKEN_OF_ALIAS "SELECT delete_token FROM pictrepo.aliases WHERE alias = $1"

STATEMENT(token_of_alias, STMT_READ_ONLY,
		  TOKEN_OF_ALIAS, TEXTOID);
STATEMENT(token_of_alias_now, STMT_READ_WRITE,
		  TOKEN_OF_ALIAS, TEXTOID);

/*
 * delete_token(alias text) -> text
 *
 * The alias's delete token.  NULL: the alias does not exist.
 */
Datum
pictrepo_delete_token(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &token_of_alias, ARGS(alias_argument(fcinfo, 0)));
}

/*
 * A token in a buffer of fixed size.  A UUID is in its normal form here, though an
 * import may have stored it otherwise.
 */
typedef struct TokenBuffer
{
	int			length;
	char		bytes[TOKEN_MAX];
} TokenBuffer;

static void
fill_token(TokenBuffer *buffer, text *token)
{
	const char *bytes = VARDATA_ANY(token);
	int			length = Min(VARSIZE_ANY_EXHDR(token), TOKEN_MAX);

	memset(buffer, 0, sizeof(*buffer));
	if (uuid_normalize(bytes, length, buffer->bytes))
		buffer->length = UUID_TEXT_LEN;
	else
	{
		memcpy(buffer->bytes, bytes, length);
		buffer->length = length;
	}
}

/* Its running time does not depend on where the tokens differ, nor on their lengths. */
static bool
same_token(text *left, text *right)
{
	TokenBuffer buffers[2];

	fill_token(&buffers[0], left);
	fill_token(&buffers[1], right);
	return timingsafe_bcmp(&buffers[0], &buffers[1], sizeof(TokenBuffer)) == 0;
}

PG_FUNCTION_INFO_V1(pictrepo_check_delete_token);

/*
 * check_delete_token(alias text, delete_token text) -> bool
 *
 * Is this the alias's delete token?  NULL: the alias does not exist.
 */
Datum
pictrepo_check_delete_token(PG_FUNCTION_ARGS)
{
	NullableDatum alias = alias_argument(fcinfo, 0);
	text	   *offered = DatumGetTextPP(token_argument(fcinfo, 1).value);
	Datum		stored = return_value(fcinfo, &token_of_alias, &alias);

	if (fcinfo->isnull)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(same_token(offered, DatumGetTextPP(stored)));
}

bool
delete_token_matches(NullableDatum alias, NullableDatum token)
{
	return statement_run(&token_of_alias_now, &alias) > 0 &&
		same_token(DatumGetTextPP(token.value), DatumGetTextPP(result_value(0, 1).value));
}

PG_FUNCTION_INFO_V1(pictrepo_hash);

STATEMENT(hash_of_alias, STMT_READ_ONLY,
		  "SELECT hash FROM pictrepo.aliases WHERE alias = $1", TEXTOID);

/*
 * hash(alias text) -> bytea
 *
 * The hash of the alias's image.  NULL: the alias does not exist.
 */
Datum
pictrepo_hash(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &hash_of_alias, ARGS(alias_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_aliases_for_hash);

STATEMENT(aliases_of_hash, STMT_READ_ONLY,
		  "SELECT alias FROM pictrepo.aliases WHERE hash = $1 ORDER BY alias", BYTEAOID);

/*
 * aliases_for_hash(hash bytea) -> setof text
 *
 * The aliases of an image, in byte order.
 */
Datum
pictrepo_aliases_for_hash(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &aliases_of_hash, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_cleanup_alias);

STATEMENT(delete_alias, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.aliases WHERE alias = $1", TEXTOID);

/*
 * cleanup_alias(alias text) -> bool
 *
 * Remove the alias.  A foreign key removes its proxies.  False: the alias does
 * not exist.
 */
Datum
pictrepo_cleanup_alias(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_alias, ARGS(alias_argument(fcinfo, 0)));
}

bool
alias_delete(NullableDatum alias)
{
	return statement_run(&delete_alias, &alias) > 0;
}

STATEMENT(lock_alias, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.aliases WHERE alias = $1 FOR NO KEY UPDATE", TEXTOID);

Datum
return_count_with_alias_locked(FunctionCallInfo fcinfo, SqlStatement *statement, const NullableDatum *args)
{
	RepoCall	call;
	uint64		rows = 0;

	repo_call_begin(&call, fcinfo);
	if (statement_run(&lock_alias, args) > 0)
		rows = statement_run(statement, args);
	repo_call_end(&call);
	return Int64GetDatum((int64) rows);
}

PG_FUNCTION_INFO_V1(pictrepo_identifier_from_alias);

STATEMENT(identifier_from_alias, STMT_READ_ONLY,
		  "SELECT h.identifier FROM pictrepo.aliases a JOIN pictrepo.hashes h ON h.hash = a.hash"
		  " WHERE a.alias = $1",
		  TEXTOID);

/*
 * identifier_from_alias(alias text) -> text
 *
 * The identifier of the file that the alias serves.  NULL: the alias does not
 * exist.
 */
Datum
pictrepo_identifier_from_alias(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &identifier_from_alias, ARGS(alias_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_aliases_from_alias);

STATEMENT(aliases_from_alias, STMT_READ_ONLY,
		  "SELECT b.alias FROM pictrepo.aliases a JOIN pictrepo.aliases b ON b.hash = a.hash"
		  " WHERE a.alias = $1 ORDER BY b.alias",
		  TEXTOID);

/*
 * aliases_from_alias(alias text) -> setof text
 *
 * The aliases of the alias's image, itself included, in byte order.  No rows: the
 * alias does not exist.
 */
Datum
pictrepo_aliases_from_alias(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &aliases_from_alias, ARGS(alias_argument(fcinfo, 0)));
}

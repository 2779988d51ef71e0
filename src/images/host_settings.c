/*-------------------------------------------------------------------------
 *
 * host_settings.c
 *		SettingsRepo: keys and values that the image host stores for itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "common/limits.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"

PG_FUNCTION_INFO_V1(pictrepo_set);

STATEMENT(upsert_setting, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.settings (key, value) VALUES ($1, $2)"
		  " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
		  TEXTOID, BYTEAOID);

/*
 * set(key text, value bytea) -> void
 *
 * Store a value of at most 64 kB under a key.  It replaces an older value.
 */
Datum
pictrepo_set(PG_FUNCTION_ARGS)
{
	return_found(fcinfo, &upsert_setting,
				 ARGS(key_argument(fcinfo, 0), bytes_argument(fcinfo, 1, 0, SETTING_MAX)));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(pictrepo_get);

STATEMENT(value_of_key, STMT_READ_ONLY,
		  "SELECT value FROM pictrepo.settings WHERE key = $1", TEXTOID);

/*
 * get(key text) -> bytea
 *
 * The value of a key.  NULL: the key does not exist.
 */
Datum
pictrepo_get(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &value_of_key, ARGS(key_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_remove);

STATEMENT(delete_setting, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.settings WHERE key = $1", TEXTOID);

/*
 * remove(key text) -> bool
 *
 * Remove a key and its value.  False: the key does not exist.
 */
Datum
pictrepo_remove(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_setting, ARGS(key_argument(fcinfo, 0)));
}

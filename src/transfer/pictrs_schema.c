/*-------------------------------------------------------------------------
 *
 * pictrs_schema.c
 *		Making a schema with the tables of pict-rs.
 *
 * The tables are those that pict-rs 0.5.11 and later have after their first start:
 * also the names of their indexes and constraints, which a later version may use to
 * change them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "utils/lsyscache.h"

#include "sqlfunc/args.h"
#include "transfer/pictrs_schema.h"
#include "transfer/pictrs_side.h"

/* %1$s is the schema, quoted. */
static const char *const creations[PICTRS_TABLES] = {
	[PICTRS_HASHES] =
	"CREATE TABLE %1$s.hashes (hash text PRIMARY KEY, identifier text NOT NULL UNIQUE,"
	" motion_identifier text UNIQUE, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, blurhash text);"
	" CREATE INDEX ordered_hash_index ON %1$s.hashes (created_at, hash)",
	[PICTRS_VARIANTS] =
	"CREATE TABLE %1$s.variants (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
	" hash text NOT NULL REFERENCES %1$s.hashes (hash), variant text NOT NULL,"
	" identifier text NOT NULL, accessed timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
	" CREATE UNIQUE INDEX hash_variant_index ON %1$s.variants (hash, variant)",
	[PICTRS_ALIASES] =
	"CREATE TABLE %1$s.aliases (alias text PRIMARY KEY,"
	" hash text NOT NULL REFERENCES %1$s.hashes (hash), token text NOT NULL);"
	" CREATE INDEX aliases_hash_index ON %1$s.aliases (hash)",
	[PICTRS_PROXIES] =
	"CREATE TABLE %1$s.proxies (url text PRIMARY KEY, alias text NOT NULL REFERENCES %1$s.aliases (alias),"
	" accessed timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)",
	[PICTRS_DETAILS] =
	"CREATE TABLE %1$s.details (identifier text PRIMARY KEY, json jsonb NOT NULL)",
	[PICTRS_SETTINGS] =
	"CREATE TABLE %1$s.settings (key text PRIMARY KEY, value text NOT NULL)",
	[PICTRS_STORE_MIGRATIONS] =
	"CREATE TABLE %1$s.store_migrations (old_identifier text PRIMARY KEY, new_identifier text NOT NULL UNIQUE)",
	[PICTRS_UPLOADS] =
	"CREATE TABLE %1$s.uploads (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), result jsonb,"
	" created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
	" CREATE FUNCTION %1$s.upload_completion_notify() RETURNS trigger LANGUAGE plpgsql AS"
	" $$ BEGIN PERFORM pg_notify('upload_completion_channel', NEW.id::text); RETURN NEW; END $$;"
	" CREATE TRIGGER upload_result AFTER INSERT OR UPDATE OF result ON %1$s.uploads"
	" FOR EACH ROW EXECUTE FUNCTION %1$s.upload_completion_notify()",
	[PICTRS_JOB_QUEUE] =
	"CREATE TYPE %1$s.job_status AS ENUM ('new', 'running');"
	" CREATE TABLE %1$s.job_queue (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
	" queue text NOT NULL, job jsonb NOT NULL, worker uuid UNIQUE,"
	" status %1$s.job_status NOT NULL DEFAULT 'new', queue_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,"
	" heartbeat timestamp, unique_key text UNIQUE, retry integer NOT NULL DEFAULT 5);"
	" CREATE INDEX heartbeat_index ON %1$s.job_queue (heartbeat);"
	" CREATE INDEX queue_time_index ON %1$s.job_queue (queue_time);"
	" CREATE FUNCTION %1$s.queue_status_notify() RETURNS trigger LANGUAGE plpgsql AS"
	" $$ BEGIN PERFORM pg_notify('queue_status_channel', NEW.id::text || ' ' || NEW.queue::text);"
	" RETURN NEW; END $$;"
	" CREATE TRIGGER queue_status AFTER INSERT OR UPDATE OF status ON %1$s.job_queue"
	" FOR EACH ROW EXECUTE FUNCTION %1$s.queue_status_notify()",
	[PICTRS_KEYED_NOTIFICATIONS] =
	"CREATE TABLE %1$s.keyed_notifications (key text PRIMARY KEY,"
	" heartbeat timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
	" CREATE INDEX keyed_notifications_heartbeat_index ON %1$s.keyed_notifications (heartbeat);"
	" CREATE FUNCTION %1$s.keyed_notify() RETURNS trigger LANGUAGE plpgsql AS"
	" $$ BEGIN PERFORM pg_notify('keyed_notification_channel', OLD.key); RETURN NEW; END $$;"
	" CREATE TRIGGER keyed_notification_removed AFTER DELETE ON %1$s.keyed_notifications"
	" FOR EACH ROW EXECUTE FUNCTION %1$s.keyed_notify()",
};

/*
 * The migrations that have made the tables, by version.  When pict-rs starts, it
 * applies the migrations that the history does not list, and refuses a history that
 * differs from its own.  A checksum is the SipHash of a migration's name, version and
 * SQL, so it cannot be computed from the tables; these are the ones that pict-rs
 * 0.5.11 and later compute.
 */
static const struct
{
	const char *name;
	const char *checksum;
}			migrations[] = {
	{"enable_pgcrypto", "9317794008192182991"},
	{"create_hashes", "7074015432780081331"},
	{"create_variants", "9247905228450874791"},
	{"create_aliases", "18038391766803442429"},
	{"create_settings", "9597396539586452125"},
	{"create_details", "7187123035454364780"},
	{"create_queue", "11174656476603783827"},
	{"create_store_migrations", "13111315025377053081"},
	{"create_proxies", "7931845419320168099"},
	{"create_uploads", "16201227541284560667"},
	{"add_queue_time_index_to_job_queue", "12060541120329532483"},
	{"add_unique_name_jobs", "2320207569887721023"},
	{"add_blurhash_to_hashes", "15350846505633349541"},
	{"add_retry_count_to_jobs", "5809085820292009414"},
	{"add_keyed_notifications", "5279623279469307503"},
};

/*
 * Tables of the system or of pictrepo must not be taken for those of pict-rs, as some
 * have the same names.
 */
void
make_pictrs_schema(Transfer *transfer)
{
	if (IsReservedName(transfer->schema) || strcmp(transfer->schema, "pictrepo") == 0 ||
		strcmp(transfer->schema, "information_schema") == 0)
		bad_argument(transfer->fcinfo, 0,
					 psprintf("Schema %s is reserved; choose another schema for the tables of pict-rs.",
							  transfer->quoted_schema), NULL);
	if (!OidIsValid(get_namespace_oid(transfer->schema, true)))
		side_execute(psprintf("CREATE SCHEMA %s", transfer->quoted_schema));
	(void) LookupExplicitNamespace(transfer->schema, false);
}

static void
make_history(const Transfer *transfer)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %1$s.refinery_schema_history (version integer PRIMARY KEY,"
					 " name varchar(255), applied_on varchar(255), checksum varchar(255));"
					 " INSERT INTO %1$s.refinery_schema_history"
					 " SELECT version, name, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), checksum"
					 " FROM (VALUES ", transfer->quoted_schema);
	for (int i = 0; i < lengthof(migrations); i++)
		appendStringInfo(&sql, "%s(%d, '%s', '%s')", i == 0 ? "" : ", ", i,
						 migrations[i].name, migrations[i].checksum);
	appendStringInfoString(&sql, ") AS applied (version, name, checksum)");
	side_execute(sql.data);
}

/*
 * Make the tables that are missing.  A history is added only if all of them are new:
 * pict-rs itself may have made the others, in any version.
 */
void
make_pictrs_tables(Transfer *transfer)
{
	int			made = 0;

	for (int i = 0; i < PICTRS_TABLES; i++)
		if (!OidIsValid(get_relname_relid(pictrs_tables[i].name, transfer->schema_oid)))
		{
			side_execute(psprintf(creations[i], transfer->quoted_schema));
			made++;
		}
	if (made == PICTRS_TABLES && !OidIsValid(get_relname_relid("refinery_schema_history", transfer->schema_oid)))
		make_history(transfer);
	check_pictrs_tables(transfer->schema_oid, transfer->quoted_schema);
}

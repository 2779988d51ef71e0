-- Operations: one call for each task of an image host.

CREATE TABLE pictrepo.blocked (
	hash bytea PRIMARY KEY CHECK (octet_length(hash) BETWEEN 1 AND 128),
	blocked_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE pictrepo.blocked IS 'hashes of content that ingest and import refuse';
COMMENT ON COLUMN pictrepo.blocked.hash IS 'hash of the content';
COMMENT ON COLUMN pictrepo.blocked.blocked_at IS 'time when the content was blocked';

-- Operations search hashes and variants by the identifier of a file.
CREATE INDEX hashes_identifier_index ON pictrepo.hashes (identifier);
CREATE INDEX hashes_motion_index ON pictrepo.hashes (motion_identifier) WHERE motion_identifier IS NOT NULL;
CREATE INDEX variants_identifier_index ON pictrepo.variants (identifier);
COMMENT ON INDEX pictrepo.hashes_identifier_index IS 'finds the hashes that name a file';
COMMENT ON INDEX pictrepo.hashes_motion_index IS 'finds the hashes that name a motion file';
COMMENT ON INDEX pictrepo.variants_identifier_index IS 'finds the variants that name a file';

-- Storing

CREATE TYPE pictrepo.ingested AS (outcome text, identifier text, details jsonb);
COMMENT ON TYPE pictrepo.ingested IS 'result of ingest and finish_ingest';
COMMENT ON COLUMN pictrepo.ingested.outcome IS 'created, duplicate, alias_exists, blocked or lost';
COMMENT ON COLUMN pictrepo.ingested.identifier IS
	'file that is stored for the content; NULL if the alias was not stored';
COMMENT ON COLUMN pictrepo.ingested.details IS 'details of that file; NULL if none';

CREATE FUNCTION pictrepo.ingest(hash bytea, identifier text, details jsonb, alias text, delete_token text,
	created_at timestamptz = NULL) RETURNS pictrepo.ingested
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_ingest';
COMMENT ON FUNCTION pictrepo.ingest(bytea, text, jsonb, text, text, timestamptz) IS
	'store a file under an alias. created_at NULL: now. '
	'Returns the outcome with the stored file and its details. '
	'The outcome is created, duplicate (the content was stored before; the alias now names it), '
	'alias_exists or blocked. '
	'Unless the outcome is created, the given file is queued for removal if nothing names it';

CREATE FUNCTION pictrepo.finish_ingest(queue text, worker uuid, job_id uuid, upload uuid,
	hash bytea, identifier text, details jsonb, alias text, delete_token text,
	created_at timestamptz = NULL, attempt int = NULL) RETURNS pictrepo.ingested
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_finish_ingest';
COMMENT ON FUNCTION pictrepo.finish_ingest(text, uuid, uuid, uuid, bytea, text, jsonb, text, text, timestamptz,
	int) IS
	'ingest a file, store the result of the upload and end the job, in one call. '
	'worker NULL: session_worker(). upload NULL: the job has no upload. '
	'attempt: number of the claim, which pop returned; NULL: any claim. '
	'The outcome is that of ingest, or lost if the worker no longer holds the job by this claim. '
	'If it is lost, nothing is stored, and the file is queued for removal unless the job or anything else '
	'names it';

CREATE FUNCTION pictrepo.finish_variant(hash bytea, variant text, worker uuid, identifier text, details jsonb)
	RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_finish_variant';
COMMENT ON FUNCTION pictrepo.finish_variant(bytea, text, uuid, text, jsonb) IS
	'store a variant, end the claim on it and wake the sessions that wait for it. '
	'worker NULL: session_worker(). '
	'Returns stored, exists (the variant was stored before) or lost (the worker does not hold the claim). '
	'Unless it returns stored, the given file is queued for removal if nothing names it';

-- Serving

CREATE FUNCTION pictrepo.serve(alias text, touch bool = false,
	OUT hash bytea, OUT identifier text, OUT details jsonb, OUT motion_identifier text, OUT blurhash text,
	OUT fallback bool) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_serve';
COMMENT ON FUNCTION pictrepo.serve(text, bool) IS
	'image of an alias, with everything that a response needs. touch: if true, record the access, unless the transaction is read-only. '
	'For an unknown alias, it returns the image of the alias that table settings has under the key '
	'404-alias, with fallback true. If that alias is unknown, too, it returns no row';

CREATE FUNCTION pictrepo.serve_url(url text, touch bool = true,
	OUT hash bytea, OUT identifier text, OUT details jsonb, OUT motion_identifier text, OUT blurhash text,
	OUT fallback bool, OUT alias text) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_serve_url';
COMMENT ON FUNCTION pictrepo.serve_url(text, bool) IS
	'image that is stored for a URL of another host, as serve returns it, with its alias. '
	'Returns no row if none is stored. touch: if true, record the access, unless the transaction is read-only';

CREATE FUNCTION pictrepo.serve_variant(alias text, variant text, touch bool = true,
	OUT hash bytea, OUT identifier text, OUT details jsonb, OUT motion_identifier text, OUT blurhash text,
	OUT fallback bool, OUT original_identifier text, OUT original_details jsonb) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_serve_variant';
COMMENT ON FUNCTION pictrepo.serve_variant(text, text, bool) IS
	'variant of the image of an alias. '
	'identifier and details are those of the variant, or NULL if it is not stored yet; original_identifier '
	'and original_details are those of the image. The other columns are those of serve. '
	'touch: if true, record the access, unless the transaction is read-only. For an unknown alias, it uses the 404-alias as serve does';

-- Removing

CREATE FUNCTION pictrepo.delete_alias(alias text, delete_token text) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_delete_alias';
COMMENT ON FUNCTION pictrepo.delete_alias(text, text) IS
	'delete an alias. '
	'If the image has no other alias, the image is removed, too, and its files are queued for removal. '
	'Returns deleted, missing (the alias does not exist) or forbidden (the token is wrong)';

CREATE FUNCTION pictrepo.purge(alias text, block bool = false) RETURNS SETOF text
	LANGUAGE C ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_purge';
COMMENT ON FUNCTION pictrepo.purge(text, bool) IS
	'remove the image of an alias with every alias of the image, and queue its files for removal. '
	'Returns the removed aliases, or no row if the alias does not exist. '
	'block: if true, also block the content as block_hash does';

CREATE FUNCTION pictrepo.block_hash(hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_block_hash';
COMMENT ON FUNCTION pictrepo.block_hash(bytea) IS
	'block content: ingest and import no longer store it. Returns false if it is blocked already. '
	'An image that is stored stays; purge removes it';

CREATE FUNCTION pictrepo.unblock_hash(hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_unblock_hash';
COMMENT ON FUNCTION pictrepo.unblock_hash(bytea) IS
	'allow blocked content again. Returns false if it was not blocked';

CREATE FUNCTION pictrepo.blocked_hashes(OUT hash bytea, OUT blocked_at timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_blocked_hashes';
COMMENT ON FUNCTION pictrepo.blocked_hashes() IS 'hashes of blocked content, the latest block first';

CREATE FUNCTION pictrepo.expire_variants(before timestamptz, max int = 1000) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_expire_variants';
COMMENT ON FUNCTION pictrepo.expire_variants(timestamptz, int) IS
	'remove variants that were last served before a time, oldest first, and queue their files for removal. '
	'max: most variants to remove, 1 to 10000. Returns the number of removed variants. '
	'Variants that another transaction locks, or that a trigger refuses, are skipped';

CREATE FUNCTION pictrepo.expire_proxies(before timestamptz, max int = 1000) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_expire_proxies';
COMMENT ON FUNCTION pictrepo.expire_proxies(timestamptz, int) IS
	'delete aliases of proxied URLs that were last served before a time, oldest first. '
	'An image that has no other alias is removed, too, and its files are queued for removal. '
	'max: most aliases to delete, 1 to 10000. Returns the number of deleted aliases. '
	'Aliases that another transaction locks, or that a trigger refuses, are skipped. '
	'pg_stat_activity shows the progress';

-- Moved and missing files

CREATE FUNCTION pictrepo.migrate_identifier(old_identifier text, new_identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_migrate_identifier';
COMMENT ON FUNCTION pictrepo.migrate_identifier(text, text) IS
	'record that a file was copied to another store: everything that names the old identifier now names the '
	'new one, and the file is marked as moved. '
	'Returns false if nothing names the old identifier; the copy is then queued for removal if nothing '
	'names it. Error 22023: the identifiers are the same';

CREATE FUNCTION pictrepo.prune_page(slug text = NULL, page_limit int = 20,
	OUT current text, OUT prev text, OUT next text, OUT identifiers text[])
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_prune_page';
COMMENT ON FUNCTION pictrepo.prune_page(text, int) IS
	'identifiers of every file of a page of hashes, to look them up in the store. '
	'slug NULL, or from hash_to_slug for a hash that is not stored: the newest page. '
	'page_limit: 1 to 10000 hashes. '
	'forget_missing removes what names a missing file';

CREATE FUNCTION pictrepo.forget_missing(identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_forget_missing';
COMMENT ON FUNCTION pictrepo.forget_missing(text) IS
	'remove what names a file that is missing in the store: the image, the motion identifier or the '
	'variant, and the details. Returns false if nothing names the file. '
	'The other files of a removed image are queued for removal, the missing one is not';

-- Reading

CREATE FUNCTION pictrepo.page(slug text = NULL, page_limit int = 20,
	OUT current text, OUT prev text, OUT next text, OUT images jsonb)
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_page';
COMMENT ON FUNCTION pictrepo.page(text, int) IS
	'page of images, as hash_page returns it, with the complete data of each image except delete tokens. '
	'slug NULL, or from hash_to_slug for a hash that is not stored: the newest page. '
	'page_limit: 1 to 10000 hashes';

CREATE FUNCTION pictrepo.page_by_date(before timestamptz, page_limit int = 20,
	OUT current text, OUT prev text, OUT next text, OUT images jsonb)
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_page_by_date';
COMMENT ON FUNCTION pictrepo.page_by_date(timestamptz, int) IS
	'page of images, as hash_page_by_date returns it, with the complete data of each image except delete '
	'tokens. page_limit: 1 to 10000 hashes';

CREATE FUNCTION pictrepo.aliases_created(since timestamptz, before timestamptz, after text = NULL,
	page_limit int = 1000, OUT alias text, OUT hash bytea, OUT created_at timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_aliases_created';
COMMENT ON FUNCTION pictrepo.aliases_created(timestamptz, timestamptz, text, int) IS
	'aliases created from one time, inclusive, to another, exclusive, oldest first. '
	'page_limit: 1 to 10000 aliases. '
	'For the next page, set since and after to created_at and alias of the last row';

CREATE VIEW pictrepo.usage AS
	SELECT pictrepo.hash_format(hash) AS format, (created_at AT TIME ZONE 'UTC')::date AS day,
		count(*) AS images, sum(pictrepo.hash_size(hash))::bigint AS bytes
	FROM pictrepo.hashes
	GROUP BY 1, 2;
COMMENT ON VIEW pictrepo.usage IS 'number and size of images by format and day';
COMMENT ON COLUMN pictrepo.usage.format IS 'format; NULL if the hash does not contain it';
COMMENT ON COLUMN pictrepo.usage.day IS 'day when the images were stored, in UTC';
COMMENT ON COLUMN pictrepo.usage.images IS 'number of images';
COMMENT ON COLUMN pictrepo.usage.bytes IS
	'total size of the images in bytes, without variants; NULL if the hashes do not contain it';

CREATE VIEW pictrepo.orphans AS
	SELECT 'details' AS kind, d.identifier AS name
	FROM pictrepo.details d
	WHERE NOT EXISTS (SELECT FROM pictrepo.hashes h WHERE h.identifier = d.identifier)
		AND NOT EXISTS (SELECT FROM pictrepo.hashes h WHERE h.motion_identifier = d.identifier)
		AND NOT EXISTS (SELECT FROM pictrepo.variants v WHERE v.identifier = d.identifier)
	UNION ALL
	SELECT 'hash', encode(h.hash, 'hex')
	FROM pictrepo.hashes h
	WHERE NOT EXISTS (SELECT FROM pictrepo.aliases a WHERE a.hash = h.hash)
	UNION ALL
	SELECT 'alias', a.alias
	FROM pictrepo.aliases a
	WHERE NOT EXISTS (SELECT FROM pictrepo.hashes h WHERE h.hash = a.hash)
	UNION ALL
	SELECT 'claim', encode(c.hash, 'hex') || ' ' || c.variant
	FROM pictrepo.variant_claims c
	WHERE NOT EXISTS (SELECT FROM pictrepo.hashes h WHERE h.hash = c.hash)
		OR EXISTS (SELECT FROM pictrepo.variants v WHERE v.hash = c.hash AND v.variant = c.variant);
COMMENT ON VIEW pictrepo.orphans IS
	'unused rows: details of a file that nothing names, hashes without an alias, aliases without a hash, '
	'and claims on a missing image or a stored variant';
COMMENT ON COLUMN pictrepo.orphans.kind IS 'details, hash, alias or claim';
COMMENT ON COLUMN pictrepo.orphans.name IS 'identifier, hash in hex, alias, or hash in hex and variant';

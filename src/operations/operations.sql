-- Operations: one call per thing that an image host does.

CREATE TABLE pictrepo.blocked (
	hash bytea PRIMARY KEY CHECK (octet_length(hash) BETWEEN 1 AND 128),
	blocked_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE pictrepo.blocked IS 'content that is not taken in (again)';
COMMENT ON COLUMN pictrepo.blocked.hash IS 'the content';
COMMENT ON COLUMN pictrepo.blocked.blocked_at IS 'since when';

-- What a file is to the repo: operations find it by its identifier.
CREATE INDEX hashes_identifier_index ON pictrepo.hashes (identifier);
CREATE INDEX hashes_motion_index ON pictrepo.hashes (motion_identifier) WHERE motion_identifier IS NOT NULL;
CREATE INDEX variants_identifier_index ON pictrepo.variants (identifier);
COMMENT ON INDEX pictrepo.hashes_identifier_index IS 'whose file it is';
COMMENT ON INDEX pictrepo.hashes_motion_index IS 'whose motion file it is';
COMMENT ON INDEX pictrepo.variants_identifier_index IS 'whose variant it is';

-- Taking in

CREATE TYPE pictrepo.ingested AS (outcome text, identifier text, details jsonb);
COMMENT ON TYPE pictrepo.ingested IS 'what became of a file that was taken in, and which file and details are stored for its content';
COMMENT ON COLUMN pictrepo.ingested.outcome IS 'created, duplicate, alias_exists, blocked or lost';
COMMENT ON COLUMN pictrepo.ingested.identifier IS 'the file that is stored for the content; NULL: nothing was stored';
COMMENT ON COLUMN pictrepo.ingested.details IS 'its details; NULL: none are known';

CREATE FUNCTION pictrepo.ingest(hash bytea, identifier text, details jsonb, alias text, delete_token text,
	created_at timestamptz = NULL) RETURNS pictrepo.ingested
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_ingest';
COMMENT ON FUNCTION pictrepo.ingest(bytea, text, jsonb, text, text, timestamptz) IS
	'take in a file under an alias; created_at NULL: now. '
	'The answer is created, duplicate (its content is stored already, under the identifier given back), alias_exists or blocked; a file that is not stored is queued for removal';

CREATE FUNCTION pictrepo.finish_ingest(queue text, worker uuid, job_id uuid, upload uuid,
	hash bytea, identifier text, details jsonb, alias text, delete_token text,
	created_at timestamptz = NULL) RETURNS pictrepo.ingested
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_finish_ingest';
COMMENT ON FUNCTION pictrepo.finish_ingest(text, uuid, uuid, uuid, bytea, text, jsonb, text, text, timestamptz) IS
	'ingest, store the result of the upload and end the job in one; upload NULL: there is none. '
	'worker NULL: session_worker(). '
	'The outcome is as ingest has it, or lost: the job is not this worker''s any more, nothing is stored';

CREATE FUNCTION pictrepo.finish_variant(hash bytea, variant text, worker uuid, identifier text, details jsonb)
	RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_finish_variant';
COMMENT ON FUNCTION pictrepo.finish_variant(bytea, text, uuid, text, jsonb) IS
	'store a variant, end its claim and wake who waits. worker NULL: session_worker(). '
	'The answer is stored; lost (another worker''s claim, or none) or exists: its file is queued for removal';

-- Serving

CREATE FUNCTION pictrepo.serve(alias text, touch bool = false,
	OUT hash bytea, OUT identifier text, OUT details jsonb, OUT motion_identifier text, OUT blurhash text,
	OUT fallback bool) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_serve';
COMMENT ON FUNCTION pictrepo.serve(text, bool) IS
	'all that it takes to serve an alias; touch: note the access. '
	'Unknown: the image that the setting 404-alias names, with fallback true, or no row';

CREATE FUNCTION pictrepo.serve_url(url text, touch bool = true,
	OUT hash bytea, OUT identifier text, OUT details jsonb, OUT motion_identifier text, OUT blurhash text,
	OUT fallback bool, OUT alias text) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_serve_url';
COMMENT ON FUNCTION pictrepo.serve_url(text, bool) IS
	'serve what is kept here of a url of another host, with the alias that stands for it; no row: nothing is kept. '
	'touch: note the access';

CREATE FUNCTION pictrepo.serve_variant(alias text, variant text, touch bool = true,
	OUT hash bytea, OUT identifier text, OUT details jsonb, OUT motion_identifier text, OUT blurhash text,
	OUT fallback bool, OUT original_identifier text, OUT original_details jsonb) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_serve_variant';
COMMENT ON FUNCTION pictrepo.serve_variant(text, text, bool) IS
	'serve a processed form: identifier and details are the variant''s, NULL when it is still to be made from the original. '
	'touch: note the access. Unknown: as serve has it';

-- Removing

CREATE FUNCTION pictrepo.delete_alias(alias text, delete_token text) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_delete_alias';
COMMENT ON FUNCTION pictrepo.delete_alias(text, text) IS
	'delete an alias, and with the last one the image, whose files are queued for removal. '
	'The answer is deleted, missing (no such alias) or forbidden (another token)';

CREATE FUNCTION pictrepo.purge(alias text, block bool = false) RETURNS SETOF text
	LANGUAGE C ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_purge';
COMMENT ON FUNCTION pictrepo.purge(text, bool) IS
	'remove an image with all its aliases, which are given back, and queue its files for removal; no row: no such alias. '
	'block: its content is not taken in again';

CREATE FUNCTION pictrepo.block_hash(hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_block_hash';
COMMENT ON FUNCTION pictrepo.block_hash(bytea) IS
	'content is not taken in from now on; false: it is blocked already. What is stored stays, see purge';

CREATE FUNCTION pictrepo.unblock_hash(hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_unblock_hash';
COMMENT ON FUNCTION pictrepo.unblock_hash(bytea) IS 'content may be taken in again; false: it was not blocked';

CREATE FUNCTION pictrepo.blocked_hashes(OUT hash bytea, OUT blocked_at timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_blocked_hashes';
COMMENT ON FUNCTION pictrepo.blocked_hashes() IS 'content that is not taken in, latest first';

CREATE FUNCTION pictrepo.expire_variants(before timestamptz, max int = 1000) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_expire_variants';
COMMENT ON FUNCTION pictrepo.expire_variants(timestamptz, int) IS
	'remove variants last served before a time, oldest first, and queue their files for removal; how many. '
	'max: 1 to 10000 in a call. Those that somebody is at are left for the next time';

CREATE FUNCTION pictrepo.expire_proxies(before timestamptz, max int = 1000) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_expire_proxies';
COMMENT ON FUNCTION pictrepo.expire_proxies(timestamptz, int) IS
	'delete aliases of proxied urls last served before a time, oldest first, and images that have no other; how many. '
	'max: 1 to 10000 in a call. Those that somebody is at are left for the next time. '
	'pg_stat_activity shows how far it is';

-- Files that move, or are lost

CREATE FUNCTION pictrepo.migrate_identifier(old_identifier text, new_identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_migrate_identifier';
COMMENT ON FUNCTION pictrepo.migrate_identifier(text, text) IS
	'a file has been copied to another store: all that named the old one names the new one, and the step is noted. '
	'False: nothing names the old one any more, the copy is queued for removal. Error 22023: both are the same';

CREATE FUNCTION pictrepo.prune_page(slug text = NULL, page_limit int = 20,
	OUT current text, OUT prev text, OUT next text, OUT identifiers text[])
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_prune_page';
COMMENT ON FUNCTION pictrepo.prune_page(text, int) IS
	'all files of a page of hashes, to be looked for in the store; slug NULL: the newest. '
	'page_limit: 1 to 10000 hashes. forget_missing(identifier) removes what names a file that is lost';

CREATE FUNCTION pictrepo.forget_missing(identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_forget_missing';
COMMENT ON FUNCTION pictrepo.forget_missing(text) IS
	'a file is lost: remove the image, or the motion file or variant, whose file it was; false: nothing names it. '
	'The image''s other files are queued for removal';

-- Looking

CREATE FUNCTION pictrepo.page(slug text = NULL, page_limit int = 20,
	OUT current text, OUT prev text, OUT next text, OUT images jsonb)
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_page';
COMMENT ON FUNCTION pictrepo.page(text, int) IS
	'the page of hash_page with all that is known of each image, but for delete tokens; slug NULL: the newest. '
	'page_limit: 1 to 10000 hashes';

CREATE FUNCTION pictrepo.page_by_date(before timestamptz, page_limit int = 20,
	OUT current text, OUT prev text, OUT next text, OUT images jsonb)
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_page_by_date';
COMMENT ON FUNCTION pictrepo.page_by_date(timestamptz, int) IS
	'the page of hash_page_by_date with all that is known of each image, but for delete tokens. '
	'page_limit: 1 to 10000 hashes';

CREATE FUNCTION pictrepo.aliases_created(since timestamptz, before timestamptz, after text = NULL,
	page_limit int = 1000, OUT alias text, OUT hash bytea, OUT created_at timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_aliases_created';
COMMENT ON FUNCTION pictrepo.aliases_created(timestamptz, timestamptz, text, int) IS
	'aliases that were made from one time up to, and without, another, the oldest first. '
	'page_limit: 1 to 10000 aliases. For the next page, since and after are the time and the alias of the last one';

CREATE VIEW pictrepo.usage AS
	SELECT pictrepo.hash_format(hash) AS format, (created_at AT TIME ZONE 'UTC')::date AS day,
		count(*) AS images, sum(pictrepo.hash_size(hash))::bigint AS bytes
	FROM pictrepo.hashes
	GROUP BY 1, 2;
COMMENT ON VIEW pictrepo.usage IS 'images and their bytes by format and day';
COMMENT ON COLUMN pictrepo.usage.format IS 'the format; NULL: the hash does not say';
COMMENT ON COLUMN pictrepo.usage.day IS 'when they were stored, by UTC';
COMMENT ON COLUMN pictrepo.usage.images IS 'how many';
COMMENT ON COLUMN pictrepo.usage.bytes IS 'their bytes, without variants';

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
COMMENT ON VIEW pictrepo.orphans IS 'what nothing reaches: details of no file, hashes without an alias, aliases without a hash, claims on what is there';
COMMENT ON COLUMN pictrepo.orphans.kind IS 'details, hash, alias or claim';
COMMENT ON COLUMN pictrepo.orphans.name IS 'the identifier, the hash in hex, the alias, or hash and variant';

\echo Use "CREATE EXTENSION pictrepo" to load this file. \quit

-- Whoever owns the schema could drop or replace what stands in it.  A schema
-- that is there already is fine when a superuser owns it: a restored dump
-- brings it along.
DO LANGUAGE plpgsql $$
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_namespace n
		JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
		WHERE n.nspname OPERATOR(pg_catalog.=) 'pictrepo')
	THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'schema "pictrepo" belongs to a role that is not a superuser',
			HINT = 'Drop or rename it first.';
	END IF;
END
$$;

COMMENT ON SCHEMA pictrepo IS 'pictrepo: metadata repo and job queue of an image host';
-- Helpers for the values that the repo stores: hashes, slugs, ids.

CREATE FUNCTION pictrepo.make_hash(sha256 bytea, size bigint, format text) RETURNS bytea
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_make_hash';
COMMENT ON FUNCTION pictrepo.make_hash(bytea, bigint, text) IS
	'pict-rs''s hash of a file: SHA-256, size in bytes, format. '
	'size: 0 to 2^48 - 1. format: apng, animated-avif, gif, animated-webp, avif, jpeg, jxl, png, webp, mp4 or webm';

CREATE FUNCTION pictrepo.hash_sha256(hash bytea) RETURNS bytea
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_sha256';
COMMENT ON FUNCTION pictrepo.hash_sha256(bytea) IS
	'the SHA-256 in a hash of pict-rs''s form; NULL for another hash';

CREATE FUNCTION pictrepo.hash_size(hash bytea) RETURNS bigint
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_size';
COMMENT ON FUNCTION pictrepo.hash_size(bytea) IS
	'the file''s size in bytes in a hash of pict-rs''s form; NULL for another hash';

CREATE FUNCTION pictrepo.hash_format(hash bytea) RETURNS text
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_format';
COMMENT ON FUNCTION pictrepo.hash_format(bytea) IS
	'the format''s name in a hash of pict-rs''s form; NULL for another hash';

CREATE FUNCTION pictrepo.hash_to_slug(hash bytea) RETURNS text
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_to_slug';
COMMENT ON FUNCTION pictrepo.hash_to_slug(bytea) IS
	'a slug for the page that starts at this hash; for a 39-byte hash it is pict-rs''s own';

CREATE FUNCTION pictrepo.hash_from_slug(slug text) RETURNS bytea
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_from_slug';
COMMENT ON FUNCTION pictrepo.hash_from_slug(text) IS
	'the hash in a slug of either kind. Error 22023: it is no slug';

CREATE FUNCTION pictrepo.url_digest(url text) RETURNS bytea
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_url_digest';
COMMENT ON FUNCTION pictrepo.url_digest(text) IS
	'SHA-256 of a url, the key under which proxies keeps it unique';

CREATE FUNCTION pictrepo.session_worker() RETURNS uuid
	LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pictrepo_session_worker';
COMMENT ON FUNCTION pictrepo.session_worker() IS
	'the worker id of this session, used where none is given';

CREATE FUNCTION pictrepo.id_node(id uuid) RETURNS int
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_id_node';
COMMENT ON FUNCTION pictrepo.id_node(uuid) IS
	'the pictrepo.node_id of the node that minted an id; NULL for an id of another kind';

CREATE FUNCTION pictrepo.id_time(id uuid) RETURNS timestamptz
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_id_time';
COMMENT ON FUNCTION pictrepo.id_time(uuid) IS
	'when an id was minted; NULL for an id of another kind';
-- HashRepo: what is stored, by content.

CREATE TABLE pictrepo.hashes (
	hash bytea PRIMARY KEY CHECK (octet_length(hash) BETWEEN 1 AND 128),
	identifier text COLLATE "C" NOT NULL CHECK (octet_length(identifier) BETWEEN 1 AND 1024),
	motion_identifier text COLLATE "C" CHECK (octet_length(motion_identifier) BETWEEN 1 AND 1024),
	blurhash text COLLATE "C" CHECK (octet_length(blurhash) BETWEEN 1 AND 1024),
	created_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(created_at))
);
CREATE INDEX ordered_hash_index ON pictrepo.hashes (created_at, hash);

COMMENT ON TABLE pictrepo.hashes IS 'stored content, one row per file content';
COMMENT ON COLUMN pictrepo.hashes.hash IS 'the content''s name, 1 to 128 bytes';
COMMENT ON COLUMN pictrepo.hashes.identifier IS 'path of the file in the store';
COMMENT ON COLUMN pictrepo.hashes.motion_identifier IS 'path of a video''s still, or of an image''s moving form; NULL: none';
COMMENT ON COLUMN pictrepo.hashes.blurhash IS 'blurhash of the image; NULL: none';
COMMENT ON COLUMN pictrepo.hashes.created_at IS 'when the content came; pages are ordered by it';
COMMENT ON INDEX pictrepo.ordered_hash_index IS 'pages of hashes, newest first';

CREATE FUNCTION pictrepo.hash_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_hash_changed';
COMMENT ON FUNCTION pictrepo.hash_changed() IS 'trigger: hashes came or went; keeps the count';
CREATE TRIGGER hash_changed AFTER INSERT OR DELETE ON pictrepo.hashes
	FOR EACH ROW EXECUTE FUNCTION pictrepo.hash_changed();
CREATE TRIGGER hashes_gone AFTER TRUNCATE ON pictrepo.hashes
	EXECUTE FUNCTION pictrepo.hash_changed();
ALTER TABLE pictrepo.hashes ENABLE ALWAYS TRIGGER hash_changed, ENABLE ALWAYS TRIGGER hashes_gone;
COMMENT ON TRIGGER hash_changed ON pictrepo.hashes IS 'keeps the count';
COMMENT ON TRIGGER hashes_gone ON pictrepo.hashes IS 'keeps the count';

CREATE TYPE pictrepo.hash_page AS (
	page_limit int,
	current text,
	prev text,
	next text,
	hashes bytea[]
);
COMMENT ON TYPE pictrepo.hash_page IS 'a page of hashes, newest first, and the slugs to go on';
COMMENT ON COLUMN pictrepo.hash_page.page_limit IS 'most hashes on the page';
COMMENT ON COLUMN pictrepo.hash_page.current IS 'slug of this page; NULL when it is empty';
COMMENT ON COLUMN pictrepo.hash_page.prev IS 'slug of the page before (newer hashes); NULL when there is none';
COMMENT ON COLUMN pictrepo.hash_page.next IS 'slug of the page after (older hashes); NULL when there is none';
COMMENT ON COLUMN pictrepo.hash_page.hashes IS 'the hashes of this page';

CREATE FUNCTION pictrepo.size() RETURNS bigint
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_size';
COMMENT ON FUNCTION pictrepo.size() IS
	'how many hashes are stored. With shared_preload_libraries it takes the same time for any number';

CREATE FUNCTION pictrepo.hashes() RETURNS SETOF bytea
	LANGUAGE C STABLE PARALLEL SAFE ROWS 100000 AS 'MODULE_PATHNAME', 'pictrepo_hashes';
COMMENT ON FUNCTION pictrepo.hashes() IS
	'every hash, newest first. '
	'In any number, without taking more memory; hashes that come or go meanwhile make no difference';

CREATE FUNCTION pictrepo.bound(hash bytea, OUT created_at timestamptz, OUT hash bytea)
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_bound';
COMMENT ON FUNCTION pictrepo.bound(bytea) IS 'the page position of a hash; NULL when it is not stored';

CREATE FUNCTION pictrepo.hashes_ordered(created_at timestamptz, hash bytea, page_limit int)
	RETURNS pictrepo.hash_page
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hashes_ordered';
COMMENT ON FUNCTION pictrepo.hashes_ordered(timestamptz, bytea, int) IS
	'the page that starts at a position, inclusive; both NULL: the newest. page_limit: 1 to 10000 hashes';

CREATE FUNCTION pictrepo.hash_page(slug text = NULL, page_limit int = 20)
	RETURNS pictrepo.hash_page
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_page';
COMMENT ON FUNCTION pictrepo.hash_page(text, int) IS
	'the page that starts at a slug; slug NULL: the newest. '
	'page_limit: 1 to 10000 hashes. A slug keeps its place when its hash is deleted';

CREATE FUNCTION pictrepo.hash_page_by_date(before timestamptz, page_limit int = 20)
	RETURNS pictrepo.hash_page
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_page_by_date';
COMMENT ON FUNCTION pictrepo.hash_page_by_date(timestamptz, int) IS
	'the page that starts at the newest hash strictly older than a time. '
	'page_limit: 1 to 10000 hashes. Where nothing is older the page is empty, and its prev leads back';

CREATE FUNCTION pictrepo.create_hash(hash bytea, identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_hash';
COMMENT ON FUNCTION pictrepo.create_hash(bytea, text) IS
	'store a hash; false: it exists and its first identifier stays. '
	'A hash is 1 to 128 bytes, an identifier 1 to 1024';

CREATE FUNCTION pictrepo.create_hash_with_timestamp(hash bytea, identifier text, created_at timestamptz)
	RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_hash_with_timestamp';
COMMENT ON FUNCTION pictrepo.create_hash_with_timestamp(bytea, text, timestamptz) IS
	'store a hash that came at a given, finite time; false: it exists and stays as it is. '
	'A hash is 1 to 128 bytes, an identifier 1 to 1024';

CREATE FUNCTION pictrepo.update_identifier(hash bytea, identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_update_identifier';
COMMENT ON FUNCTION pictrepo.update_identifier(bytea, text) IS
	'set the identifier of a hash; false: no such hash. '
	'Variants and details stay: migrate_identifier moves all that names a file';

CREATE FUNCTION pictrepo.identifier(hash bytea) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_identifier';
COMMENT ON FUNCTION pictrepo.identifier(bytea) IS
	'the identifier of a hash; NULL: no such hash';

CREATE FUNCTION pictrepo.relate_blurhash(hash bytea, blurhash text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_blurhash';
COMMENT ON FUNCTION pictrepo.relate_blurhash(bytea, text) IS
	'set the blurhash of a hash, 1 to 1024 bytes; false: no such hash. An older one is overwritten';

CREATE FUNCTION pictrepo.blurhash(hash bytea) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_blurhash';
COMMENT ON FUNCTION pictrepo.blurhash(bytea) IS
	'the blurhash of a hash; NULL: none, or no such hash';

CREATE FUNCTION pictrepo.relate_motion_identifier(hash bytea, identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_motion_identifier';
COMMENT ON FUNCTION pictrepo.relate_motion_identifier(bytea, text) IS
	'set the motion identifier of a hash; false: no such hash. An older one is overwritten';

CREATE FUNCTION pictrepo.motion_identifier(hash bytea) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_motion_identifier';
COMMENT ON FUNCTION pictrepo.motion_identifier(bytea) IS
	'the motion identifier of a hash; NULL: none, or no such hash';

CREATE FUNCTION pictrepo.cleanup_hash(hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cleanup_hash';
COMMENT ON FUNCTION pictrepo.cleanup_hash(bytea) IS
	'remove a hash with its variants, aliases, proxies and claims; false: no such hash. '
	'Details stay, as they belong to files, and no file is queued for removal: purge does all of it';
-- VariantRepo: processed forms of stored content, and who makes them.

CREATE TABLE pictrepo.variants (
	hash bytea NOT NULL REFERENCES pictrepo.hashes ON DELETE CASCADE,
	variant text COLLATE "C" NOT NULL CHECK (octet_length(variant) BETWEEN 1 AND 1024),
	identifier text COLLATE "C" NOT NULL CHECK (octet_length(identifier) BETWEEN 1 AND 1024),
	accessed timestamptz DEFAULT now() CHECK (isfinite(accessed)),
	id uuid,
	PRIMARY KEY (hash, variant)
);
CREATE INDEX variants_accessed_index ON pictrepo.variants (accessed, hash, variant);

COMMENT ON TABLE pictrepo.variants IS 'processed forms of stored content';
COMMENT ON COLUMN pictrepo.variants.hash IS 'the content';
COMMENT ON COLUMN pictrepo.variants.variant IS 'the processing arguments';
COMMENT ON COLUMN pictrepo.variants.identifier IS 'path of the processed file in the store';
COMMENT ON COLUMN pictrepo.variants.accessed IS 'when it was last served; NULL when its access time was removed';
COMMENT ON COLUMN pictrepo.variants.id IS
	'pict-rs''s id of the variant, which export_pictrs gives back; NULL: it did not come from there';
COMMENT ON INDEX pictrepo.variants_accessed_index IS 'variants by age of their last access';

CREATE TABLE pictrepo.variant_claims (
	hash bytea NOT NULL REFERENCES pictrepo.hashes ON DELETE CASCADE,
	variant text COLLATE "C" NOT NULL CHECK (octet_length(variant) BETWEEN 1 AND 1024),
	worker uuid NOT NULL,
	heartbeat timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (hash, variant)
);

COMMENT ON TABLE pictrepo.variant_claims IS 'who is making which variant';
COMMENT ON COLUMN pictrepo.variant_claims.hash IS 'the content';
COMMENT ON COLUMN pictrepo.variant_claims.variant IS 'the processing arguments';
COMMENT ON COLUMN pictrepo.variant_claims.worker IS 'who holds the claim';
COMMENT ON COLUMN pictrepo.variant_claims.heartbeat IS 'last sign of life; an old claim is free again';

CREATE FUNCTION pictrepo.variant_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_variant_changed';
COMMENT ON FUNCTION pictrepo.variant_changed() IS
	'trigger: a variant is there or its claim ended; tells waiters and keyed_notification_channel';
CREATE TRIGGER variant_ready AFTER INSERT ON pictrepo.variants
	FOR EACH ROW EXECUTE FUNCTION pictrepo.variant_changed();
COMMENT ON TRIGGER variant_ready ON pictrepo.variants IS 'wakes who waits for the variant';
CREATE TRIGGER claim_ended AFTER DELETE ON pictrepo.variant_claims
	FOR EACH ROW EXECUTE FUNCTION pictrepo.variant_changed();
COMMENT ON TRIGGER claim_ended ON pictrepo.variant_claims IS 'wakes who waits for the variant';
ALTER TABLE pictrepo.variants ENABLE ALWAYS TRIGGER variant_ready;
ALTER TABLE pictrepo.variant_claims ENABLE ALWAYS TRIGGER claim_ended;

CREATE FUNCTION pictrepo.relate_variant_identifier(hash bytea, variant text, identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_variant_identifier';
COMMENT ON FUNCTION pictrepo.relate_variant_identifier(bytea, text, text) IS
	'store a variant of a hash; false: it exists and stays as it is. '
	'It counts as its first access. A variant''s name and file are 1 to 1024 bytes. Error 23503: no such hash';

CREATE FUNCTION pictrepo.variant_identifier(hash bytea, variant text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_variant_identifier';
COMMENT ON FUNCTION pictrepo.variant_identifier(bytea, text) IS
	'the identifier of a variant; NULL: no such variant';

CREATE FUNCTION pictrepo.variants(hash bytea, OUT variant text, OUT identifier text) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_variants';
COMMENT ON FUNCTION pictrepo.variants(bytea) IS
	'the variants of a hash, by name, in byte order. No row: it has none, or is not stored';

CREATE FUNCTION pictrepo.remove_variant(hash bytea, variant text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_variant';
COMMENT ON FUNCTION pictrepo.remove_variant(bytea, text) IS
	'remove a variant with its access time; false: no such variant';

CREATE FUNCTION pictrepo.claim_variant_processing_rights(hash bytea, variant text, worker uuid = NULL) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_claim_variant_processing_rights';
COMMENT ON FUNCTION pictrepo.claim_variant_processing_rights(bytea, text, uuid) IS
	'ask for the right to make a variant. worker NULL: session_worker(). '
	'The answer is claimed, exists (it is there) or busy (another worker makes it). '
	'A claim without a heartbeat for pictrepo.variant_claim_timeout is free again. Error 23503: no such hash';

CREATE FUNCTION pictrepo.variant_heartbeat(hash bytea, variant text, worker uuid = NULL) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_variant_heartbeat';
COMMENT ON FUNCTION pictrepo.variant_heartbeat(bytea, text, uuid) IS
	'keep a claim alive; false: the worker does not hold it. worker NULL: session_worker(). '
	'A claim without one for pictrepo.variant_claim_timeout is free again';

CREATE FUNCTION pictrepo.notify_variant(hash bytea, variant text, worker uuid = NULL) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_notify_variant';
COMMENT ON FUNCTION pictrepo.notify_variant(bytea, text, uuid) IS
	'end a claim and wake who waits for the variant; false: the worker does not hold it. '
	'worker NULL: session_worker(). Also when no variant came of it';

CREATE FUNCTION pictrepo.variant_waiter(hash bytea, variant text, timeout interval) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_variant_waiter';
COMMENT ON FUNCTION pictrepo.variant_waiter(bytea, text, interval) IS
	'wait until a variant is there or its claim ends; its identifier, or NULL: there is none, or the time is up. '
	'timeout: any interval from 0 on, not NULL';
-- AliasRepo: the names under which content is served, and who may delete them.

CREATE TABLE pictrepo.aliases (
	alias text COLLATE "C" PRIMARY KEY CHECK (octet_length(alias) BETWEEN 1 AND 255),
	hash bytea NOT NULL REFERENCES pictrepo.hashes ON DELETE CASCADE,
	delete_token text COLLATE "C" NOT NULL CHECK (octet_length(delete_token) BETWEEN 1 AND 255),
	accessed timestamptz CHECK (isfinite(accessed)),
	created_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(created_at))
);
CREATE INDEX aliases_hash_index ON pictrepo.aliases (hash);
CREATE INDEX aliases_created_index ON pictrepo.aliases (created_at, alias);

COMMENT ON TABLE pictrepo.aliases IS 'names under which content is served';
COMMENT ON COLUMN pictrepo.aliases.alias IS 'the name; a UUID in it is in lower case with hyphens';
COMMENT ON COLUMN pictrepo.aliases.hash IS 'the content';
COMMENT ON COLUMN pictrepo.aliases.delete_token IS 'secret that allows to delete the alias';
COMMENT ON COLUMN pictrepo.aliases.accessed IS
	'when it was last served, NULL: not known; where the alias stands for a proxied url, proxies.accessed says so instead. Not indexed, so that an update touches no index';
COMMENT ON COLUMN pictrepo.aliases.created_at IS 'when it was made';
COMMENT ON INDEX pictrepo.aliases_hash_index IS 'the aliases of a hash';
COMMENT ON INDEX pictrepo.aliases_created_index IS 'aliases that were made between two times';

CREATE FUNCTION pictrepo.create_alias(alias text, delete_token text, hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_alias';
COMMENT ON FUNCTION pictrepo.create_alias(text, text, bytea) IS
	'store an alias of a hash; false: it exists and stays as it is. '
	'Both are 1 to 255 bytes; an alias or token that is a UUID is kept in its usual form. Error 23503: no such hash';

CREATE FUNCTION pictrepo.delete_token(alias text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_delete_token';
COMMENT ON FUNCTION pictrepo.delete_token(text) IS
	'the delete token of an alias; NULL: no such alias';

CREATE FUNCTION pictrepo.check_delete_token(alias text, delete_token text) RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_check_delete_token';
COMMENT ON FUNCTION pictrepo.check_delete_token(text, text) IS
	'is this the delete token of the alias? NULL: no such alias. '
	'Compared in constant time; UUIDs are compared as such';

CREATE FUNCTION pictrepo.hash(alias text) RETURNS bytea
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash';
COMMENT ON FUNCTION pictrepo.hash(text) IS 'the hash of an alias; NULL: no such alias';

CREATE FUNCTION pictrepo.aliases_for_hash(hash bytea) RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_aliases_for_hash';
COMMENT ON FUNCTION pictrepo.aliases_for_hash(bytea) IS
	'the aliases of a hash, in byte order. No row: it has none, or is not stored';

CREATE FUNCTION pictrepo.cleanup_alias(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cleanup_alias';
COMMENT ON FUNCTION pictrepo.cleanup_alias(text) IS
	'remove an alias with its proxies and access time; false: no such alias. '
	'The image stays, even without an alias: delete_alias takes it along';
-- ProxyRepo: urls of other hosts whose content is kept here under an alias.

CREATE TABLE pictrepo.proxies (
	digest bytea PRIMARY KEY,
	url text COLLATE "C" NOT NULL CHECK (octet_length(url) BETWEEN 1 AND 65536),
	alias text COLLATE "C" NOT NULL REFERENCES pictrepo.aliases ON DELETE CASCADE,
	accessed timestamptz DEFAULT now() CHECK (isfinite(accessed)),
	CHECK (digest = pictrepo.url_digest(url))
);
CREATE INDEX proxies_alias_index ON pictrepo.proxies (alias, accessed);
CREATE INDEX proxies_accessed_index ON pictrepo.proxies (accessed, alias);

COMMENT ON TABLE pictrepo.proxies IS 'urls of other hosts whose content is kept here';
COMMENT ON COLUMN pictrepo.proxies.digest IS 'SHA-256 of the url: a url may be longer than an index key';
COMMENT ON COLUMN pictrepo.proxies.url IS 'where the content came from';
COMMENT ON COLUMN pictrepo.proxies.alias IS 'the alias that stands for the url';
COMMENT ON COLUMN pictrepo.proxies.accessed IS
	'when the alias was last served; of several urls of an alias the latest counts; NULL when its access time was removed';
COMMENT ON INDEX pictrepo.proxies_alias_index IS 'the urls of an alias, and its latest access';
COMMENT ON INDEX pictrepo.proxies_accessed_index IS 'proxied aliases by age of their last access';

CREATE FUNCTION pictrepo.relate_url(url text, alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_url';
COMMENT ON FUNCTION pictrepo.relate_url(text, text) IS
	'store that an alias stands for a url; false: the url has an alias and keeps it. '
	'It counts as its first access. A url has at most 64 KiB. Error 23503: no such alias';

CREATE FUNCTION pictrepo.related(url text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_related';
COMMENT ON FUNCTION pictrepo.related(text) IS 'the alias of a url; NULL: none';

CREATE FUNCTION pictrepo.remove_relation(alias text) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_relation';
COMMENT ON FUNCTION pictrepo.remove_relation(text) IS
	'remove every url of an alias; how many there were';
-- AliasAccessRepo and VariantAccessRepo: when things were last served.

CREATE FUNCTION pictrepo.accessed_alias(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_accessed_alias';
COMMENT ON FUNCTION pictrepo.accessed_alias(text) IS
	'an alias was served now; false: no such alias. '
	'Nothing is written within pictrepo.access_resolution of the last time, or where somebody else is at the row';

CREATE FUNCTION pictrepo.set_accessed_alias(alias text, at timestamptz) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_set_accessed_alias';
COMMENT ON FUNCTION pictrepo.set_accessed_alias(text, timestamptz) IS
	'set when an alias was served, exactly; false: no such alias. at: any finite time';

CREATE FUNCTION pictrepo.alias_accessed_at(alias text) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_alias_accessed_at';
COMMENT ON FUNCTION pictrepo.alias_accessed_at(text) IS
	'when an alias was last served; NULL: never, or no such alias';

CREATE FUNCTION pictrepo.older_aliases(before timestamptz, max bigint = NULL,
	OUT alias text, OUT accessed timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_older_aliases';
COMMENT ON FUNCTION pictrepo.older_aliases(timestamptz, bigint) IS
	'aliases of proxied urls last served before a time, oldest first. '
	'max: so many at most, NULL: all of them. What users uploaded is never among them';

CREATE FUNCTION pictrepo.remove_alias_access(alias text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_alias_access';
COMMENT ON FUNCTION pictrepo.remove_alias_access(text) IS
	'forget when an alias was served; false: it was not known';

CREATE FUNCTION pictrepo.accessed_variant(hash bytea, variant text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_accessed_variant';
COMMENT ON FUNCTION pictrepo.accessed_variant(bytea, text) IS
	'a variant was served now; false: no such variant. '
	'Nothing is written within pictrepo.access_resolution of the last time, or where somebody else is at the row';

CREATE FUNCTION pictrepo.set_accessed_variant(hash bytea, variant text, at timestamptz) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_set_accessed_variant';
COMMENT ON FUNCTION pictrepo.set_accessed_variant(bytea, text, timestamptz) IS
	'set when a variant was served, exactly; false: no such variant. at: any finite time';

CREATE FUNCTION pictrepo.variant_accessed_at(hash bytea, variant text) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_variant_accessed_at';
COMMENT ON FUNCTION pictrepo.variant_accessed_at(bytea, text) IS
	'when a variant was last served; NULL: not known, or no such variant';

CREATE FUNCTION pictrepo.older_variants(before timestamptz, max bigint = NULL,
	OUT hash bytea, OUT variant text, OUT accessed timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_older_variants';
COMMENT ON FUNCTION pictrepo.older_variants(timestamptz, bigint) IS
	'variants last served before a time, oldest first. max: so many at most, NULL: all of them';

CREATE FUNCTION pictrepo.remove_variant_access(hash bytea, variant text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_variant_access';
COMMENT ON FUNCTION pictrepo.remove_variant_access(bytea, text) IS
	'forget when a variant was served; false: it was not known';
-- DetailsRepo: what is known of a stored file.

CREATE TABLE pictrepo.details (
	identifier text COLLATE "C" PRIMARY KEY CHECK (octet_length(identifier) BETWEEN 1 AND 1024),
	details jsonb NOT NULL
);
COMMENT ON TABLE pictrepo.details IS 'what is known of a stored file';
COMMENT ON COLUMN pictrepo.details.identifier IS 'path of the file in the store';
COMMENT ON COLUMN pictrepo.details.details IS 'width, height, frames, content_type, created_at, format and whatever else was given';

CREATE FUNCTION pictrepo.relate_details(identifier text, details jsonb) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_details';
COMMENT ON FUNCTION pictrepo.relate_details(text, jsonb) IS
	'store the details of a file, a JSON object; false: there are some and they stay. '
	'Members that pict-rs knows must be as it has them: width, height, frames, content_type, created_at, format';

CREATE FUNCTION pictrepo.details(identifier text) RETURNS jsonb
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_details';
COMMENT ON FUNCTION pictrepo.details(text) IS 'the details of a file; NULL: none';

CREATE FUNCTION pictrepo.cleanup_details(identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cleanup_details';
COMMENT ON FUNCTION pictrepo.cleanup_details(text) IS
	'remove the details of a file; false: there were none';
-- SettingsRepo: what the image host keeps for itself.

CREATE TABLE pictrepo.settings (
	key text COLLATE "C" PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 80),
	value bytea NOT NULL CHECK (octet_length(value) <= 65536)
);
COMMENT ON TABLE pictrepo.settings IS 'what the image host keeps for itself, such as the state of its path generator';
COMMENT ON COLUMN pictrepo.settings.key IS 'name, 1 to 80 bytes';
COMMENT ON COLUMN pictrepo.settings.value IS 'any bytes, up to 64 KiB';

CREATE FUNCTION pictrepo.set(key text, value bytea) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_set';
COMMENT ON FUNCTION pictrepo.set(text, bytea) IS
	'store a value under a key, over an older one. A key is 1 to 80 bytes, a value at most 64 KiB';

CREATE FUNCTION pictrepo.get(key text) RETURNS bytea
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_get';
COMMENT ON FUNCTION pictrepo.get(text) IS 'the value under a key; NULL: none';

CREATE FUNCTION pictrepo.remove(key text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove';
COMMENT ON FUNCTION pictrepo.remove(text) IS 'remove a key; false: there was none';
-- StoreMigrationRepo: which files have moved from one store to another.

CREATE TABLE pictrepo.store_migrations (
	old_identifier text COLLATE "C" PRIMARY KEY CHECK (octet_length(old_identifier) BETWEEN 1 AND 1024),
	new_identifier text COLLATE "C" NOT NULL CHECK (octet_length(new_identifier) BETWEEN 1 AND 1024)
);
COMMENT ON TABLE pictrepo.store_migrations IS 'files that have moved while a store migration goes on';
COMMENT ON COLUMN pictrepo.store_migrations.old_identifier IS 'path in the old store';
COMMENT ON COLUMN pictrepo.store_migrations.new_identifier IS 'path in the new store';

CREATE FUNCTION pictrepo.is_continuing_migration() RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_is_continuing_migration';
COMMENT ON FUNCTION pictrepo.is_continuing_migration() IS 'has a store migration begun and not been cleared?';

CREATE FUNCTION pictrepo.mark_migrated(old_identifier text, new_identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_mark_migrated';
COMMENT ON FUNCTION pictrepo.mark_migrated(text, text) IS
	'note that a file has moved; false: that is noted already';

CREATE FUNCTION pictrepo.is_migrated(old_identifier text) RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_is_migrated';
COMMENT ON FUNCTION pictrepo.is_migrated(text) IS 'has a file moved?';

CREATE FUNCTION pictrepo.clear() RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_clear';
COMMENT ON FUNCTION pictrepo.clear() IS 'end a store migration: forget its marks; how many there were';
-- UploadRepo: uploads that are processed in the background.

CREATE TABLE pictrepo.uploads (
	id uuid PRIMARY KEY,
	result jsonb,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX uploads_created_index ON pictrepo.uploads (created_at);

COMMENT ON TABLE pictrepo.uploads IS 'uploads that are processed in the background, until they are claimed';
COMMENT ON COLUMN pictrepo.uploads.id IS 'UUID version 7';
COMMENT ON COLUMN pictrepo.uploads.result IS 'what came of it; NULL: not done yet';
COMMENT ON COLUMN pictrepo.uploads.created_at IS 'when it was begun; pictrepo.upload_ttl later it goes';
COMMENT ON INDEX pictrepo.uploads_created_index IS 'uploads that nobody claimed in time';

CREATE FUNCTION pictrepo.upload_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_upload_changed';
COMMENT ON FUNCTION pictrepo.upload_changed() IS
	'trigger: an upload got its result or is gone; tells waiters and upload_completion_channel';
CREATE TRIGGER upload_result AFTER INSERT OR UPDATE OF result ON pictrepo.uploads
	FOR EACH ROW WHEN (NEW.result IS NOT NULL)
	EXECUTE FUNCTION pictrepo.upload_changed();
CREATE TRIGGER upload_gone AFTER DELETE ON pictrepo.uploads
	FOR EACH ROW EXECUTE FUNCTION pictrepo.upload_changed();
ALTER TABLE pictrepo.uploads ENABLE ALWAYS TRIGGER upload_result, ENABLE ALWAYS TRIGGER upload_gone;
COMMENT ON TRIGGER upload_result ON pictrepo.uploads IS 'wakes who waits for the result';
COMMENT ON TRIGGER upload_gone ON pictrepo.uploads IS 'wakes who waits in vain';

CREATE FUNCTION pictrepo.create_upload() RETURNS uuid
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_upload';
COMMENT ON FUNCTION pictrepo.create_upload() IS 'begin an upload; its id';

CREATE FUNCTION pictrepo.wait(upload uuid, timeout interval) RETURNS jsonb
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_wait';
COMMENT ON FUNCTION pictrepo.wait(uuid, interval) IS
	'wait for the result of an upload, which stays; NULL: the time is up. '
	'timeout: any interval from 0 on, not NULL. Error P0002: no such upload, or claimed';

CREATE FUNCTION pictrepo.claim(upload uuid) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_claim';
COMMENT ON FUNCTION pictrepo.claim(uuid) IS
	'end an upload and remove it; true for exactly one caller';

CREATE FUNCTION pictrepo.complete_upload(upload uuid, result jsonb) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_upload';
COMMENT ON FUNCTION pictrepo.complete_upload(uuid, jsonb) IS
	'store the result of an upload and wake who waits; false: no such upload, or claimed. '
	'result: any JSON but null; pict-rs''s Success and Failure must have their members';
-- QueueRepo: jobs, who runs them, and what became of those that failed.

CREATE TYPE pictrepo.job_status AS ENUM ('new', 'running');
COMMENT ON TYPE pictrepo.job_status IS 'new: waits for a worker; running: a worker holds it';

CREATE TABLE pictrepo.queues (
	queue text COLLATE "C" PRIMARY KEY CHECK (octet_length(queue) BETWEEN 1 AND 80),
	retries int CHECK (retries >= 0),
	backoff interval CHECK (backoff BETWEEN '0' AND '30 days'),
	backoff_max interval CHECK (backoff_max BETWEEN '0' AND '30 days'),
	max_running int CHECK (max_running >= 0),
	paused bool NOT NULL DEFAULT false
);
COMMENT ON TABLE pictrepo.queues IS 'queues that are configured; a queue needs no row here to work';
COMMENT ON COLUMN pictrepo.queues.queue IS 'name';
COMMENT ON COLUMN pictrepo.queues.retries IS 'how often a job is tried again; NULL: 5';
COMMENT ON COLUMN pictrepo.queues.backoff IS 'pause before the first retry, doubled with each further one; NULL: 1 s';
COMMENT ON COLUMN pictrepo.queues.backoff_max IS 'longest pause before a retry; NULL: 5 min';
COMMENT ON COLUMN pictrepo.queues.max_running IS 'most jobs that run at once; NULL: no limit';
COMMENT ON COLUMN pictrepo.queues.paused IS 'true: no job is given out';

-- The server parses CHECK constraints anew for each statement, which took a third
-- of the time of a push: job_changed() checks these rows.
CREATE TABLE pictrepo.job_queue (
	id uuid PRIMARY KEY,
	queue text COLLATE "C" NOT NULL,
	job jsonb NOT NULL,
	status pictrepo.job_status NOT NULL DEFAULT 'new',
	priority int NOT NULL DEFAULT 0,
	run_at timestamptz NOT NULL DEFAULT now(),
	queue_time timestamptz NOT NULL DEFAULT now(),
	attempt int NOT NULL DEFAULT 0,
	retry int NOT NULL DEFAULT 5,
	worker uuid,
	heartbeat timestamptz,
	unique_key text COLLATE "C",
	upload uuid,
	error text,
	session text COLLATE "C",
	returned_at timestamptz
);
CREATE UNIQUE INDEX job_queue_unique_key_index ON pictrepo.job_queue (unique_key)
	WHERE unique_key IS NOT NULL;
CREATE INDEX job_queue_ready_index ON pictrepo.job_queue (queue, priority DESC, run_at, id)
	WHERE status = 'new';
CREATE INDEX job_queue_running_index ON pictrepo.job_queue (queue, heartbeat)
	WHERE status = 'running';

COMMENT ON TABLE pictrepo.job_queue IS 'jobs that wait or run';
COMMENT ON COLUMN pictrepo.job_queue.id IS 'UUID version 7';
COMMENT ON COLUMN pictrepo.job_queue.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.job_queue.job IS 'what to do; the queue never looks inside';
COMMENT ON COLUMN pictrepo.job_queue.status IS 'waits or runs';
COMMENT ON COLUMN pictrepo.job_queue.priority IS 'higher first';
COMMENT ON COLUMN pictrepo.job_queue.run_at IS 'not before this time';
COMMENT ON COLUMN pictrepo.job_queue.queue_time IS 'when it was pushed';
COMMENT ON COLUMN pictrepo.job_queue.attempt IS 'how often it was given to a worker';
COMMENT ON COLUMN pictrepo.job_queue.retry IS 'retries that are left';
COMMENT ON COLUMN pictrepo.job_queue.worker IS 'who runs it; NULL: nobody';
COMMENT ON COLUMN pictrepo.job_queue.heartbeat IS 'when it was claimed, or a later sign of life of the worker; view jobs has the last one; NULL: it waits';
COMMENT ON COLUMN pictrepo.job_queue.unique_key IS 'no two live jobs have the same; NULL: it has none';
COMMENT ON COLUMN pictrepo.job_queue.upload IS 'the upload it serves, which gets a Failure if the job dies; NULL: none';
COMMENT ON COLUMN pictrepo.job_queue.error IS 'why the last attempt failed; NULL: none did';
COMMENT ON COLUMN pictrepo.job_queue.session IS 'the session whose end ends the claim; NULL: none';
COMMENT ON COLUMN pictrepo.job_queue.returned_at IS 'when it was taken or given back from a worker the last time; NULL: it never was';
COMMENT ON INDEX pictrepo.job_queue_unique_key_index IS 'no two live jobs with one key';
COMMENT ON INDEX pictrepo.job_queue_ready_index IS 'the next job of a queue';
COMMENT ON INDEX pictrepo.job_queue_running_index IS 'running jobs of a queue by last heartbeat';

CREATE TABLE pictrepo.dead_jobs (
	id uuid PRIMARY KEY,
	queue text COLLATE "C" NOT NULL,
	job jsonb NOT NULL,
	priority int NOT NULL,
	queue_time timestamptz NOT NULL,
	died_at timestamptz NOT NULL DEFAULT now(),
	attempt int NOT NULL,
	unique_key text COLLATE "C",
	upload uuid,
	error text
);
CREATE INDEX dead_jobs_died_index ON pictrepo.dead_jobs (died_at);
CREATE INDEX dead_jobs_upload_index ON pictrepo.dead_jobs (upload) WHERE upload IS NOT NULL;
COMMENT ON INDEX pictrepo.dead_jobs_upload_index IS 'dead jobs that an upload came with';
COMMENT ON INDEX pictrepo.dead_jobs_died_index IS 'dead jobs that are kept no longer';
COMMENT ON TABLE pictrepo.dead_jobs IS 'jobs that failed for good; requeue_dead gives one another life';
COMMENT ON COLUMN pictrepo.dead_jobs.id IS 'the job''s id';
COMMENT ON COLUMN pictrepo.dead_jobs.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.dead_jobs.job IS 'what was to do';
COMMENT ON COLUMN pictrepo.dead_jobs.priority IS 'its priority';
COMMENT ON COLUMN pictrepo.dead_jobs.queue_time IS 'when it was pushed';
COMMENT ON COLUMN pictrepo.dead_jobs.died_at IS 'when it failed for good';
COMMENT ON COLUMN pictrepo.dead_jobs.attempt IS 'how often it was given to a worker';
COMMENT ON COLUMN pictrepo.dead_jobs.unique_key IS 'its unique key, free again; NULL: it had none';
COMMENT ON COLUMN pictrepo.dead_jobs.upload IS 'the upload it served; NULL: none';
COMMENT ON COLUMN pictrepo.dead_jobs.error IS 'why the last attempt failed; NULL: the worker did not say';

CREATE FUNCTION pictrepo.pulse(job_id uuid) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_pulse';
COMMENT ON FUNCTION pictrepo.pulse(uuid) IS
	'the last heartbeat of a job in shared memory; NULL: there is none';

CREATE VIEW pictrepo.jobs AS
	SELECT id, queue, job,
		CASE WHEN status = 'running' THEN 'running'
			WHEN run_at > clock_timestamp() THEN 'scheduled'
			ELSE 'ready' END AS state,
		priority, run_at, queue_time, attempt, retry, worker,
		CASE WHEN status = 'running' THEN coalesce(pictrepo.pulse(id), heartbeat) END AS heartbeat,
		unique_key, upload, error, session
	FROM pictrepo.job_queue;
COMMENT ON VIEW pictrepo.jobs IS 'jobs that wait or run, as a person wants to see them';
COMMENT ON COLUMN pictrepo.jobs.id IS 'the job''s id';
COMMENT ON COLUMN pictrepo.jobs.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.jobs.job IS 'what to do';
COMMENT ON COLUMN pictrepo.jobs.state IS 'scheduled (not due yet), ready or running';
COMMENT ON COLUMN pictrepo.jobs.priority IS 'higher first';
COMMENT ON COLUMN pictrepo.jobs.run_at IS 'not before this time';
COMMENT ON COLUMN pictrepo.jobs.queue_time IS 'when it was pushed';
COMMENT ON COLUMN pictrepo.jobs.attempt IS 'how often it was given to a worker';
COMMENT ON COLUMN pictrepo.jobs.retry IS 'retries that are left';
COMMENT ON COLUMN pictrepo.jobs.worker IS 'who runs it; NULL: nobody';
COMMENT ON COLUMN pictrepo.jobs.heartbeat IS 'last sign of life of the worker; NULL: nobody runs it';
COMMENT ON COLUMN pictrepo.jobs.unique_key IS 'no two live jobs have the same; NULL: it has none';
COMMENT ON COLUMN pictrepo.jobs.upload IS 'the upload it serves; NULL: none';
COMMENT ON COLUMN pictrepo.jobs.error IS 'why the last attempt failed; NULL: none did';
COMMENT ON COLUMN pictrepo.jobs.session IS 'the session whose end ends the claim; NULL: none';

CREATE FUNCTION pictrepo.job_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_job_changed';
COMMENT ON FUNCTION pictrepo.job_changed() IS
	'trigger: jobs came, went, became ready or stopped running; tells waiters and queue_status_channel';
CREATE TRIGGER job_came AFTER INSERT OR DELETE ON pictrepo.job_queue
	FOR EACH ROW EXECUTE FUNCTION pictrepo.job_changed();
CREATE TRIGGER job_changed AFTER UPDATE OF status, queue, priority, run_at, unique_key, retry, worker
	ON pictrepo.job_queue FOR EACH ROW EXECUTE FUNCTION pictrepo.job_changed();
CREATE TRIGGER jobs_gone AFTER TRUNCATE ON pictrepo.job_queue
	EXECUTE FUNCTION pictrepo.job_changed();
ALTER TABLE pictrepo.job_queue ENABLE ALWAYS TRIGGER job_came,
	ENABLE ALWAYS TRIGGER job_changed, ENABLE ALWAYS TRIGGER jobs_gone;
COMMENT ON TRIGGER job_came ON pictrepo.job_queue IS 'checks the row, wakes workers, keeps the counts';
COMMENT ON TRIGGER job_changed ON pictrepo.job_queue IS 'checks the row, wakes workers; a claim is no news';
COMMENT ON TRIGGER jobs_gone ON pictrepo.job_queue IS 'keeps the counts';

CREATE FUNCTION pictrepo.queue_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_queue_changed';
COMMENT ON FUNCTION pictrepo.queue_changed() IS
	'trigger: a queue is configured differently; wakes who waits for its jobs';
CREATE TRIGGER queue_changed AFTER INSERT OR UPDATE OR DELETE ON pictrepo.queues
	FOR EACH ROW EXECUTE FUNCTION pictrepo.queue_changed();
ALTER TABLE pictrepo.queues ENABLE ALWAYS TRIGGER queue_changed;
COMMENT ON TRIGGER queue_changed ON pictrepo.queues IS 'wakes workers that may go on';

CREATE FUNCTION pictrepo.push(queue text, job jsonb, unique_key text = NULL, run_at timestamptz = NULL,
	priority int = 0, retry int = NULL, upload uuid = NULL) RETURNS uuid
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_push';
COMMENT ON FUNCTION pictrepo.push(text, jsonb, text, timestamptz, int, int, uuid) IS
	'add a job; its id, or NULL when a live job holds the unique key. '
	'run_at NULL: due now. priority: higher first. retry: 0 to 1000000 retries, NULL: as the queue has it. '
	'upload: gets a Failure if the job dies';

CREATE FUNCTION pictrepo.push_many(queue text, jobs jsonb[], unique_keys text[] = NULL,
	run_at timestamptz = NULL, priority int = 0, retry int = NULL) RETURNS uuid[]
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_push_many';
COMMENT ON FUNCTION pictrepo.push_many(text, jsonb[], text[], timestamptz, int, int) IS
	'add many jobs in one statement; their ids in order, NULL where a live job holds the unique key. '
	'unique_keys NULL: none has one; else as many as jobs, each may be NULL. The others are as in push';

CREATE FUNCTION pictrepo.pop(queue text, worker uuid = NULL, max_jobs int = 1, wait interval = '0', bind bool = false,
	OUT id uuid, OUT job jsonb, OUT attempt int, OUT queue_time timestamptz) RETURNS SETOF record
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'pictrepo_pop';
COMMENT ON FUNCTION pictrepo.pop(text, uuid, int, interval, bool) IS
	'give a worker the next jobs that are due: highest priority, then oldest run_at, then id. '
	'worker NULL: session_worker(). max_jobs: 1 to 10000. '
	'wait: so long for one where there is none, 0 not at all; it holds a snapshot meanwhile, see pop_wait. '
	'bind: they are ready again when this session ends';

CREATE PROCEDURE pictrepo.pop_wait(queue text, worker uuid = NULL, timeout interval = '1 minute',
	INOUT id uuid = NULL, INOUT job jsonb = NULL, INOUT attempt int = NULL,
	INOUT queue_time timestamptz = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_pop_wait';
COMMENT ON PROCEDURE pictrepo.pop_wait(text, uuid, interval, uuid, jsonb, int, timestamptz) IS
	'give a worker the next job, and wait for one without holding a transaction; NULLs: the time is up. '
	'worker NULL: session_worker(). '
	'timeout: any interval from 0 on, not NULL. Error 2D000: it is called in a transaction block or a function';

CREATE FUNCTION pictrepo.heartbeat(queue text, worker uuid, job_id uuid) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_heartbeat';
COMMENT ON FUNCTION pictrepo.heartbeat(text, uuid, uuid) IS
	'the worker is alive and at the job; false: it no longer holds it. worker NULL: session_worker(). '
	'A job without one for pictrepo.heartbeat_timeout is given to another worker';

CREATE FUNCTION pictrepo.complete_job(queue text, worker uuid, job_id uuid,
	result text = 'success', error text = NULL) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_job';
COMMENT ON FUNCTION pictrepo.complete_job(text, uuid, uuid, text, text) IS
	'end a job. worker NULL: session_worker(). '
	'result: success removes it; failure tries it again after a pause, as long as it has retries left; aborted does not. '
	'error: why, for jobs and dead_jobs. '
	'The answer is completed, retrying, dead (it is in dead_jobs now), or lost: the worker no longer holds it, nothing is changed';

CREATE FUNCTION pictrepo.complete_many(queue text, worker uuid, job_ids uuid[],
	result text = 'success', error text = NULL) RETURNS text[]
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_many';
COMMENT ON FUNCTION pictrepo.complete_many(text, uuid, uuid[], text, text) IS
	'end many jobs with the same result, as complete_job does; the answers in order. worker NULL: session_worker(). '
	'result: success, failure or aborted';

CREATE FUNCTION pictrepo.complete_and_pop(queue text, worker uuid, job_id uuid,
	result text = 'success', error text = NULL,
	OUT outcome text, OUT id uuid, OUT job jsonb, OUT attempt int, OUT queue_time timestamptz)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_complete_and_pop';
COMMENT ON FUNCTION pictrepo.complete_and_pop(text, uuid, uuid, text, text) IS
	'end a job as complete_job does and pop in one: what became of the job, and the next one (NULLs: none is ready). '
	'worker NULL: session_worker(). result: success, failure or aborted';

CREATE FUNCTION pictrepo.queue_length(queue text = NULL) RETURNS bigint
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_queue_length';
COMMENT ON FUNCTION pictrepo.queue_length(text) IS
	'how many jobs wait or run; queue NULL: in all queues. '
	'With shared_preload_libraries it takes the same time for any number';

CREATE FUNCTION pictrepo.configure_queue(queue text, retries int = NULL, backoff interval = NULL,
	backoff_max interval = NULL, max_running int = NULL, paused bool = NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_configure_queue';
COMMENT ON FUNCTION pictrepo.configure_queue(text, int, interval, interval, int, bool) IS
	'set what a queue does; what is NULL stays. '
	'retries: 0 to 1000000. backoff, backoff_max: the first and the longest pause before another try, 0 to 30 days. '
	'max_running: most jobs at once, -1: no limit';

CREATE FUNCTION pictrepo.pause_queue(queue text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_pause_queue';
COMMENT ON FUNCTION pictrepo.pause_queue(text) IS
	'give out no more jobs of a queue; false: it was paused. Those that run go on, and jobs may be pushed';

CREATE FUNCTION pictrepo.resume_queue(queue text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_resume_queue';
COMMENT ON FUNCTION pictrepo.resume_queue(text) IS
	'give out jobs of a queue again; false: it was not paused';

CREATE FUNCTION pictrepo.requeue_dead(id uuid) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_requeue_dead';
COMMENT ON FUNCTION pictrepo.requeue_dead(uuid) IS
	'give a dead job another life, with all its queue''s retries; false: no such dead job, or a live job holds its unique key';
-- QueueRepo: jobs that are pushed again and again.

-- There are few, and each run changes next_run: without an index on it, that
-- costs no index entries.
CREATE TABLE pictrepo.schedules (
	name text COLLATE "C" PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 70),
	queue text COLLATE "C" NOT NULL CHECK (octet_length(queue) BETWEEN 1 AND 80),
	job jsonb NOT NULL,
	every interval CHECK (every BETWEEN '1 second' AND '10 years'
		AND least(extract(year FROM every), extract(month FROM every), extract(day FROM every),
			extract(hour FROM every), extract(minute FROM every), extract(second FROM every)) >= 0),
	cron text CHECK (octet_length(cron) BETWEEN 1 AND 500),
	time_zone text NOT NULL DEFAULT current_setting('TimeZone') CHECK (octet_length(time_zone) BETWEEN 1 AND 255),
	priority int NOT NULL DEFAULT 0,
	retry int CHECK (retry >= 0),
	first_run timestamptz NOT NULL DEFAULT now() CHECK (isfinite(first_run)),
	next_run timestamptz NOT NULL,
	last_run timestamptz,
	error text,
	CHECK ((every IS NULL) <> (cron IS NULL))
);
COMMENT ON TABLE pictrepo.schedules IS 'jobs that are pushed again and again';
COMMENT ON COLUMN pictrepo.schedules.name IS 'name, 1 to 70 bytes; its jobs have the unique key schedule:<name>';
COMMENT ON COLUMN pictrepo.schedules.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.schedules.job IS 'what to do';
COMMENT ON COLUMN pictrepo.schedules.every IS 'time from one run to the next, 1 second to 10 years, no part of it negative; NULL: cron says when';
COMMENT ON COLUMN pictrepo.schedules.cron IS 'when to run: minute, hour, day of month, month, day of week; NULL: every says when';
COMMENT ON COLUMN pictrepo.schedules.time_zone IS 'by whose clocks; that of the session which scheduled it';
COMMENT ON COLUMN pictrepo.schedules.priority IS 'priority of its jobs';
COMMENT ON COLUMN pictrepo.schedules.retry IS 'retries of its jobs; NULL: as the queue has it';
COMMENT ON COLUMN pictrepo.schedules.first_run IS 'where the grid of every begins';
COMMENT ON COLUMN pictrepo.schedules.next_run IS 'when it is due; infinity: never again';
COMMENT ON COLUMN pictrepo.schedules.last_run IS 'when a job was last pushed; NULL: not yet';
COMMENT ON COLUMN pictrepo.schedules.error IS 'why it does not run any more; NULL: it runs';

CREATE FUNCTION pictrepo.schedule_job(name text, queue text, job jsonb, every interval = NULL,
	cron text = NULL, priority int = 0, retry int = NULL) RETURNS timestamptz
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_schedule_job';
COMMENT ON FUNCTION pictrepo.schedule_job(text, text, jsonb, interval, text, int, int) IS
	'push a job again and again, either every so often, from now on, or when the cron text says; when it runs next. '
	'It replaces a schedule of that name, and goes by the clocks of the session''s time zone. '
	'priority and retry are as in push. One job of a schedule is there at a time';

CREATE FUNCTION pictrepo.unschedule_job(name text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_unschedule_job';
COMMENT ON FUNCTION pictrepo.unschedule_job(text) IS
	'push it no more; a job that was pushed stays. False: no such schedule';

CREATE FUNCTION pictrepo.run_schedules() RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_run_schedules';
COMMENT ON FUNCTION pictrepo.run_schedules() IS
	'push the jobs that are due, where the last one of their schedule is done; how many. '
	'For any timer, where the background worker does not run';

CREATE FUNCTION pictrepo.next_run(cron text, after timestamptz) RETURNS timestamptz
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_next_run';
COMMENT ON FUNCTION pictrepo.next_run(text, timestamptz) IS
	'the first time after a given one that a cron text allows; infinity: the calendar ends first. '
	'It goes by the clocks of the session''s time zone. Error 22023: it is not a cron text, and the detail says why';
-- QueueRepo: what is seen of the queues.

CREATE FUNCTION pictrepo.queue_counters(OUT queue text, OUT pushed bigint, OUT popped bigint,
	OUT completed bigint, OUT failed bigint, OUT died bigint, OUT reaped bigint, OUT woken bigint,
	OUT wait_time interval, OUT run_time interval, OUT waiting int) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_queue_counters';
COMMENT ON FUNCTION pictrepo.queue_counters() IS
	'what happened in each queue since the server started, and who waits; no rows without shared_preload_libraries';

CREATE FUNCTION pictrepo.counting() RETURNS bool
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_counting';
COMMENT ON FUNCTION pictrepo.counting() IS
	'whether queue_counters knows what happened, so that a queue without a row had nothing; false without shared_preload_libraries and on a standby';

CREATE VIEW pictrepo.queue_stats AS
	SELECT queue,
		coalesce(j.ready, 0) AS ready, coalesce(j.scheduled, 0) AS scheduled,
		coalesce(j.running, 0) AS running, coalesce(d.dead, 0) AS dead,
		j.oldest_age, coalesce(q.paused, false) AS paused, q.max_running,
		coalesce(c.pushed, n.nothing) AS pushed, coalesce(c.popped, n.nothing) AS popped,
		coalesce(c.completed, n.nothing) AS completed, coalesce(c.failed, n.nothing) AS failed,
		coalesce(c.died, n.nothing) AS died, coalesce(c.reaped, n.nothing) AS reaped,
		coalesce(c.woken, n.nothing) AS woken,
		coalesce(c.wait_time, make_interval(secs => n.nothing)) AS wait_time,
		coalesce(c.run_time, make_interval(secs => n.nothing)) AS run_time,
		coalesce(c.waiting, n.nothing) AS waiting
	FROM (SELECT queue, count(*) FILTER (WHERE status = 'new' AND run_at <= clock_timestamp()) AS ready,
			count(*) FILTER (WHERE status = 'new' AND run_at > clock_timestamp()) AS scheduled,
			count(*) FILTER (WHERE status = 'running') AS running,
			clock_timestamp() - min(run_at) FILTER (WHERE status = 'new' AND run_at <= clock_timestamp()) AS oldest_age
		FROM pictrepo.job_queue GROUP BY queue) j
	FULL JOIN (SELECT queue, count(*) AS dead FROM pictrepo.dead_jobs GROUP BY queue) d USING (queue)
	FULL JOIN pictrepo.queues q USING (queue)
	FULL JOIN pictrepo.queue_counters() c USING (queue)
	CROSS JOIN (SELECT CASE WHEN pictrepo.counting() THEN 0 END AS nothing) n;
COMMENT ON VIEW pictrepo.queue_stats IS 'each queue: what is in it now, and what happened since the server started';
COMMENT ON COLUMN pictrepo.queue_stats.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.queue_stats.ready IS 'jobs that wait for a worker';
COMMENT ON COLUMN pictrepo.queue_stats.scheduled IS 'jobs that are not due yet';
COMMENT ON COLUMN pictrepo.queue_stats.running IS 'jobs that workers hold';
COMMENT ON COLUMN pictrepo.queue_stats.dead IS 'jobs in dead_jobs';
COMMENT ON COLUMN pictrepo.queue_stats.oldest_age IS 'how long the oldest ready job has been due; NULL: none is ready';
COMMENT ON COLUMN pictrepo.queue_stats.paused IS 'true: no job is given out';
COMMENT ON COLUMN pictrepo.queue_stats.max_running IS 'most jobs that run at once; NULL: no limit';
COMMENT ON COLUMN pictrepo.queue_stats.pushed IS 'jobs that were pushed; NULL, as what follows, without shared_preload_libraries and on a standby';
COMMENT ON COLUMN pictrepo.queue_stats.popped IS 'jobs that were given to workers';
COMMENT ON COLUMN pictrepo.queue_stats.completed IS 'jobs that ended in success';
COMMENT ON COLUMN pictrepo.queue_stats.failed IS 'runs that ended in failure or abort';
COMMENT ON COLUMN pictrepo.queue_stats.died IS 'jobs that went to dead_jobs';
COMMENT ON COLUMN pictrepo.queue_stats.reaped IS 'jobs that were taken from silent workers and ended sessions';
COMMENT ON COLUMN pictrepo.queue_stats.woken IS 'waiting sessions that were called to look';
COMMENT ON COLUMN pictrepo.queue_stats.wait_time IS 'how long jobs were due until they were given to workers, all of popped together';
COMMENT ON COLUMN pictrepo.queue_stats.run_time IS 'how long workers held jobs, all of completed, failed and reaped together; of a job beyond pictrepo.max_running_jobs since its last heartbeat';
COMMENT ON COLUMN pictrepo.queue_stats.waiting IS 'sessions that wait now';
-- FullRepo: health, and what follows from an alias.

CREATE FUNCTION pictrepo.health_check() RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_health_check';
COMMENT ON FUNCTION pictrepo.health_check() IS
	'write, read back and say what runs: library and schema version, preload, worker. '
	'Error 58030: what was written did not come back';

CREATE FUNCTION pictrepo.identifier_from_alias(alias text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_identifier_from_alias';
COMMENT ON FUNCTION pictrepo.identifier_from_alias(text) IS
	'the identifier of the content that an alias names; NULL: no such alias';

CREATE FUNCTION pictrepo.aliases_from_alias(alias text) RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_aliases_from_alias';
COMMENT ON FUNCTION pictrepo.aliases_from_alias(text) IS
	'all aliases of the content that an alias names, itself included, in byte order. No row: no such alias';

CREATE FUNCTION pictrepo.status(OUT item text, OUT value text, OUT advice text) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 15 AS 'MODULE_PATHNAME', 'pictrepo_status';
COMMENT ON FUNCTION pictrepo.status() IS
	'how this repo is doing, for a person to read: what runs, what is stored, what waits; advice where something wants looking after';
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
-- Lines: the whole repo as JSON, one line per thing that stands alone.

CREATE FUNCTION pictrepo.export() RETURNS SETOF text
	LANGUAGE C STABLE PARALLEL SAFE ROWS 100000 AS 'MODULE_PATHNAME', 'pictrepo_export';
COMMENT ON FUNCTION pictrepo.export() IS
	'the whole repo as lines of JSON, delete tokens included. '
	'Variant claims are left out, and a running job comes as one that is ready';

CREATE FUNCTION pictrepo.import(line text) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_import';
COMMENT ON FUNCTION pictrepo.import(text) IS
	'store what a line of export() says, where it is missing; what is there stays. '
	'The answer is stored, merged (a part was missing), exists (nothing was), conflict (a part was left out: something else has its name) or blocked. '
	'A line has at most 64 MiB. Error 22P02: it is not JSON';

CREATE FUNCTION pictrepo.import_lines(lines text[], first_line bigint = 1,
	OUT line bigint, OUT outcome text, OUT sqlstate text, OUT error text) RETURNS SETOF record
	LANGUAGE C ROWS 1000 AS 'MODULE_PATHNAME', 'pictrepo_import_lines';
COMMENT ON FUNCTION pictrepo.import_lines(text[], bigint) IS
	'import line by line; one that is broken comes back with its number and what is wrong, and keeps no other from being stored. '
	'first_line: the number of the first one. pg_stat_activity shows how far it is';
-- From and to the tables that pict-rs 0.5 keeps in PostgreSQL.

CREATE TABLE pictrepo.transfers (
	direction text COLLATE "C" NOT NULL CHECK (direction IN ('import', 'export')),
	schema text COLLATE "C" NOT NULL,
	relation text COLLATE "C" NOT NULL,
	source_rows bigint NOT NULL,
	rows_read bigint NOT NULL DEFAULT 0,
	stored bigint NOT NULL DEFAULT 0,
	present bigint NOT NULL DEFAULT 0,
	bad bigint NOT NULL DEFAULT 0,
	target_rows bigint,
	reached text[],
	started timestamptz NOT NULL DEFAULT now(),
	updated timestamptz NOT NULL DEFAULT now(),
	finished timestamptz,
	PRIMARY KEY (direction, schema, relation)
);
COMMENT ON TABLE pictrepo.transfers IS
	'how far import_pictrs and export_pictrs are, or what they did last, table by table';
COMMENT ON COLUMN pictrepo.transfers.direction IS 'import or export';
COMMENT ON COLUMN pictrepo.transfers.schema IS 'where pict-rs''s tables are';
COMMENT ON COLUMN pictrepo.transfers.relation IS 'the table, by pict-rs''s name';
COMMENT ON COLUMN pictrepo.transfers.source_rows IS
	'rows of the table that is read, as counted at the beginning, and again at the end';
COMMENT ON COLUMN pictrepo.transfers.rows_read IS 'rows that have been read; always stored + present + bad';
COMMENT ON COLUMN pictrepo.transfers.stored IS 'rows that were new and are stored now';
COMMENT ON COLUMN pictrepo.transfers.present IS 'rows whose key was there already; what was there stays as it is';
COMMENT ON COLUMN pictrepo.transfers.bad IS 'rows that could not be stored; transfer_errors says why';
COMMENT ON COLUMN pictrepo.transfers.target_rows IS
	'rows of the table that is written, as counted at the end; NULL: not at the end';
COMMENT ON COLUMN pictrepo.transfers.reached IS 'key of the last row that was read; NULL: none was';
COMMENT ON COLUMN pictrepo.transfers.started IS 'when it began';
COMMENT ON COLUMN pictrepo.transfers.updated IS 'when the last batch was committed';
COMMENT ON COLUMN pictrepo.transfers.finished IS
	'when the table was done; NULL: not yet, and the next call goes on from here';

CREATE TABLE pictrepo.transfer_errors (
	direction text COLLATE "C" NOT NULL,
	schema text COLLATE "C" NOT NULL,
	relation text COLLATE "C" NOT NULL,
	place bigint NOT NULL,
	key text COLLATE "C" NOT NULL,
	message text COLLATE "C" NOT NULL,
	PRIMARY KEY (direction, schema, relation, place),
	FOREIGN KEY (direction, schema, relation) REFERENCES pictrepo.transfers ON DELETE CASCADE
);
COMMENT ON TABLE pictrepo.transfer_errors IS
	'rows that the last import_pictrs or export_pictrs of a schema left where they are';
COMMENT ON COLUMN pictrepo.transfer_errors.direction IS 'import or export';
COMMENT ON COLUMN pictrepo.transfer_errors.schema IS 'where pict-rs''s tables are';
COMMENT ON COLUMN pictrepo.transfer_errors.relation IS 'the table, by pict-rs''s name';
COMMENT ON COLUMN pictrepo.transfer_errors.place IS 'which of the rows that were read';
COMMENT ON COLUMN pictrepo.transfer_errors.key IS 'its key as pict-rs has it, at most 100 characters of it';
COMMENT ON COLUMN pictrepo.transfer_errors.message IS 'what is wrong with it';

CREATE PROCEDURE pictrepo.import_pictrs(source_schema text, batch int = 10000, resume bool = true,
	INOUT stored bigint = NULL, INOUT present bigint = NULL, INOUT bad bigint = NULL,
	INOUT counts_agree bool = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_import_pictrs';
COMMENT ON PROCEDURE pictrepo.import_pictrs(text, int, bool, bigint, bigint, bigint, bool) IS
	'take over what is in pict-rs 0.5''s tables, batch (1 to 100000) rows at a time, each committed; what is there stays. '
	'It goes on where an unfinished one stopped (resume false: from the beginning). '
	'Progress is in transfers and pg_stat_activity, bad rows are in transfer_errors. '
	'counts_agree: all that is there was read and is here now. '
	'Errors: 2D000 in a transaction block; 3F000 no such schema; 42P01, 42703, 42804 other tables than pict-rs''s; 55006 another session is at it';

CREATE PROCEDURE pictrepo.export_pictrs(target_schema text, batch int = 10000, resume bool = true,
	INOUT stored bigint = NULL, INOUT present bigint = NULL, INOUT bad bigint = NULL,
	INOUT counts_agree bool = NULL)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_export_pictrs';
COMMENT ON PROCEDURE pictrepo.export_pictrs(text, int, bool, bigint, bigint, bigint, bool) IS
	'write pict-rs 0.5''s tables, which are made where they are missing, batch (1 to 100000) rows at a time, each committed; what is there stays. '
	'It goes on where an unfinished one stopped (resume false: from the beginning). '
	'Progress is in transfers and pg_stat_activity, bad rows are in transfer_errors. '
	'counts_agree: all that is here was read and is there now. '
	'Errors: 2D000 in a transaction block; 42P01, 42703, 42804 other tables than pict-rs''s; 55006 another session is at it';
-- How things went: looks at the queues and counts, for graphs. Written by the
-- background worker where pictrepo.sample_interval says so.

CREATE TABLE pictrepo.samples (
	at timestamptz PRIMARY KEY,
	images bigint NOT NULL,
	uploads bigint NOT NULL
);
COMMENT ON TABLE pictrepo.samples IS 'what there was from time to time';
COMMENT ON COLUMN pictrepo.samples.at IS 'when';
COMMENT ON COLUMN pictrepo.samples.images IS 'hashes that were stored';
COMMENT ON COLUMN pictrepo.samples.uploads IS 'uploads that were under way';

CREATE TABLE pictrepo.queue_samples (
	at timestamptz NOT NULL,
	queue text COLLATE "C",
	ready bigint NOT NULL,
	scheduled bigint NOT NULL,
	running bigint NOT NULL,
	dead bigint NOT NULL,
	oldest_age interval,
	pushed bigint,
	popped bigint,
	completed bigint,
	failed bigint,
	died bigint,
	reaped bigint,
	wait_time interval,
	run_time interval,
	waiting bigint,
	PRIMARY KEY (at, queue)
);
COMMENT ON TABLE pictrepo.queue_samples IS 'what queue_stats showed from time to time';
COMMENT ON COLUMN pictrepo.queue_samples.at IS 'when';
COMMENT ON COLUMN pictrepo.queue_samples.queue IS 'the queue';
COMMENT ON COLUMN pictrepo.queue_samples.ready IS 'jobs that waited for a worker';
COMMENT ON COLUMN pictrepo.queue_samples.scheduled IS 'jobs that were not due yet';
COMMENT ON COLUMN pictrepo.queue_samples.running IS 'jobs that workers held';
COMMENT ON COLUMN pictrepo.queue_samples.dead IS 'jobs in dead_jobs';
COMMENT ON COLUMN pictrepo.queue_samples.oldest_age IS 'how long the oldest ready job had been due; NULL: none was ready';
COMMENT ON COLUMN pictrepo.queue_samples.pushed IS 'jobs that were pushed since the server started, as are the counts that follow; less than in the sample before: it was started anew';
COMMENT ON COLUMN pictrepo.queue_samples.popped IS 'jobs that were given to workers';
COMMENT ON COLUMN pictrepo.queue_samples.completed IS 'jobs that ended in success';
COMMENT ON COLUMN pictrepo.queue_samples.failed IS 'runs that ended in failure or abort';
COMMENT ON COLUMN pictrepo.queue_samples.died IS 'jobs that went to dead_jobs';
COMMENT ON COLUMN pictrepo.queue_samples.reaped IS 'jobs that were taken from silent workers and ended sessions';
COMMENT ON COLUMN pictrepo.queue_samples.wait_time IS 'how long the popped ones had been due until then';
COMMENT ON COLUMN pictrepo.queue_samples.run_time IS 'how long workers held those that ended';
COMMENT ON COLUMN pictrepo.queue_samples.waiting IS 'sessions that waited';
-- Who may call what. Nothing is granted to PUBLIC; see footer.sql.

CREATE FUNCTION pictrepo.grant_access(role name, level text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_grant_access';
COMMENT ON FUNCTION pictrepo.grant_access(name, text) IS
	'let a role use pictrepo. '
	'level: reader (look), writer (all that an image host does) or admin (configure queues, schedule, requeue, see the tables, export and import). '
	'Each may do what the one before may. Error 42704: no such role';
-- Who waits.

CREATE FUNCTION pictrepo.waiting_sessions(OUT pid int, OUT waits_for text, OUT name text,
	OUT hash bytea, OUT since timestamptz) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_waiting_sessions';
COMMENT ON FUNCTION pictrepo.waiting_sessions() IS 'what view waiting shows';

CREATE VIEW pictrepo.waiting AS SELECT * FROM pictrepo.waiting_sessions();
COMMENT ON VIEW pictrepo.waiting IS
	'sessions that wait in this database until they are called; not those that look from time to time: '
	'all without shared_preload_libraries, on a standby or beyond pictrepo.max_waiters';
COMMENT ON COLUMN pictrepo.waiting.pid IS 'its process, as in pg_stat_activity';
COMMENT ON COLUMN pictrepo.waiting.waits_for IS 'job, upload or variant';
COMMENT ON COLUMN pictrepo.waiting.name IS 'the queue, the id of the upload or the variant, a long one cut off';
COMMENT ON COLUMN pictrepo.waiting.hash IS 'the hash of the variant; NULL: it waits for something else';
COMMENT ON COLUMN pictrepo.waiting.since IS 'when it was called';
-- The background worker of this database.

CREATE FUNCTION pictrepo.start_worker() RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_start_worker';
COMMENT ON FUNCTION pictrepo.start_worker() IS
	'start a background worker for this database where the server does not; false: one runs. '
	'Error 53400: max_worker_processes is used up';

CREATE FUNCTION pictrepo.run_maintenance(duty text = NULL) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_run_maintenance';
COMMENT ON FUNCTION pictrepo.run_maintenance(text) IS
	'do now what the background worker does from time to time; how many rows were done. '
	'duty: one that view maintenance lists, but for notify; NULL: all of them. pg_stat_activity shows which';

CREATE FUNCTION pictrepo.maintenance_status(OUT duty text, OUT every interval,
	OUT last_run timestamptz, OUT duration interval, OUT rows bigint, OUT runs bigint,
	OUT errors bigint, OUT last_error text) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_maintenance_status';
COMMENT ON FUNCTION pictrepo.maintenance_status() IS 'what view maintenance shows';

CREATE VIEW pictrepo.maintenance AS SELECT * FROM pictrepo.maintenance_status();
COMMENT ON VIEW pictrepo.maintenance IS 'what the background worker of this database does, since the server started';
COMMENT ON COLUMN pictrepo.maintenance.duty IS 'what it does';
COMMENT ON COLUMN pictrepo.maintenance.every IS 'at least this often; NULL: never';
COMMENT ON COLUMN pictrepo.maintenance.last_run IS 'when it was begun last; NULL: not yet, or without shared_preload_libraries';
COMMENT ON COLUMN pictrepo.maintenance.duration IS 'how long that took';
COMMENT ON COLUMN pictrepo.maintenance.rows IS 'rows done, in all';
COMMENT ON COLUMN pictrepo.maintenance.runs IS 'runs, in all';
COMMENT ON COLUMN pictrepo.maintenance.errors IS 'runs that ended in an error';
COMMENT ON COLUMN pictrepo.maintenance.last_error IS 'what the last run ended in; NULL: it went well';
-- Nothing for PUBLIC.
REVOKE ALL ON ALL ROUTINES IN SCHEMA pictrepo FROM PUBLIC;
REVOKE ALL ON TYPE pictrepo.job_status, pictrepo.hash_page, pictrepo.ingested FROM PUBLIC;

-- All tables hold users' data: pg_dump must take their rows.
SELECT pg_catalog.pg_extension_config_dump('pictrepo.hashes', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.variants', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.variant_claims', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.aliases', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.proxies', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.details', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.settings', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.store_migrations', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.uploads', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.queues', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.job_queue', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.dead_jobs', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.schedules', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.blocked', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.samples', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.queue_samples', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.transfers', '');
SELECT pg_catalog.pg_extension_config_dump('pictrepo.transfer_errors', '');

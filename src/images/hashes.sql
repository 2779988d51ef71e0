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

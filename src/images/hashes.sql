-- HashRepo: stored images, named by the hash of their content.

CREATE TABLE pictrepo.hashes (
	hash bytea PRIMARY KEY CHECK (octet_length(hash) BETWEEN 1 AND 128),
	identifier text COLLATE "C" NOT NULL CHECK (octet_length(identifier) BETWEEN 1 AND 1024),
	motion_identifier text COLLATE "C" CHECK (octet_length(motion_identifier) BETWEEN 1 AND 1024),
	blurhash text COLLATE "C" CHECK (octet_length(blurhash) BETWEEN 1 AND 1024),
	created_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(created_at))
);
CREATE INDEX ordered_hash_index ON pictrepo.hashes (created_at, hash);

COMMENT ON TABLE pictrepo.hashes IS 'stored images and videos, one row per distinct content';
COMMENT ON COLUMN pictrepo.hashes.hash IS 'hash that names the content, 1 to 128 bytes';
COMMENT ON COLUMN pictrepo.hashes.identifier IS 'path of the file in the store';
COMMENT ON COLUMN pictrepo.hashes.motion_identifier IS
	'path of the still image of a video, or of the moving form of an image; NULL if none';
COMMENT ON COLUMN pictrepo.hashes.blurhash IS 'blurhash of the image; NULL if none';
COMMENT ON COLUMN pictrepo.hashes.created_at IS 'time when the content was stored; pages are ordered by it';
COMMENT ON INDEX pictrepo.ordered_hash_index IS 'finds pages of hashes, newest first';

CREATE FUNCTION pictrepo.hash_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_hash_changed';
COMMENT ON FUNCTION pictrepo.hash_changed() IS 'trigger function of hashes: keeps the count of rows';
CREATE TRIGGER hash_changed AFTER INSERT OR DELETE ON pictrepo.hashes
	FOR EACH ROW EXECUTE FUNCTION pictrepo.hash_changed();
CREATE TRIGGER hashes_gone AFTER TRUNCATE ON pictrepo.hashes
	EXECUTE FUNCTION pictrepo.hash_changed();
ALTER TABLE pictrepo.hashes ENABLE ALWAYS TRIGGER hash_changed, ENABLE ALWAYS TRIGGER hashes_gone;
COMMENT ON TRIGGER hash_changed ON pictrepo.hashes IS 'keeps the count of rows';
COMMENT ON TRIGGER hashes_gone ON pictrepo.hashes IS 'resets the count of rows after TRUNCATE';

CREATE TYPE pictrepo.hash_page AS (
	page_limit int,
	current text,
	prev text,
	next text,
	hashes bytea[]
);
COMMENT ON TYPE pictrepo.hash_page IS
	'page of hashes, newest first, with the slugs of the page and its neighbours';
COMMENT ON COLUMN pictrepo.hash_page.page_limit IS 'most hashes on the page';
COMMENT ON COLUMN pictrepo.hash_page.current IS 'slug of this page; NULL if the page is empty';
COMMENT ON COLUMN pictrepo.hash_page.prev IS
	'slug of the previous page, which has newer hashes; NULL if none';
COMMENT ON COLUMN pictrepo.hash_page.next IS 'slug of the next page, which has older hashes; NULL if none';
COMMENT ON COLUMN pictrepo.hash_page.hashes IS 'hashes of this page';

CREATE FUNCTION pictrepo.size() RETURNS bigint
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_size';
COMMENT ON FUNCTION pictrepo.size() IS
	'number of stored hashes. With shared_preload_libraries, it takes constant time. '
	'On a standby, a number from 10,000 on is as old as the last sweep of the primary';

CREATE FUNCTION pictrepo.hashes() RETURNS SETOF bytea
	LANGUAGE C STABLE PARALLEL SAFE ROWS 100000 AS 'MODULE_PATHNAME', 'pictrepo_hashes';
COMMENT ON FUNCTION pictrepo.hashes() IS
	'every stored hash, newest first, as of the snapshot of the calling query. '
	'Its use of memory does not grow with the number of hashes';

CREATE FUNCTION pictrepo.bound(hash bytea, OUT created_at timestamptz, OUT hash bytea)
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_bound';
COMMENT ON FUNCTION pictrepo.bound(bytea) IS
	'position of a hash in the pages; NULL if the hash is not stored';

CREATE FUNCTION pictrepo.hashes_ordered(created_at timestamptz, hash bytea, page_limit int)
	RETURNS pictrepo.hash_page
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hashes_ordered';
COMMENT ON FUNCTION pictrepo.hashes_ordered(timestamptz, bytea, int) IS
	'page that starts at a position, inclusive. created_at and hash NULL: the newest page. '
	'page_limit: 1 to 10000 hashes';

CREATE FUNCTION pictrepo.hash_page(slug text = NULL, page_limit int = 20)
	RETURNS pictrepo.hash_page
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_page';
COMMENT ON FUNCTION pictrepo.hash_page(text, int) IS
	'page that starts at a slug. slug NULL: the newest page. page_limit: 1 to 10000 hashes. '
	'The slug of a page keeps its position when its hash is deleted. '
	'A slug from hash_to_slug means the newest page if its hash is not stored';

CREATE FUNCTION pictrepo.hash_page_by_date(before timestamptz, page_limit int = 20)
	RETURNS pictrepo.hash_page
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_page_by_date';
COMMENT ON FUNCTION pictrepo.hash_page_by_date(timestamptz, int) IS
	'page that starts at the newest hash created before a time, exclusive. page_limit: 1 to 10000 hashes. '
	'If no hash is older, the page is empty and its prev leads to the oldest hashes';

CREATE FUNCTION pictrepo.create_hash(hash bytea, identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_hash';
COMMENT ON FUNCTION pictrepo.create_hash(bytea, text) IS
	'store a hash, created now. Returns false if the hash is stored already; its identifier then stays. '
	'hash: 1 to 128 bytes. identifier: 1 to 1024 bytes';

CREATE FUNCTION pictrepo.create_hash_with_timestamp(hash bytea, identifier text, created_at timestamptz)
	RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_create_hash_with_timestamp';
COMMENT ON FUNCTION pictrepo.create_hash_with_timestamp(bytea, text, timestamptz) IS
	'store a hash, created at a given time. '
	'Returns false if the hash is stored already; it then stays as it is. hash: 1 to 128 bytes. '
	'identifier: 1 to 1024 bytes. created_at: any finite time';

CREATE FUNCTION pictrepo.update_identifier(hash bytea, identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_update_identifier';
COMMENT ON FUNCTION pictrepo.update_identifier(bytea, text) IS
	'set the identifier of a hash. Returns false if the hash is not stored. '
	'Variants and details do not change; migrate_identifier changes everything that names a file';

CREATE FUNCTION pictrepo.identifier(hash bytea) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_identifier';
COMMENT ON FUNCTION pictrepo.identifier(bytea) IS 'identifier of a hash; NULL if the hash is not stored';

CREATE FUNCTION pictrepo.relate_blurhash(hash bytea, blurhash text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_blurhash';
COMMENT ON FUNCTION pictrepo.relate_blurhash(bytea, text) IS
	'set the blurhash of a hash and replace an earlier one. Returns false if the hash is not stored. '
	'blurhash: 1 to 1024 bytes';

CREATE FUNCTION pictrepo.blurhash(hash bytea) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_blurhash';
COMMENT ON FUNCTION pictrepo.blurhash(bytea) IS 'blurhash of a hash; NULL if it has none or is not stored';

CREATE FUNCTION pictrepo.relate_motion_identifier(hash bytea, identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_motion_identifier';
COMMENT ON FUNCTION pictrepo.relate_motion_identifier(bytea, text) IS
	'set the motion identifier of a hash and replace an earlier one. '
	'Returns false if the hash is not stored. identifier: 1 to 1024 bytes';

CREATE FUNCTION pictrepo.motion_identifier(hash bytea) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_motion_identifier';
COMMENT ON FUNCTION pictrepo.motion_identifier(bytea) IS
	'motion identifier of a hash; NULL if it has none or is not stored';

CREATE FUNCTION pictrepo.cleanup_hash(hash bytea) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_cleanup_hash';
COMMENT ON FUNCTION pictrepo.cleanup_hash(bytea) IS
	'remove a hash with its variants, aliases, proxies and claims. '
	'Returns false if the hash is not stored. The details and the files stay. '
	'purge also removes the details and queues the files for removal';

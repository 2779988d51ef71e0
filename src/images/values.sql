-- Functions for hashes, slugs, URLs and IDs.

CREATE FUNCTION pictrepo.make_hash(sha256 bytea, size bigint, format text) RETURNS bytea
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_make_hash';
COMMENT ON FUNCTION pictrepo.make_hash(bytea, bigint, text) IS
	'hash of a file in the form of pict-rs: SHA-256, size and format. sha256: 32 bytes. '
	'size: 0 to 2^48 - 1 bytes. '
	'format: apng, animated-avif, gif, animated-webp, avif, jpeg, jxl, png, webp, mp4 or webm';

CREATE FUNCTION pictrepo.hash_sha256(hash bytea) RETURNS bytea
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_sha256';
COMMENT ON FUNCTION pictrepo.hash_sha256(bytea) IS
	'SHA-256 in a hash; NULL if the hash does not have the form of pict-rs';

CREATE FUNCTION pictrepo.hash_size(hash bytea) RETURNS bigint
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_size';
COMMENT ON FUNCTION pictrepo.hash_size(bytea) IS
	'size of the file in bytes, in a hash; NULL if the hash does not have the form of pict-rs';

CREATE FUNCTION pictrepo.hash_format(hash bytea) RETURNS text
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_format';
COMMENT ON FUNCTION pictrepo.hash_format(bytea) IS
	'name of the format in a hash; NULL if the hash does not have the form of pict-rs';

CREATE FUNCTION pictrepo.hash_to_slug(hash bytea) RETURNS text
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_to_slug';
COMMENT ON FUNCTION pictrepo.hash_to_slug(bytea) IS
	'slug of the page that starts at a hash. The slug of a 39-byte hash is that of pict-rs. '
	'It names the hash, not a position: without the hash, it means the newest page. '
	'The slugs that pages return keep their position';

CREATE FUNCTION pictrepo.hash_from_slug(slug text) RETURNS bytea
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_hash_from_slug';
COMMENT ON FUNCTION pictrepo.hash_from_slug(text) IS
	'hash in a slug of pictrepo or pict-rs. Error 22023: the text is not a slug';

CREATE FUNCTION pictrepo.url_digest(url text) RETURNS bytea
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_url_digest';
COMMENT ON FUNCTION pictrepo.url_digest(text) IS 'SHA-256 of a URL, which is the key of table proxies';

CREATE FUNCTION pictrepo.session_worker() RETURNS uuid
	LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pictrepo_session_worker';
COMMENT ON FUNCTION pictrepo.session_worker() IS
	'worker ID of this session. A function uses it if its argument worker is NULL';

CREATE FUNCTION pictrepo.id_node(id uuid) RETURNS int
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_id_node';
COMMENT ON FUNCTION pictrepo.id_node(uuid) IS
	'setting pictrepo.node_id of the server that created an ID; NULL if the ID is not a UUID version 7';

CREATE FUNCTION pictrepo.id_time(id uuid) RETURNS timestamptz
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_id_time';
COMMENT ON FUNCTION pictrepo.id_time(uuid) IS
	'time when an ID was created, to the millisecond; NULL if the ID is not a UUID version 7';

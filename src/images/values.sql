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

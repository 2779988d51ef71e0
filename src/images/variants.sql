-- VariantRepo: processed forms of stored images, and the claims of the workers
-- that make them.

CREATE TABLE pictrepo.variants (
	hash bytea NOT NULL REFERENCES pictrepo.hashes ON DELETE CASCADE,
	variant text COLLATE "C" NOT NULL CHECK (octet_length(variant) BETWEEN 1 AND 1024),
	identifier text COLLATE "C" NOT NULL CHECK (octet_length(identifier) BETWEEN 1 AND 1024),
	accessed timestamptz DEFAULT now() CHECK (isfinite(accessed)),
	id uuid,
	PRIMARY KEY (hash, variant)
);
CREATE INDEX variants_accessed_index ON pictrepo.variants (accessed, hash, variant);

COMMENT ON TABLE pictrepo.variants IS 'processed forms of stored images';
COMMENT ON COLUMN pictrepo.variants.hash IS 'hash of the image';
COMMENT ON COLUMN pictrepo.variants.variant IS 'processing arguments';
COMMENT ON COLUMN pictrepo.variants.identifier IS 'path of the processed file in the store';
COMMENT ON COLUMN pictrepo.variants.accessed IS
	'time when the variant was last served; NULL if its access time was removed';
COMMENT ON COLUMN pictrepo.variants.id IS
	'ID of the variant in pict-rs, which export_pictrs writes back; NULL if the variant was not imported '
	'from pict-rs';
COMMENT ON INDEX pictrepo.variants_accessed_index IS 'finds variants by access time';

CREATE TABLE pictrepo.variant_claims (
	hash bytea NOT NULL REFERENCES pictrepo.hashes ON DELETE CASCADE,
	variant text COLLATE "C" NOT NULL CHECK (octet_length(variant) BETWEEN 1 AND 1024),
	worker uuid NOT NULL,
	heartbeat timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (hash, variant)
);

COMMENT ON TABLE pictrepo.variant_claims IS 'claims of workers on variants that they are making';
COMMENT ON COLUMN pictrepo.variant_claims.hash IS 'hash of the image';
COMMENT ON COLUMN pictrepo.variant_claims.variant IS 'processing arguments';
COMMENT ON COLUMN pictrepo.variant_claims.worker IS 'worker that holds the claim';
COMMENT ON COLUMN pictrepo.variant_claims.heartbeat IS
	'time of the last heartbeat. The claim expires pictrepo.variant_claim_timeout later';

CREATE FUNCTION pictrepo.variant_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_variant_changed';
COMMENT ON FUNCTION pictrepo.variant_changed() IS
	'trigger function of variants and variant_claims: when a variant is stored or a claim ends, wakes the '
	'sessions that wait for the variant and notifies keyed_notification_channel';
CREATE TRIGGER variant_ready AFTER INSERT ON pictrepo.variants
	FOR EACH ROW EXECUTE FUNCTION pictrepo.variant_changed();
COMMENT ON TRIGGER variant_ready ON pictrepo.variants IS 'wakes the sessions that wait for the variant';
CREATE TRIGGER claim_ended AFTER DELETE ON pictrepo.variant_claims
	FOR EACH ROW EXECUTE FUNCTION pictrepo.variant_changed();
COMMENT ON TRIGGER claim_ended ON pictrepo.variant_claims IS 'wakes the sessions that wait for the variant';
ALTER TABLE pictrepo.variants ENABLE ALWAYS TRIGGER variant_ready;
ALTER TABLE pictrepo.variant_claims ENABLE ALWAYS TRIGGER claim_ended;

CREATE FUNCTION pictrepo.relate_variant_identifier(hash bytea, variant text, identifier text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_relate_variant_identifier';
COMMENT ON FUNCTION pictrepo.relate_variant_identifier(bytea, text, text) IS
	'store a variant of a hash, accessed now. Returns false if the variant exists; it then stays as it is. '
	'variant, identifier: 1 to 1024 bytes each. Error 23503: the hash is not stored';

CREATE FUNCTION pictrepo.variant_identifier(hash bytea, variant text) RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pictrepo_variant_identifier';
COMMENT ON FUNCTION pictrepo.variant_identifier(bytea, text) IS
	'identifier of a variant; NULL if the variant does not exist';

CREATE FUNCTION pictrepo.variants(hash bytea, OUT variant text, OUT identifier text) RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'pictrepo_variants';
COMMENT ON FUNCTION pictrepo.variants(bytea) IS
	'variants of a hash with their identifiers, in byte order of the variant. '
	'Returns no row if the hash has no variant or is not stored';

CREATE FUNCTION pictrepo.remove_variant(hash bytea, variant text) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_remove_variant';
COMMENT ON FUNCTION pictrepo.remove_variant(bytea, text) IS
	'remove a variant with its access time. Returns false if the variant does not exist';

CREATE FUNCTION pictrepo.claim_variant_processing_rights(hash bytea, variant text, worker uuid = NULL) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_claim_variant_processing_rights';
COMMENT ON FUNCTION pictrepo.claim_variant_processing_rights(bytea, text, uuid) IS
	'claim the right to make a variant. worker NULL: session_worker(). '
	'Returns claimed, exists (the variant is stored) or busy (another worker holds the claim). '
	'Without a heartbeat for pictrepo.variant_claim_timeout, a claim expires and another worker can take '
	'it. Error 23503: the hash is not stored';

CREATE FUNCTION pictrepo.variant_heartbeat(hash bytea, variant text, worker uuid = NULL) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_variant_heartbeat';
COMMENT ON FUNCTION pictrepo.variant_heartbeat(bytea, text, uuid) IS
	'record that a worker is still making a variant. Returns false if the worker does not hold the claim. '
	'worker NULL: session_worker(). Without a heartbeat for pictrepo.variant_claim_timeout, a claim expires';

CREATE FUNCTION pictrepo.notify_variant(hash bytea, variant text, worker uuid = NULL) RETURNS bool
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_notify_variant';
COMMENT ON FUNCTION pictrepo.notify_variant(bytea, text, uuid) IS
	'end a claim and wake the sessions that wait for the variant, even if no variant was stored. '
	'Returns false if the worker does not hold the claim. worker NULL: session_worker()';

CREATE FUNCTION pictrepo.variant_waiter(hash bytea, variant text, timeout interval) RETURNS text
	LANGUAGE C AS 'MODULE_PATHNAME', 'pictrepo_variant_waiter';
COMMENT ON FUNCTION pictrepo.variant_waiter(bytea, text, interval) IS
	'wait until a variant is stored or no worker holds a claim on it. '
	'Returns its identifier, or NULL if no worker makes it or the timeout passes. '
	'timeout: an interval of 0 or more, not NULL';

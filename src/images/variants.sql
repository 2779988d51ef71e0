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

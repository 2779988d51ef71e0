-- VariantRepo: processed forms of stored images, and claims on them.
SELECT pictrepo.create_hash('\xaa', 'a.png');

SELECT pictrepo.relate_variant_identifier('\xaa', 'thumbnail.80', 'a/80.webp');
SELECT pictrepo.relate_variant_identifier('\xaa', 'thumbnail.80', 'a/other.webp');
SELECT pictrepo.relate_variant_identifier('\xaa', 'blur.5', 'a/blur.webp');
SELECT pictrepo.relate_variant_identifier('\xaa', 'Zoom', 'a/zoom.webp');
SELECT pictrepo.variant_identifier('\xaa', 'thumbnail.80'), pictrepo.variant_identifier('\xaa', 'none'),
	pictrepo.variant_identifier('\xbb', 'thumbnail.80');

-- variants are in byte order
SELECT * FROM pictrepo.variants('\xaa');
SELECT * FROM pictrepo.variants('\xbb');

SELECT pictrepo.remove_variant('\xaa', 'Zoom');
SELECT pictrepo.remove_variant('\xaa', 'Zoom');

-- an unknown hash is an error
SELECT pictrepo.relate_variant_identifier('\xbb', 'thumbnail.80', 'b');
SELECT pictrepo.claim_variant_processing_rights('\xbb', 'thumbnail.80');

-- Claims: one worker makes the variant, and the claims of other workers fail.
\set one '11111111-1111-4111-8111-111111111111'
\set two '22222222-2222-4222-8222-222222222222'
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'crop', :'one');
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'crop', :'two');
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'crop', :'one') AS mine_already;
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'blur.5', :'two') AS there;

-- only the holder keeps a claim alive or ends it
SELECT pictrepo.variant_heartbeat('\xaa', 'crop', :'one'), pictrepo.variant_heartbeat('\xaa', 'crop', :'two');
SELECT pictrepo.variant_heartbeat('\xaa', 'none', :'one');
SELECT pictrepo.notify_variant('\xaa', 'crop', :'two');
SELECT pictrepo.variant_waiter('\xaa', 'crop', '1 ms') AS time_is_up;
SELECT pictrepo.relate_variant_identifier('\xaa', 'crop', 'a/crop.webp');
SELECT pictrepo.variant_waiter('\xaa', 'crop', '1 hour') AS there;
SELECT pictrepo.notify_variant('\xaa', 'crop', :'one');
SELECT pictrepo.notify_variant('\xaa', 'crop', :'one');
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'crop', :'two');

-- after a claim ends without a variant, another worker can claim it
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'crop.2', :'one');
SELECT pictrepo.notify_variant('\xaa', 'crop.2', :'one');
SELECT pictrepo.variant_waiter('\xaa', 'crop.2', '1 hour') AS nobody_makes_it;
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'crop.2', :'two');

-- a claim without a heartbeat expires, and its holder gets false
SET pictrepo.variant_claim_timeout = '1 ms';
SELECT pg_sleep(0.01);
SELECT pictrepo.variant_waiter('\xaa', 'crop.2', '1 hour') AS nobody_makes_it;
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'crop.2', :'one');
SELECT pictrepo.variant_heartbeat('\xaa', 'crop.2', :'two'), pictrepo.notify_variant('\xaa', 'crop.2', :'two');
RESET pictrepo.variant_claim_timeout;

-- worker NULL: the session is the worker
SELECT pictrepo.claim_variant_processing_rights('\xaa', 'mine');
SELECT pictrepo.variant_heartbeat('\xaa', 'mine', pictrepo.session_worker()), pictrepo.notify_variant('\xaa', 'mine');

-- errors
SELECT pictrepo.relate_variant_identifier(NULL, 'v', 'i');
SELECT pictrepo.relate_variant_identifier('\xaa', NULL, 'i');
SELECT pictrepo.relate_variant_identifier('\xaa', 'v', NULL);
SELECT pictrepo.relate_variant_identifier('\xaa', '', 'i');
SELECT pictrepo.relate_variant_identifier('\xaa', repeat('v', 1025), 'i');
SELECT pictrepo.variant_identifier('\xaa', NULL);
SELECT pictrepo.variants(NULL);
SELECT pictrepo.remove_variant(NULL, 'v');
SELECT pictrepo.claim_variant_processing_rights(NULL, 'v');
SELECT pictrepo.variant_heartbeat('\xaa', NULL);
SELECT pictrepo.notify_variant('', 'v');
SELECT pictrepo.variant_waiter('\xaa', 'v', NULL);
SELECT pictrepo.variant_waiter('\xaa', 'v', '-1 second');

-- the longest names fit the indexes
SELECT pictrepo.create_hash(decode(repeat('fe', 128), 'hex'), 'long');
SELECT pictrepo.relate_variant_identifier(decode(repeat('fe', 128), 'hex'), repeat('v', 1024), repeat('i', 1024)),
	pictrepo.claim_variant_processing_rights(decode(repeat('fe', 128), 'hex'), repeat('w', 1024));
SELECT count(*) FROM pictrepo.variants(decode(repeat('fe', 128), 'hex'));
SELECT pictrepo.cleanup_hash(hash) FROM pictrepo.hashes() hash;

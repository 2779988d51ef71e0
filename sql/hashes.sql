-- HashRepo: stored images, named by the hash of their content, and pages of them.
SET timezone = 'UTC';

-- storing a hash again returns false, and the first identifier stays
SELECT pictrepo.create_hash('\xaa', 'a/one.png');
SELECT pictrepo.create_hash('\xaa', 'a/two.png');
SELECT pictrepo.create_hash_with_timestamp('\xaa', 'a/three.png', '2000-01-01');
SELECT pictrepo.identifier('\xaa'), pictrepo.size();
SELECT created_at BETWEEN now() - interval '1 minute' AND now() AS just_now FROM pictrepo.bound('\xaa');

-- lookups of a missing hash
SELECT pictrepo.identifier('\xbb'), pictrepo.blurhash('\xbb'), pictrepo.motion_identifier('\xbb');
SELECT pictrepo.bound('\xbb') IS NULL AS missing;

-- changing and removing
SELECT pictrepo.update_identifier('\xaa', 'b/one.png'), pictrepo.relate_blurhash('\xaa', 'LEHV6nWB2yk8'),
	pictrepo.relate_motion_identifier('\xaa', 'b/one.mp4');
SELECT pictrepo.identifier('\xaa'), pictrepo.blurhash('\xaa'), pictrepo.motion_identifier('\xaa');
SELECT pictrepo.relate_blurhash('\xaa', 'other'), pictrepo.relate_motion_identifier('\xaa', 'b/other.mp4');
SELECT pictrepo.blurhash('\xaa'), pictrepo.motion_identifier('\xaa');
SELECT pictrepo.update_identifier('\xbb', 'x'), pictrepo.relate_blurhash('\xbb', 'x'),
	pictrepo.relate_motion_identifier('\xbb', 'x');
SELECT pictrepo.size();
SELECT pictrepo.cleanup_hash('\xaa');
SELECT pictrepo.cleanup_hash('\xaa');
SELECT pictrepo.size();

-- removing a hash removes everything that refers to it
SELECT pictrepo.create_hash('\xaa', 'a');
SELECT pictrepo.relate_variant_identifier('\xaa', 'thumb', 'a/thumb'), pictrepo.create_alias('x.png', 't', '\xaa'),
	pictrepo.claim_variant_processing_rights('\xaa', 'blur');
SELECT pictrepo.relate_url('https://example.com/x', 'x.png'), pictrepo.relate_details('a', '{}');
SELECT pictrepo.cleanup_hash('\xaa');
SELECT (SELECT count(*) FROM pictrepo.variants) AS variants, (SELECT count(*) FROM pictrepo.aliases) AS aliases,
	(SELECT count(*) FROM pictrepo.proxies) AS proxies, (SELECT count(*) FROM pictrepo.variant_claims) AS claims,
	(SELECT count(*) FROM pictrepo.details) AS details;
SELECT pictrepo.cleanup_details('a');

-- Pages: ten hashes, one a day, two of them at the same moment.
SELECT pictrepo.create_hash_with_timestamp(decode(lpad(n::text, 2, '0'), 'hex'), 'f' || n,
	'2024-01-01'::timestamptz + least(n, 9) * interval '1 day')
FROM generate_series(1, 10) n;
SELECT hash FROM pictrepo.hashes() hash;
SELECT * FROM pictrepo.bound('\x05');

-- show pages with hashes in place of slugs
CREATE FUNCTION place(slug text) RETURNS bytea LANGUAGE sql RETURN
	CASE WHEN slug IS NOT NULL THEN pictrepo.hash_from_slug(slug) END;
CREATE FUNCTION show(page pictrepo.hash_page) RETURNS text LANGUAGE sql RETURN
	format('%s: current %s, prev %s, next %s', (page).hashes, coalesce(place((page).current)::text, '-'),
		coalesce(place((page).prev)::text, '-'), coalesce(place((page).next)::text, '-'));

SELECT show(pictrepo.hash_page(NULL, 4));
SELECT show(pictrepo.hash_page(page_limit := 4));
SELECT show(pictrepo.hash_page());
SELECT (pictrepo.hash_page(NULL, 1)).page_limit;

-- forward by next, then back by prev
WITH RECURSIVE walk (n, page) AS (
	SELECT 1, pictrepo.hash_page(NULL, 4)
	UNION ALL
	SELECT n + 1, pictrepo.hash_page((page).next, 4) FROM walk WHERE (page).next IS NOT NULL
) SELECT n, show(page) FROM walk;
WITH RECURSIVE walk (n, page) AS (
	SELECT 1, pictrepo.hash_page_by_date('2024-01-03 12:00', 4)
	UNION ALL
	SELECT n + 1, pictrepo.hash_page((page).prev, 4) FROM walk WHERE (page).prev IS NOT NULL
) SELECT n, show(page) FROM walk;

-- by position, inclusive; by date, strictly older
SELECT show(pictrepo.hashes_ordered(created_at, hash, 3)) FROM pictrepo.bound('\x05');
SELECT show(pictrepo.hashes_ordered(NULL, NULL, 3));
SELECT show(pictrepo.hashes_ordered('2024-01-05 12:00', '\x00', 3));
SELECT show(pictrepo.hash_page_by_date('2024-01-06', 3));
SELECT show(pictrepo.hash_page_by_date('infinity', 3));
SELECT show(pictrepo.hash_page_by_date('2024-01-02', 3)), show(pictrepo.hash_page_by_date('-infinity', 3));

-- a slug of pict-rs, of a stored hash and of a removed one
SELECT pictrepo.make_hash(sha256(''), 7, 'gif') AS hash \gset
SELECT pictrepo.create_hash_with_timestamp(:'hash', 'g', '2024-01-04 12:00');
SELECT show(pictrepo.hash_page(pictrepo.hash_to_slug('\x05'), 2)),
	(pictrepo.hash_page(pictrepo.hash_to_slug(:'hash'), 2)).hashes[2];
SELECT pictrepo.cleanup_hash(:'hash');
SELECT show(pictrepo.hash_page(pictrepo.hash_to_slug(:'hash'), 2));

-- the slug of a page keeps its position when its hash is deleted
SELECT (pictrepo.hash_page(NULL, 4)).next AS slug \gset
SELECT pictrepo.hash_from_slug(:'slug');
SELECT pictrepo.cleanup_hash('\x06');
SELECT show(pictrepo.hash_page(:'slug', 2));
SELECT pictrepo.cleanup_hash(hash) FROM generate_series(1, 5) n, LATERAL decode(lpad(n::text, 2, '0'), 'hex') hash;
SELECT show(pictrepo.hash_page(:'slug', 2));

-- an empty repo
SELECT bool_and(pictrepo.cleanup_hash(hash)) FROM pictrepo.hashes() hash;
SELECT show(pictrepo.hash_page()), pictrepo.size();
SELECT * FROM pictrepo.hashes();

-- the longest hash and identifier, and the largest page
SELECT pictrepo.create_hash(decode(repeat('ab', 128), 'hex'), repeat('i', 1024));
SELECT length(pictrepo.identifier(decode(repeat('ab', 128), 'hex')));
SELECT (pictrepo.hash_page(NULL, 10000)).page_limit;
SELECT pictrepo.cleanup_hash(decode(repeat('ab', 128), 'hex'));

-- errors
SELECT pictrepo.create_hash(NULL, 'x');
SELECT pictrepo.create_hash('\xaa', NULL);
SELECT pictrepo.create_hash('', 'x');
SELECT pictrepo.create_hash('\xaa', '');
SELECT pictrepo.create_hash(decode(repeat('ab', 129), 'hex'), 'x');
SELECT pictrepo.create_hash('\xaa', repeat('ä', 513));
SELECT pictrepo.create_hash_with_timestamp('\xaa', 'x', NULL);
SELECT pictrepo.create_hash_with_timestamp('\xaa', 'x', 'infinity');
SELECT pictrepo.update_identifier('\xaa', NULL);
SELECT pictrepo.identifier(NULL);
SELECT pictrepo.relate_blurhash('\xaa', NULL);
SELECT pictrepo.blurhash(NULL);
SELECT pictrepo.relate_motion_identifier('\xaa', '');
SELECT pictrepo.motion_identifier('');
SELECT pictrepo.cleanup_hash(NULL);
SELECT pictrepo.bound(NULL);
SELECT pictrepo.hash_page('no slug', 10);
SELECT pictrepo.hash_page(NULL, 0);
SELECT pictrepo.hash_page(NULL, 10001);
SELECT pictrepo.hash_page(NULL, NULL);
SELECT pictrepo.hashes_ordered('2024-01-01', NULL, 1);
SELECT pictrepo.hashes_ordered(NULL, '\xaa', 1);
SELECT pictrepo.hash_page_by_date(NULL);
SELECT pictrepo.size();
DROP FUNCTION show, place;

-- many hashes, in batches
INSERT INTO pictrepo.hashes (hash, identifier) SELECT int4send(n), 'f' FROM generate_series(1, 2500) n;
SELECT count(*), count(DISTINCT hash) FROM pictrepo.hashes() hash;
SELECT pictrepo.size();
SELECT count(hash) FROM (SELECT pictrepo.hashes() AS hash LIMIT 1500) first;
TRUNCATE pictrepo.hashes CASCADE;

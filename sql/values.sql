-- Values: hashes, slugs, IDs.

-- pict-rs's hash: SHA-256, size in 6 bytes, format
SELECT pictrepo.make_hash(sha256('a'), 12345, 'png') AS hash \gset
SELECT :'hash' AS hash;
SELECT encode(pictrepo.hash_sha256(:'hash'), 'hex') = encode(sha256('a'), 'hex') AS sha256,
	pictrepo.hash_size(:'hash'), pictrepo.hash_format(:'hash');

-- every format has its byte
SELECT get_byte(hash, 38) AS byte, format, pictrepo.hash_format(hash) = format AS back
FROM unnest('{apng,animated-avif,gif,animated-webp,avif,jpeg,jxl,png,webp,mp4,webm}'::text[]) format,
	LATERAL pictrepo.make_hash(sha256(''), 0, format) hash
ORDER BY 1;

-- the largest size, and hashes that do not have the form of pict-rs
SELECT pictrepo.hash_size(pictrepo.make_hash(sha256(''), 281474976710655, 'mp4'));
SELECT pictrepo.hash_sha256('\x01'), pictrepo.hash_size('\x01'), pictrepo.hash_format('\x01'),
	pictrepo.hash_format(set_byte(:'hash', 38, 11));

SELECT pictrepo.make_hash('\x01', 1, 'png');
SELECT pictrepo.make_hash(sha256('a') || '\x00', 1, 'png');
SELECT pictrepo.make_hash(sha256('a'), -1, 'png');
SELECT pictrepo.make_hash(sha256('a'), 281474976710656, 'png');
SELECT pictrepo.make_hash(sha256('a'), 1, 'bmp');
SELECT pictrepo.make_hash(NULL, 1, 'png');
SELECT pictrepo.make_hash(sha256('a'), NULL, 'png');
SELECT pictrepo.make_hash(sha256('a'), 1, NULL);
SELECT pictrepo.hash_size('');
SELECT pictrepo.hash_size(decode(repeat('ab', 129), 'hex'));

-- a slug of pict-rs: 52 characters of URL-safe base64
SELECT pictrepo.hash_to_slug(:'hash') AS slug \gset
SELECT :'slug' AS slug, length(:'slug');
SELECT pictrepo.hash_from_slug(:'slug') = :'hash' AS same;

-- a slug keeps a hash of any length
SELECT count(*), bool_and(pictrepo.hash_from_slug(pictrepo.hash_to_slug(hash)) = hash) AS same,
	bool_and(pictrepo.hash_to_slug(hash) ~ '^[A-Za-z0-9_-]+$') AS url_safe
FROM generate_series(1, 128) length, LATERAL decode(repeat('ff', length), 'hex') hash;

SELECT pictrepo.hash_from_slug('');
SELECT pictrepo.hash_from_slug('hello');
SELECT pictrepo.hash_from_slug('AA==');
SELECT pictrepo.hash_from_slug('AA');
SELECT pictrepo.hash_from_slug(' ' || :'slug');
SELECT pictrepo.hash_from_slug(replace(:'slug', 'y', '+'));
SELECT pictrepo.hash_from_slug(repeat('A', 1000));
SELECT pictrepo.hash_from_slug('Ünïcödé');
SELECT pictrepo.hash_from_slug(NULL);

-- the key of a URL
SELECT encode(pictrepo.url_digest('https://example.com/'), 'hex')
	= encode(sha256('https://example.com/'), 'hex') AS sha256;
SELECT pictrepo.url_digest(NULL) IS NULL AS strict;

-- IDs of pictrepo: version 7, increasing, with node and time
SELECT pictrepo.create_upload() AS first \gset
SELECT pictrepo.create_upload() AS second \gset
SELECT :'first'::uuid < :'second'::uuid AS rising, substr(:'first', 15, 1) AS version,
	pictrepo.id_node(:'first') AS node,
	abs(extract(epoch FROM clock_timestamp() - pictrepo.id_time(:'first'))) < 60 AS time;
SELECT pictrepo.id_node('ffffffff-ffff-4fff-bfff-ffffffffffff') AS no_node,
	pictrepo.id_time('ffffffff-ffff-4fff-bfff-ffffffffffff') AS no_time,
	pictrepo.id_node('00000000-0000-7000-bff0-000000000000') AS last_node,
	pictrepo.id_time('00000000-0000-7000-8000-000000000000') = 'epoch' AS epoch;
SELECT pictrepo.id_node(NULL);
SELECT pictrepo.id_time(NULL);
SELECT count(DISTINCT id), bool_and(id > before) AS rising
FROM (SELECT id, lag(id, 1, '00000000-0000-0000-0000-000000000000') OVER (ORDER BY n) AS before
	FROM unnest(pictrepo.push_many('ids', array_fill('0'::jsonb, ARRAY[1000]))) WITH ORDINALITY u (id, n)) ids;
SELECT pictrepo.claim(:'first'), pictrepo.claim(:'second');
DELETE FROM pictrepo.job_queue;

-- the worker ID of a session is constant
SELECT pictrepo.session_worker() = pictrepo.session_worker() AS stays;

-- Images :first to :last, the same for pictrepo and for pict-rs. Triggers that
-- only keep what is consistent by itself are spared.
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO pictrepo.hashes (hash, identifier, created_at)
	SELECT sha256(int8send(n)), 'f' || n, '2020-01-01'::timestamptz + n * interval '1 minute'
	FROM generate_series(:first, :last) n;
INSERT INTO pictrepo.aliases (alias, hash, delete_token)
	SELECT 'a' || n, sha256(int8send(n)), 't' FROM generate_series(:first, :last) n;
INSERT INTO pictrepo.variants (hash, variant, identifier, accessed)
	SELECT sha256(int8send(n)), 'v', 'vf' || n, '2020-01-01'::timestamptz + n * interval '1 minute'
	FROM generate_series(:first, :last) n;
INSERT INTO pictrepo.details
	SELECT 'f' || n, '{"width": 640, "height": 480}' FROM generate_series(:first, :last) n;
INSERT INTO pictrepo.proxies (digest, url, alias, accessed)
	SELECT pictrepo.url_digest(url), url, 'a' || n, '2020-01-01'::timestamptz + n * interval '1 minute'
	FROM generate_series(:first, least(:last, :proxies)) n, concat('https://example.org/', n) url;
INSERT INTO pictrs.hashes (hash, identifier, created_at)
	SELECT encode(sha256(int8send(n)), 'base64'), 'f' || n, '2020-01-01'::timestamp + n * interval '1 minute'
	FROM generate_series(:first, :last) n;
INSERT INTO pictrs.aliases (alias, hash, token)
	SELECT 'a' || n, encode(sha256(int8send(n)), 'base64'), 't' FROM generate_series(:first, :last) n;
INSERT INTO pictrs.variants (hash, variant, identifier, accessed)
	SELECT encode(sha256(int8send(n)), 'base64'), 'v', 'vf' || n,
		'2020-01-01'::timestamp + n * interval '1 minute'
	FROM generate_series(:first, :last) n;
INSERT INTO pictrs.details
	SELECT 'f' || n, '{"width": 640, "height": 480}' FROM generate_series(:first, :last) n;
INSERT INTO pictrs.proxies (url, alias, accessed)
	SELECT 'https://example.org/' || n, 'a' || n, '2020-01-01'::timestamp + n * interval '1 minute'
	FROM generate_series(:first, least(:last, :proxies)) n;
RESET synchronous_commit;
RESET session_replication_role;
VACUUM ANALYZE;
CHECKPOINT;

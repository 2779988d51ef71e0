-- ProxyRepo: URLs of other hosts whose content is stored here under an alias.
SELECT pictrepo.create_hash('\xaa', 'a.png');
SELECT pictrepo.create_alias('one.png', 't', '\xaa'), pictrepo.create_alias('two.png', 't', '\xaa');

SELECT pictrepo.relate_url('https://example.com/1', 'one.png');
SELECT pictrepo.relate_url('https://example.com/1', 'two.png');
SELECT pictrepo.related('https://example.com/1'), pictrepo.related('https://example.com/2');
SELECT pictrepo.relate_url('https://example.com/2', 'none.png') AS unknown_alias;

-- an alias with several URLs; remove_relation removes every one
SELECT pictrepo.relate_url('https://example.com/' || n, 'one.png') FROM generate_series(2, 3) n;
SELECT pictrepo.relate_url('https://example.com/4', 'two.png');
SELECT pictrepo.set_accessed_alias('one.png', '2024-02-29');
SELECT pictrepo.remove_relation('one.png');
SELECT pictrepo.remove_relation('one.png');
-- the alias was accessed when its URLs were
SELECT pictrepo.alias_accessed_at('one.png') = '2024-02-29' AS accessed;
SELECT pictrepo.related('https://example.com/3'), pictrepo.related('https://example.com/4');
SELECT pictrepo.hash('one.png');

-- every spelling of an alias
SELECT pictrepo.create_alias('aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee.png', 't', '\xaa');
SELECT pictrepo.relate_url('https://example.com/u', 'AAAAAAAABBBB4CCC8DDDEEEEEEEEEEEE.png');
SELECT pictrepo.related('https://example.com/u');

-- URLs of 64 KiB that do not compress and differ only in the last byte
SELECT left(string_agg(md5(n::text), '' ORDER BY n), 65535) AS base FROM generate_series(1, 2048) n \gset
SELECT pictrepo.relate_url(:'base' || 'a', 'one.png'), pictrepo.relate_url(:'base' || 'b', 'two.png'),
	pictrepo.relate_url(:'base' || 'a', 'two.png') AS again;
SELECT pictrepo.related(:'base' || 'a'), pictrepo.related(:'base' || 'b'), pictrepo.related(:'base');
SELECT pictrepo.relate_url(repeat('u', 65537), 'one.png');

-- the table refuses a URL with the digest of another one
\set VERBOSITY terse
INSERT INTO pictrepo.proxies (digest, url, alias) VALUES (sha256('x'), 'y', 'one.png');
\set VERBOSITY default

-- errors
SELECT pictrepo.relate_url(NULL, 'one.png');
SELECT pictrepo.relate_url('', 'one.png');
SELECT pictrepo.relate_url('u', NULL);
SELECT pictrepo.related(NULL);
SELECT pictrepo.related('');
SELECT pictrepo.remove_relation(NULL);
SELECT pictrepo.cleanup_hash('\xaa');
SELECT count(*) FROM pictrepo.proxies;

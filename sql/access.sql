-- AliasAccessRepo and VariantAccessRepo: when aliases and variants were last served.
SET timezone = 'UTC';
SELECT pictrepo.create_hash('\xaa', 'a.png');
SELECT pictrepo.create_alias(name, 't', '\xaa') FROM unnest('{upload.png, cached.png, also.png, third.png}'::text[]) name;

-- an alias without a URL: never served, served now, served at a given time
SELECT pictrepo.alias_accessed_at('upload.png');
SELECT pictrepo.accessed_alias('upload.png');
SELECT pictrepo.alias_accessed_at('upload.png') BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp() AS now;
SELECT pictrepo.set_accessed_alias('upload.png', '2001-01-01');
SELECT pictrepo.alias_accessed_at('upload.png');
SELECT pictrepo.remove_alias_access('upload.png');
SELECT pictrepo.remove_alias_access('upload.png');
SELECT pictrepo.alias_accessed_at('upload.png');
SELECT pictrepo.accessed_alias('none.png'), pictrepo.set_accessed_alias('none.png', '2001-01-01'),
	pictrepo.alias_accessed_at('none.png'), pictrepo.remove_alias_access('none.png');

-- relate_url records the first access
SELECT pictrepo.relate_url('https://example.com/' || name, name) FROM unnest('{cached.png, also.png, third.png}'::text[]) name;
SELECT pictrepo.alias_accessed_at('cached.png') BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp() AS now;

-- accessed_alias writes nothing soon after an access; set_accessed_alias stores any time
SELECT pictrepo.set_accessed_alias('cached.png', now() - interval '30 seconds') AS set;
SELECT ctid AS place FROM pictrepo.proxies WHERE alias = 'cached.png' \gset
BEGIN;
SELECT pictrepo.accessed_alias('cached.png'), pg_current_xact_id_if_assigned() IS NULL AS wrote_nothing;
COMMIT;
SELECT ctid = :'place' AS not_written FROM pictrepo.proxies WHERE alias = 'cached.png';
SELECT pictrepo.set_accessed_alias('cached.png', now() - interval '90 seconds') AS set;
SELECT pictrepo.accessed_alias('cached.png');
SELECT pictrepo.alias_accessed_at('cached.png') > now() - interval '60 seconds' AS written;
SET pictrepo.access_resolution = 0;
SELECT ctid AS place FROM pictrepo.proxies WHERE alias = 'cached.png' \gset
SELECT pictrepo.accessed_alias('cached.png');
SELECT ctid = :'place' AS not_written FROM pictrepo.proxies WHERE alias = 'cached.png';
RESET pictrepo.access_resolution;

-- oldest first, ties in order of the name, no alias without a URL
SELECT pictrepo.set_accessed_alias(name, '2001-01-01') FROM unnest('{upload.png, cached.png, also.png}'::text[]) name;
SELECT pictrepo.set_accessed_alias('third.png', '2000-01-01');
SELECT * FROM pictrepo.older_aliases('2001-01-02');
SELECT * FROM pictrepo.older_aliases('2001-01-02', 2);
SELECT * FROM pictrepo.older_aliases('2001-01-01');
SELECT count(*) FROM pictrepo.older_aliases('infinity');
SELECT count(*) FROM pictrepo.older_aliases('2001-01-02', 0);

-- one row for an alias with several URLs, with its latest access
SELECT pictrepo.relate_url('https://example.com/more', 'also.png');
SELECT * FROM pictrepo.older_aliases('2001-01-02');
SELECT pictrepo.set_accessed_alias('also.png', '2000-06-01');
SELECT * FROM pictrepo.older_aliases('2001-01-02');

-- an alias without an access time is not listed
SELECT pictrepo.remove_alias_access('also.png');
SELECT pictrepo.remove_alias_access('also.png');
SELECT pictrepo.alias_accessed_at('also.png'), pictrepo.related('https://example.com/also.png');
SELECT * FROM pictrepo.older_aliases('2001-01-02');
SELECT pictrepo.accessed_alias('also.png'), pictrepo.alias_accessed_at('also.png') IS NOT NULL AS known_again;
SELECT count(*) AS urls, count(accessed) AS noted FROM pictrepo.proxies WHERE alias = 'also.png';

-- an alias that has lost its URL is not listed
SELECT pictrepo.remove_relation('third.png');
SELECT * FROM pictrepo.older_aliases('2001-01-02');

-- variants
SELECT pictrepo.relate_variant_identifier('\xaa', v, 'a/' || v) FROM unnest('{a, b, c}'::text[]) v;
SELECT pictrepo.variant_accessed_at('\xaa', 'a') BETWEEN now() - interval '1 minute' AND clock_timestamp() AS now;
BEGIN;
SELECT pictrepo.accessed_variant('\xaa', 'a'), pg_current_xact_id_if_assigned() IS NULL AS wrote_nothing;
COMMIT;
SELECT pictrepo.set_accessed_variant('\xaa', 'a', '2001-01-01');
SELECT pictrepo.variant_accessed_at('\xaa', 'a');
SELECT pictrepo.accessed_variant('\xaa', 'a');
SELECT pictrepo.variant_accessed_at('\xaa', 'a') > now() - interval '60 seconds' AS written;
SELECT pictrepo.set_accessed_variant('\xaa', v, '2001-01-01') FROM unnest('{c, b}'::text[]) v;
SELECT pictrepo.set_accessed_variant('\xaa', 'a', '2000-01-01');
SELECT * FROM pictrepo.older_variants('2001-01-02');
SELECT * FROM pictrepo.older_variants('2001-01-02', 2);
SELECT * FROM pictrepo.older_variants('2001-01-01', max := NULL);
SELECT pictrepo.remove_variant_access('\xaa', 'b');
SELECT pictrepo.remove_variant_access('\xaa', 'b');
SELECT pictrepo.variant_accessed_at('\xaa', 'b'), pictrepo.variant_identifier('\xaa', 'b');
SELECT * FROM pictrepo.older_variants('infinity');
SELECT pictrepo.accessed_variant('\xaa', 'none'), pictrepo.set_accessed_variant('\xbb', 'a', now()),
	pictrepo.variant_accessed_at('\xbb', 'a'), pictrepo.remove_variant_access('\xbb', 'a');

-- a call sees what an earlier call of the same statement created
SELECT pictrepo.create_alias('new.png', 't', '\xaa'), pictrepo.accessed_alias('new.png'),
	pictrepo.relate_variant_identifier('\xaa', 'new', 'i'), pictrepo.accessed_variant('\xaa', 'new');

-- errors
SELECT pictrepo.accessed_alias(NULL);
SELECT pictrepo.accessed_alias('');
SELECT pictrepo.set_accessed_alias('x', NULL);
SELECT pictrepo.set_accessed_alias('x', 'infinity');
SELECT pictrepo.alias_accessed_at(NULL);
SELECT pictrepo.older_aliases(NULL);
SELECT pictrepo.older_aliases(now(), -1);
SELECT pictrepo.remove_alias_access(NULL);
SELECT pictrepo.accessed_variant(NULL, 'v');
SELECT pictrepo.accessed_variant('\xaa', NULL);
SELECT pictrepo.set_accessed_variant('\xaa', 'v', NULL);
SELECT pictrepo.set_accessed_variant('\xaa', 'v', '-infinity');
SELECT pictrepo.variant_accessed_at('\xaa', '');
SELECT pictrepo.older_variants(NULL);
SELECT pictrepo.older_variants(now(), -1);
SELECT pictrepo.remove_variant_access(NULL, 'v');

-- many variants with the same access time: every one is listed, in order
INSERT INTO pictrepo.variants (hash, variant, identifier, accessed)
	SELECT '\xaa', 'v' || n, 'i', '1999-01-01' FROM generate_series(1, 2500) n;
SELECT count(*), count(DISTINCT variant) FROM pictrepo.older_variants('2000-01-01');
SELECT bool_and(variant > before) AS in_order
FROM (SELECT variant, lag(variant, 1, '') OVER (ORDER BY n) AS before
	FROM pictrepo.older_variants('2000-01-01') WITH ORDINALITY u (hash, variant, accessed, n)) o;
SELECT pictrepo.cleanup_hash('\xaa');

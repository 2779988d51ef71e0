--
-- Operations: one call for each task of an image host
--
\pset null '(null)'
\set one 11111111-1111-1111-1111-111111111111
\set two 22222222-2222-2222-2222-222222222222

-- Returns the files that are queued for removal, and removes them from the queue.
CREATE FUNCTION removed() RETURNS SETOF text LANGUAGE sql AS $$
	WITH gone AS (DELETE FROM pictrepo.job_queue WHERE queue = 'cleanup' RETURNING job)
	SELECT job -> 'Identifier' ->> 'identifier' FROM gone ORDER BY 1
$$;

-- storing
SELECT * FROM pictrepo.ingest('\x01', '1.png', '{"width": 1}', 'one.png', 'token', '2001-01-01 00:00Z');
SELECT * FROM pictrepo.ingest('\x01', '2.png', '{"width": 2}', 'two.png', 'token');
SELECT * FROM pictrepo.ingest('\x02', '3.png', '{"width": 3}', 'one.png', 'token');
SELECT identifier, created_at AT TIME ZONE 'UTC' AS created_at, details FROM pictrepo.hashes JOIN pictrepo.details USING (identifier);
SELECT alias, hash, delete_token FROM pictrepo.aliases ORDER BY alias;
SELECT * FROM removed();

-- a file that is ingested again is not queued for removal
SELECT * FROM pictrepo.ingest('\x01', '1.png', '{"width": 9}', 'three.png', 'token');
SELECT * FROM pictrepo.ingest('\x01', '1.png', '{"width": 9}', 'three.png', 'token');
SELECT * FROM removed();

-- details of a file that is queued for removal are removed, other details stay
SELECT pictrepo.relate_details('4.png', '{}');
SELECT * FROM pictrepo.ingest('\x01', '4.png', '{}', 'one.png', 'token');
SELECT pictrepo.details('4.png'), pictrepo.details('1.png');
SELECT * FROM removed();

-- blocked
SELECT pictrepo.block_hash('\x05'), pictrepo.block_hash('\x05');
SELECT * FROM pictrepo.ingest('\x05', '5.png', '{}', 'five.png', 'token');
SELECT hash, blocked_at <= now() AS then FROM pictrepo.blocked_hashes();
SELECT pictrepo.unblock_hash('\x05'), pictrepo.unblock_hash('\x05');
SELECT outcome FROM pictrepo.ingest('\x05', '6.png', '{}', 'five.png', 'token');
SELECT * FROM removed();

-- a rollback leaves neither an image nor a removal
BEGIN;
SELECT outcome FROM pictrepo.ingest('\x06', '7.png', '{}', 'six.png', 'token');
SELECT outcome FROM pictrepo.ingest('\x06', '8.png', '{}', 'seven.png', 'token');
ROLLBACK;
SELECT pictrepo.identifier('\x06'), count(*) FROM removed();

-- bad input
SELECT pictrepo.ingest(NULL, '1.png', '{}', 'a', 't');
SELECT pictrepo.ingest('\x01', '', '{}', 'a', 't');
SELECT pictrepo.ingest('\x01', '1.png', '{"width": 0}', 'a', 't');
SELECT pictrepo.ingest('\x01', '1.png', '{}', repeat('a', 300), 't');
SELECT pictrepo.ingest('\x01', '1.png', '{}', 'a', NULL);
SELECT pictrepo.ingest('\x01', '1.png', '{}', 'a', 't', 'infinity');

-- ingest as the end of a job
SELECT pictrepo.create_upload() AS upload \gset
SELECT pictrepo.push('process', '{"Ingest": {"identifier": "10.png"}}', upload => :'upload') AS job \gset
SELECT attempt FROM pictrepo.pop('process', :'one');
SELECT * FROM pictrepo.finish_ingest('process', :'two', :'job', :'upload', '\x10', '11.png', '{}', 'ten.png', 'token');
SELECT * FROM pictrepo.finish_ingest('process', :'two', :'job', :'upload', '\x10', '10.png', '{}', 'ten.png', 'token');
SELECT * FROM removed();
SELECT * FROM pictrepo.finish_ingest('process', :'one', :'job', :'upload', '\x10', '10.png', '{}', 'ten.png', 'token');
SELECT result FROM pictrepo.uploads;
SELECT count(*) FROM pictrepo.jobs;
SELECT pictrepo.claim(:'upload');
SELECT * FROM pictrepo.finish_ingest('process', :'one', :'job', :'upload', '\x10', '12.png', '{}', 'eleven.png', 'token');
SELECT * FROM removed();
SELECT pictrepo.create_upload() AS upload \gset
SELECT pictrepo.push_many('process', '{1,2,3}') AS jobs \gset
SELECT count(*) FROM pictrepo.pop('process', :'one', 3);
SELECT pictrepo.block_hash('\x13');
SELECT outcome FROM pictrepo.finish_ingest('process', :'one', (:'jobs'::uuid[])[1], :'upload', '\x13', '13.png', '{}', '13.png', 'token');
SELECT result FROM pictrepo.uploads;
SELECT outcome FROM pictrepo.finish_ingest('process', :'one', (:'jobs'::uuid[])[2], :'upload', '\x14', '14.png', '{}', 'ten.png', 'token');
SELECT result FROM pictrepo.uploads;
SELECT outcome FROM pictrepo.finish_ingest('process', :'one', (:'jobs'::uuid[])[3], NULL, '\x10', '15.png', '{}', '15.png', 'token');
SELECT * FROM removed();
SELECT count(*) FROM pictrepo.jobs;
SELECT pictrepo.claim(:'upload');

-- serving
SELECT pictrepo.relate_motion_identifier('\x01', '1.mp4'), pictrepo.relate_blurhash('\x01', 'LEHV6nWB2yk8');
SELECT * FROM pictrepo.serve('one.png');
SELECT * FROM pictrepo.serve('unknown.png');
SELECT pictrepo.set('404-alias', 'ten.png');
SELECT * FROM pictrepo.serve('unknown.png');
SELECT pictrepo.set('404-alias', 'unknown, too');
SELECT * FROM pictrepo.serve('unknown.png');
SELECT pictrepo.set('404-alias', '\xff00');
SELECT * FROM pictrepo.serve('unknown.png');
SELECT pictrepo.set('404-alias', '');
SELECT * FROM pictrepo.serve('unknown.png');
-- 404-alias in the form of pict-rs
SELECT outcome FROM pictrepo.ingest('\x0404', '404.png', '{}', 'FFEEDDCC-bbaa-4900-8877-665544332211.png', 'token');
SELECT pictrepo.set('404-alias', '\xffeeddccbbaa49008877665544332211' || convert_to('.png', 'UTF8'));
SELECT * FROM pictrepo.serve('unknown.png');
SELECT pictrepo.set('404-alias', 'FFEEDDCC-bbaa-4900-8877-665544332211.png');
SELECT original_identifier FROM pictrepo.serve_variant('unknown.png', 'thumb');
SELECT pictrepo.set('404-alias', '\xffeeddccbbaa49008877665544332211ff');
SELECT * FROM pictrepo.serve('unknown.png');
SELECT pictrepo.delete_alias('ffeeddcc-bbaa-4900-8877-665544332211.png', 'token');
SELECT pictrepo.remove('404-alias');
SELECT pictrepo.alias_accessed_at('one.png');
SELECT identifier FROM pictrepo.serve('one.png', touch => true);
SELECT pictrepo.alias_accessed_at('one.png') <= clock_timestamp() AS touched;

-- a URL of another host
SELECT * FROM pictrepo.serve_url('https://example.org/one.png');
SELECT pictrepo.relate_url('https://example.org/one.png', 'two.png'), pictrepo.set_accessed_alias('two.png', '2001-01-01');
SELECT identifier, fallback, alias FROM pictrepo.serve_url('https://example.org/one.png', touch => false);
SELECT pictrepo.alias_accessed_at('two.png') = '2001-01-01' AS untouched;
SELECT identifier, fallback, alias FROM pictrepo.serve_url('https://example.org/one.png');
SELECT pictrepo.alias_accessed_at('two.png') > '2001-01-01' AS touched;
-- where nothing can be written, the answer is the same, without the access time
SELECT pictrepo.set_accessed_alias('two.png', '2001-01-01');
BEGIN READ ONLY;
SELECT identifier, fallback, alias FROM pictrepo.serve_url('https://example.org/one.png');
SELECT identifier FROM pictrepo.serve('two.png', touch => true);
SELECT original_identifier FROM pictrepo.serve_variant('two.png', 'thumb');
SELECT pictrepo.alias_accessed_at('two.png') = '2001-01-01' AS untouched;
SELECT pictrepo.accessed_alias('two.png');
ROLLBACK;

-- variants
SELECT hash, identifier, details, fallback, original_identifier, original_details FROM pictrepo.serve_variant('one.png', 'thumb');
SELECT pictrepo.finish_variant('\x01', 'thumb', :'one', '20.png', '{"width": 20}');
SELECT pictrepo.claim_variant_processing_rights('\x01', 'thumb', :'one');
SELECT pictrepo.finish_variant('\x01', 'thumb', :'two', '21.png', '{"width": 20}');
SELECT pictrepo.finish_variant('\x01', 'thumb', :'one', '22.png', '{"width": 20}');
SELECT pictrepo.finish_variant('\x01', 'thumb', :'one', '23.png', '{"width": 20}');
SELECT pictrepo.finish_variant('\x01', 'thumb', :'one', '22.png', '{"width": 20}');
SELECT pictrepo.finish_variant('\xff', 'thumb', :'one', '24.png', '{}');
SELECT * FROM removed();
SELECT count(*) FROM pictrepo.variant_claims;
SELECT pictrepo.set_accessed_variant('\x01', 'thumb', '2001-01-01');
SELECT identifier, details, original_identifier FROM pictrepo.serve_variant('one.png', 'thumb', touch => false);
SELECT pictrepo.variant_accessed_at('\x01', 'thumb') = '2001-01-01' AS untouched;
SELECT identifier, details, original_identifier FROM pictrepo.serve_variant('one.png', 'thumb');
SELECT pictrepo.variant_accessed_at('\x01', 'thumb') > '2001-01-01' AS touched;
SELECT * FROM pictrepo.serve_variant('unknown.png', 'thumb');

-- pages
SELECT jsonb_pretty(jsonb_agg(image - 'created_at' #- '{aliases,0,accessed}' #- '{aliases,2,accessed}' #- '{variants,0,accessed}'))
FROM pictrepo.page(page_limit => 10), jsonb_array_elements(images) image
WHERE image ->> 'hash' IN ('01', '10');
SELECT current IS NOT NULL AS current, prev, next IS NOT NULL AS next, jsonb_array_length(images) FROM pictrepo.page(page_limit => 1);
SELECT images #>> '{0,hash}' FROM pictrepo.page_by_date('2001-01-02');
SELECT current, prev IS NULL AS prev, next, images FROM pictrepo.page_by_date('2000-01-01');
SELECT pictrepo.page('no slug');
SELECT pictrepo.page(page_limit => 0);
SELECT identifiers FROM pictrepo.prune_page();
SELECT alias FROM pictrepo.aliases_created(now() - interval '1 hour', 'infinity');
SELECT alias FROM pictrepo.aliases_created(now() - interval '1 hour', 'infinity', page_limit => 2);
SELECT alias FROM pictrepo.aliases_created('2001-01-01', '2001-01-02');
SELECT format, day = (now() AT TIME ZONE 'UTC')::date AS today, images, bytes FROM pictrepo.usage ORDER BY 2, 3;
SELECT * FROM pictrepo.orphans;

-- a file moves to another store
SELECT pictrepo.migrate_identifier('1.png', 'new/1.png'), pictrepo.migrate_identifier('1.mp4', 'new/1.mp4'),
	pictrepo.migrate_identifier('22.png', 'new/22.png');
SELECT identifier, motion_identifier FROM pictrepo.hashes WHERE hash = '\x01';
SELECT identifier FROM pictrepo.variants('\x01');
SELECT pictrepo.details('new/1.png'), pictrepo.details('1.png'), pictrepo.is_migrated('22.png');
SELECT pictrepo.migrate_identifier('1.png', 'newer/1.png');
SELECT pictrepo.migrate_identifier('unknown.png', 'new/1.png');
SELECT pictrepo.migrate_identifier('1.png', '1.png');
SELECT * FROM removed();
SELECT pictrepo.clear();

-- deleting
SELECT pictrepo.delete_alias('one.png', 'wrong'), pictrepo.delete_alias('unknown.png', 'token');
SELECT pictrepo.delete_alias('one.png', 'token'), pictrepo.delete_alias('one.png', 'token');
SELECT count(*) FROM removed();
SELECT pictrepo.delete_alias('two.png', 'token');
SELECT pictrepo.related('https://example.org/one.png');
SELECT pictrepo.delete_alias('three.png', 'token');
SELECT pictrepo.identifier('\x01'), pictrepo.details('new/1.png'), pictrepo.variant_identifier('\x01', 'thumb');
SELECT * FROM removed();
SELECT * FROM pictrepo.orphans;

-- a file stays while another image names it
SELECT outcome FROM pictrepo.ingest('\x30', '30.png', '{}', 'thirty.png', 'token');
SELECT * FROM pictrepo.ingest('\x31', '30.png', '{"width": 31}', 'thirty-one.png', 'token');
SELECT pictrepo.delete_alias('thirty.png', 'token'), pictrepo.details('30.png');
SELECT * FROM removed();
SELECT pictrepo.delete_alias('thirty-one.png', 'token'), pictrepo.details('30.png');
SELECT * FROM removed();

-- purging
SELECT outcome FROM unnest('{c,a,b}'::text[]) alias, pictrepo.ingest('\x40', '40.png', '{}', alias, 'token');
SELECT * FROM pictrepo.purge('b');
SELECT * FROM pictrepo.purge('b');
SELECT outcome FROM pictrepo.ingest('\x40', '41.png', '{}', 'a', 'token');
SELECT * FROM pictrepo.purge('a', block => true);
SELECT outcome FROM pictrepo.ingest('\x40', '42.png', '{}', 'a', 'token');
SELECT * FROM removed();

-- expiry
SELECT outcome FROM generate_series(50, 55) n, pictrepo.ingest(decode(n::text, 'hex'), n || '.png', '{}', n::text, 'token');
SELECT pictrepo.relate_url('https://example.org/' || n, n::text), pictrepo.set_accessed_alias(n::text, date '2001-01-01' + n)
FROM generate_series(50, 53) n;
SELECT outcome FROM pictrepo.ingest('\x51', 'x.png', '{}', 'mine', 'token');
SELECT * FROM removed();
SELECT pictrepo.expire_proxies('2001-01-01');
SELECT pictrepo.expire_proxies('2010-01-01', max => 2);
SELECT alias FROM pictrepo.aliases WHERE alias ~ '^5|mine' ORDER BY alias;
SELECT * FROM removed();
SELECT pictrepo.expire_proxies('2010-01-01'), pictrepo.expire_proxies('infinity');
SELECT alias FROM pictrepo.aliases WHERE alias ~ '^5|mine' ORDER BY alias;
SELECT * FROM removed();
SELECT pictrepo.relate_variant_identifier('\x54', n::text, n || '.jpg'), pictrepo.set_accessed_variant('\x54', n::text, date '2001-01-01' + n)
FROM generate_series(1, 4) n;
SELECT pictrepo.relate_details('1.jpg', '{}');
SELECT pictrepo.expire_variants('2001-01-04', max => 1), pictrepo.expire_variants('2001-01-04'), pictrepo.expire_variants('2001-01-04');
SELECT variant FROM pictrepo.variants('\x54');
SELECT * FROM removed();
SELECT pictrepo.expire_variants(NULL), 1;
SELECT pictrepo.expire_variants('2001-01-01', max => 0);
SELECT pictrepo.run_maintenance('variants'), pictrepo.run_maintenance('proxies');
SELECT count(*) FROM pictrepo.variants('\x54');

-- missing files
SELECT pictrepo.forget_missing('3.jpg'), pictrepo.forget_missing('3.jpg');
SELECT variant FROM pictrepo.variants('\x54');
SELECT pictrepo.relate_motion_identifier('\x54', '54.mp4'), pictrepo.forget_missing('54.mp4'), pictrepo.motion_identifier('\x54');
SELECT pictrepo.forget_missing('54.png');
SELECT pictrepo.identifier('\x54'), pictrepo.hash('54');
-- what else the image had is removed; the lost file is not there
SELECT * FROM removed();

SELECT count(*) > 0 AS purged FROM pictrepo.aliases, pictrepo.purge(alias);
SELECT pictrepo.unblock_hash(hash) FROM pictrepo.blocked_hashes();
SELECT * FROM pictrepo.orphans;
SELECT pictrepo.size(), (SELECT count(*) FROM pictrepo.details);
SELECT count(*) > 0 AS some FROM removed();
DROP FUNCTION removed;

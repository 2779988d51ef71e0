-- The examples of doc/reference.md: one statement for each function, in the order in which they run.
--
--     -- example: NAME   The reference shows the statement that follows, and its result, beneath the function.
--     -- step            The statements that follow prepare the next example. The reference does not show them.
--
-- `make docs` runs this file with psql on a new database. A function without an example, an example that does
-- not call its function and a statement that fails are errors. test/checks/reference compares the results.

-- ---------------------------------------------------------------------------
-- Values
-- ---------------------------------------------------------------------------

-- example: make_hash
SELECT pictrepo.make_hash(sha256('the bytes of the file'), 21, 'png') AS cat;
-- step
SELECT pictrepo.make_hash(sha256('the bytes of the file'), 21, 'png') AS cat \gset
SELECT pictrepo.make_hash(sha256('another file'), 12, 'webp') AS dog \gset
SELECT pictrepo.hash_to_slug(:'cat') AS slug \gset

-- example: hash_sha256
SELECT pictrepo.hash_sha256(:'cat');
-- example: hash_size
SELECT pictrepo.hash_size(:'cat');
-- example: hash_format
SELECT pictrepo.hash_format(:'cat');
-- example: hash_to_slug
SELECT pictrepo.hash_to_slug(:'cat');
-- example: hash_from_slug
SELECT pictrepo.hash_from_slug(:'slug');
-- example: url_digest
SELECT pictrepo.url_digest('https://example.org/cat.png');
-- example: id_time
SELECT pictrepo.id_time('01a20578-f357-7fc6-8006-3df1677674ac');
-- example: id_node
SELECT pictrepo.id_node('01a20578-f357-7fc6-8006-3df1677674ac');
-- example: session_worker
SELECT pictrepo.session_worker();

-- ---------------------------------------------------------------------------
-- Hashes, aliases, proxies, details
-- ---------------------------------------------------------------------------

-- example: create_hash
SELECT pictrepo.create_hash(:'cat', 'a1/cat.png');
-- step
UPDATE pictrepo.hashes SET created_at = '2026-01-01 12:00+00';
-- example: create_hash_with_timestamp
SELECT pictrepo.create_hash_with_timestamp(:'dog', 'a1/dog.webp', '2026-01-02 12:00+00');
-- example: size
SELECT pictrepo.size();
-- example: hashes
SELECT pictrepo.hash_format(hash) FROM pictrepo.hashes() AS hash;
-- example: bound
SELECT created_at, hash = :'cat' AS same FROM pictrepo.bound(:'cat');
-- example: hash_page
SELECT prev, current, next FROM pictrepo.hash_page(page_limit => 1);
-- example: hash_page_by_date
SELECT prev, current, next FROM pictrepo.hash_page_by_date('2026-01-02');
-- example: hashes_ordered
SELECT next, hashes = ARRAY[:'dog'::bytea] AS same
FROM pictrepo.hashes_ordered('2026-01-02 12:00+00', :'dog', 1);
-- example: update_identifier
SELECT pictrepo.update_identifier(:'dog', 'b2/dog.webp');
-- example: identifier
SELECT pictrepo.identifier(:'dog');
-- example: relate_blurhash
SELECT pictrepo.relate_blurhash(:'cat', 'LEHV6nWB2yk8pyo0adR*.7kCMdnj');
-- example: blurhash
SELECT pictrepo.blurhash(:'cat');
-- example: relate_motion_identifier
SELECT pictrepo.relate_motion_identifier(:'cat', 'a1/cat.mp4');
-- example: motion_identifier
SELECT pictrepo.motion_identifier(:'cat');

-- example: create_alias
SELECT pictrepo.create_alias('cat.png', 'delete-me', :'cat');
-- step
SELECT pictrepo.create_alias('kitten.png', 'delete-me', :'cat');
-- example: hash
SELECT pictrepo.hash('cat.png');
-- example: delete_token
SELECT pictrepo.delete_token('cat.png');
-- example: check_delete_token
SELECT pictrepo.check_delete_token('cat.png', 'delete-me');
-- example: aliases_for_hash
SELECT pictrepo.aliases_for_hash(:'cat');
-- example: identifier_from_alias
SELECT pictrepo.identifier_from_alias('cat.png');
-- example: aliases_from_alias
SELECT pictrepo.aliases_from_alias('cat.png');
-- example: cleanup_alias
SELECT pictrepo.cleanup_alias('kitten.png');

-- example: relate_url
SELECT pictrepo.relate_url('https://example.org/cat.png', 'cat.png');
-- example: related
SELECT pictrepo.related('https://example.org/cat.png');

-- example: relate_details
SELECT pictrepo.relate_details('a1/cat.png', '{"width": 640, "height": 480}');
-- example: details
SELECT pictrepo.details('a1/cat.png');
-- step
SELECT pictrepo.relate_details('lost.png', '{}');
-- example: cleanup_details
SELECT pictrepo.cleanup_details('lost.png');

-- ---------------------------------------------------------------------------
-- Variants
-- ---------------------------------------------------------------------------

-- example: relate_variant_identifier
SELECT pictrepo.relate_variant_identifier(:'cat', 'thumbnail.128', 'c3/cat.128.webp');
-- example: variant_identifier
SELECT pictrepo.variant_identifier(:'cat', 'thumbnail.128');
-- example: variants
SELECT * FROM pictrepo.variants(:'cat');
-- example: claim_variant_processing_rights
SELECT pictrepo.claim_variant_processing_rights(:'cat', 'thumbnail.256');
-- example: variant_heartbeat
SELECT pictrepo.variant_heartbeat(:'cat', 'thumbnail.256');
-- example: finish_variant
SELECT pictrepo.finish_variant(:'cat', 'thumbnail.256', NULL, 'c3/cat.256.webp',
    '{"width": 256, "height": 192}');
-- example: variant_waiter
SELECT pictrepo.variant_waiter(:'cat', 'thumbnail.256', '30 s');
-- step
SELECT pictrepo.claim_variant_processing_rights(:'cat', 'blur.5');
-- example: notify_variant
SELECT pictrepo.notify_variant(:'cat', 'blur.5');

-- ---------------------------------------------------------------------------
-- Access times
-- ---------------------------------------------------------------------------

-- example: accessed_alias
SELECT pictrepo.accessed_alias('cat.png');
-- example: set_accessed_alias
SELECT pictrepo.set_accessed_alias('cat.png', '2026-01-03 12:00+00');
-- example: alias_accessed_at
SELECT pictrepo.alias_accessed_at('cat.png');
-- example: older_aliases
SELECT * FROM pictrepo.older_aliases('2026-02-01');
-- example: remove_alias_access
SELECT pictrepo.remove_alias_access('cat.png');
-- example: accessed_variant
SELECT pictrepo.accessed_variant(:'cat', 'thumbnail.128');
-- example: set_accessed_variant
SELECT pictrepo.set_accessed_variant(:'cat', 'thumbnail.128', '2026-01-03 12:00+00');
-- example: variant_accessed_at
SELECT pictrepo.variant_accessed_at(:'cat', 'thumbnail.128');
-- example: older_variants
SELECT variant, accessed FROM pictrepo.older_variants('2026-02-01');
-- example: expire_variants
SELECT pictrepo.expire_variants('2026-02-01');
-- example: remove_variant_access
SELECT pictrepo.remove_variant_access(:'cat', 'thumbnail.256');
-- example: remove_variant
SELECT pictrepo.remove_variant(:'cat', 'thumbnail.256');

-- ---------------------------------------------------------------------------
-- Settings of the image host, store migration
-- ---------------------------------------------------------------------------

-- example: set
SELECT pictrepo.set('404-alias', 'cat.png');
-- example: get
SELECT convert_from(pictrepo.get('404-alias'), 'UTF8') AS value;

-- example: mark_migrated
SELECT pictrepo.mark_migrated('old/1.png', 's3/1.png');
-- example: is_migrated
SELECT pictrepo.is_migrated('old/1.png');
-- example: is_continuing_migration
SELECT pictrepo.is_continuing_migration();
-- example: clear
SELECT pictrepo.clear();

-- ---------------------------------------------------------------------------
-- Queue
-- ---------------------------------------------------------------------------

-- example: push
SELECT pictrepo.push('process', '{"picture": "cat.png"}', priority => 5);
-- example: push_many
SELECT unnest(pictrepo.push_many('process', ARRAY['{"picture": 1}', '{"picture": 2}']::jsonb[])) AS id;
-- example: queue_length
SELECT pictrepo.queue_length('process');
-- example: pop
SELECT * FROM pictrepo.pop('process', wait => '10 s');
-- step
SELECT id AS job, attempt FROM pictrepo.jobs WHERE state = 'running' \gset
-- example: heartbeat
SELECT pictrepo.heartbeat('process', NULL, :'job', :attempt);
-- example: pulse
SELECT pictrepo.pulse(:'job');
-- example: complete_job
SELECT pictrepo.complete_job('process', NULL, :'job', 'success', attempt => :attempt);
-- example: pop_wait
CALL pictrepo.pop_wait('process', timeout => '10 min');
-- step
SELECT id AS job FROM pictrepo.jobs WHERE state = 'running' \gset
-- example: complete_and_pop
SELECT outcome, id, job FROM pictrepo.complete_and_pop('process', NULL, :'job', attempt => :attempt);
-- step
SELECT id AS job FROM pictrepo.jobs WHERE state = 'running' \gset
-- example: complete_many
SELECT pictrepo.complete_many('process', NULL, ARRAY[:'job'::uuid], 'failure', 'out of memory', ARRAY[:attempt]);
-- example: configure_queue
SELECT pictrepo.configure_queue('process', retries => 3, backoff => '10 s', max_running => 20);
-- example: pause_queue
SELECT pictrepo.pause_queue('process');
-- example: resume_queue
SELECT pictrepo.resume_queue('process');
-- example: queue_counters
SELECT pushed, popped, completed, failed FROM pictrepo.queue_counters() WHERE queue = 'process';
-- example: counting
SELECT pictrepo.counting();
-- step
SELECT pictrepo.push('mail', '1', retry => 0) AS dead \gset
SELECT pictrepo.complete_job('mail', NULL, id, 'failure') FROM pictrepo.pop('mail');
-- example: requeue_dead
SELECT pictrepo.requeue_dead(:'dead');
-- example: update_job
SELECT pictrepo.update_job(:'dead', priority => 10, run_at => now() + interval '1 hour');
-- example: cancel_job
SELECT pictrepo.cancel_job(:'dead');
-- example: cancel_jobs
SELECT pictrepo.cancel_jobs('mail', unique_key => 'newsletter');
-- example: delete_dead
SELECT pictrepo.delete_dead('mail', '%no such address%');
-- step
SELECT pictrepo.push('mail', '2');
SELECT id AS job FROM pictrepo.pop('mail') \gset
-- example: release_job
SELECT pictrepo.release_job('mail', NULL, :'job', run_at => now() + interval '10 minutes');
-- step
SELECT pictrepo.cancel_jobs('mail'), pictrepo.configure_queue('mail', retries => 2);
-- example: drop_queue
SELECT pictrepo.drop_queue('mail');

-- ---------------------------------------------------------------------------
-- Schedules
-- ---------------------------------------------------------------------------

-- step
BEGIN;
-- example: schedule_job
SELECT pictrepo.schedule_job('tidy', 'cleanup', '"OutdatedVariants"', every => '1 hour');
-- example: run_schedules
SELECT pictrepo.run_schedules();
-- example: unschedule_job
SELECT pictrepo.unschedule_job('tidy');
-- step
COMMIT;
-- example: next_run
SELECT pictrepo.next_run('30 4 * * mon-fri', '2026-11-20 12:00+00');

-- ---------------------------------------------------------------------------
-- Uploads and operations
-- ---------------------------------------------------------------------------

-- example: create_upload
SELECT pictrepo.create_upload() AS upload;
-- step
SELECT id AS upload FROM pictrepo.uploads \gset
SELECT pictrepo.make_hash(sha256('a third file'), 12, 'jpeg') AS bird \gset
SELECT pictrepo.push('ingest', '{"identifier": "d4/bird.jpg"}', upload => :'upload');
SELECT id AS job, attempt FROM pictrepo.pop('ingest') \gset
-- example: finish_ingest
SELECT * FROM pictrepo.finish_ingest('ingest', NULL, :'job', :'upload', :'bird', 'd4/bird.jpg',
    '{"width": 640}', 'bird.jpg', 'delete-me', created_at => '2026-01-04 12:00+00', attempt => :attempt);
-- example: wait
SELECT pictrepo.wait(:'upload', '30 s');
-- example: claim
SELECT pictrepo.claim(:'upload');
-- step
SELECT pictrepo.create_upload() AS upload \gset
-- example: complete_upload
SELECT pictrepo.complete_upload(:'upload', '{"Failure": {"message": "not an image", "code": "invalid"}}');

-- example: ingest
SELECT * FROM pictrepo.ingest(:'bird', 'e5/copy.jpg', '{"width": 640}', 'sparrow.jpg', 'delete-me',
    created_at => '2026-01-05 12:00+00');
-- example: aliases_created
SELECT alias, created_at FROM pictrepo.aliases_created(now() - interval '1 hour', now());
-- example: serve
SELECT identifier, details, fallback FROM pictrepo.serve('bird.jpg', touch => true);
-- example: serve_url
SELECT alias, identifier, details FROM pictrepo.serve_url('https://example.org/cat.png');
-- example: serve_variant
SELECT identifier, original_identifier FROM pictrepo.serve_variant('bird.jpg', 'thumbnail.128');
-- example: page
SELECT current, images -> 0 ->> 'identifier' AS identifier FROM pictrepo.page(page_limit => 1);
-- example: page_by_date
SELECT current, images -> 0 ->> 'identifier' AS identifier FROM pictrepo.page_by_date('2026-01-04', 1);
-- example: prune_page
SELECT next, identifiers FROM pictrepo.prune_page(page_limit => 2);
-- example: migrate_identifier
SELECT pictrepo.migrate_identifier('d4/bird.jpg', 's3/bird.jpg');
-- example: delete_alias
SELECT pictrepo.delete_alias('sparrow.jpg', 'delete-me');
-- example: purge
SELECT pictrepo.purge('bird.jpg', block => true);
-- example: blocked_hashes
SELECT hash = :'bird' AS same, blocked_at FROM pictrepo.blocked_hashes();
-- example: unblock_hash
SELECT pictrepo.unblock_hash(:'bird');
-- example: block_hash
SELECT pictrepo.block_hash(:'bird');
-- example: forget_missing
SELECT pictrepo.forget_missing('b2/dog.webp');
-- step
SELECT pictrepo.create_hash('\x01', 'f6/one.png');
-- example: cleanup_hash
SELECT pictrepo.cleanup_hash('\x01');

-- ---------------------------------------------------------------------------
-- Moving
-- ---------------------------------------------------------------------------

-- example: export
SELECT line FROM pictrepo.export() AS line WHERE line LIKE '{"setting"%';
-- example: import
SELECT pictrepo.import('{"setting": {"key": "theme", "value": "6461726b"}}');
-- example: import_lines
SELECT line, outcome, sqlstate FROM pictrepo.import_lines(ARRAY[
    '{"setting": {"key": "theme", "value": "6461726b"}}',
    '{"image": {"hash": "02"}}']);
-- step
CREATE SCHEMA pictrs;
-- example: export_pictrs
CALL pictrepo.export_pictrs('pictrs');
-- example: import_pictrs
CALL pictrepo.import_pictrs('pictrs');

-- step
SELECT pictrepo.set_accessed_alias('cat.png', '2026-01-03 12:00+00');
-- example: expire_proxies
SELECT pictrepo.expire_proxies('2026-02-01');
-- step
SELECT pictrepo.create_hash(:'cat', 'a1/cat.png'), pictrepo.create_alias('cat.png', 'delete-me', :'cat');
SELECT pictrepo.relate_url('https://example.org/cat.png', 'cat.png');
-- example: remove_relation
SELECT pictrepo.remove_relation('cat.png');
-- example: remove
SELECT pictrepo.remove('404-alias');

-- ---------------------------------------------------------------------------
-- The server
-- ---------------------------------------------------------------------------

-- step
DO $$ BEGIN
	FOR n IN 1 .. 300 LOOP
		EXIT WHEN pictrepo.health_check() LIKE '%worker on';
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;
-- example: health_check
SELECT pictrepo.health_check();
-- example: server_state
SELECT library, preload, room FROM pictrepo.server_state();
-- example: status
SELECT item, value FROM pictrepo.status() WHERE item IN ('server', 'preload', 'images');
-- example: start_worker
SELECT pictrepo.start_worker();
-- example: run_maintenance
SELECT pictrepo.run_maintenance('reap');
-- example: recount
SELECT * FROM pictrepo.recount();
-- step
BEGIN;
-- example: pre_restore
SELECT pictrepo.pre_restore('2 hours') - clock_timestamp() > '1 hour' AS held;
-- example: upkeep_held_by
SELECT pictrepo.upkeep_held_by() LIKE 'pre_restore() until %' AS held;
-- example: post_restore
SELECT pictrepo.post_restore();
-- step
ROLLBACK;
-- example: maintenance_status
SELECT duty, every FROM pictrepo.maintenance_status() WHERE duty IN ('reap', 'uploads');
-- step
BEGIN;
DO $$ BEGIN CREATE ROLE imagehost; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
-- example: grant_access
SELECT pictrepo.grant_access('imagehost', 'writer');
-- step
ROLLBACK;
BEGIN;
-- example: lock_row
SELECT queue, pictrepo.lock_row(tableoid, ctid, false) FROM pictrepo.queues;
-- step
ROLLBACK;
\! psql -Xqc "CALL pictrepo.pop_wait('thumbnails', timeout => '30 s')" >/dev/null &
DO $$ BEGIN
	FOR n IN 1 .. 300 LOOP
		EXIT WHEN EXISTS (SELECT FROM pictrepo.waiting_sessions());
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;
-- example: waiting_sessions
SELECT waits_for, name FROM pictrepo.waiting_sessions();
-- step
SELECT pictrepo.push('thumbnails', '1');

-- FullRepo: health, status, and the image of an alias.
SELECT pictrepo.create_hash('\xaa', 'a.png');
SELECT pictrepo.create_alias(alias, 't', '\xaa') FROM unnest('{c.png, a.png, b.png}'::text[]) alias;
SELECT pictrepo.identifier_from_alias('b.png'), pictrepo.identifier_from_alias('d.png');
SELECT * FROM pictrepo.aliases_from_alias('b.png');
SELECT * FROM pictrepo.aliases_from_alias('d.png');
SELECT pictrepo.cleanup_hash('\xaa');

-- preload and worker differ between the servers of the test
SELECT regexp_replace(regexp_replace(pictrepo.health_check(), '; failing: .*', ''), '(on|off)\M', '<on/off>', 'g');
SELECT pictrepo.health_check() ~ 'preload on' =
	('pictrepo' = ANY (string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ','))) AS says_so;

-- what status() asks the library
SELECT library = (SELECT extversion FROM pg_extension WHERE extname = 'pictrepo') AS same_version,
	preload = (pictrepo.health_check() ~ 'preload on') AS says_so, room, transfer_lock > 2 AS own_lock
FROM pictrepo.server_state();

-- status of a repo without problems, and of one with problems
SELECT item, CASE WHEN item IN ('library', 'schema', 'server', 'images', 'jobs', 'schedules') THEN value END AS value
FROM pictrepo.status();
BEGIN;
UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'pictrepo';
SELECT pictrepo.pause_queue('b'), pictrepo.pause_queue('a');
SELECT pictrepo.push('a', '1', run_at => now() - interval '1 day') AS old, pictrepo.push('b', '2', run_at => now() + interval '1 day') \gset pushed_
INSERT INTO pictrepo.dead_jobs SELECT id, queue, job, 0, now(), now(), 1 FROM pictrepo.job_queue;
SELECT pictrepo.schedule_job('broken', 'a', '1', every => '1 day') \gset next_
UPDATE pictrepo.schedules SET error = 'no such time';
SELECT pictrepo.mark_migrated('1', '2') AND pictrepo.create_upload() IS NOT NULL AS changed;
SELECT item, regexp_replace(value, '1 day.*', '1 day') AS value, advice FROM pictrepo.status()
WHERE item NOT IN ('library', 'preload', 'worker', 'upkeep', 'waiting sessions');
ROLLBACK;

SELECT pictrepo.identifier_from_alias(NULL);
SELECT pictrepo.identifier_from_alias('');
SELECT pictrepo.aliases_from_alias(NULL);

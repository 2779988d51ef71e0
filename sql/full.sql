-- FullRepo: health, and what follows from an alias.
SELECT pictrepo.create_hash('\xaa', 'a.png');
SELECT pictrepo.create_alias(alias, 't', '\xaa') FROM unnest('{c.png, a.png, b.png}'::text[]) alias;
SELECT pictrepo.identifier_from_alias('b.png'), pictrepo.identifier_from_alias('d.png');
SELECT * FROM pictrepo.aliases_from_alias('b.png');
SELECT * FROM pictrepo.aliases_from_alias('d.png');
SELECT pictrepo.cleanup_hash('\xaa');

-- what runs differs from server to server, with its preload
SELECT regexp_replace(pictrepo.health_check(), '(on|off)\M', '<on/off>', 'g');
SELECT pictrepo.health_check() ~ 'preload on' =
	('pictrepo' = ANY (string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ','))) AS says_so;

SELECT pictrepo.identifier_from_alias(NULL);
SELECT pictrepo.identifier_from_alias('');
SELECT pictrepo.aliases_from_alias(NULL);

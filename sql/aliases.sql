-- AliasRepo: the names under which images are served, and their delete tokens.
SELECT pictrepo.create_hash('\xaa', 'a.png');

SELECT pictrepo.create_alias('cat.png', 'token one', '\xaa');
SELECT pictrepo.create_alias('cat.png', 'token two', '\xaa');
SELECT pictrepo.create_alias('cat.png', 'token two', '\xbb') AS unknown_hash;
SELECT pictrepo.delete_token('cat.png'), pictrepo.hash('cat.png');
SELECT pictrepo.delete_token('dog.png'), pictrepo.hash('dog.png');

-- a call sees what an earlier call of the same statement created
SELECT pictrepo.create_hash('\xcc', 'c.png'), pictrepo.create_alias('c.png', 't', '\xcc'), pictrepo.create_alias('c.png', 't', '\xcc');
SELECT pictrepo.cleanup_hash('\xcc');

-- aliases are case-sensitive
SELECT pictrepo.create_alias('Cat.png', 't', '\xaa'), pictrepo.hash('CAT.PNG') IS NULL AS another;

-- every spelling of a UUID is the same alias; the extension keeps its case
SELECT pictrepo.create_alias('AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE.tar.GZ', 't', '\xaa');
SELECT pictrepo.create_alias(alias, 't', '\xaa') AS created, alias
FROM unnest('{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee.tar.GZ, AAAAAAAABBBB4CCC8DDDEEEEEEEEEEEE.tar.GZ,
	"{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee}.tar.GZ", urn:uuid:aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee.tar.GZ,
	URN:UUID:AAAAAAAA-bbbb-4ccc-8ddd-eeeeeeeeeeee.tar.GZ}'::text[]) alias;
-- these stems are not UUIDs
SELECT pictrepo.create_alias(alias, 't', '\xaa') AS created, alias
FROM unnest('{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee.TAR.gz, aaaaaaaabbbb-4ccc-8ddd-eeeeeeeeeeee.x,
	"{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee.x", gaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee.x,
	.aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee}'::text[]) alias;
SELECT * FROM pictrepo.aliases_for_hash('\xaa');
SELECT * FROM pictrepo.aliases_for_hash('\xbb');

-- tokens must be equal; every spelling of a UUID is equal
SELECT pictrepo.check_delete_token('cat.png', 'token one') AS right, pictrepo.check_delete_token('cat.png', 'token on') AS shorter,
	pictrepo.check_delete_token('cat.png', 'token one ') AS longer, pictrepo.check_delete_token('cat.png', 'Token one') AS other_case,
	pictrepo.check_delete_token('dog.png', 'token one') AS no_alias;
SELECT pictrepo.create_alias('uuid.png', '01234567-89ab-4cde-8f01-23456789abcd', '\xaa');
SELECT pictrepo.check_delete_token('uuid.png', token) FROM unnest('{01234567-89AB-4CDE-8F01-23456789ABCD,
	0123456789ab4cde8f0123456789abcd, "{01234567-89ab-4cde-8f01-23456789abcd}",
	urn:uuid:01234567-89ab-4cde-8f01-23456789abcd, 01234567-89ab-4cde-8f01-23456789abce}'::text[]) token;
-- a token that is a UUID is stored in its normal form
SELECT pictrepo.create_alias('spelled.png', 'URN:UUID:01234567-89AB-4CDE-8F01-23456789ABCD', '\xaa');
SELECT pictrepo.delete_token('spelled.png');
SELECT pictrepo.cleanup_alias('spelled.png');
SELECT pictrepo.create_alias('long.png', repeat('t', 255), '\xaa');
SELECT pictrepo.check_delete_token('long.png', repeat('t', 255)), pictrepo.check_delete_token('long.png', repeat('t', 254));

-- cleanup_alias also removes the proxies
SELECT pictrepo.relate_url('https://example.com/cat', 'cat.png');
SELECT pictrepo.cleanup_alias('cat.png');
SELECT pictrepo.cleanup_alias('cat.png');
SELECT pictrepo.related('https://example.com/cat');
SELECT pictrepo.cleanup_alias('urn:uuid:AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE.tar.GZ');

-- errors do not show a token
SELECT pictrepo.create_alias(NULL, 't', '\xaa');
SELECT pictrepo.create_alias('x', NULL, '\xaa');
SELECT pictrepo.create_alias('x', 't', NULL);
SELECT pictrepo.create_alias('', 't', '\xaa');
SELECT pictrepo.create_alias('x', '', '\xaa');
SELECT pictrepo.create_alias(repeat('x', 256), 't', '\xaa');
SELECT pictrepo.create_alias(repeat('x', 1000), 't', '\xaa');
SELECT pictrepo.create_alias('aaaaaaaabbbb4ccc8dddeeeeeeeeeeee.' || repeat('x', 220), 't', '\xaa');
SELECT pictrepo.create_alias('x', repeat('secret', 100), '\xaa');
SELECT pictrepo.check_delete_token('x', repeat('secret', 100));
SELECT pictrepo.check_delete_token('x', NULL);
SELECT pictrepo.check_delete_token(NULL, 't');
SELECT pictrepo.delete_token(NULL);
SELECT pictrepo.hash(NULL);
SELECT pictrepo.aliases_for_hash(NULL);
SELECT pictrepo.cleanup_alias('');

-- the longest alias, in its normal form
SELECT pictrepo.create_alias('aaaaaaaabbbb4ccc8dddeeeeeeeeeeee.' || repeat('x', 218), 't', '\xaa');
SELECT max(octet_length(alias)) FROM pictrepo.aliases_for_hash('\xaa') alias;
SELECT pictrepo.create_alias('urn:uuid:aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee.' || repeat('x', 218), 't', '\xaa') AS the_same;
SELECT pictrepo.cleanup_hash('\xaa');

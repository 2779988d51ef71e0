-- SettingsRepo: values that the image host stores for itself.
SELECT pictrepo.get('path-generator');
SELECT pictrepo.set('path-generator', '\x0001ff');
SELECT pictrepo.get('path-generator');
SELECT pictrepo.set('path-generator', '');
SELECT pictrepo.get('path-generator');
SELECT pictrepo.remove('path-generator');
SELECT pictrepo.remove('path-generator');
SELECT pictrepo.get('path-generator');

-- keys are case-sensitive
SELECT pictrepo.set('k', 'lower'), pictrepo.set('K', 'upper'), pictrepo.set(repeat('k', 80), 'long');
SELECT pictrepo.get('k'), pictrepo.get('K'), pictrepo.get(repeat('k', 80));
SELECT pictrepo.remove('k'), pictrepo.remove('K'), pictrepo.remove(repeat('k', 80));

-- at most 64 KiB
SELECT pictrepo.set('big', decode(repeat('ab', 65536), 'hex'));
SELECT length(pictrepo.get('big'));
SELECT pictrepo.set('big', decode(repeat('cd', 65537), 'hex'));
SELECT pictrepo.get('big') = decode(repeat('ab', 65536), 'hex') AS unchanged;
SELECT pictrepo.remove('big');

-- errors
SELECT pictrepo.set(NULL, 'v');
SELECT pictrepo.set('k', NULL);
SELECT pictrepo.set('', 'v');
SELECT pictrepo.set(repeat('k', 81), 'v');
SELECT pictrepo.get(NULL);
SELECT pictrepo.get('');
SELECT pictrepo.remove(NULL);

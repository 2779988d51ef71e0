-- StoreMigrationRepo: files that have moved from one store to another.
SELECT pictrepo.is_continuing_migration();
SELECT pictrepo.mark_migrated('old/a', 'new/a');
SELECT pictrepo.mark_migrated('old/a', 'new/other');
SELECT pictrepo.mark_migrated('old/b', 'new/b');
SELECT * FROM pictrepo.store_migrations ORDER BY 1;
SELECT pictrepo.is_continuing_migration(), pictrepo.is_migrated('old/a'), pictrepo.is_migrated('old/c');
SELECT pictrepo.clear();
SELECT pictrepo.clear();
SELECT pictrepo.is_continuing_migration(), pictrepo.is_migrated('old/a');

-- errors
SELECT pictrepo.mark_migrated(NULL, 'x');
SELECT pictrepo.mark_migrated('x', NULL);
SELECT pictrepo.mark_migrated('', 'x');
SELECT pictrepo.mark_migrated('x', repeat('x', 1025));
SELECT pictrepo.is_migrated(NULL);
SELECT pictrepo.is_migrated('');

# Everything that the extension makes says what it is, and every function is
# shown at work by a regression test.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $project = "$FindBin::RealBin/../..";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

# ----- comments -----

my %without_comment = (
	functions => q{
		SELECT oid::regprocedure FROM pg_proc
		WHERE pronamespace = 'pictrepo'::regnamespace
		AND obj_description(oid, 'pg_proc') IS NULL},
	types => q{
		SELECT oid::regtype FROM pg_type t
		WHERE typnamespace = 'pictrepo'::regnamespace
		AND obj_description(oid, 'pg_type') IS NULL
		AND typelem = 0
		AND (typrelid = 0 OR (SELECT relkind FROM pg_class WHERE oid = typrelid) = 'c')},
	'tables and views' => q{
		SELECT oid::regclass FROM pg_class
		WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
		AND obj_description(oid, 'pg_class') IS NULL},
	columns => q{
		SELECT attrelid::regclass || '.' || attname FROM pg_attribute
		JOIN pg_class ON pg_class.oid = attrelid
		WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'c')
		AND attnum > 0 AND NOT attisdropped
		AND col_description(attrelid, attnum) IS NULL},
	# those of constraints have no name of their own
	indexes => q{
		SELECT oid::regclass FROM pg_class
		WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('i', 'I')
		AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = pg_class.oid)
		AND obj_description(oid, 'pg_class') IS NULL},
	triggers => q{
		SELECT tgrelid::regclass || '.' || tgname FROM pg_trigger
		JOIN pg_class ON pg_class.oid = tgrelid
		WHERE relnamespace = 'pictrepo'::regnamespace AND NOT tgisinternal
		AND obj_description(pg_trigger.oid, 'pg_trigger') IS NULL},
	schema => q{
		SELECT nspname FROM pg_namespace
		WHERE nspname = 'pictrepo' AND obj_description(oid, 'pg_namespace') IS NULL},
	extension => q{
		SELECT extname FROM pg_extension
		WHERE extname = 'pictrepo' AND obj_description(oid, 'pg_extension') IS NULL});

foreach my $kind (sort keys %without_comment)
{
	is($node->safe_psql('postgres', $without_comment{$kind}), '', "every comment: $kind");
}

# ----- declarations -----

my @functions = public_routines($node, 'postgres');

is( $node->safe_psql(
		'postgres', q{
		SELECT oid::regprocedure FROM pg_proc
		WHERE pronamespace = 'pictrepo'::regnamespace
		AND (provolatile = 'v') <> (proparallel = 'u')
		AND proname <> 'session_worker'}),
	'',
	'what writes is PARALLEL UNSAFE, and nothing else is');
is( $node->safe_psql(
		'postgres', q{
		SELECT c.oid::regclass FROM pg_class c
		WHERE c.relnamespace = 'pictrepo'::regnamespace AND c.relkind IN ('r', 'p', 'S')
		AND c.relname NOT IN ('row_counts', 'restore_hold')
		AND c.oid <> ALL (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'pictrepo')}),
	'',
	'pg_dump takes the rows of every table of users');
is( $node->safe_psql(
		'postgres', q{
		SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_type t ON t.typname = p.proname
		WHERE p.pronamespace = 'pictrepo'::regnamespace AND t.typnamespace = p.pronamespace
		AND p.pronargs = 1 AND t.typtype IN ('d', 'e')}),
	'',
	'no type makes a cast of a call');

# ----- regression tests -----

my $scripts = join "\n", map { slurp_file($_) } glob "$project/sql/*.sql";

foreach my $function (@functions)
{
	like($scripts, qr/pictrepo\.$function->{name}\s*\(/, "a regression test calls $function->{name}");
}

# ----- these tests -----

foreach my $function (@functions)
{
	ok(eval { call_of($function) }, "test/perl/Pictrepo.pm calls $function->{name}");
}

$node->stop;
done_testing();

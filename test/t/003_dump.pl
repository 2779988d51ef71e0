# A dump holds the whole repo: restored into a new database or server, every
# row is there, the functions work, and who was granted access has it.  And
# sessions survive that the extension goes and comes back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @LEVELS = qw(reader writer admin);

my $node = PostgreSQL::Test::Cluster->new('old');
$node->init;
$node->start;
my $other = PostgreSQL::Test::Cluster->new('new');
$other->init;
$other->start;

fill($node, 'postgres');
foreach my $level (@LEVELS)
{
	$_->safe_psql('postgres', "CREATE ROLE a_$level LOGIN") foreach $node, $other;
	$node->safe_psql('postgres', "SELECT pictrepo.grant_access('a_$level', '$level')");
}

# Rows that are hard to copy.
$node->safe_psql('postgres', q{
	SELECT pictrepo.create_hash('\x00ff5c0a09', E'tab\t, \\\\, newline\n, \'quote\', "double", ü');
	SELECT pictrepo.set('bytes', decode(repeat('00ff5c0a0d09', 1000), 'hex'));
	SELECT pictrepo.relate_url('https://example.org/' || repeat('x', 60000), 'alias.png');
	SELECT pictrepo.create_hash_with_timestamp('ancient', 'ancient.png', '4713-01-01 BC');
	SELECT pictrepo.create_hash_with_timestamp('far', 'far.png', '294276-12-31')});

my @functions = public_functions($node, 'postgres');
my @readers = grep { !is_writer($_) && $_->{name} !~ /^(session_worker|status)$/ } @functions;
my @writers = grep { is_writer($_) && $_->{name} ne 'start_worker' } @functions;
my @tables = tables($node, 'postgres');
my @answers = try_calls($node, 'postgres', undef, map { call_of($_) } @readers);
my $privileges = q{
	SELECT 'function', oid::regprocedure::text, proacl::text FROM pg_proc
		WHERE pronamespace = 'pictrepo'::regnamespace
	UNION ALL SELECT 'relation', relname, relacl::text FROM pg_class
		WHERE relnamespace = 'pictrepo'::regnamespace
	UNION ALL SELECT 'type', typname, typacl::text FROM pg_type
		WHERE typnamespace = 'pictrepo'::regnamespace
	UNION ALL SELECT 'schema', nspname, nspacl::text FROM pg_namespace
		WHERE nspname = 'pictrepo'
	ORDER BY 1, 2};
my $granted = $node->safe_psql('postgres', $privileges);

cmp_ok(scalar @tables, '>=', 12, 'there are tables');
# Nobody has prepared a transaction.
isnt(rows_of($node, 'postgres', $_), '', "$_ has rows") foreach grep { $_ ne 'prepared_notifications' } @tables;

# The same repo as the one that was dumped?
sub check_copy
{
	my ($copy, $database, $name) = @_;

	is_deeply([ tables($copy, $database) ], \@tables, "$name: tables");
	is(rows_of($copy, $database, $_), rows_of($node, 'postgres', $_), "$name: rows of $_")
	  foreach @tables;
	is($copy->safe_psql($database, $privileges), $granted, "$name: privileges");
	is_deeply([ try_calls($copy, $database, undef, map { call_of($_) } @readers) ],
		\@answers, "$name: readers answer the same");
	is_deeply(
		[ grep { /^error/ } try_calls($copy, $database, undef, map { call_of($_) } @writers) ],
		[], "$name: writers work");
	my ($stdout, $stderr) = run($copy, $database, 'SELECT pictrepo.size()', user => 'a_reader');
	is($stdout, $node->safe_psql('postgres', 'SELECT pictrepo.size()'), "$name: a role with access");
	return;
}

my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump";

# as an archive into a new database
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.custom", $node->connstr('postgres') ],
	'pg_dump to an archive');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), "$dump.custom" ],
	'pg_restore into a new database');
check_copy($node, 'copy', 'archive');

# Over what is there already.  With --jobs it takes more: see 027_restore.pl.
$node->command_ok(
	[
		'pg_restore', '--exit-on-error', '--clean', '--if-exists',
		'-d', $node->connstr('copy'), "$dump.custom"
	],
	'pg_restore over a repo');
check_copy($node, 'copy', 'over a repo');

# as a script into another server
$node->command_ok([ 'pg_dump', '-f', "$dump.sql", $node->connstr('postgres') ],
	'pg_dump to a script');
$other->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql", $other->connstr('postgres') ],
	'a script into a new server');
check_copy($other, 'postgres', 'script');

# as a template
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE copy');
check_copy($node, 'clone', 'template');

# ----- DROP and CREATE EXTENSION under a session that has saved plans -----

my $calls = join "\n", map { "BEGIN;\n" . call_of($_) . ";\nROLLBACK;" } @functions;
my $use = q{
	SELECT pictrepo.create_hash('hash', 'hash.png'), pictrepo.create_alias('a.png', 'b', 'hash');
	SELECT pictrepo.relate_url('https://example.org/', 'a.png'), pictrepo.relate_variant_identifier('hash', 'a', 'b');
	SELECT pictrepo.identifier('hash'), pictrepo.hash('a.png'), pictrepo.size();
	SELECT pictrepo.push('q', '1') IS NOT NULL;
	SELECT job FROM pictrepo.pop('q');
	EXECUTE prepared;
	SELECT pictrepo.cleanup_hash('hash');
};
my ($stdout, $stderr) = run($other, 'postgres', qq{
	DROP EXTENSION pictrepo CASCADE;
	CREATE EXTENSION pictrepo;
	PREPARE prepared AS SELECT pictrepo.size();
	$use
	DROP EXTENSION pictrepo;
	CREATE EXTENSION pictrepo;
	\\echo ====
	$use
	DROP EXTENSION pictrepo;
	\\echo ====
	SELECT pictrepo.size();
	\\echo ====
	CREATE EXTENSION pictrepo;
	$use});
my @parts = split /^====$/m, $stdout;
s/\A\n|\n\z//g foreach @parts;
isnt($parts[0], '', 'there are answers');
is($parts[1], $parts[0], 'all works after DROP and CREATE EXTENSION');
is($parts[3], $parts[0], 'and again');
unlike($stderr =~ s/^.*"pictrepo.size".*|.*schema "pictrepo" does not exist.*//gmr,
	qr/XX000|58P01|cache lookup/, 'no internal error');
like($stderr, qr/3F000|42883/, 'a call while it is gone is an error');

# ... with every function in the plan cache
($stdout, $stderr) = run($node, 'clone', qq{
	$calls
	CREATE TEMP TABLE kept AS SELECT * FROM pictrepo.hashes;
	DROP EXTENSION pictrepo;
	CREATE EXTENSION pictrepo;
	INSERT INTO pictrepo.hashes SELECT * FROM kept;
	$calls}, verbosity => 'sqlstate');
unlike($stderr, qr/ERROR:  (?!23503|P0002)/,
	'every function works in a session that knew it before');

$_->stop foreach $node, $other;
done_testing();

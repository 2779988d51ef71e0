# A short form of `make test-pg-upgrade`: pg_upgrade of a server with a full repo
# to one of the same version. All rows are as they were, the catalog is that of
# a fresh database, and everything works.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Catalog;
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What ran before the upgrade is still held by its worker after it.
my $SETTINGS = q{
shared_preload_libraries = 'pictrepo'
pictrepo.heartbeat_timeout = 1d
pictrepo.variant_claim_timeout = 1d
pictrepo.upload_ttl = 100000d
pictrepo.schedule_interval = 1h
};
my $GRANT = q{SELECT pictrepo.grant_access('a_writer', 'writer')};

sub new_node
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', $SETTINGS);
	return $node;
}

my $old = new_node('old');
$old->start;
$old->safe_psql('postgres', q{CREATE ROLE a_writer LOGIN; CREATE DATABASE repo});
fill($old, 'repo');
$old->safe_psql('repo', $GRANT);
# A schedule that is due would be run by either server, at its start.
$old->safe_psql('repo', q{UPDATE pictrepo.schedules SET next_run = '2100-01-01'});
ok($old->poll_query_until('repo', 'SELECT min(runs) > 0 FROM pictrepo.maintenance'), 'its worker found nothing to do');
my @tables = tables($old, 'repo');
my %rows = map { $_ => rows_of($old, 'repo', $_) } @tables;
$old->stop;

my $new = new_node('new');
my $bindir = $old->config_data('--bindir');

# It leaves a script where it runs.
chdir $PostgreSQL::Test::Utils::tmp_check or die "chdir: $!";
command_ok(
	[
		'pg_upgrade', '--no-sync', '--old-bindir', $bindir, '--new-bindir', $bindir,
		'--old-datadir', $old->data_dir, '--new-datadir', $new->data_dir,
		'--old-port', $old->port, '--new-port', $new->port, '--socketdir', $new->host
	],
	'pg_upgrade takes the server over');
$new->start;

is(rows_of($new, 'repo', $_), $rows{$_}, "rows of $_ are the same") foreach @tables;

# What was dumped and read again has other parentheses: (a BETWEEN b AND c) AND d
sub facts
{
	my ($database) = @_;

	return [ sort map { /^constraint of / ? tr/()//dr : $_ } catalog_of($new, $database) ];
}
$new->safe_psql('postgres', 'CREATE DATABASE fresh');
$new->safe_psql('fresh', "CREATE EXTENSION pictrepo; $GRANT");
is_deeply(facts('repo'), facts('fresh'), 'the catalog is that of a fresh database');

ok( $new->poll_query_until('repo', q{SELECT value ~ '^since' FROM pictrepo.status() WHERE item = 'worker'}),
	'there is a worker');
my @functions = public_functions($new, 'repo');
my @answers = try_calls($new, 'repo', undef, map { call_of($_) } @functions);
unlike($answers[$_], qr/^error/, "$functions[$_]{signature} works") foreach 0 .. $#functions;
is( $new->safe_psql('repo', q{
		SELECT pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes),
			pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue)}),
	't|t', 'counts are exact');

$new->stop;
unlike(slurp_file($new->logfile), qr/PANIC|XX000|TRAP|terminated by signal/, 'nothing odd in the log');
done_testing();

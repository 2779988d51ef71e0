# One session calls all functions again and again, in transactions that commit
# and in others that are rolled back: neither it nor the worker grows.
#
# PICTREPO_LEAK_CALLS: how many calls, see `make leaks`.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DBI;
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $CALLS = $ENV{PICTREPO_LEAK_CALLS} // 5_000;

# of what may come with calls but not with each of them: caches, and the allocator's own
my $SLACK_KB = 1024;

# Those that change the catalogs, or what other processes do, or need what others removed
my $APART = qr/^(grant_access|start_worker|wait)$/;

# What leaves everything as it was, each a transaction
my @COMMITTED = (
	q{SELECT pictrepo.push('spare', '1')},
	q{SELECT pictrepo.heartbeat('spare', NULL, id) FROM pictrepo.pop('spare')},
	q{SELECT pictrepo.complete_job('spare', NULL, id, 'failure') FROM pictrepo.job_queue WHERE queue = 'spare'},
	q{DELETE FROM pictrepo.job_queue WHERE queue = 'spare'},
	q{SELECT pictrepo.complete_many('spare', NULL, array_agg(id))
		FROM (SELECT unnest(pictrepo.push_many('spare', '{1,2,3}')) AS id) pushed},
	q{SELECT pictrepo.complete_and_pop('spare', NULL, id) FROM pictrepo.pop('spare', max_jobs => 9)},
	q{SELECT pictrepo.ingest('spare', 'spare.png', '{}', 'spare.png', 'token')},
	q{SELECT pictrepo.serve('spare.png', true)},
	q{SELECT pictrepo.purge('spare.png')},
	q{DELETE FROM pictrepo.job_queue WHERE queue = 'cleanup'},
	q{SELECT pictrepo.claim(pictrepo.create_upload())},
	qq{SELECT pictrepo.wait('$UPLOAD', '1 second')},
	q{SELECT pictrepo.claim_variant_processing_rights('other', 'spare')},
	q{SELECT pictrepo.notify_variant('other', 'spare')});

sub private_kb
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die "no RssAnon of $pid";
}

my %refused;

# One after the other; how many
sub round_of_calls
{
	my ($db, @all) = @_;

	defined $db->do($_) or $refused{$_} = $db->errstr foreach @COMMITTED;
	$db->begin_work;
	foreach my $call (@all)
	{
		$db->pg_savepoint('before');
		next if defined $db->do($call);
		$refused{$call} = $db->errstr;
		$db->pg_rollback_to('before');
	}
	$db->rollback;
	return @COMMITTED + @all;
}

foreach my $mode ([ plain => '' ], [ preload => q{shared_preload_libraries = 'pictrepo'} ])
{
	my ($name, $settings) = @$mode;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "log_statement = none\nfsync = off\n$settings\n");
	$node->start;
	fill($node, 'postgres');

	my @all = map { call_of($_) } grep { $_->{name} !~ $APART } public_functions($node, 'postgres');
	my $db = DBI->connect('dbi:Pg:' . $node->connstr('postgres'), '', '',
		{ PrintError => 0, PrintWarn => 0, RaiseError => 0, AutoCommit => 1 });
	my @processes = ([ session => $db->{pg_pid} ]);
	my ($worker) = $db->selectrow_array(
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'postgres'});
	push @processes, [ worker => $worker ] if $worker;

	my ($called, %before) = (0);
	while ($called < $CALLS)
	{
		$called += round_of_calls($db, @all);
		next if %before || $called < $CALLS / 5;

		# what it takes to plan all of it anew, as autovacuum sees to sooner or later
		$db->do('ANALYZE');
		$called += round_of_calls($db, @all);
		%before = map { $_->[0] => private_kb($_->[1]) } @processes;
	}
	foreach my $process (@processes)
	{
		my ($what, $pid) = @$process;
		my $after = private_kb($pid);

		cmp_ok($after, '<', $before{$what} + $SLACK_KB, "$name: the $what does not grow");
		note "$name: $what, $before{$what} kB after a fifth of $called calls of "
		  . (@all + @COMMITTED) . " kinds, $after kB after all";
	}
	is(join("\n", %refused), '', "$name: no call is refused");
	$db->disconnect;
	$node->stop;
}

done_testing();

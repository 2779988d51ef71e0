# One session calls all functions and procedures again and again, in transactions
# that commit and in others that are rolled back: neither it nor the worker grows.
# A round calls each of them many times, so that what only one of them keeps shows.
#
# PICTREPO_LEAK_CALLS: how many calls, see `make leaks`.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use DBI;
use List::Util qw(min);
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $CALLS = $ENV{PICTREPO_LEAK_CALLS} // 30_000;

# Calls of each in a round, of those that commit a tenth; the first rounds fill caches
my $TIMES = 60;
my $WARM = 2;

# What is kept of each call adds to every round alike, and caches grow now and then. What
# the session has asked its memory contexts for goes up and down with its caches: there the
# middle one of the rounds tells, or their mean where that is less. What it has of the
# system, malloc's part with it, only grows, by pages: there it is the round that added least. So much it may be, in kB, and all together.
my $MIDDLE = 4;
my $LEAST = 8;
my $ALL = 2048;

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
	q{SELECT pictrepo.notify_variant('other', 'spare')},
	q{SELECT pictrepo.push('spare', '1')},
	q{CALL pictrepo.pop_wait('spare', NULL, '1 s', NULL, NULL, NULL, NULL)},
	q{CALL pictrepo.pop_wait('spare', NULL, '0', NULL, NULL, NULL, NULL)},
	q{DELETE FROM pictrepo.job_queue WHERE queue = 'spare'},
	q{CALL pictrepo.export_pictrs('there')},
	q{CALL pictrepo.import_pictrs('there')});

sub context_kb
{
	my ($db) = @_;

	return $db->selectrow_array(q{SELECT sum(used_bytes)::float8 / 1024 FROM pg_backend_memory_contexts});
}

# In kB
sub memory
{
	my ($db, @processes) = @_;

	return {
		'contexts of the session' => context_kb($db),
		map { ("system, for the $_->[0]" => private_kb($_->[1])) } @processes
	};
}

sub check_growth
{
	my ($mode, $what, @kb) = @_;
	my @added = sort { $a <=> $b } map { $kb[$_] - $kb[ $_ - 1 ] } 1 .. $#kb;
	my $middle = min($added[ @added / 2 ], ($kb[-1] - $kb[0]) / @added);
	my ($each, $limit) = $what =~ /^contexts/ ? ($middle, $MIDDLE) : ($added[0], $LEAST);

	cmp_ok($each, '<=', $limit, "$mode, $what: no round adds to it");
	cmp_ok($kb[-1], '<=', $kb[0] + $ALL, "$mode, $what: nor all together");
	note sprintf '%.0f kB at first, %.0f kB in the end, %.1f kB of each round', @kb[ 0, -1 ], $each;
	return;
}

my %refused;

# Many of one call within a statement, which may keep no more than the last one did.
sub many_of
{
	my ($call) = @_;

	return 'DO $do$ BEGIN FOR i IN 1 .. ' . $TIMES . ' LOOP PERFORM ' . ($call =~ s/^SELECT //r) . '; END LOOP; END $do$';
}

# What commits one after the other, the rest in a transaction each time; how many
sub round_of_calls
{
	my ($db, @all) = @_;

	foreach (1 .. $TIMES / 10)
	{
		defined $db->do($_) or $refused{$_} = $db->errstr foreach @COMMITTED;
	}
	$db->begin_work;
	foreach my $call (@all)
	{
		$db->pg_savepoint('before');
		defined $db->do(many_of($call)) or $refused{$call} = $db->errstr;
		$db->pg_rollback_to('before');
	}
	$db->rollback;
	return $TIMES / 10 * @COMMITTED + $TIMES * @all;
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
	# it is there from the first export on
	$node->safe_psql('postgres', q{CALL pictrepo.export_pictrs('there')});
	my $db = DBI->connect('dbi:Pg:' . $node->connstr('postgres'), '', '',
		{ PrintError => 0, PrintWarn => 0, RaiseError => 0, AutoCommit => 1 });
	my @processes = ([ session => $db->{pg_pid} ]);
	my ($worker) = $db->selectrow_array(
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'postgres'});
	push @processes, [ worker => $worker ] if $worker;

	round_of_calls($db, @all) foreach 1 .. $WARM;

	# what it takes to plan all of it anew, as autovacuum sees to sooner or later
	$db->do('ANALYZE');
	round_of_calls($db, @all);

	my $called = 0;
	my @seen = memory($db, @processes);
	while ($called < $CALLS)
	{
		$called += round_of_calls($db, @all);
		push @seen, memory($db, @processes);
	}
	note "$name: $called calls of " . (@all + @COMMITTED) . ' kinds';
	foreach my $what (sort keys %{ $seen[0] })
	{
		check_growth($name, $what, map { $_->{$what} } @seen);
	}
	is(join("\n", %refused), '', "$name: no call is refused");
	$db->disconnect;
	$node->stop;
}

done_testing();

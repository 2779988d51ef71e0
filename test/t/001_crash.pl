# What was acknowledged survives a crash, and what a dead worker held goes to
# another one: with one retry less, into dead_jobs when none is left, and never
# before a full heartbeat timeout after the server came back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $TIMEOUT = 3;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', qq{
restart_after_crash = on
log_statement = none
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

# Claims that do not wait for the disk may be lost; here they must not.
# Settings of an extension are known once its library is loaded.
$node->safe_psql('postgres', qq{
	LOAD 'pictrepo';
	ALTER DATABASE postgres SET pictrepo.heartbeat_timeout = '${TIMEOUT}s';
	ALTER DATABASE postgres SET pictrepo.synchronous_claims = on});

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# Every acknowledged push must be one of these.
my %done;
my %pushed;

# A session of its own; kill() ends it like a crash of its process.
sub worker
{
	my ($stdin, $stdout, $stderr) = ('', '', '');
	my $timer = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
	my $handle = IPC::Run::start(
		[
			'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres')
		],
		'<', \$stdin, '>', \$stdout, '2>', \$stderr, $timer);

	return {
		ask => sub {
			my ($query) = @_;

			$stdout = '';
			$stdin .= "$query;\n\\echo ====\n";
			$handle->pump until $stdout =~ /^====$/m;
			return $stdout =~ s/\n?====\n\z//r;
		},
		end => sub {
			$stdin .= "\\q\n";
			eval { $handle->finish; 1 } or eval { $handle->kill_kill };
		},
	};
}

sub push_some
{
	my ($session, $count, $more) = @_;

	$pushed{$_} = 1
	  foreach split /\n/,
	  $session->{ask}->(
		"SELECT pictrepo.push('q', to_jsonb(n) $more) FROM generate_series(1, $count) n");
	return;
}

# When the server came back, by its own clock.
sub restart_time
{
	return value(q{
		SELECT extract(epoch FROM backend_start) FROM pg_stat_activity
		WHERE backend_type = 'checkpointer'});
}

# None is lost, and none is there twice.
sub check_pushed
{
	my ($name) = @_;
	my @found = split /\n/,
	  value('SELECT id FROM pictrepo.job_queue UNION ALL SELECT id FROM pictrepo.dead_jobs');

	is_deeply([ sort(@found, keys %done) ], [ sort keys %pushed ],
		"$name: acknowledged pushes are ready, running, dead or done");
	return;
}

# Wait for the reaping of all running jobs; how long after a time it came.  A
# pop of a paused queue reaps and takes nothing.
sub reaped_after
{
	my ($start) = @_;

	value(q{SELECT pictrepo.pause_queue('q')});
	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		value(q{SELECT count(*) FROM pictrepo.pop('q')});
		return sprintf('%.1f', seconds() - $start)
		  if value(q{SELECT count(*) FROM pictrepo.jobs WHERE state = 'running'}) == 0;
		usleep(100_000);
	}
	die 'running jobs were not reaped';
}

# ----- a backend is killed in the middle of a claim -----

my $session = worker();
push_some($session, 20, '');
my ($id) = split /\n/, $session->{ask}->(qq{SELECT id FROM pictrepo.pop('q', '$WORKER')});
is( $session->{ask}->(qq{SELECT pictrepo.complete_job('q', '$WORKER', '$id')}),
	'completed', 'a job is done');
$done{$id} = 1;

my @held = split /\n/,
  $session->{ask}->(qq{SELECT id FROM pictrepo.pop('q', '$WORKER', max_jobs => 3)});
is(scalar @held, 3, 'a worker holds three jobs');

# in an open transaction: three claimed, one done
my $pid = $session->{ask}->('SELECT pg_backend_pid()');
$session->{ask}->('BEGIN');
$session->{ask}->(qq{SELECT count(*) FROM pictrepo.pop('q', '$WORKER', max_jobs => 3)});
$session->{ask}->(qq{SELECT pictrepo.complete_job('q', '$WORKER', '$held[0]')});

# these were never acknowledged
$session->{ask}->(q{SELECT pictrepo.push('q', '"uncommitted"')});
kill_and_recover($node, $pid);
$session->{end}->();
my $restarted = restart_time();

check_pushed('backend killed');
is(value(q{SELECT count(*) FROM pictrepo.job_queue WHERE job = '"uncommitted"'}),
	'0', 'backend killed: what was not committed is not there');
is( value(q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM pictrepo.jobs WHERE state = 'running'}),
	join(' ', sort @held),
	'backend killed: committed claims are held, others are given back');

# ----- after the start nothing is reaped before a full timeout has passed -----

value(q{UPDATE pictrepo.job_queue SET heartbeat = now() - interval '1 day' WHERE status = 'running'});
my $after = reaped_after($restarted);
cmp_ok($after, '>', $TIMEOUT - 0.1, "restart: reaped after a full timeout ($after s)");
is( value(qq{
		SELECT count(*), min(retry), max(retry), count(worker), bool_and(error ~ '$WORKER')
		FROM pictrepo.job_queue WHERE id IN ('@{[join "','", @held]}')}),
	'3|4|4|0|t',
	'reaped jobs are ready again with one retry less, and say why');
is(value(qq{SELECT pictrepo.complete_job('q', '$WORKER', '$held[0]')}),
	'lost', 'the old worker has lost the job');
value(q{SELECT pictrepo.resume_queue('q')});
check_pushed('reaped');

# ----- immediate shutdown -----

$session = worker();
push_some($session, 20, ", priority => 9, retry => 0, upload => pictrepo.create_upload()");
my @last = split /\n/,
  $session->{ask}->(qq{SELECT id FROM pictrepo.pop('q', '$WORKER', max_jobs => 20)});
is(value(q{SELECT count(*) FROM pictrepo.uploads WHERE result IS NULL}),
	'20', 'uploads wait');
$session->{ask}->(qq{SELECT pictrepo.complete_job('q', '$WORKER', '$last[0]')});
$done{ $last[0] } = 1;
$node->stop('immediate');
$session->{end}->();
$node->start;
$restarted = restart_time();
check_pushed('immediate shutdown');

# ----- a job that used up its retries with its workers -----

value(q{UPDATE pictrepo.job_queue SET heartbeat = now() - interval '1 day' WHERE status = 'running'});
$after = reaped_after($restarted);
cmp_ok($after, '>', $TIMEOUT - 0.1,
	"immediate shutdown: reaped after a full timeout ($after s)");
is( value(q{SELECT count(*), bool_and(error ~ 'no heartbeat') FROM pictrepo.dead_jobs}),
	'19|t', 'jobs without retries are dead');
is( value(q{
		SELECT count(*), bool_and(result #>> '{Failure,message}' ~ 'no heartbeat'),
			bool_and(result #>> '{Failure,code}' <> '')
		FROM pictrepo.uploads JOIN pictrepo.dead_jobs ON upload = uploads.id}),
	'19|t|t',
	'their uploads have a Failure');
is(value(q{SELECT count(*) FROM pictrepo.uploads WHERE result IS NULL}),
	'1', 'and no other upload has one');
check_pushed('reaped for good');

# ----- the silent worker of a living server -----

value(q{SELECT pictrepo.resume_queue('q')});
# before the pop: the time that psql takes to end must not shorten the wait
my $popping = seconds();
is(value(qq{SELECT count(*) FROM pictrepo.pop('q', '$WORKER')}), '1', 'a worker takes a job');
$after = reaped_after($popping);
cmp_ok($after, '>', $TIMEOUT - 0.1, "reaped after the timeout ($after s)");
check_pushed('living server');

$node->stop;
done_testing();

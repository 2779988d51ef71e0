# On a hot standby every reader answers as on the primary, and every writer
# says 25006.  After a promotion the writers work, and jobs that ran keep a
# full heartbeat timeout to tell that they live.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $TIMEOUT = 3;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
fill($primary, 'postgres');
$primary->safe_psql('postgres', qq{
	ALTER DATABASE postgres SET pictrepo.heartbeat_timeout = '${TIMEOUT}s';
	ALTER DATABASE postgres SET timezone = 'UTC'});
$primary->backup('copy');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);

# Processes that a server may be without, which a promotion starts where it has them.
$standby->append_conf('postgresql.conf', q{
autovacuum = off
max_logical_replication_workers = 0
});
$standby->start;

my @functions = public_functions($primary, 'postgres');
my @readers = grep { !is_writer($_) && $_->{name} !~ /^(session_worker|status)$/ } @functions;
my @writers = grep { is_writer($_) } @functions;

cmp_ok(scalar @readers, '>', 30, 'there are readers');
cmp_ok(scalar @writers, '>', 30, 'there are writers');

# What is tried must have something to write, or a standby has no reason to
# refuse it.
$primary->wait_for_catchup($standby);

my @answers = try_calls($primary, 'postgres', undef, map { call_of($_) } @readers);
my @copies = try_calls($standby, 'postgres', undef, map { call_of($_) } @readers);

foreach my $i (0 .. $#readers)
{
	is($copies[$i], $answers[$i], "$readers[$i]{signature} answers the same");
	unlike($copies[$i], qr/^(error.*)?$/, "$readers[$i]{signature} has something to say")
	  if $readers[$i]{name} !~ /^(pulse|queue_counters|waiting_sessions)$/;
}

# and so they do in a parallel worker
my $parallel = $primary->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
@copies = try_calls($primary, 'postgres', undef,
	map { "SET LOCAL $parallel = on;\n" . call_of($_) }
	  grep { $_->{volatility} ne 'v' } @readers);
is_deeply(
	[ map { s/\ASET\n//r } @copies ],
	[ map { $answers[$_] } grep { $readers[$_]{volatility} ne 'v' } 0 .. $#readers ],
	'readers answer the same in a parallel worker');

like($standby->safe_psql('postgres', 'SELECT pictrepo.session_worker()'),
	qr/^[0-9a-f-]{36}$/, 'session_worker() works');

@copies = try_calls($standby, 'postgres', undef, map { call_of($_) } @writers);
foreach my $i (0 .. $#writers)
{
	is($copies[$i], 'error 25006', "$writers[$i]{signature} is refused");
}

# Waiting is looking.
my ($stdout, $stderr) = run($standby, 'postgres',
	qq{SELECT pictrepo.wait('$WORKER', '1 second')});
like($stderr, qr/P0002/, 'waiting for an upload that is not there');

# ----- promotion -----

# A job whose worker was silent while the primary was lost.
$primary->safe_psql('postgres',
	qq{UPDATE pictrepo.job_queue SET heartbeat = now() - interval '1 day' WHERE id = '$RUNNING'});
$primary->wait_for_catchup($standby);
$primary->stop('immediate');

my $before = seconds();
$standby->promote;

my $taken;
while (seconds() < $before + $PostgreSQL::Test::Utils::timeout_default)
{
	# a pop of a paused queue reaps and takes nothing
	$standby->safe_psql('postgres', q{
		SELECT pictrepo.pause_queue('q');
		SELECT count(*) FROM pictrepo.pop('q')});
	$taken = seconds();
	last
	  if $standby->safe_psql('postgres',
		qq{SELECT status FROM pictrepo.job_queue WHERE id = '$RUNNING'}) eq 'new';
	usleep(100_000);
}
cmp_ok($taken - $before, '>', $TIMEOUT, 'running jobs get a full timeout after the promotion');
cmp_ok($taken - $before, '<', $PostgreSQL::Test::Utils::timeout_default,
	'and are given to others then');

$standby->safe_psql('postgres', qq{
	SELECT pictrepo.resume_queue('q');
	UPDATE pictrepo.job_queue SET status = 'running', worker = '$WORKER', heartbeat = now()
	WHERE id = '$RUNNING'});
@answers = try_calls($standby, 'postgres', undef, map { call_of($_) } @writers);
foreach my $i (0 .. $#writers)
{
	unlike($answers[$i], qr/^error/, "$writers[$i]{signature} works");
}

$standby->stop;
done_testing();

# Behind PgBouncer in transaction mode, where each statement may run in another
# session: blocking calls wait and are woken, a worker under its own id holds
# its jobs from any session, and who gives up waiting makes room.  Named
# prepared statements, as doc/install.md says, take PgBouncer 1.21.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'PgBouncer is not installed' if !$pgbouncer;

my $POOL = 4;    # server connections of each pool

my ($version) = (run_command([ $pgbouncer, '--version' ]))[0] =~ /PgBouncer (\d+\.\d+)/;
my ($major, $minor) = split /\./, $version;
my $knows_named = $major > 1 || $minor >= 21;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
log_statement = none
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

# ----- the pooler -----

# Two pools to one database: a full one of waiting workers does not keep
# producers out.
my $directory = PostgreSQL::Test::Utils::tempdir_short();
my $user = $node->safe_psql('postgres', 'SELECT current_user');
my $target = "host=@{[$node->host]} port=@{[$node->port]} dbname=postgres user=$user pool_size=$POOL";
append_to_file("$directory/pgbouncer.ini", qq{
[databases]
workers = $target
producers = $target

[pgbouncer]
pool_mode = transaction
listen_addr =
listen_port = 6432
unix_socket_dir = $directory
auth_type = any
@{[$knows_named ? 'max_prepared_statements = 200' : '']}
logfile = $PostgreSQL::Test::Utils::log_path/011_pgbouncer.log
});
my $pooler = IPC::Run::start([ $pgbouncer, '--quiet', "$directory/pgbouncer.ini" ],
	'<', \undef, '>', \my $pooler_output, '2>&1');

END
{
	my $status = $?;
	$pooler->kill_kill if $pooler;
	$? = $status;
}

# A session of psql through the pooler, which may be left waiting.
sub session
{
	my ($database) = @_;
	my ($stdin, $stdout, $stderr) = ('', '', '');
	my $timer = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
	my $handle = IPC::Run::start(
		[ 'psql', '-X', '-A', '-t', '-q', '-d', "host=$directory port=6432 dbname=$database user=$user" ],
		'<', \$stdin, '>', \$stdout, '2>', \$stderr, $timer);
	my %session = (
		send => sub {
			$stdout = '';
			$stdin .= "$_[0];\n\\echo ====\n";
			$handle->pump_nb;
		},
		answer => sub {
			$handle->pump until $stdout =~ /^====$/m || !$handle->pumpable;
			return $stdout =~ s/\n?====\n\z//r;
		},
		signal => sub { $handle->signal($_[0]); eval { $handle->finish }; return $stderr },
		end => sub {
			$stdin .= "\\q\n";
			eval { $handle->finish; 1 } or eval { $handle->kill_kill };
		});
	$session{ask} = sub { $session{send}->($_[0]); return $session{answer}->() };
	return \%session;
}

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# Until as many sessions wait in the server in a call like that.
sub wait_for_waiters
{
	my ($count, $call) = @_;

	$node->poll_query_until(
		'postgres', qq{
		SELECT count(*) = $count FROM pg_stat_activity
		WHERE state = 'active' AND query LIKE '%pictrepo.$call(%' AND pid <> pg_backend_pid()})
	  or die "there are not $count waiting calls of $call";
	return;
}

# Does it begin to wait, and is it woken by what another client does?
sub is_woken
{
	my ($waiter, $call, $query, $producer, $wake, $name) = @_;

	$waiter->{send}->($query);
	wait_for_waiters(1, $call);
	my $start = seconds();
	my $woken_by = $producer->{ask}->($wake);
	my $answer = $waiter->{answer}->();
	cmp_ok(seconds() - $start, '<', 10, "$name: woken");
	return ($answer, $woken_by);
}

foreach my $try (1 .. 100)
{
	last if -S "$directory/.s.PGSQL.6432";
	BAIL_OUT("PgBouncer did not start: $pooler_output") if !$pooler->pumpable || $try == 100;
	usleep(100_000);
}
my $worker = session('workers');
my $producer = session('workers');

# ----- a job -----

my $pop = qq{FROM pictrepo.pop('q', '$WORKER', wait => '60 s')};
my ($answer, $id) = is_woken($worker, 'pop', "SELECT id, pg_backend_pid() $pop",
	$producer, q{SELECT pictrepo.push('q', '1')}, 'pop');
my ($popped, $session) = split /\|/, $answer;
is($popped, $id, 'pop: the job');

# The session that popped is kept busy by another client; which one a client
# gets is up to the pooler.
my @blockers;
my $blocked = '';
while ($blocked ne $session && @blockers < 3)
{
	push @blockers, session('workers');
	$blocked = $blockers[-1]{ask}->('BEGIN; SELECT pg_backend_pid()');
}
is($blocked, $session, 'another client has the session');
my ($other, $beat) = split /\|/,
  $worker->{ask}->(qq{SELECT pg_backend_pid(), pictrepo.heartbeat('q', '$WORKER', '$id')});
isnt($other, $session, 'the worker has another one');
is($beat, 't', 'and its job still');
is($worker->{ask}->(qq{SELECT pictrepo.complete_job('q', '$WORKER', '$id')}),
	'completed', 'and completes it');
foreach my $blocker (@blockers)
{
	$blocker->{ask}->('ROLLBACK');
	$blocker->{end}->();
}

# ----- an upload, a variant -----

my $upload = $worker->{ask}->('SELECT pictrepo.create_upload()');
($answer) = is_woken($worker, 'wait', qq{SELECT pictrepo.wait('$upload', '60 s')},
	$producer, qq{SELECT pictrepo.complete_upload('$upload', '"done"')}, 'wait');
is($answer, '"done"', 'wait: the result');
is($worker->{ask}->(qq{SELECT pictrepo.claim('$upload')}), 't', 'claim: the upload');

is( $producer->{ask}->(qq{
		SELECT pictrepo.create_hash('hash', 'hash.png');
		SELECT pictrepo.claim_variant_processing_rights('hash', 'thumb', '$WORKER')}),
	"t\nclaimed", 'a variant is claimed');
($answer) = is_woken($worker, 'variant_waiter', q{SELECT pictrepo.variant_waiter('hash', 'thumb', '60 s')},
	$producer, qq{
		SELECT pictrepo.relate_variant_identifier('hash', 'thumb', 'thumb.png');
		SELECT pictrepo.notify_variant('hash', 'thumb', '$WORKER')}, 'variant_waiter');
is($answer, 'thumb.png', 'variant_waiter: the variant');

# ----- who gives up makes room -----

my @waiters = map { session('workers') } 1 .. $POOL;
$_->{send}->("SELECT id $pop") foreach @waiters;
wait_for_waiters($POOL, 'pop');

# for the place of one that cancels
$worker->{send}->(q{SELECT 'served'});
like((shift @waiters)->{signal}->('INT'), qr/canceling statement due to user request/, 'a waiting client cancels');
is($worker->{answer}->(), 'served', 'another one gets its place');

# for the place of one that is gone without a word
my $last = session('workers');
$last->{send}->("SELECT id $pop");
wait_for_waiters($POOL, 'pop');
$worker->{send}->(q{SELECT 'served'});
(shift @waiters)->{signal}->('KILL');
is($worker->{answer}->(), 'served', 'so does one when a client is gone');
wait_for_waiters($POOL - 1, 'pop');

# What is pushed goes to those who are there.
$id = $producer->{ask}->(q{SELECT unnest(pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[} . ($POOL - 1) . q{])))});
is_deeply([ sort map { $_->{answer}->() } @waiters, $last ], [ sort split /\n/, $id ],
	'jobs go to the clients that still wait');
$_->{end}->() foreach @waiters, $last, $producer, $worker;

# ----- more workers than server connections -----

my $CLIENTS = 3 * $POOL;

# Each client is a worker that wants one job: before there are any, or after.
sub all_get_one
{
	my ($name, $script, $call, $protocol) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$call-$protocol.sql";
	my ($stdout, $stderr) = ('', '');

	value('DELETE FROM pictrepo.job_queue');
	append_to_file($file, $script);
	my $workers = IPC::Run::start(
		[
			'pgbench', '--no-vacuum', '-M', $protocol, '-c', $CLIENTS, '-j', 1, '-t', 1,
			'-f', $file, "host=$directory port=6432 dbname=workers user=$user"
		],
		'<', \undef, '>', \$stdout, '2>', \$stderr,
		IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
	wait_for_waiters($POOL, $call);
	my $pushing = session('producers');
	$pushing->{ask}->("SELECT pictrepo.push('q', '1') FROM generate_series(1, $CLIENTS)");
	$pushing->{end}->();
	ok($workers->finish, "$name, $protocol: $CLIENTS workers on $POOL server connections") or diag $stderr;
	is(value(q{SELECT count(*), count(DISTINCT worker), min(attempt), max(attempt)
			FROM pictrepo.job_queue WHERE status = 'running'}),
		"$CLIENTS|$CLIENTS|1|1", "$name, $protocol: each has one job");
	return;
}

my $each = q{lpad((:client_id)::int::text, 32, '0')::uuid};
my @protocols = ('simple', 'extended', $knows_named ? 'prepared' : ());
foreach my $protocol (@protocols)
{
	all_get_one('pop', "SELECT id FROM pictrepo.pop('q', $each, wait => '60 s') \\gset\n", 'pop', $protocol);
}

# ----- pop_wait -----

SKIP:
{
	skip 'there is no pop_wait', 1
	  if value(q{SELECT count(*) FROM pg_proc
			WHERE pronamespace = 'pictrepo'::regnamespace AND proname = 'pop_wait'}) eq '0';
	value('DELETE FROM pictrepo.job_queue');

	my $call = qq{CALL pictrepo.pop_wait('q', '$WORKER', '60 s', NULL, NULL, NULL, NULL)};
	$worker = session('workers');
	$producer = session('workers');
	($answer, $id) = is_woken($worker, 'pop_wait', $call,
		$producer, q{SELECT pictrepo.push('q', '{"a": 1}')}, 'pop_wait');
	like($answer, qr/^$id\|\{"a": 1\}\|1\|\d{4}-/, 'pop_wait: the job');
	is($producer->{ask}->(qq{SELECT pictrepo.heartbeat('q', '$WORKER', '$id')}), 't', 'pop_wait: heartbeat');
	is($producer->{ask}->(qq{SELECT pictrepo.complete_job('q', '$WORKER', '$id')}),
		'completed', 'pop_wait: completed');
	is($worker->{ask}->($call =~ s/60 s/10 ms/r), '|||', 'pop_wait: the time is up');

	$worker->{send}->($call);
	wait_for_waiters(1, 'pop_wait');
	like($worker->{signal}->('INT'), qr/canceling statement due to user request/, 'pop_wait: cancelled');
	wait_for_waiters(0, 'pop_wait');
	$producer->{end}->();

	foreach my $protocol (@protocols)
	{
		all_get_one('pop_wait',
			"CALL pictrepo.pop_wait('q', $each, '60 s', NULL, NULL, NULL, NULL) \\gset\n",
			'pop_wait', $protocol);
	}
}

# ----- named prepared statements -----

my ($named_out, $named_err) = ('', '');
append_to_file("$PostgreSQL::Test::Utils::tmp_check/named.sql", "SELECT pictrepo.push('named', '1');\n");
my $works = IPC::Run::run(
	[
		'pgbench', '--no-vacuum', '-M', 'prepared', '-c', $CLIENTS, '-j', 1, '-t', 20,
		'-f', "$PostgreSQL::Test::Utils::tmp_check/named.sql",
		"host=$directory port=6432 dbname=producers user=$user"
	],
	'<', \undef, '>', \$named_out, '2>', \$named_err,
	IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
if ($knows_named)
{
	ok($works, "PgBouncer $version takes named statements") or diag $named_err;
}
else
{
	like($named_err, qr/prepared statement "\w+" (already exists|does not exist)/,
		"PgBouncer $version mixes named statements up");
}

# ----- the workers to copy -----

# While they work others use the sessions, so that calls come from now this one, now that.
value('DELETE FROM pictrepo.job_queue');
foreach my $command ([ $^X, 'perl/worker.pl' ], [ '/usr/bin/python3', 'python/worker.py' ])
{
	my ($program, $file) = @$command;
	local %ENV = (%ENV, PGHOST => $directory, PGPORT => 6432, PGUSER => $user, PGDATABASE => 'workers',
		HEARTBEAT_SECONDS => 1);
	my $errors = '';
	my $copied = IPC::Run::start([ $program, "$FindBin::RealBin/../../examples/worker/$file", 'copied' ],
		'<', \undef, '2>', \$errors, IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
	wait_for_waiters(1, 'pop_wait');
	value(q{SELECT pictrepo.push('copied', '{"seconds": 8}', retry => 0), pictrepo.push('copied', '{"seconds": 0}')});
	my @others = map { session('workers') } 1 .. $POOL - 1;
	for (my $give_up = seconds() + 60; value(q{SELECT pictrepo.queue_length('copied')}) && seconds() < $give_up;)
	{
		$_->{send}->('SELECT pg_sleep(random() / 10)') foreach @others;
		$_->{answer}->() foreach @others;
	}
	is(value(q{SELECT pictrepo.queue_length('copied')}), '0', "$file: does its jobs");
	$_->{end}->() foreach @others;
	$copied->signal('TERM');
	$copied->finish;
	is($errors, '', "$file: nothing went wrong");
}
is(value(q{SELECT count(*) FROM pictrepo.dead_jobs WHERE queue = 'copied'}), '0', 'workers: no job was lost');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|terminated by signal/, 'nothing odd in the log');
$pooler->kill_kill;
$node->stop;
done_testing();

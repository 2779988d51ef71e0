# When something runs out - disk, connections, locks, room in shared memory -
# calls fail with the server's own error and for that time alone.  What was
# acknowledged is there, counts are exact, and jobs go on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(usleep);

my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $node;

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

sub check_counts
{
	my ($when) = @_;

	is(value(q{
			SELECT pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue),
				pictrepo.queue_length('q') = (SELECT count(*) FROM pictrepo.job_queue WHERE queue = 'q'),
				pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes)}),
		't|t|t', "$when: counts are exact");
	return;
}

sub check_worker
{
	my ($when) = @_;

	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'}),
		"$when: the worker is there");
	return;
}

# All that is left comes out, once.
sub check_jobs_go_on
{
	my ($when) = @_;
	my $there = value('SELECT count(*) FROM pictrepo.job_queue');
	my $done = value(q{
		SELECT count(*) FILTER (WHERE outcome = 'completed')
		FROM pictrepo.pop('q', max_jobs => 10000) j, pictrepo.complete_job('q', NULL, j.id) outcome});

	cmp_ok($there, '>', 0, "$when: there are jobs");
	is($done, $there, "$when: jobs go on");
	is(value(q{SELECT pictrepo.queue_length(), pictrepo.queue_length('q')}), '0|0', "$when: nothing is left");
	return;
}

# ----- disk -----
#
# A user namespace lets anyone mount a small disk, where the system allows it.
# A process that only waits keeps the namespace, and with it the disks; server
# programs run beside it, in another one inside, where they are not root.

my %disk;
my ($keeper, $keeper_pid, $keeper_input);

sub mount_disks
{
	my $commands = join ' && ',
	  map { "mount -t tmpfs -o size=$disk{$_}{size},mode=0700 none '$disk{$_}{path}'" } sort keys %disk;
	my ($output, $errors) = ('', '');

	$keeper_input = '';
	$keeper = eval {
		IPC::Run::start(
			[ 'unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', "$commands && echo \$\$ && exec cat" ],
			'<', \$keeper_input, '>', \$output, '2>', \$errors, IPC::Run::timer($timeout));
	} or return "unshare: $@";
	eval { $keeper->pump while $output !~ /\n/ && $keeper->pumpable };
	($keeper_pid) = $output =~ /^(\d+)$/m or return "no disk can be mounted here: $errors";

	# and a server may run there
	IPC::Run::run([ beside_disks('true') ], '<', \undef, '>', \$output, '2>', \$errors)
	  or return "no server can run there: $errors";
	return '';
}

sub enter
{
	return ('nsenter', "--target=$keeper_pid", '--user', '--mount', '--preserve-credentials', @_);
}

sub beside_disks
{
	my ($group) = split / /, $(;

	return enter('unshare', '--user', "--map-user=$<", "--map-group=$group", @_);
}

sub resize_disk
{
	my ($name, $size) = @_;

	system_or_bail(enter('mount', '-t', 'tmpfs', '-o', "remount,size=$size", 'none', $disk{$name}{path}));
	return;
}

# As the node's own start(), beside the disks.
sub start_beside_disks
{
	system_or_bail(beside_disks('pg_ctl', '--wait', '--silent', '--pgdata', $node->data_dir,
			'--log', $node->logfile, 'start'));
	$node->_update_pid(1);
	return;
}

# Big jobs, one commit each; the ids of the acknowledged ones, and the errors.
sub push_until_full
{
	my ($stdout, $stderr) = run($node, 'postgres', join('', map { qq{
		SELECT pictrepo.push('q', to_jsonb(string_agg(md5(random()::text), ''))) FROM generate_series(1, 3000);
		} } 1 .. 150));

	return ($stderr, split /\n/, $stdout);
}

sub check_acknowledged
{
	my ($when, @ids) = @_;

	cmp_ok(scalar @ids, '>', 5, "$when: some pushes were acknowledged");
	is(value(qq{SELECT count(*) FROM pictrepo.job_queue WHERE id IN ('@{[join "','", @ids]}')}),
		scalar @ids, "$when: all of them are there");
	return;
}

sub test_full_disks
{
	$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
wal_keep_size = 1GB
max_wal_size = 1GB
min_wal_size = 2MB
autovacuum = off
});
	system_or_bail(beside_disks('sh', '-c',
			'cp -a "$1"/pg_wal/. "$2" && rm -r "$1/pg_wal" && ln -s "$2" "$1/pg_wal"',
			'sh', $node->data_dir, $disk{wal}{path}));
	start_beside_disks();
	value('CREATE EXTENSION pictrepo');
	check_worker('small disks');

	# the tables' disk: an error for who needs more of it
	value(qq{CREATE TABLESPACE small LOCATION '$disk{tables}{path}'});
	value('ALTER TABLE pictrepo.job_queue SET TABLESPACE small');
	my ($errors, @acknowledged) = push_until_full();
	like($errors, qr/ERROR:  53100:/, 'tables: the disk is full');
	is_deeply([ grep { !/53100/ } $errors =~ /ERROR:  (\w+)/g ], [], 'tables: which is the only error');
	check_acknowledged('tables', @acknowledged);
	check_counts('tables full');
	value(q{SELECT pictrepo.create_hash('while full', 'file')});
	resize_disk('tables', '100m');
	check_acknowledged('tables, space again', @acknowledged);
	check_jobs_go_on('tables, space again');
	check_worker('tables, space again');
	check_counts('tables, space again');

	# the WAL's disk: the server stops, and nothing acknowledged is lost
	@acknowledged = ();
	foreach (1 .. 10)
	{
		($errors, my @more) = push_until_full();
		push @acknowledged, @more;
		last if $errors ne '';
	}
	ok(slurp_file($node->logfile) =~ /PANIC:.*No space left on device/, 'WAL: the disk is full')
	  or diag $errors;
	foreach (1 .. 10 * $timeout)
	{
		last if !-e $node->data_dir . '/postmaster.pid';
		usleep(100_000);
	}
	resize_disk('wal', '200m');
	start_beside_disks();
	check_acknowledged('WAL, space again', @acknowledged);
	check_worker('WAL, space again');
	check_counts('WAL, space again');
	check_jobs_go_on('WAL, space again');
	is(value(q{SELECT pictrepo.identifier('while full')}), 'file', 'what came while the tables had no room is there');
	$node->stop;
	return;
}

$node = PostgreSQL::Test::Cluster->new('small_disk');
$node->init(extra => ['--wal-segsize=1']);
foreach my $name (qw(tables wal))
{
	$disk{$name} = { path => PostgreSQL::Test::Utils::tempdir("disk_$name"), size => '20m' };
}
$disk{tables}{size} = '3m';
my $why_not = mount_disks();

SKIP:
{
	skip "full disks: $why_not", 1 if $why_not ne '';
	test_full_disks();
}
if (defined $keeper)
{
	# The end of its input ends it.
	undef $keeper_input if $why_not ne '';
	eval { $keeper->finish; 1 } or eval { $keeper->kill_kill };
}

# ----- connections -----

$node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
max_connections = 12
superuser_reserved_connections = 1
max_locks_per_transaction = 10
max_prepared_transactions = 0
autovacuum = off
pictrepo.heartbeat_timeout = '500ms'
pictrepo.reap_interval = '100ms'
pictrepo.max_waiters = 1
pictrepo.max_queues = 1
pictrepo.max_running_jobs = 1
});
$node->start;
fill($node, 'postgres');
# A job of the schedule would come when nobody expects it.
value(q{SELECT pictrepo.unschedule_job('daily')});
value(q{TRUNCATE pictrepo.job_queue; SELECT pictrepo.push('q', '1', retry => 5); SELECT count(*) FROM pictrepo.pop('q')});
my @sessions = map { Session->new($node) } 1 .. 12;
my ($status, undef, $errors) = $node->psql('postgres', 'SELECT 1');
like($errors, qr/too many clients/, 'connections: there are no more');
my $reaped;
foreach (1 .. 10 * $timeout)
{
	$reaped = $sessions[0]->ask(q{SELECT retry < 5 FROM pictrepo.job_queue WHERE status = 'new'});
	last if $reaped eq 't';
	usleep(100_000);
}
is($reaped, 't', 'connections: the worker needs none, and takes jobs from silent workers');
$sessions[1]->send(q{SELECT job FROM pictrepo.pop('other', wait => '10 min')});
$sessions[2]->ask(q{SELECT pictrepo.push('other', '"called"')});
is($sessions[1]->answer, '"called"', 'connections: who has one goes on');
# The queues before it keep the slots in shared memory until the transaction ends.
$sessions[2]->ask(q{BEGIN; SET LOCAL pictrepo.notify = off; SELECT count(pictrepo.push('q' || n, '1')) FROM generate_series(1, 500) n});
$sessions[2]->ask(q{SELECT count(pictrepo.push('many', '1')) FROM generate_series(1, 20000)});
is($sessions[2]->ask(
		q{SELECT total_bytes < 1e6 FROM pg_backend_memory_contexts WHERE name = 'TopTransactionContext'}),
	't', 'queues: a transaction with many jobs of a queue without a slot needs no memory for each');
$sessions[2]->ask('ROLLBACK');
$_->leave foreach @sessions;
value('DELETE FROM pictrepo.job_queue');
ok($node->poll_query_until('postgres', 'SELECT true'), 'connections: there are some again');
value(q{SELECT pictrepo.push('q', '2')});
check_counts('connections');
check_jobs_go_on('connections');

# ----- locks -----

# Session locks outlive the error of the statement that wanted more of them.  Not
# even a new session could come now, so the calls are those of one that is there.
my $greedy = Session->new($node);
my $caller = Session->new($node);
my @functions = public_functions($node, 'postgres');

# What each call ends with, and does not leave.
sub errors_of_calls
{
	return map {
		$caller->ask('BEGIN');
		my $answer = $caller->ask(call_of($_));
		$caller->ask('ROLLBACK');
		"$_->{name} " . ($answer =~ /ERROR:  (\w{5})/ ? $1 : 'works');
	} @functions;
}

my @usual = errors_of_calls();
my $greedy_pid = $greedy->ask('SELECT pg_backend_pid()');
like($greedy->ask('SELECT count(pg_advisory_lock(n)) FROM generate_series(1, 1000000) n'),
	qr/53200/, 'locks: there are no more');
my @refused = grep { / 53200$/ } my @meanwhile = errors_of_calls();
cmp_ok(scalar @refused, '>', 0, 'locks: some calls are refused for want of them');
is_deeply(
	[ grep { $meanwhile[$_] !~ / 53200$/ && $meanwhile[$_] ne $usual[$_] } 0 .. $#functions ],
	[], 'locks: and none in another way');
note "@refused";
$greedy->leave;
# its backend goes after it
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $greedy_pid)"),
	'locks: who had them is gone');
is_deeply([ errors_of_calls() ], \@usual, 'locks: all calls are as before again');
$caller->leave;
value(q{SELECT pictrepo.push('q', '3')});
check_counts('locks');
check_worker('locks');
check_jobs_go_on('locks');

# ----- shared memory -----

# From here on no worker is silent.
value(q{ALTER SYSTEM SET pictrepo.heartbeat_timeout = '10min'});
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT setting::int > 500 FROM pg_settings WHERE name = 'pictrepo.heartbeat_timeout'}),
	'shared memory: a long timeout');

# Far more than there is room for, in all the ways in which a place becomes free.
foreach my $end (
	q{PERFORM pictrepo.complete_job('q', NULL, job.id)},
	q{PERFORM pictrepo.complete_job('q', NULL, job.id, 'aborted')},
	q{DELETE FROM pictrepo.job_queue WHERE id = job.id},
	q{RAISE division_by_zero})
{
	value(qq{
		DO \$\$
		DECLARE
			job record;
		BEGIN
			FOR n IN 1 .. 500 LOOP
				BEGIN
					PERFORM pictrepo.push('q', to_jsonb(n));
					SELECT id INTO STRICT job FROM pictrepo.pop('q');
					PERFORM pictrepo.heartbeat('q', NULL, job.id);
					$end;
				EXCEPTION WHEN division_by_zero THEN
					NULL;
				END;
				COMMIT;
			END LOOP;
		END \$\$});
	is(value('SELECT count(*) FROM pictrepo.job_queue'), '0', "shared memory: 500 times $end");
}
my $session = Session->new($node);
$session->ask(q{SELECT pictrepo.push('q', '1'); SELECT id FROM pictrepo.pop('q')});
is( $session->ask(q{
		SELECT pictrepo.heartbeat('q', NULL, id) FROM pictrepo.job_queue;
		SELECT pictrepo.pulse(id) IS NOT NULL FROM pictrepo.job_queue}),
	"t\nt", 'shared memory: the heartbeat of the next job has a place');

value(q{DELETE FROM pictrepo.job_queue});

# A place in line, after waits that ended by themselves, by a cancel and with their client.
foreach my $n (1 .. 5)
{
	my $leaving = Session->new($node);

	is($leaving->ask(qq{SELECT count(*) FROM pictrepo.pop('queue $n', wait => '1 ms')}), '0', "nothing comes in queue $n");
	like($leaving->ask(qq{SET statement_timeout = '20ms'; SELECT FROM pictrepo.pop('queue $n', wait => '1 min')}),
		qr/57014/, 'a wait is cancelled');
	$leaving->send(qq{RESET statement_timeout; SELECT FROM pictrepo.pop('queue $n', wait => '1 min')});
	$node->poll_query_until('postgres', qq{SELECT state = 'active' FROM pg_stat_activity WHERE pid = @{[$leaving->pid]}});
	value("SELECT pg_terminate_backend(@{[$leaving->pid]}, 10000)");
	$leaving->vanish;
}
$session->send(q{SELECT job FROM pictrepo.pop('q', wait => '10 min')});
ok($node->poll_query_until('postgres', q{SELECT waiting = 1 FROM pictrepo.queue_stats WHERE queue = 'q'}),
	'shared memory: the next in line has a place');
value(q{SELECT pictrepo.push('q', '2')});
is($session->answer, '2', 'and is called');
$session->leave;
value(q{UPDATE pictrepo.job_queue SET status = 'new', worker = NULL, heartbeat = NULL});
check_counts('shared memory');
check_jobs_go_on('shared memory');
unlike(slurp_file($node->logfile), qr/PANIC|XX\d\d\d|TRAP|terminated by signal/, 'nothing odd in the log');
$node->stop;

done_testing();

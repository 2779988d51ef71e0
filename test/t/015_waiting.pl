# Who waits is called when there is something, and only then: as many as there
# are jobs, the longest waiting first.  However a wait ends, its place is free
# at once and a call that it had goes to the next one.  Who waits with pop_wait
# holds nothing that is in anybody's way.  Where shared memory is too small, all
# of it works as well.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(usleep);

my $POP = q{SELECT job FROM pictrepo.pop('q', wait => '10 min')};
my $POP_WAIT = q{CALL pictrepo.pop_wait('q', NULL, '10 min', NULL, NULL, NULL, NULL)};

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;

# The worker does nothing unless the test says so.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.sweep_interval = '1h'
pictrepo.reap_interval = '1h'
client_connection_check_interval = 10
max_connections = 60
max_prepared_transactions = 5
autovacuum = off
log_statement = none
});
my $counts_statements = -e join '/',
  qx{pg_config --sharedir} =~ s/\n//r, 'extension/pg_stat_statements.control';
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo, pg_stat_statements'
pg_stat_statements.track = all
}) if $counts_statements;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

my $control;

# After a start: wait for the worker's first round as well.
sub connect_again
{
	$node->poll_query_until('postgres',
		q{SELECT min(runs) > 0 FROM pictrepo.maintenance WHERE duty IN ('sweep', 'reap')})
	  or die 'the worker does not run';
	$control = Session->new($node);
	return;
}

sub value
{
	my ($query) = @_;

	return $control->ask($query);
}

sub wait_until
{
	my ($query, $wanted) = @_;

	foreach (1 .. 200 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if value($query) eq ($wanted // 't');
		usleep(5_000);
	}
	die "never true: $query";
}

sub counter
{
	my ($what, $queue) = @_;

	return value("SELECT $what FROM pictrepo.queue_stats WHERE queue = '@{[$queue // 'q']}'");
}

# Called, and come to the place where it sleeps.
sub sleeps
{
	my ($session) = @_;
	my $pid = $session->pid;

	wait_until(qq{
		SELECT wait_event_type = 'Extension' AND wait_event ~ '^(Extension|Pictrepo.*)\$'
		FROM pg_stat_activity WHERE pid = $pid});
	return;
}

# Sessions that stand in line in their order.
sub waiters
{
	my ($count, $statement, $settings) = @_;
	my @waiters;

	foreach (1 .. $count)
	{
		my $waiter = Session->new($node);

		$waiter->ask($settings) if $settings;
		$waiter->send($statement // $POP);
		sleeps($waiter);
		push @waiters, $waiter;
	}
	return @waiters;
}

sub answers
{
	return [ map { $_->answer } @_ ];
}

# pop_wait gives the id before, and more after.
sub job
{
	my ($session) = @_;
	my @columns = split /\|/, $session->answer;

	return $columns[1] // $columns[0];
}

# Who has something is at most who was called; there is time to notice others.
sub nobody_answered
{
	my ($name, @waiters) = @_;

	value('SELECT pg_sleep(0.05)');
	is(scalar(grep { $_->answered } @waiters), 0, $name);
	return;
}

sub push_jobs
{
	my ($jobs, $more) = @_;

	return value("SELECT cardinality(pictrepo.push_many('q', '{$jobs}' @{[$more // '']}))");
}

connect_again();

# ----- one job, one waiter -----

my $holder = Session->new($node);
push_jobs('16,17');
$holder->ask(q{BEGIN; SELECT FROM pictrepo.pop('q', max_jobs => 2)});

my @waiters = waiters(32);
is(counter('waiting'), '32', 'all wait');
is(counter('woken'), '0', 'nobody was called');

# What $statements bring is for the next waiters in line, and for nobody else.
my $woken = 0;

sub wakes
{
	my ($name, $statements, @jobs) = @_;
	my @called = splice @waiters, 0, scalar @jobs;

	value($statements);
	is_deeply([ sort { $a <=> $b } @{ answers(@called) } ],
		\@jobs, "$name: the next in line have the jobs");
	$woken += @jobs;
	is(counter('woken'), $woken, "$name: as many were called");
	is(counter('waiting'), scalar @waiters, "$name: the others wait");
	return;
}

wakes('push', q{SELECT pictrepo.push('q', '1')}, 1);
wakes('push_many', q{SELECT pictrepo.push_many('q', '{2,3,4,5,6}')}, 2 .. 6);
wakes('two commits', q{SELECT pictrepo.push('q', '7'); SELECT pictrepo.push('q', '8')}, 7, 8);
wakes('one commit', q{BEGIN; SELECT pictrepo.push('q', '9'); SELECT pictrepo.push('q', '10'); COMMIT},
	9, 10);
wakes('rollback', q{BEGIN; SELECT pictrepo.push('q', '0'); ROLLBACK});
wakes('another queue', q{SELECT pictrepo.push('other', '0')});
wakes('savepoints',
	q{BEGIN; SELECT pictrepo.push('q', '11'); SAVEPOINT a; SELECT pictrepo.push('q', '0'); ROLLBACK TO a;
	SAVEPOINT b; SELECT pictrepo.push('q', '12'); RELEASE b; COMMIT}, 11, 12);
wakes('plain SQL', q{
	INSERT INTO pictrepo.job_queue (id, queue, job)
	SELECT gen_random_uuid(), 'q', to_jsonb(n) FROM generate_series(13, 15) n}, 13 .. 15);
$holder->send('ROLLBACK');
wakes('claims rolled back', '', 16, 17);
wakes('all that wait', q{SELECT pictrepo.push_many('q', array_agg(to_jsonb(n))) FROM generate_series(18, 32) n},
	18 .. 32);
is(value(q{SELECT pictrepo.queue_length('q') = 32 AND count(*) = 32 FROM pictrepo.jobs
		WHERE queue = 'q' AND state = 'running'}), 't', 'each job was given out once');
value('TRUNCATE pictrepo.job_queue');

# ----- whoever leaves -----

# The server's clock tells when a timeout is over: a process that stands still does not leave.
sub outlast_timeout
{
	my ($session) = @_;

	value(qq{SELECT pg_sleep(extract(epoch FROM query_start + interval '5.1 s' - clock_timestamp()))
		FROM pg_stat_activity WHERE pid = @{[$session->pid]}});
	return;
}

# The timeout is longer than two sessions take to start on a machine that has much to do.
my %leaving = (
	'a cancel' => [ '', sub { value("SELECT pg_cancel_backend(@{[$_[0]->pid]})") } ],
	'a timeout' => [ q{SET statement_timeout = '5s'}, \&outlast_timeout ],
	'the end of its session' => [ '', sub { value("SELECT pg_terminate_backend(@{[$_[0]->pid]})") } ],
	'the end of its client' => [ '', sub { $_[0]->vanish; usleep(20_000) } ],
);

foreach my $how (sort keys %leaving)
{
	my ($settings, $end) = @{ $leaving{$how} };

	foreach my $statement ($POP, $POP_WAIT)
	{
		my $name = $how . ($statement eq $POP ? ' of a pop' : ' of a pop_wait');
		my ($first) = waiters(1, $statement, $settings);

		is(counter('waiting'), '1', "$name: it waits");
		$end->($first);
		wait_until(q{SELECT waiting = 0 FROM pictrepo.queue_stats WHERE queue = 'q'});
		pass("$name: its place is free");

		# called while it stands still, it comes round only to leave
		($first) = waiters(1, $statement, $settings);
		my ($second, $third) = waiters(2, $statement);
		kill 'STOP', $first->pid;
		push_jobs('1');
		nobody_answered("$name: the call is for the first", $second, $third);
		$end->($first);
		kill 'CONT', $first->pid;
		is(job($second), '1', "$name: the call is passed on");
		is(counter('waiting'), '1', "$name: and no further");
		push_jobs('2');
		is(job($third), '2', "$name: the last one still hears");
		$_->leave foreach $second, $third;
		value('TRUNCATE pictrepo.job_queue');
	}
}

# ----- what a waiter holds -----

@waiters = waiters(10, $POP_WAIT);
is( value(q{
		SELECT count(*), count(backend_xmin), count(backend_xid), bool_and(wait_event_type = 'Extension')
		FROM pg_stat_activity WHERE state = 'active' AND query ~ '^CALL pictrepo.pop_wait'}),
	'10|0|0|t', 'pop_wait holds no snapshot and no transaction');

# Deleted rows go, unless somebody's snapshot keeps them.
sub vacuum_removes
{
	value('CREATE TABLE IF NOT EXISTS rows AS SELECT n FROM generate_series(1, 1000) n; DELETE FROM rows');
	foreach (1 .. 20)
	{
		value('VACUUM rows');
		return 1 if value(q{SELECT pg_relation_size('rows') = 0}) eq 't';
		usleep(10_000);
	}
	return 0;
}
ok(vacuum_removes(), 'VACUUM removes rows while they wait');

my $event = $node->pg_version >= 17 ? 'PictrepoJob' : 'Extension';
wait_until(q{SELECT DISTINCT wait_event FROM pg_stat_activity WHERE state = 'active' AND query ~ '^CALL pictrepo.pop_wait'},
	$event);
pass("they are seen to wait for $event");
push_jobs(join ',', 1 .. 10);
answers(@waiters);
value('TRUNCATE pictrepo.job_queue; DROP TABLE rows');

my ($pop) = waiters(1);
note('a pop that waits holds a snapshot: ',
	value("SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = @{[$pop->pid]}"));
push_jobs('1');
$pop->answer;

my $upload = value('SELECT pictrepo.create_upload()');
value(q{SELECT pictrepo.create_hash('hash', 'hash.png');
	SELECT pictrepo.claim_variant_processing_rights('hash', 'thumb')});
my %waits = (
	PictrepoUpload => "SELECT pictrepo.wait('$upload', '10 min')",
	PictrepoVariant => q{SELECT pictrepo.variant_waiter('hash', 'thumb', '10 min')},
);
foreach my $name (sort keys %waits)
{
	my ($waiter) = waiters(1, $waits{$name});

	$event = $node->pg_version >= 17 ? $name : 'Extension';
	wait_until("SELECT wait_event FROM pg_stat_activity WHERE pid = @{[$waiter->pid]}", $event);
	pass("and for $event");
	value("SELECT pg_cancel_backend(@{[$waiter->pid]})");
	is($waiter->answer, 'ERROR:  57014', 'until they are cancelled');
	$waiter->leave;
}

# ----- nothing is done while nothing comes -----

SKIP:
{
	skip 'pg_stat_statements is not installed', 1 if !$counts_statements;

	my $statements = q{SELECT count(*) || '/' || sum(calls) FROM pg_stat_statements
		WHERE query ~ 'pictrepo.(job_queue|queues)' AND query !~ 'pg_stat_statements'};
	@waiters = (waiters(5), waiters(5, $POP_WAIT));
	value('CREATE EXTENSION pg_stat_statements');
	my ($before, $after);

	# the worker runs some, seldom; a waiter that does would do so each time
	foreach (1 .. 5)
	{
		$before = value($statements);
		usleep(500_000);
		$after = value($statements);
		last if $after eq $before;
	}
	is($after, $before, 'waiters run no statement');
	push_jobs(join ',', 1 .. 10);
	answers(@waiters);
	value('DROP EXTENSION pg_stat_statements; TRUNCATE pictrepo.job_queue');
}

# ----- jobs that are due later -----

# One more is called, who finds nothing and keeps the time from then on.
sub calls_at_most
{
	my ($name, $jobs, $before) = @_;

	cmp_ok(counter('woken') - $before, '<=', $jobs + 1, "$name: no more are called than needed");
	return;
}

my $before = counter('woken');
@waiters = waiters(4);
push_jobs('1', q{, run_at => clock_timestamp() + interval '2 s'});
nobody_answered('a job that is not due calls nobody', @waiters);
is(counter('woken'), $before, 'nobody was called');
is((shift @waiters)->answer, '1', 'a job that becomes due goes to the first in line');
nobody_answered('and to nobody else', @waiters);
calls_at_most('due', 1, $before);

# the later one is pushed first
$before = counter('woken');
value(q{SELECT pictrepo.push('q', '3', run_at => clock_timestamp() + interval '3 s');
	SELECT pictrepo.push('q', '2', run_at => clock_timestamp() + interval '1 s')});
is((shift @waiters)->answer, '2', 'the time is taken from the sooner one');
is((shift @waiters)->answer, '3', 'and then from the later one');
is(scalar @waiters, 1, 'one still waits');
calls_at_most('due one after the other', 3, $before);
push_jobs('4');
is((shift @waiters)->answer, '4', 'which takes what comes');

# the one who kept the time leaves before
@waiters = waiters(2);
push_jobs('5', q{, run_at => clock_timestamp() + interval '2 s'});
value("SELECT pg_cancel_backend(@{[$waiters[0]->pid]})");
is($waiters[1]->answer, '5', 'when the first in line leaves, the next one keeps the time');

# from here on there is one job of each number
value('DELETE FROM pictrepo.job_queue');
@waiters = waiters(6);
$before = counter('woken');
push_jobs('1,2,3,4', q{, run_at => clock_timestamp() + interval '1 s'});
is_deeply([ sort @{ answers(splice @waiters, 0, 4) } ], [ 1 .. 4 ],
	'jobs due at the same moment go to the first in line');
nobody_answered('and to nobody else', @waiters);
calls_at_most('due at once', 4, $before);
is(counter('waiting'), '2', 'the others wait');

# a job that fails comes back after its pause, to whoever waits then
value(q{SELECT pictrepo.configure_queue('q', backoff => '2 s')});
sleeps($_) foreach @waiters;
value(q{SELECT pictrepo.complete_job(queue, worker, id, 'failure') FROM pictrepo.job_queue WHERE job = '3'});
nobody_answered('a job that failed pauses', @waiters);
is((shift @waiters)->answer, '3', 'and goes to the first in line');
push_jobs('5');
is((shift @waiters)->answer, '5', 'the other one waits on');

# ----- never more than the limit -----

value(q{
	TRUNCATE pictrepo.job_queue;
	SELECT pictrepo.configure_queue('limited', max_running => 3);
	SELECT pictrepo.push_many('limited', array_agg(to_jsonb(n))) FROM generate_series(1, 400) n;
	CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
	DECLARE taken uuid;
	BEGIN
		SELECT id INTO taken FROM pictrepo.pop('limited', wait => '1 second');
		COMMIT;
		PERFORM pg_sleep(random() / 200);
		IF random() < 0.2 THEN
			DELETE FROM pictrepo.job_queue WHERE id = taken;
		ELSE
			PERFORM pictrepo.complete_job('limited', NULL, taken) WHERE taken IS NOT NULL;
		END IF;
	END $$;
	CREATE FUNCTION most_running() RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		most bigint = 0;
		running bigint;
		ready bigint;
	BEGIN
		LOOP
			SELECT count(*) FILTER (WHERE status = 'running'), count(*) INTO running, ready
			FROM pictrepo.job_queue;
			most = greatest(most, running);
			EXIT WHEN ready = 0;
		END LOOP;
		RETURN most;
	END $$});

my $work = "$PostgreSQL::Test::Utils::tmp_check/work.sql";
append_to_file($work, 'CALL work();');
my $observer = Session->new($node);
$observer->send('SELECT most_running()');
$node->command_ok(
	[
		'pgbench', '--no-vacuum', '-c', '16', '-j', '2', '-t', '25', '-f', $work,
		$node->connstr('postgres')
	],
	'16 clients share a queue with a limit');
is(value('SELECT count(*) FROM pictrepo.job_queue'), '0', 'and do all of its jobs');
is($observer->answer, '3', 'never more run than it allows, and never less than there is room for');
is(counter('waiting', 'limited'), '0', 'nobody waits any more');
$observer->leave;

# ----- two-phase commits -----

# No callback runs at COMMIT PREPARED.  A session that waited before the PREPARE
# finds the result all the same, long before its time is up.
$control->ask(q{SET pictrepo.notify = off});
my $upload = value('SELECT pictrepo.create_upload()');
value(q{SELECT pictrepo.create_hash('2pc', '2pc.png'),
	pictrepo.claim_variant_processing_rights('2pc', 'v', '00000000-0000-0000-0000-000000000001')});
my ($for_upload) = waiters(1, "SELECT pictrepo.wait('$upload', '10 min')");
my ($for_variant) = waiters(1, q{SELECT pictrepo.variant_waiter('2pc', 'v', '10 min')});
value(qq{BEGIN; SELECT pictrepo.complete_upload('$upload', '"done"'),
	pictrepo.finish_variant('2pc', 'v', '00000000-0000-0000-0000-000000000001', 'v.png', '{}');
	PREPARE TRANSACTION 'result'});
value(q{COMMIT PREPARED 'result'});
is($for_upload->answer, '"done"', 'a wait for an upload sees a two-phase commit');
is($for_variant->answer, 'v.png', 'and so does one for a variant');

# The last check is when the time is up.  Nothing wakes this session before: the
# row comes without the trigger, and the worker checks once an hour.
$upload = value('SELECT pictrepo.create_upload()');
($for_upload) = waiters(1, "SELECT pictrepo.wait('$upload', '3 s')");
value(qq{ALTER TABLE pictrepo.uploads DISABLE TRIGGER USER;
	UPDATE pictrepo.uploads SET result = '"late"' WHERE id = '$upload';
	ALTER TABLE pictrepo.uploads ENABLE ALWAYS TRIGGER upload_result, ENABLE ALWAYS TRIGGER upload_gone});
is($for_upload->answer, '"late"', 'a wait checks once more when its time is up');
$_->leave foreach $for_upload, $for_variant;
value(q{SELECT pictrepo.cleanup_hash('2pc')});
$control->ask(q{RESET pictrepo.notify});

# ----- who waits -----

my $upload = value('SELECT pictrepo.create_upload()');
value(q{
	SELECT pictrepo.create_hash(decode(repeat('ab', 128), 'hex'), 'a.png'), pictrepo.create_hash('hash', 'b.png');
	SELECT pictrepo.claim_variant_processing_rights(decode(repeat('ab', 128), 'hex'), repeat('ü', 100)),
		pictrepo.claim_variant_processing_rights('hash', 'thumb')});
my %statements = (
	$POP => ['job|q|'],
	$POP_WAIT => ['job|q|'],
	"SELECT pictrepo.wait('$upload', '10 min')" => ["upload|$upload|"],
	q{SELECT pictrepo.variant_waiter('hash', 'thumb', '10 min')} => ['variant|thumb|\\x68617368'],

	# what is too long is cut off between two characters
	q{SELECT pictrepo.variant_waiter(decode(repeat('ab', 128), 'hex'), repeat('ü', 100), '10 min')} =>
	  [ 'variant|' . 'ü' x 32 . '|\\x' . 'ab' x 128 ]);

sub who_waits
{
	return value(q{SELECT pid, waits_for, name, hash FROM pictrepo.waiting ORDER BY pid});
}

my $began = value('SELECT clock_timestamp()');
foreach my $statement (sort keys %statements)
{
	$statements{$statement}[1] = (waiters(1, $statement))[0];
}
is( who_waits(),
	join("\n", map { $_->[1]->pid . "|$_->[0]" } sort { $a->[1]->pid <=> $b->[1]->pid } values %statements),
	'view waiting shows who waits for what');
is(value(qq{SELECT bool_and(since > '$began' AND since < clock_timestamp()) FROM pictrepo.waiting}), 't', 'and since when');
$node->safe_psql('postgres', 'CREATE DATABASE another; CREATE ROLE looker LOGIN');
$node->safe_psql('another', 'CREATE EXTENSION pictrepo');
is($node->safe_psql('another', 'SELECT count(*) FROM pictrepo.waiting'), '0', 'not in another database');
value(q{SELECT pictrepo.grant_access('looker', 'reader')});
is( $node->safe_psql('postgres', 'SELECT count(*) FROM pictrepo.waiting', extra_params => [ '-U', 'looker' ]),
	5, 'a reader may see it');
value('SELECT pg_cancel_backend(' . $statements{$POP}[1]->pid . ')');
like($statements{$POP}[1]->answer, qr/57014/, 'one is cancelled');
value('SELECT pg_terminate_backend(' . $statements{$POP_WAIT}[1]->pid . ')');
wait_until('SELECT count(*) = 3 FROM pictrepo.waiting');
value(qq{
	SELECT pictrepo.complete_upload('$upload', '{}');
	SELECT pictrepo.notify_variant(hash, variant, worker) FROM pictrepo.variant_claims});
$_->[1]->answer foreach @statements{ grep { !/pop/ } keys %statements };
is(who_waits(), '', 'who waits no more is not shown, however the wait ended');
$_->[1]->vanish foreach values %statements;
$node->safe_psql('postgres', 'DROP DATABASE another');
value('SELECT pictrepo.cleanup_hash(hash) FROM pictrepo.hashes');

# ----- too small a shared memory -----

$control->leave;
$node->append_conf('postgresql.conf', q{
pictrepo.max_waiters = 2
pictrepo.max_queues = 1
pictrepo.max_running_jobs = 1
});
$node->restart;
connect_again();

my @slow = map { my $s = Session->new($node); $s->send($POP); $s } 1 .. 5;
wait_until(q{SELECT waiting = 2 FROM pictrepo.queue_stats WHERE queue = 'q'});
push_jobs('1,2,3,4,5');
is_deeply([ sort @{ answers(@slow) } ], [ 1 .. 5 ], 'max_waiters: the others find jobs, too');
$_->leave foreach @slow;

@slow = map { my $s = Session->new($node); $s->send($POP =~ s/'q'/'queue $_'/r); $s } 1 .. 3;
value(qq{SELECT pictrepo.push('queue $_', '$_')}) foreach 1 .. 3;
is_deeply(answers(@slow), [ 1 .. 3 ], 'max_queues: jobs of all queues are found');
is(value(q{SELECT string_agg(pictrepo.queue_length(queue)::text, ' ' ORDER BY queue)
		FROM unnest('{q,queue 1,queue 2,queue 3,no queue}'::text[]) queue}),
	'0 5 1 1 1', 'max_queues: lengths are right');
is(value('SELECT pictrepo.queue_length()'), '8', 'max_queues: their sum is right');
value(q{SELECT pictrepo.push('queue 2', '4')});
value(q{BEGIN; SELECT pictrepo.push('queue 3', '4'); ROLLBACK});
value(q{DELETE FROM pictrepo.job_queue WHERE queue = 'q' AND job = '5'});
is(value(q{SELECT string_agg(pictrepo.queue_length(queue)::text, ' ' ORDER BY queue)
		FROM unnest('{q,queue 1,queue 2,queue 3}'::text[]) queue}),
	'4 1 2 1', 'max_queues: lengths are kept right');
$_->leave foreach @slow;

# the table is made with some room to spare
value(q{TRUNCATE pictrepo.job_queue; SELECT pictrepo.push_many('q', array_agg(to_jsonb(n))) FROM generate_series(1, 100) n});
value(q{SELECT count(*) FROM pictrepo.pop('q', max_jobs => 100)});
my $old = value(q{SELECT min(heartbeat) FROM pictrepo.jobs});
is( value(qq{
		SELECT bool_and(pictrepo.heartbeat('q', NULL, id)), bool_or(pictrepo.heartbeat('q', gen_random_uuid(), id)),
			bool_or(pictrepo.heartbeat('other', NULL, id))
		FROM pictrepo.job_queue}),
	't|f|f', 'max_running_jobs: heartbeats are for who holds the job');
is(value(qq{SELECT count(*) FROM pictrepo.jobs WHERE heartbeat > '$old'}),
	'100', 'max_running_jobs: all heartbeats are kept');
# Where processes are started afresh the server tells them nothing of it when they
# come to a table that is there.
my $grows = qx(pg_config --cppflags) =~ /EXEC_BACKEND/ ? 'with EXEC_BACKEND a table of fixed size grows' : '';
SKIP:
{
	skip $grows, 1 if $grows;
	cmp_ok(value('SELECT count(pictrepo.pulse(id)) FROM pictrepo.job_queue'),
		'<', 100, 'max_running_jobs: some of them in their rows');
}
is(value(q{
		SELECT count(*) FILTER (WHERE outcome = 'completed')
		FROM pictrepo.job_queue, pictrepo.complete_job('q', worker, id) outcome}),
	'100', 'max_running_jobs: all are done');
is(value(q{SELECT pictrepo.queue_length(), pictrepo.queue_length('q')}), '0|0', 'nothing is left');

# the places of a database that goes are there for others
$control->leave;
$node->append_conf('postgresql.conf', 'pictrepo.max_queues = 100');
$node->restart;
connect_again();
sub places
{
	my $database = shift // 'postgres';

	return $node->safe_psql($database, q{
		SET client_min_messages = warning;
		TRUNCATE pictrepo.job_queue;
		DO $$ BEGIN
			PERFORM pictrepo.push_many('q', array_agg(to_jsonb(n))) FROM generate_series(1, 100) n;
			PERFORM pictrepo.pop('q', max_jobs => 100);
		END $$;
		SELECT count(pictrepo.pulse(id)) FROM pictrepo.job_queue});
}

my $places = places();
value('TRUNCATE pictrepo.job_queue');
$node->safe_psql('postgres', 'CREATE DATABASE doomed');
$node->safe_psql('doomed', 'CREATE EXTENSION pictrepo');
is(places('doomed'), $places, 'max_running_jobs: a database has all places');
SKIP:
{
	skip $grows, 1 if $grows;
	is(places(), 0, 'max_running_jobs: and another one none');
}
$node->safe_psql('postgres', 'DROP DATABASE doomed');
my $free = 0;
for (1 .. 100)
{
	last if ($free = places()) == $places;
	usleep(100_000);
}
is($free, $places, 'max_running_jobs: what a dropped database had is free again');

unlike(slurp_file($node->logfile), qr/PANIC|XX000|TRAP|terminated by signal/, 'nothing odd in the log');
$control->leave;
$node->stop;
done_testing();

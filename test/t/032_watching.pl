# What can be seen of a queue and of who works for it: how long jobs waited and
# ran, 0 where nothing happened yet, and names that say who a process is.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

my $WORKER = '11111111-1111-1111-1111-111111111111';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.reap_interval = '20ms'
pictrepo.max_running_jobs = 1000
});
$node->start;

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

value('CREATE EXTENSION pictrepo');

# ----- how long jobs waited and ran -----

# Seconds of a queue, in all
sub counted
{
	my ($what, $queue) = @_;

	return value("SELECT extract(epoch FROM $what) FROM pictrepo.queue_stats WHERE queue = '$queue'");
}

# At least so long, since nobody is faster than the clock, and no longer than
# this test can have taken over it.
sub is_about
{
	my ($seconds, $least, $began, $name) = @_;
	my $most = time() - $began;

	ok($seconds >= $least && $seconds <= $most, $name)
		or diag("$seconds is not from $least to $most");
	return;
}

sub pop_job
{
	my ($queue, $options) = @_;

	return value("SELECT id FROM pictrepo.pop('$queue', '$WORKER'@{[$options // '']})");
}

sub end_job
{
	my ($queue, $job, $result) = @_;

	return value("SELECT pictrepo.complete_job('$queue', '$WORKER', '$job', '$result')");
}

my $began = time();
value(q{SELECT pictrepo.push('plain', '1')});
is(counted('wait_time', 'plain'), '0.000000', 'who waits is not counted before it is over');
sleep(0.3);
my $job = pop_job('plain');
my $waited = counted('wait_time', 'plain');
is_about($waited, 0.3, $began, 'a job waits from its push to its pop');
is(counted('run_time', 'plain'), '0.000000', 'what runs is not counted before it ends');
my $popped = time();
sleep(0.3);
ok(value("SELECT pictrepo.heartbeat('plain', '$WORKER', '$job')") eq 't', 'its worker is alive');
is(end_job('plain', $job, 'success'), 'completed', 'it ends');
is_about(counted('run_time', 'plain'), 0.3, $began + $waited, 'it ran from its pop to its end, whatever its heartbeats');
is(counted('wait_time', 'plain'), $waited, 'and did not wait any more');

# together; the last one is due when it is pushed, whatever it says
$began = time();
value(q{SELECT pictrepo.push_many('many', '{1,2,3}'); SELECT pictrepo.push('many', '4', run_at => now() - interval '1 day')});
sleep(0.2);
value(qq{SELECT pictrepo.pop('many', '$WORKER', max_jobs => 4)});
$waited = counted('wait_time', 'many');
ok($waited >= 0.8 && $waited <= 4 * (time() - $began), 'all of a batch are counted') or diag($waited);
$popped = time();
sleep(0.2);
value(qq{SELECT pictrepo.complete_many('many', '$WORKER', array_agg(id)) FROM pictrepo.jobs WHERE queue = 'many'});
my $ran = counted('run_time', 'many');
ok($ran >= 0.8 && $ran <= 4 * (time() - $began), 'when they end, too') or diag($ran);

# not due yet, and then asleep in a pop
value(q{SELECT pictrepo.push('later', '1', run_at => clock_timestamp() + interval '1 second')});
$began = time();
pop_job('later', q{, wait => '5 min'});
cmp_ok(counted('wait_time', 'later'), '<=', time() - $began, 'a job that is not due does not wait');
is(value(q{SELECT wait_time < interval '1 second' OR clock_timestamp() - queue_time > interval '2 seconds'
	FROM pictrepo.queue_stats JOIN pictrepo.jobs USING (queue) WHERE queue = 'later'}), 't', 'not even when it was pushed long ago');

# a pause is a wait
value(q{SELECT pictrepo.pause_queue('paused'), pictrepo.push('paused', '1')});
$began = time();
sleep(0.2);
value(q{SELECT pictrepo.resume_queue('paused')});
pop_job('paused');
cmp_ok(counted('wait_time', 'paused'), '>=', 0.2, 'a job of a paused queue waits');

# failure: a run, no wait until it is due again
value(q{SELECT pictrepo.configure_queue('fails', backoff => '1 hour', backoff_max => '1 hour'); SELECT pictrepo.push('fails', '1')});
$job = pop_job('fails');
$waited = counted('wait_time', 'fails');
sleep(0.2);
is(end_job('fails', $job, 'failure'), 'retrying', 'a job fails');
cmp_ok(counted('run_time', 'fails'), '>=', 0.2, 'a run that failed is counted');
sleep(0.2);
$began = time();
value(q{UPDATE pictrepo.job_queue SET run_at = clock_timestamp() WHERE queue = 'fails'});
pop_job('fails');
is_about(counted('wait_time', 'fails') - $waited, 0, $began, 'until its retry is due it does not wait');

# A session that ends: its run is a run, and no wait, though the job has been due all the time.
value(q{SELECT pictrepo.push('lost', '1')});
my $session = Session->new($node);
my $popping = time();
is($session->ask(q{SELECT count(*) FROM pictrepo.pop('lost', bind => true)}), '1', 'a session gets a job');
$waited = counted('wait_time', 'lost');
sleep(0.5);
my $leaving = time();
$session->leave;
ok($node->poll_query_until('postgres', q{SELECT reaped = 1 FROM pictrepo.queue_stats WHERE queue = 'lost'}), 'and is gone');
is_about(counted('run_time', 'lost'), $leaving - $popping - 0.1, $popping, 'its run is counted');
pop_job('lost');
is_about(counted('wait_time', 'lost') - $waited, 0, $leaving, 'what it took is no wait of the job');

# what is rolled back did not happen
value(q{SELECT pictrepo.push('undone', '1'); SELECT pg_sleep(0.1);
	BEGIN; SELECT pictrepo.pop('undone'); ROLLBACK; BEGIN; SELECT pictrepo.complete_job(queue, worker, id) FROM pictrepo.jobs
	WHERE queue = 'undone'; SAVEPOINT s; SELECT pictrepo.pop('undone'); ROLLBACK TO s; COMMIT});
is(counted('wait_time + run_time', 'undone'), '0.000000', 'no wait and no run without a commit');

# rows that no client of ours writes
value(qq{INSERT INTO pictrepo.job_queue (id, queue, job, queue_time)
	VALUES (gen_random_uuid(), 'odd', '1', 'infinity');
	INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat)
	VALUES (gen_random_uuid(), 'odd', '2', 'running', '$WORKER', '-infinity'),
		(gen_random_uuid(), 'odd', '3', 'running', '$WORKER', 'infinity'),
		(gen_random_uuid(), 'odd', '4', 'running', '$WORKER', now() + interval '1 hour');
	SELECT pictrepo.pop('odd');
	DELETE FROM pictrepo.job_queue WHERE queue = 'odd' AND job <> '1'});
is(value(q{SELECT wait_time, run_time FROM pictrepo.queue_stats WHERE queue = 'odd'}), '00:00:00|00:00:00',
	'times that are none count nothing');

# ----- a queue in which nothing happened yet -----

my $COUNTS = 'pushed, popped, completed, failed, died, reaped, woken, wait_time, run_time, waiting';

value(q{SELECT pictrepo.push('old', '1'), pictrepo.push('dead', '1', retry => 0), pictrepo.configure_queue('configured', retries => 3)});
$job = pop_job('dead');
is(end_job('dead', $job, 'failure'), 'dead', 'a job dies');
is(value(q{SELECT pictrepo.counting()}), 't', 'counts are kept');
$node->restart;
is(value(qq{SELECT queue, $COUNTS FROM pictrepo.queue_stats WHERE queue IN ('old', 'dead', 'configured') ORDER BY 1}),
	join("\n", map { "$_|0|0|0|0|0|0|0|00:00:00|00:00:00|0" } qw(configured dead old)),
	'after a restart all counts are 0, and known');

# ----- who is who -----

my $NAMES = q{SELECT backend_type, application_name, datname, usename IS NOT NULL, wait_event_type, wait_event, state, query
	FROM pg_stat_activity WHERE backend_type ~ '^pictrepo' AND wait_event_type IS NOT NULL ORDER BY backend_type};
my $named = value('SHOW server_version_num') >= 170000;
my $event = sub { $named ? "Pictrepo$_[0]Main" : 'Extension' };
# The worker does something now and then, so it is looked at until it rests.
my ($launcher, $worker) = ('', '');
for (1 .. 600)
{
	($launcher, $worker) = split /\n/, value($NAMES);
	last if ($worker // '') =~ /\|Extension\|/;
	sleep(0.1);
}
like($launcher, qr/^pictrepo launcher\|pictrepo launcher\|\w*\|[tf]\|Extension\|@{[$event->('Launcher')]}\|/, 'the launcher says who it is');
like($worker, qr/^pictrepo worker\|pictrepo worker\|postgres\|t\|Extension\|@{[$event->('Worker')]}\|idle\|pictrepo: [a-z ]+$/,
	'the worker says who it is, where, and what it did last');

# ----- without the library -----

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
is(value(q{SELECT pictrepo.counting()}), 'f', 'without shared_preload_libraries nothing is counted');
is(value(qq{SELECT count(*), count(ROW($COUNTS)) FILTER (WHERE NOT ROW($COUNTS) IS NULL) FROM pictrepo.queue_stats WHERE queue IN ('old', 'dead', 'configured')}),
	'3|0', 'and no count is known');

# ----- counts that are not complete -----

sub counts_of
{
	my ($queue) = @_;

	return value("SELECT pushed, popped, completed FROM pictrepo.queue_stats WHERE queue = '$queue'");
}

sub do_jobs
{
	my ($queue, $jobs) = @_;

	foreach (1 .. $jobs)
	{
		value("SELECT pictrepo.push('$queue', '1')");
		end_job($queue, pop_job($queue), 'success');
	}
	return;
}

# Queues that have a row stay in the view when they are empty.
value(q{TRUNCATE pictrepo.job_queue, pictrepo.dead_jobs, pictrepo.queues;
	SELECT pictrepo.configure_queue(q, retries => 3) FROM unnest('{a,b,c,d,prepared}'::text[]) q});
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.max_queues = 3
max_prepared_transactions = 5
});
$node->restart;
do_jobs('a', 2);
do_jobs('b', 3);
value(join ';', map { "SELECT pictrepo.pop('waits for $_', wait => '1 ms')" } 1 .. 20);
is(counts_of('a'), '2|2|2', 'a session that waits for many queues costs no counts');
is(counts_of('b'), '3|3|3', 'of any queue');
is(counts_of('c'), '0|0|0', 'and of none that has not been used');
do_jobs('c', 1);
is(join(' ', map { counts_of($_) } qw(a b c)), '2|2|2 3|3|3 1|1|1', 'as many queues as there is room for are counted');
do_jobs('d', 1);
do_jobs($_, 1) foreach qw(a b c d);
my %right = (a => '3|3|3', b => '4|4|4', c => '2|2|2', d => '2|2|2');
my @wrong = grep { my $counts = counts_of($_); $counts ne $right{$_} && $counts ne '||' } sort keys %right;
is("@wrong", '', 'with one more, the counts of a queue are right or unknown');
is(value('SELECT pictrepo.counting()'), 'f', 'which shows');

$node->adjust_conf('postgresql.conf', 'pictrepo.max_queues', '100');
$node->restart;
ok($node->poll_query_until('postgres', q{SELECT runs > 0 FROM pictrepo.maintenance WHERE duty = 'sweep'}), 'the worker runs');
is(value('SELECT pictrepo.counting()'), 't', 'the next start counts anew');
do_jobs('a', 1);
foreach my $end ('ROLLBACK', 'COMMIT')
{
	value(qq{BEGIN; SET LOCAL pictrepo.notify = off; SELECT pictrepo.push('prepared', '1'); PREPARE TRANSACTION 'push'});
	value(qq{$end PREPARED 'push'});
	is(counts_of('prepared'), '||', "$end PREPARED: nobody knows the counts");
}
is(counts_of('a'), '1|1|1', 'those of other queues are known');

$node->stop;
done_testing();

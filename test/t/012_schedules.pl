# A schedule that is due pushes one job, however many run the schedules at the
# same time.  None waits for another, nor for a transaction that ends a job,
# and what one takes back the next one does.  First without a background
# worker, then with it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "lock_timeout = 10s\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

my $other = $node->background_psql('postgres');

# Schedules that are due, and no jobs.
sub begin_with
{
	my (@names) = @_;
	my $names = join ',', @names;

	$node->safe_psql(
		'postgres', qq{
		DELETE FROM pictrepo.job_queue;
		DELETE FROM pictrepo.schedules;
		SELECT pictrepo.schedule_job(name, 'q', to_jsonb(name), '1 hour') FROM unnest('{$names}'::text[]) name});
	return;
}

sub run_schedules
{
	return $node->safe_psql('postgres', 'SELECT pictrepo.run_schedules()');
}

sub jobs
{
	return $node->safe_psql('postgres',
		q{SELECT string_agg(job #>> '{}', ' ' ORDER BY unique_key) FROM pictrepo.jobs});
}

begin_with(qw(a b c));
is(run_schedules(), '3', 'all are due');
is(run_schedules(), '0', 'and then none');
is(jobs(), 'a b c', 'each was pushed once');

foreach my $end (qw(COMMIT ROLLBACK))
{
	begin_with(qw(a b c));
	is($other->query_safe("BEGIN; SELECT pictrepo.run_schedules()"), '3', 'a runner takes all');
	is(run_schedules(), '0', 'another one does not wait');
	$other->query_safe($end);
	is(run_schedules(), $end eq 'COMMIT' ? '0' : '3', "after $end");
	is(jobs(), 'a b c', 'each was pushed once');
}

begin_with(qw(a b c));
$other->query_safe(q{BEGIN; SELECT pictrepo.schedule_job('b', 'q', '"new"', '1 hour')});
is(run_schedules(), '2', 'a schedule that is being changed waits for the next run');
is($other->query_safe('SELECT pictrepo.run_schedules(); COMMIT'), '1', 'which pushes it');
is(jobs(), 'a new c', 'as it is now');

begin_with(qw(a b c));
$node->safe_psql('postgres', q{SELECT pictrepo.push('q', '"by hand"', 'schedule:b')});
is(run_schedules(), '2', 'a job that somebody pushed with the key counts as one');
is(jobs(), 'a by hand c', 'and stays');

# a change waits for a run, and sees what it did
begin_with(qw(a b c));
$other->query_safe('BEGIN; SELECT pictrepo.run_schedules()');
my ($stdout, $stderr) = run($node, 'postgres', q{
	SET lock_timeout = '20ms';
	SELECT pictrepo.schedule_job('a', 'q', '"new"', '1 hour');
	SELECT pictrepo.unschedule_job('b')});
is(scalar(() = $stderr =~ /55P03/g), 2, 'scheduling and unscheduling wait for a run');
$other->query_safe('COMMIT');
is( $node->safe_psql('postgres', q{SELECT pictrepo.schedule_job('a', 'q', '"new"', '1 hour') > now()}),
	't', 'then the next run is a later one');
is(run_schedules(), '0', 'and nothing is due');

begin_with(qw(a b c));
is(run_schedules(), '3', 'all have a job');
$node->safe_psql('postgres', q{UPDATE pictrepo.schedules SET next_run = first_run});
$other->query_safe(q{BEGIN;
	SELECT pictrepo.complete_many('q', NULL, array_agg(id)) FROM pictrepo.pop('q', max_jobs => 3)});
is(run_schedules(), '0', 'a job is alive until its end is committed');
$other->query_safe('COMMIT');
is(run_schedules(), '0', 'that period is over');
$node->safe_psql('postgres', q{UPDATE pictrepo.schedules SET next_run = first_run});
is(run_schedules(), '3', 'the next one pushes again');

# many runners
begin_with(map { "s$_" } 1 .. 200);
$node->pgbench('--client=8 --transactions=5 --no-vacuum', 0, [qr/processed: 40\/40/], [qr/^$/],
	'many run the schedules', { run => 'SELECT pictrepo.run_schedules()' });
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*), count(DISTINCT job), (SELECT count(*) FROM pictrepo.schedules
			WHERE next_run > now() AND last_run > first_run) FROM pictrepo.jobs}),
	'200|200|200', 'each was pushed once');

# ----- the worker -----

$other->quit;
begin_with('due');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pictrepo'\n");
$node->restart;
ok($node->poll_query_until('postgres', q{SELECT job = '"due"' FROM pictrepo.jobs}, 't'),
	'the worker pushes what became due while the server was down');

# each of these is well before schedule_interval, a minute
$node->safe_psql('postgres', q{SELECT pictrepo.schedule_job('second', 'q', '"second"', '1 second')});
foreach my $run (1 .. 3)
{
	ok( $node->poll_query_until(
			'postgres', q{
			SELECT count(pictrepo.complete_job('q', NULL, id)) > 0
			FROM pictrepo.pop('q') WHERE job = '"second"'}, 't'),
		"it runs a schedule of seconds, run $run");
}

# it does not spin at what it cannot have
my $runs = q{SELECT runs FROM pictrepo.maintenance WHERE duty = 'schedules'};
$other = $node->background_psql('postgres');
$other->query_safe(q{BEGIN; SELECT name FROM pictrepo.schedules FOR UPDATE});
my $before = $node->safe_psql('postgres', $runs);
$node->safe_psql('postgres', 'SELECT pg_sleep(2)');
cmp_ok($node->safe_psql('postgres', $runs) - $before, '<', 60, 'it waits for a lock patiently');
$other->quit;

is($node->safe_psql('postgres', q{SELECT errors FROM pictrepo.maintenance WHERE duty = 'schedules'}),
	'0', 'without an error');
$node->stop;
done_testing();

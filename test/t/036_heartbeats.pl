# A heartbeat that was answered true counts, whatever a transaction does to the job
# and takes back.  The row of each job says that its worker has been silent for an
# hour.  So a job whose heartbeat is forgotten is taken away at once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
max_prepared_transactions = 5
autovacuum = off
log_min_error_statement = panic
pictrepo.heartbeat_timeout = 10s
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pictrepo;
	SELECT pictrepo.configure_queue('q', backoff => '0', retries => 100);
	CREATE FUNCTION w(n int) RETURNS uuid LANGUAGE sql IMMUTABLE
		RETURN lpad(n::text, 32, '0')::uuid;
	-- Worker a fails, and worker b gets the same job.
	CREATE FUNCTION retake(a int, b int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		job uuid = (SELECT id FROM pictrepo.job_queue);
		outcome text = pictrepo.complete_job('q', w(a), job, 'failure');
	BEGIN
		ASSERT outcome = 'retrying', outcome;
		ASSERT job = (SELECT id FROM pictrepo.pop('q', w(b)));
	END $$;
	CREATE FUNCTION beat(n int) RETURNS boolean LANGUAGE sql VOLATILE
		BEGIN ATOMIC SELECT pictrepo.heartbeat('q', w(n), id) FROM pictrepo.job_queue; END;
	CREATE VIEW pulse AS SELECT pictrepo.pulse(id) AS at FROM pictrepo.job_queue});

my $session = Session->new($node);

# No call here may wait for an open transaction.
$session->ask(q{SET lock_timeout = '20s'});

sub ask
{
	my ($query) = @_;
	my $answer = $session->ask($query);

	die "$query\n$answer" if $answer =~ /^(?:ERROR|FATAL)/m;
	return $answer;
}

# A prepared transaction leaves a mark, which the sweep takes away.
sub sweep
{
	return ask(q{SELECT pictrepo.run_maintenance('sweep')});
}

# Worker 1 holds the only job.
sub hold_job
{
	ask(q{TRUNCATE pictrepo.job_queue});
	ask(q{SELECT pictrepo.push('q', '1')});
	ask(q{SELECT count(*) FROM pictrepo.pop('q', w(1))});
	ask(q{UPDATE pictrepo.job_queue SET heartbeat = now() - interval '1 hour'});
	return;
}

sub reap
{
	return ask(q{SELECT pictrepo.run_maintenance('reap')});
}

# Nothing is taken away before the server has been up for the timeout.
sub wait_until_jobs_are_reaped
{
	hold_job();
	ask(q{UPDATE pictrepo.job_queue SET worker = w(2)});
	$node->poll_query_until('postgres',
		q{SELECT pictrepo.run_maintenance('reap') IS NOT NULL AND status = 'new' FROM pictrepo.job_queue})
	  or die 'no job is taken away';
	return;
}

# Whatever is done and taken back, the last heartbeat of worker 1 is what it was.  On
# a machine that stood still meanwhile the worker was silent indeed.
sub keeps_heartbeat
{
	my ($name, $statements) = @_;
	my ($row, $before, $after);

	foreach (1 .. 5)
	{
		my $start = seconds();

		hold_job();
		is(ask('SELECT beat(1)'), 't', "$name: the worker holds the job");
		$row = ask('SELECT ctid FROM pictrepo.job_queue');
		$before = ask('SELECT at FROM pulse');
		ref $statements ? $statements->() : ask($statements);
		$after = ask('SELECT at FROM pulse');
		reap();
		last if seconds() - $start < 5;
	}
	is($after, $before, "$name: the last heartbeat is what it was");
	is(ask(q{SELECT status, worker = w(1), attempt FROM pictrepo.job_queue}), 'running|t|1',
		"$name: the job is not taken away");
	is(ask('SELECT beat(2), beat(1)'), 'f|t', "$name: the worker holds the job still");
	return $row;
}

sub keeps_entry
{
	my ($name, $statements) = @_;
	my $row = keeps_heartbeat($name, $statements);

	is(ask('SELECT ctid FROM pictrepo.job_queue'), $row, "$name: the heartbeats make no row version");
	return;
}

wait_until_jobs_are_reaped();

# ----- rolled back -----

keeps_entry('a rollback', 'BEGIN; SELECT retake(1, 1); ROLLBACK');
keeps_entry('another worker', 'BEGIN; SELECT retake(1, 2); ROLLBACK');
keeps_entry('an error', sub
{
	like($session->ask('BEGIN; SELECT retake(1, 2); SELECT 1 / 0; ROLLBACK'), qr/22012/, 'an error: there is one');
});
keeps_entry('twice', 'BEGIN; SELECT retake(1, 2); SELECT retake(2, 3); ROLLBACK');
keeps_entry('a savepoint', 'BEGIN; SAVEPOINT a; SELECT retake(1, 2); ROLLBACK TO a; COMMIT');
keeps_entry('a savepoint twice',
	q{BEGIN; SAVEPOINT a; SELECT retake(1, 2); ROLLBACK TO a; SELECT retake(1, 2); ROLLBACK TO a; COMMIT});
keeps_entry('savepoints, the inner one rolled back first',
	q{BEGIN; SAVEPOINT a; SELECT retake(1, 2); SAVEPOINT b; SELECT retake(2, 3); ROLLBACK TO b; ROLLBACK TO a; COMMIT});
keeps_entry('savepoints, the inner one released',
	q{BEGIN; SAVEPOINT a; SELECT retake(1, 2); SAVEPOINT b; SELECT retake(2, 3); RELEASE b; ROLLBACK TO a; COMMIT});
keeps_entry('savepoints, the first one released',
	q{BEGIN; SAVEPOINT a; SELECT retake(1, 2); RELEASE a; SAVEPOINT b; SELECT retake(2, 3); ROLLBACK TO b;
	SELECT retake(2, 3); ROLLBACK});
keeps_entry('a claim that ends', q{BEGIN; SELECT retake(1, 2);
	SELECT pictrepo.complete_job('q', w(2), id) FROM pictrepo.job_queue; ROLLBACK});
keeps_entry('an end alone', q{BEGIN; SELECT pictrepo.complete_job('q', w(1), id) FROM pictrepo.job_queue; ROLLBACK});
keeps_entry('a session that ends', sub
{
	my $other = Session->new($node);

	$other->ask('BEGIN; SELECT retake(1, 2)');
	ask("SELECT pg_terminate_backend(@{[$other->pid]}, 60000)");
	$other->vanish;
});
keeps_entry('a heartbeat of the claim itself', 'BEGIN; SELECT retake(1, 2); SELECT beat(2); ROLLBACK');

# ----- heartbeats beside the transaction -----

my $other = Session->new($node);

hold_job();
my $claimed = ask('SELECT at FROM pulse');
$other->ask('BEGIN; SELECT retake(1, 2)');
is(ask('SELECT beat(1)'), 't', 'beside: nothing is decided yet');
my $beside = ask('SELECT at FROM pulse');
is(ask("SELECT '$beside'::timestamptz > '$claimed'"), 't', 'beside: the heartbeat is kept');
$other->ask('ROLLBACK');
is(ask('SELECT at FROM pulse'), $beside, 'beside: also after the rollback');
is(ask('SELECT beat(2), beat(1)'), 'f|t', 'beside: the worker holds the job still');

# An entry that was lost meanwhile is not made again for a claim that may roll back.
ask(q{TRUNCATE pictrepo.job_queue});
ask(q{SELECT pictrepo.push('q', '1')});
$other->ask(q{BEGIN; SELECT count(*) FROM pictrepo.pop('q', w(1))});
ask(q{SET pictrepo.heartbeat_timeout = '1ms'});
sweep();
ask(q{RESET pictrepo.heartbeat_timeout});
is($other->ask('SELECT beat(1)'), 't', 'no entry: the transaction sees its claim');
$other->ask('ROLLBACK');
is(ask('SELECT beat(1)'), 'f', 'no entry: nobody holds the job after the rollback');
is(ask('SELECT at IS NULL FROM pulse'), 't', 'no entry: the job has no heartbeat');
$other->leave;

# A change of something else leaves the claim alone.
keeps_heartbeat('another priority', 'UPDATE pictrepo.job_queue SET priority = 5, retry = 7');

# ----- committed -----

# This worker holds the job, and no other; its heartbeats make no row version.
sub held_by
{
	my ($name, $holder) = @_;
	my $row = ask('SELECT ctid FROM pictrepo.job_queue');

	is(ask('SELECT at IS NULL FROM pulse'), 'f', "$name: shared memory knows the claim");
	is(ask(q{SELECT string_agg(beat(n)::text, ' ' ORDER BY n) FROM generate_series(1, 3) n}),
		join(' ', map { $_ == $holder ? 'true' : 'false' } 1 .. 3), "$name: worker $holder holds the job");
	is(ask('SELECT ctid FROM pictrepo.job_queue'), $row, "$name: without a row version");
	is(ask(qq{SELECT pictrepo.complete_job('q', w($holder), id) FROM pictrepo.job_queue}), 'completed',
		"$name: the job is done");
	return;
}

sub commits
{
	my ($name, $holder, $statements) = @_;

	hold_job();
	ask('SELECT beat(1)');
	ask($statements);
	held_by($name, $holder);
	return;
}

commits('a commit', 2, 'BEGIN; SELECT retake(1, 2); COMMIT');
commits('two claims', 3, 'BEGIN; SELECT retake(1, 2); SELECT retake(2, 3); COMMIT');
commits('savepoints released', 3,
	'BEGIN; SAVEPOINT a; SELECT retake(1, 2); RELEASE a; SAVEPOINT b; SELECT retake(2, 3); RELEASE b; COMMIT');
commits('a savepoint in a savepoint', 3,
	'BEGIN; SAVEPOINT a; SELECT retake(1, 2); SAVEPOINT b; SELECT retake(2, 3); RELEASE b; RELEASE a; COMMIT');
commits('one of two', 2,
	'BEGIN; SELECT retake(1, 2); SAVEPOINT b; SELECT retake(2, 3); ROLLBACK TO b; COMMIT');
commits('the other one', 3, 'BEGIN; SAVEPOINT a; SELECT retake(1, 2); ROLLBACK TO a; SELECT retake(1, 3); COMMIT');

# ----- one worker, two claims -----

# A worker of several threads loses the job of one, and another one gets the same job.
# What the first one says then is not about the second claim.
sub beats
{
	my ($attempt) = @_;

	return ask("SELECT pictrepo.heartbeat('q', w(1), id, $attempt) FROM pictrepo.job_queue");
}

foreach my $takes (1, 2)
{
	my $name = "claim $takes of one worker";
	my $entry = q{SELECT at, ctid FROM pulse, pictrepo.job_queue};

	hold_job();
	ask('SELECT retake(1, 1)') foreach 2 .. $takes;
	is(beats($takes), 't', "$name: it is held");
	my $before = ask($entry);
	is(beats($_), 'f', "$name: $_ is not") foreach grep { $_ != $takes } 0 .. 3;
	is(ask($entry), $before, "$name: nothing changed");
	is(beats('NULL'), 't', "$name: the worker holds the job by some claim");
	is(ask('SELECT ctid FROM pictrepo.job_queue'), (split /\|/, $before)[1], "$name: without a row version");
	ask(q{SET pictrepo.heartbeat_timeout = '1ms'});
	reap();
	ask('RESET pictrepo.heartbeat_timeout');
	is(beats($takes), 'f', "$name: it is lost");
	is(ask(q{SELECT attempt FROM pictrepo.pop('q', w(1))}), $takes + 1, "$name: the worker gets the job again");
	foreach my $end (
		qq{pictrepo.complete_job('q', w(1), id, attempt => $takes)},
		qq{pictrepo.complete_job('q', w(1), id, 'failure', attempt => $takes)},
		qq{(pictrepo.complete_and_pop('q', w(1), id, 'aborted', attempt => $takes)).outcome},
		qq{(pictrepo.complete_many('q', w(1), ARRAY[id], attempts => ARRAY[$takes]))[1]},
		qq{(pictrepo.finish_ingest('q', w(1), id, NULL, 'hash', 'file', '{}', 'alias', 'token', attempt => $takes)).outcome})
	{
		is(ask("SELECT $end FROM pictrepo.job_queue WHERE queue = 'q'"), 'lost', "$name: it cannot end the next one: $end");
	}
	ask(q{DELETE FROM pictrepo.job_queue WHERE queue = 'cleanup'});
	is(ask('SELECT attempt, status FROM pictrepo.job_queue'), $takes + 1 . '|running', "$name: which goes on");
	is(beats($takes + 1), 't', "$name: as its heartbeats do");
}

# The numbers go on after the job was dead.
hold_job();
ask(q{CREATE TABLE job AS SELECT id FROM pictrepo.job_queue});
is(ask(q{SELECT pictrepo.complete_job('q', w(1), id, 'aborted', attempt => 1) FROM job}), 'dead', 'requeued: the job is dead');
is(ask(q{SELECT pictrepo.requeue_dead(id) FROM job}), 't', 'requeued: and lives');
is(ask(q{SELECT attempt FROM pictrepo.pop('q', w(1))}), '2', 'requeued: its next claim has a new number');
is(beats(1) . beats(2), 'ft', 'requeued: the first claim is over');
is(ask(q{SELECT pictrepo.complete_job('q', w(1), id, attempt => 1) FROM job}), 'lost', 'requeued: and ends nothing');
ask('DROP TABLE job');

# The entry goes with the job.
sub job_ends
{
	my ($name, $statements) = @_;

	hold_job();
	ask('CREATE TABLE held AS SELECT id FROM pictrepo.job_queue');
	ask($statements);
	is(ask(q{SELECT bool_or(pictrepo.heartbeat('q', w(n), id)) FROM held, generate_series(1, 3) n}),
		'f', "$name: the workers lose the job");
	ask(q{SET pictrepo.heartbeat_timeout = '1ms'});
	sweep();
	ask(q{RESET pictrepo.heartbeat_timeout});
	is(ask('SELECT pictrepo.pulse(id) IS NULL FROM held'), 't', "$name: no heartbeat is left");
	ask('DROP TABLE held');
	return;
}

my $complete = q{SELECT pictrepo.complete_job('q', worker, id) FROM pictrepo.job_queue};

job_ends('an end', $complete);
job_ends('an end after another', "BEGIN; SELECT retake(1, 2); $complete; COMMIT");

# ----- prepared -----

keeps_heartbeat('an end, rolled back after PREPARE', "BEGIN; $complete; PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'");
sweep();
keeps_heartbeat('a claim, rolled back after PREPARE',
	"BEGIN; SELECT retake(1, 2); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'");
sweep();
keeps_heartbeat('two claims, rolled back after PREPARE',
	"BEGIN; SELECT retake(1, 2); SELECT retake(2, 1); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'");
sweep();
my $version = ask('SELECT ctid FROM pictrepo.job_queue');
is(ask('SELECT beat(1), beat(1)'), 't|t', 'PREPARE: heartbeats go on');
is(ask('SELECT ctid FROM pictrepo.job_queue'), $version, 'PREPARE: in shared memory again');

job_ends('an end, committed after PREPARE', "BEGIN; $complete; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'");
foreach my $worker (1, 2)
{
	my $name = "a claim of worker $worker, committed after PREPARE";
	my $retake = "BEGIN; SELECT retake(1, $worker); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'";

	hold_job();
	ask('SELECT beat(1)');
	ask($retake);
	sweep();
	is(ask("SELECT beat($worker)"), 't', "$name: it holds the job");
	held_by($name, $worker);
	sweep();
	job_ends("$name, then an end", "$retake; SELECT pictrepo.run_maintenance('sweep'); SELECT beat($worker); $complete");
}

# The claim that follows a prepared end uses the entry.
hold_job();
ask('SELECT beat(1)');
ask(q{BEGIN; SELECT pictrepo.complete_job('q', w(1), id, 'failure') FROM pictrepo.job_queue;
	PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'});
sweep();
is(ask('SELECT beat(1)'), 'f', 'a prepared failure: the worker loses the job');
is(ask(q{SELECT count(*) FROM pictrepo.pop('q', w(2))}), '1', 'a prepared failure: another worker gets it');
is(ask('SELECT beat(2)'), 't', 'a prepared failure: and holds it');
held_by('a prepared failure', 2);

$session->leave;
unlike(slurp_file($node->logfile), qr/PANIC|XX000|TRAP|could not/, 'nothing odd in the log');
$node->stop;
done_testing();

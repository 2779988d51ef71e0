# What is in shared memory agrees with the tables: counts under any load and
# after any end, and heartbeats.  And what a crash may take with it are
# claims, and nothing else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Load;
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;

# WAL is written by who commits, and by nobody else.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
wal_writer_delay = 10s
restart_after_crash = on
max_prepared_transactions = 20
max_connections = 60
autovacuum = off
log_statement = none
log_min_error_statement = panic
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# ----- counts -----

my %actions = (
	q{SELECT pictrepo.push(queue, '1') FROM q ORDER BY random() LIMIT 1;} => 20,
	q{SELECT pictrepo.push_many(queue, '{1,2,3}') FROM q ORDER BY random() LIMIT 1;} => 5,
	q{SELECT pictrepo.complete_and_pop(queue, NULL, gen_random_uuid()) FROM q;} => 5,
	q{SELECT pictrepo.complete_job(queue, worker, id, (ARRAY['success', 'aborted', 'failure'])[1 + random() * 2])
		FROM (SELECT * FROM pictrepo.job_queue WHERE status = 'running' ORDER BY random() LIMIT 1) j;} => 30,
	q{DELETE FROM pictrepo.job_queue WHERE id = (SELECT id FROM pictrepo.job_queue
		ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED);} => 5,
	q{UPDATE pictrepo.job_queue SET queue = 'a' WHERE id = (SELECT id FROM pictrepo.job_queue
		WHERE queue = 'b' LIMIT 1 FOR UPDATE SKIP LOCKED);} => 3,
	q{BEGIN; SELECT pictrepo.push_many('a', '{1,2,3}'); SELECT count(*) FROM pictrepo.pop('a'); ROLLBACK;} => 5,
	q{BEGIN; SELECT pictrepo.push('a', '1'); SAVEPOINT s; SELECT pictrepo.push_many('a', '{1,2}');
		SELECT pictrepo.push('b', '1'); ROLLBACK TO s; SELECT pictrepo.push('b', '1'); SAVEPOINT t;
		SELECT pictrepo.push('c', '1'); RELEASE t; COMMIT;} => 5,
	q{BEGIN; SAVEPOINT s; TRUNCATE pictrepo.job_queue; SELECT pictrepo.push('a', '1'); ROLLBACK TO s; COMMIT;} => 1,
	q{BEGIN; TRUNCATE pictrepo.job_queue; SELECT pictrepo.push('b', '1'); COMMIT;} => 1,
	q{SELECT pictrepo.create_hash(convert_to((random() * 1000)::int::text, 'UTF8'), 'i');} => 20,
	q{SELECT pictrepo.cleanup_hash(convert_to((random() * 1000)::int::text, 'UTF8'));} => 10,
	q{BEGIN; SELECT pictrepo.create_hash(sha256(random()::text::bytea), 'i'); ROLLBACK;} => 5,
	q{TRUNCATE pictrepo.hashes CASCADE;} => 1,
	q{BEGIN; SELECT pictrepo.push('c', '1'); PREPARE TRANSACTION 'one :client_id';
		COMMIT PREPARED 'one :client_id';} => 1,
	q{BEGIN; SELECT pictrepo.push('c', '1'); PREPARE TRANSACTION 'two :client_id';
		ROLLBACK PREPARED 'two :client_id';} => 1,
	q{SELECT pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('a');} => 5,
);

# With the lock, all that has changed the table has said so in shared memory.
value(q{
	CREATE TABLE q AS SELECT unnest('{a,b,c}'::text[]) AS queue;
	CREATE TABLE odd (what text);
	CREATE VIEW counts AS
		SELECT 'jobs' AS what, pictrepo.queue_length() AS kept, count(*) AS counted FROM pictrepo.job_queue
		UNION ALL SELECT 'queue ' || queue, pictrepo.queue_length(queue),
			(SELECT count(*) FROM pictrepo.job_queue j WHERE j.queue = q.queue) FROM q;
	CREATE PROCEDURE compare_counts(duration interval) LANGUAGE plpgsql AS $$
	DECLARE wrong text[]; stored bigint;
	BEGIN
		WHILE clock_timestamp() < statement_timestamp() + duration LOOP
			-- counts anew, where a prepared transaction made that necessary
			PERFORM pictrepo.queue_length(), pictrepo.size();
			COMMIT;
			LOCK pictrepo.job_queue IN SHARE MODE;
			SELECT array_agg(counts::text) INTO wrong FROM counts WHERE kept <> counted;
			COMMIT;
			LOCK pictrepo.hashes IN SHARE MODE;
			SELECT count(*) INTO stored FROM pictrepo.hashes;
			IF pictrepo.size() <> stored THEN
				wrong = wrong || format('size %s, found %s', pictrepo.size(), stored);
			END IF;
			COMMIT;
			INSERT INTO odd SELECT unnest(wrong);
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$});

sub counts_are_right
{
	my ($name) = @_;

	is(value('SELECT string_agg(counts::text, E\'\n\') FROM counts WHERE kept <> counted'),
		'', "$name: jobs are counted right");
	is(value('SELECT pictrepo.size() - count(*) FROM pictrepo.hashes'),
		'0', "$name: hashes are counted right");
	return;
}

# Twice: some counts are made by the first, all are kept by the second.
sub compare_under_load
{
	my ($name, $seconds) = @_;
	my $run = Load->start($node, 8, [ '-T', $seconds ], %actions);

	value("CALL compare_counts('@{[$seconds - 0.3]} s')");
	is($run->finish, '', "$name: all clients came through");
	is(value('SELECT count(*), min(what) FROM odd'), '0|', "$name: counts were right at any time");
	counts_are_right($name) foreach 1 .. 2;
	value('TRUNCATE odd');
	return;
}

compare_under_load('load', 4);
cmp_ok(value(q{SELECT sum(pushed) FROM pictrepo.queue_stats}), '>', 100, 'there was some load');

# a crash in the middle of the load, and load again at once
sub crash
{
	my ($start) = @_;
	my $victim = value(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});

	kill_and_recover($node, $victim);
	return;
}

# Clients that end between PREPARE TRANSACTION and the next statement leave a
# prepared transaction, for which TRUNCATE would wait for ever.
sub roll_back_prepared
{
	$node->safe_psql('postgres',
		q{SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts WHERE gid ~ '^(one|two)' \gexec});
	return;
}

my $run = Load->start($node, 8, [ '-T', 60 ], %actions);
usleep(500_000);
crash();
isnt($run->finish, '', 'a crash ends the clients');
roll_back_prepared();
counts_are_right('crash');
compare_under_load('after a crash', 2);

# a prepared transaction would keep TRUNCATE waiting, and that everybody else
$run = Load->start($node, 8, [ '-T', 60 ], map { $_ => $actions{$_} } grep { !/TRUNCATE/ } keys %actions);
usleep(300_000);
my $prepared = Session->new($node);
$prepared->ask(q{BEGIN; SELECT pictrepo.push_many('a', '{1,2,3}'); SELECT pictrepo.create_hash('new', 'i');
	PREPARE TRANSACTION 'committed'});
$prepared->ask(q{BEGIN; SELECT pictrepo.push('b', '1'); DELETE FROM pictrepo.job_queue WHERE queue = 'c';
	PREPARE TRANSACTION 'rolled back'});
$prepared->ask('SELECT pictrepo.queue_length(), pictrepo.size()');
$node->stop('immediate');
$prepared->leave;
isnt($run->finish, '', 'so does a shutdown');
$node->start;

roll_back_prepared();
$run = Load->start($node, 4, [ '-t', 100 ],
	q{SELECT pictrepo.push('a', '1'); SELECT pictrepo.create_hash(sha256(random()::text::bytea), 'i');} => 1);
is($run->finish, '', 'load goes on at once');
counts_are_right('prepared transactions');
$run = Load->start($node, 4, [ '-t', 100 ],
	q{SELECT pictrepo.push('a', '1'); SELECT pictrepo.create_hash(sha256(random()::text::bytea), 'i');} => 1);
value(q{COMMIT PREPARED 'committed'; ROLLBACK PREPARED 'rolled back'});
value('SELECT pictrepo.queue_length(), pictrepo.size()');
is($run->finish, '', 'load goes on beside');
counts_are_right('prepared transactions ended') foreach 1 .. 2;
compare_under_load('after prepared transactions', 2);

# ----- heartbeats -----

value(q{TRUNCATE pictrepo.job_queue; SELECT pictrepo.push_many('h', '{1,2}');
	SELECT count(*) FROM pictrepo.pop('h', gen_random_uuid(), max_jobs => 2);
	CREATE TABLE held AS SELECT * FROM pictrepo.job_queue});

# Anything else may write WAL as well, so the least of a few tries counts.
my $session = Session->new($node);
my $written;
foreach (1 .. 5)
{
	my $before = $session->ask('SELECT pg_current_wal_insert_lsn()');
	is($session->ask(q{SELECT count(*) FROM generate_series(1, 1000), held WHERE pictrepo.heartbeat(queue, worker, id)}),
		'2000', 'heartbeats');
	my $bytes = $session->ask("SELECT pg_current_wal_insert_lsn() - '$before'");

	$written = $bytes if !defined $written || $bytes < $written;
	last if $written == 0;
}
is($written, '0', 'heartbeats write no WAL');
is($session->ask(q{SELECT count(*) FROM held JOIN pictrepo.job_queue j USING (id) WHERE j.heartbeat = held.heartbeat}),
	'2', 'nor row versions');
is($session->ask(q{SELECT count(*) FROM held JOIN pictrepo.jobs j USING (id) WHERE j.heartbeat > held.heartbeat}),
	'2', 'and the view shows them');

# one of two goes on; the time is long enough for a machine that has much to do
value(q{ALTER SYSTEM SET pictrepo.heartbeat_timeout = '5s'; ALTER SYSTEM SET pictrepo.reap_interval = '50ms';
	SELECT pg_reload_conf()});
foreach (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
{
	$session->ask(q{SELECT pictrepo.heartbeat(queue, worker, id) FROM held WHERE job = '1'});
	last if $session->ask(q{SELECT state FROM pictrepo.jobs WHERE job = '2'}) eq 'ready';
	usleep(50_000);
}
is(value('SELECT job, state, retry FROM pictrepo.jobs ORDER BY job'), "1|running|5\n2|ready|4",
	'who sends heartbeats keeps the job, and who does not loses it');
is($session->ask(q{SELECT string_agg(pictrepo.heartbeat(queue, worker, id)::text, ' ' ORDER BY job) FROM held}),
	'true false', 'and hears of it');

# after a restart
$session->leave;
$node->restart;
$session = Session->new($node);
is($session->ask(q{SELECT count(pictrepo.pulse(id)) FROM held}), '0', 'a restart forgets them');
# the first one takes the row, where it may have to wait for who takes the job away
my $restarted = seconds();
$session->ask(q{SELECT pictrepo.heartbeat(queue, worker, id) FROM held});
my $row = $session->ask(q{SELECT ctid FROM pictrepo.job_queue WHERE status = 'running'});
while (seconds() < $restarted + 6)
{
	$session->ask(q{SELECT pictrepo.heartbeat(queue, worker, id) FROM held});
	usleep(50_000);
}
is($session->ask(q{SELECT string_agg(pictrepo.heartbeat(queue, worker, id)::text, ' ' ORDER BY job) FROM held}),
	'true false', 'after which they count again');
is($session->ask(q{SELECT count(pictrepo.pulse(id)), string_agg(ctid::text, ' ') FROM pictrepo.job_queue
	WHERE status = 'running'}), "1|$row", 'without row versions after the first one');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pictrepo.jobs WHERE state = 'running'}),
	'until they stop');
$session->leave;
value(q{ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()});

# ----- what a crash may take -----

# Claims are made and jobs end; then the power goes.
sub crash_after
{
	my ($settings, @statements) = @_;
	my @answers;

	value(q{TRUNCATE pictrepo.job_queue, pictrepo.dead_jobs; DROP TABLE IF EXISTS notes; CREATE TABLE notes (note text);
		SELECT pictrepo.push_many('q', array_agg(to_jsonb(n))) FROM generate_series(1, 20) n; CHECKPOINT});
	$session = Session->new($node);
	$session->ask($settings) if $settings;
	push @answers, $session->ask($_) foreach @statements;
	crash();
	$session->vanish;
	return @answers;
}

my $claim = q{SELECT id FROM pictrepo.pop('q')};
my $note = q{INSERT INTO notes VALUES ('done')};
my $kept = q{SELECT count(*) || ' note, ' || (SELECT count(*) FROM pictrepo.jobs WHERE state = 'running') || ' claimed'
	FROM notes};

# Something else may bring them to disk, but not time and again.
my @ids;
my $claimed = 5;
foreach (1 .. 5)
{
	@ids = crash_after(undef, map { $claim } 1 .. 5);
	$claimed = value(q{SELECT count(*) FROM pictrepo.jobs WHERE state = 'running'});
	last if $claimed < 5;
}
cmp_ok($claimed, '<', 5, 'claims do not wait for the disk');
is(value(q{SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE retry = 5) FROM pictrepo.job_queue}),
	'20|20|20', 'their jobs are there');
@ids = crash_after(q{LOAD 'pictrepo'; SET pictrepo.synchronous_claims = on}, map { $claim } 1 .. 5);
is(value(q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM pictrepo.jobs WHERE state = 'running'}),
	join(' ', sort @ids), 'unless they are told to');

my %transactions = (
	'a claim, then something else' => "BEGIN; $claim; $note; COMMIT",
	'something else, then a claim' => "BEGIN; $note; $claim; COMMIT",
	'something else between claims' => "BEGIN; $claim; $note; $claim; COMMIT",
	'something else in a savepoint' => "BEGIN; $claim; SAVEPOINT a; $note; RELEASE a; $claim; COMMIT",
	'a claim in a savepoint' => "BEGIN; $note; SAVEPOINT a; $claim; RELEASE a; COMMIT",
	'in one statement' => "WITH c AS (SELECT id FROM pictrepo.pop('q')) INSERT INTO notes SELECT 'done' FROM c",
);
foreach my $name (sort keys %transactions)
{
	# a claim before, so that there is something that need not be on disk
	crash_after(undef, $claim, $transactions{$name});
	like(value($kept), qr/^1 note, [23] claimed$/, "$name: waits for the disk");
}
my ($pushed) = crash_after(undef, qq{BEGIN; $claim; SELECT pictrepo.push('q', '"pushed"'); COMMIT});
is(value(q{SELECT count(*) FROM pictrepo.job_queue WHERE job = '"pushed"'}), '1', 'a claim, then a push: waits for the disk');

# all three, one after the other, until the crash
my (%sent, %completed);
crash_after(undef);
$session = Session->new($node);
foreach my $n (1 .. 50)
{
	my $id = $session->ask("SELECT pictrepo.push('q', '$n')");
	$sent{$id} = 1;
	my $mine = $session->ask($claim);
	next if $n % 3 == 0;
	my $answer = $session->ask("SELECT pictrepo.complete_job('q', NULL, '$mine')");
	$completed{$mine} = 1 if $answer eq 'completed';
}
crash();
$session->vanish;
cmp_ok(scalar keys %completed, '>=', 30, 'jobs were completed');
my %there = map { $_ => 1 } split /\n/, value('SELECT id FROM pictrepo.job_queue');
is(join(' ', grep { !$there{$_} && !$completed{$_} } keys %sent), '', 'every acknowledged push is there');
is(join(' ', grep { $there{$_} } keys %completed), '', 'no acknowledged completion is undone');

unlike(slurp_file($node->logfile), qr/PANIC|XX000|TRAP|\] \S+ ERROR:  deadlock detected/, 'nothing odd in the log');
$node->stop;
done_testing();

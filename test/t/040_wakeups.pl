# A ready job does not lie while a session waits for it, whatever other sessions
# did: a claim that failed, a change that was rolled back, a lock that was only a
# lock, a transaction that was prepared.  Each wait is for an hour, and nothing but
# what is tested here could end it: the worker sweeps once an hour.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(time usleep);

# How long a session may take that should have its job within a second
my $PATIENCE = 60;

my @WAITS = (
	q{SELECT job FROM pictrepo.pop('q', wait => '1 h')},
	q{CALL pictrepo.pop_wait('q', NULL, '1 h', NULL, NULL, NULL, NULL)});

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
max_prepared_transactions = 5
max_connections = 60
autovacuum = off
log_statement = none
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pictrepo;
	-- A claim with test.hang waits while it holds the locks on its jobs.
	CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF current_setting('test.hang', true) = 'on' THEN
			PERFORM pg_advisory_xact_lock(1);
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER hang BEFORE UPDATE ON pictrepo.job_queue FOR EACH ROW EXECUTE FUNCTION hang()});

my ($control, $other);

sub value
{
	my ($query) = @_;

	return $control->ask($query);
}

sub wait_for
{
	my ($query, $wanted) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (time() < $end)
	{
		return if value($query) eq ($wanted // 't');
		usleep(5_000);
	}
	die "never true: $query";
}

# It has called a function that waits, has looked and sleeps.
sub sleeps
{
	my ($session) = @_;

	wait_for(qq{SELECT wait_event_type = 'Extension' AND wait_event ~ '^(Extension|Pictrepo.*)\$'
		FROM pg_stat_activity WHERE pid = @{[$session->pid]}});
	return;
}

sub has_answer
{
	my ($session, $pattern, $name) = @_;
	my $end = time() + $PATIENCE;

	usleep(5_000) until $session->answered || time() > $end;
	my $answer = $session->answered ? $session->answer : 'no answer';
	like($answer, $pattern, $name);
	if ($answer eq 'no answer')
	{
		$session->vanish;
		$PATIENCE = 5;			# the test has failed
	}
	return;
}

# Sessions wait for jobs that are locked; release() ends the locks.
sub finds_jobs
{
	my ($name, $lock, $release, $jobs) = @_;

	foreach my $wait (@WAITS)
	{
		my @waiters = map { Session->new($node) } 1 .. $jobs // 1;
		my $how = $wait =~ /(pop\w*)/ ? $1 : '';

		$other = Session->new($node);
		value('DELETE FROM pictrepo.job_queue; '
			# no session polls because of a prepared transaction that there was before
			. 'SELECT pictrepo.queue_length(); '
			. "SELECT pictrepo.push_many('q', array_fill('\"job\"'::jsonb, ARRAY[@{[$jobs // 1]}]))");
		$lock->();
		$_->send($wait) foreach @waiters;
		sleeps($_) foreach @waiters;
		is(scalar(grep { $_->answered } @waiters), 0, "$name: $how waits while the job is locked");
		$release->();
		has_answer($_, qr/"job"/, "$name: $how has the job") foreach @waiters;
		$_->leave foreach grep { $_->{psql} } $other, @waiters;
	}
	return;
}

# The other session's statement fails while it holds the locks.
sub hang
{
	my ($statement) = @_;

	value('SELECT pg_advisory_lock(1)');
	$other->ask('SET test.hang = on');
	$other->send($statement);
	wait_for("SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE pid = @{[$other->pid]}");
	return;
}

sub cancel
{
	value("SELECT pg_cancel_backend(@{[$other->pid]})");
	$other->answer;
	value('SELECT pg_advisory_unlock(1)');
	return;
}

my $CLAIM = q{SELECT FROM pictrepo.pop('q', max_jobs => 10000)};
my $LOCK = q{SELECT FROM pictrepo.job_queue FOR UPDATE};

sub test_locks
{
	my ($preload) = @_;
	my $p = $preload ? 'preload, ' : '';

	$control = Session->new($node);

	# ----- statements that fail -----

	finds_jobs("${p}a cancelled claim", sub { hang($CLAIM) }, \&cancel);
	finds_jobs("${p}a cancelled claim of many", sub { hang($CLAIM) }, \&cancel, 5);
	finds_jobs("${p}a cancelled claim in a savepoint", sub { $other->ask('BEGIN; SAVEPOINT s'); hang($CLAIM) },
		sub { cancel(); $other->ask('ROLLBACK TO s') });
	finds_jobs("${p}a session that is ended in its claim", sub { hang($CLAIM) },
		sub { value("SELECT pg_terminate_backend(@{[$other->pid]}), pg_advisory_unlock(1)") });
	finds_jobs("${p}a cancelled UPDATE", sub { hang('UPDATE pictrepo.job_queue SET priority = 1') }, \&cancel);

	# ----- transactions that are rolled back -----

	foreach my $change ('UPDATE pictrepo.job_queue SET priority = 1', 'DELETE FROM pictrepo.job_queue',
		q{UPDATE pictrepo.job_queue SET queue = 'another'}, $CLAIM)
	{
		finds_jobs("$p$change", sub { $other->ask("BEGIN; $change") }, sub { $other->ask('ROLLBACK') });
		finds_jobs("${p}$change, savepoint", sub { $other->ask("BEGIN; SAVEPOINT s; $change") },
			sub { $other->ask('ROLLBACK TO s') });
		finds_jobs("${p}$change, prepared", sub { $other->ask("BEGIN; SET LOCAL pictrepo.notify = off; $change; PREPARE TRANSACTION 'p'") },
			sub { $other->ask(q{ROLLBACK PREPARED 'p'}) });
	}

	# ----- locks without a change -----

	finds_jobs("${p}a lock", sub { $other->ask("BEGIN; $LOCK") }, sub { $other->ask('COMMIT') });
	finds_jobs("${p}a lock of many", sub { $other->ask("BEGIN; $LOCK") }, sub { $other->ask('COMMIT') }, 5);
	finds_jobs("${p}a lock, in the middle of others", sub {
			$other->ask("BEGIN; $LOCK");
			value(q{SELECT pictrepo.push('q', '"locked later"', run_at => now() + interval '1 day', priority => 1)}) },
		sub { $other->ask('ROLLBACK') });
	finds_jobs("${p}a prepared lock", sub { $other->ask("BEGIN; $LOCK; PREPARE TRANSACTION 'p'") },
		sub { $other->ask(q{COMMIT PREPARED 'p'}) });
	finds_jobs("${p}the lock of a session that ends", sub { $other->ask("BEGIN; $LOCK") }, sub { $other->vanish });

	# ----- more priorities than marks -----

	finds_jobs("${p}many priorities", sub {
			value(q{SELECT pictrepo.push('q', '"later"', run_at => now() + interval '1 day', priority => n) FROM generate_series(1, 20) n});
			$other->ask("BEGIN; $LOCK") },
		sub { $other->ask('COMMIT') });
	$control->leave;
	return;
}

test_locks(0);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.sweep_interval = '1h'
pictrepo.reap_interval = '1h'
});
$node->restart;
$node->poll_query_until('postgres', q{SELECT min(runs) > 0 FROM pictrepo.maintenance WHERE duty IN ('sweep', 'reap')})
  or die 'the worker does not run';
test_locks(1);

$control = Session->new($node);

# ----- a rolled-back claim wakes at once -----

# The session looks twice a second by itself, and may do so at the same moment.
my $woken = 0;

value(q{SELECT pictrepo.push('rollback', '"job"')});
foreach (1 .. 5)
{
	my ($holder, $waiter) = map { Session->new($node) } 1 .. 2;

	$holder->ask(q{BEGIN; SELECT FROM pictrepo.pop('rollback')});
	$waiter->send(q{BEGIN; SELECT job FROM pictrepo.pop('rollback', wait => '1 h')});
	sleeps($waiter);
	$holder->ask('ROLLBACK');
	has_answer($waiter, qr/"job"/, 'a session has the job of a claim that was rolled back');
	$holder->leave;
	$waiter->leave if $waiter->{psql};
	$woken = value(q{SELECT woken FROM pictrepo.queue_stats WHERE queue = 'rollback'});
	last if $woken > 0;
}
cmp_ok($woken, '>', 0, 'which woke it');

# ----- the order of jobs after a two-phase commit -----

$control->ask('SET pictrepo.notify = off');

sub pop_one
{
	return value(q{SELECT job FROM pictrepo.pop('order')});
}

value(q{SELECT pictrepo.push_many('order', '{1,2,3,4}')});
is(pop_one(), '1', 'a pop sets the low-water marks');
value(q{BEGIN; SELECT pictrepo.push('order', '"first"', priority => 1); PREPARE TRANSACTION 'p'});
is(pop_one(), '2', 'a prepared job is no job yet');
value(q{COMMIT PREPARED 'p'});
is(value(q{SELECT pictrepo.queue_length() > 0}), 't', 'a count that notices that no prepared transaction is left');
is(pop_one(), '"first"', 'a job of a two-phase commit comes before those of a lower priority');
is(pop_one(), '3', 'and those after it');
$control->leave;

# ----- notifications of two-phase commits -----

my ($listener, $heard);

sub listen_again
{
	$control = Session->new($node);
	$listener = Session->new($node);
	$listener->ask("LISTEN $_") foreach qw(queue_status_channel upload_completion_channel keyed_notification_channel);
	$heard = '';
	return;
}

sub hears
{
	my ($payload, $name) = @_;
	my $end = time() + $PATIENCE;

	do
	{
		usleep(5_000);
		$heard .= $listener->ask('SELECT 1') . "\n";
	} until $heard =~ $payload || time() > $end;
	like($heard, $payload, $name) or $PATIENCE = 5;
	return;
}

sub prepare
{
	my ($statements) = @_;

	is($control->ask("BEGIN; $statements; PREPARE TRANSACTION 'n'"), '', 'a transaction that notifies is prepared');
	return;
}

sub push_to
{
	return join ';', map { "SELECT FROM pictrepo.push('$_', '1')" } @_;
}

listen_again();
my $upload = value('SELECT pictrepo.create_upload()');
value(q{SELECT pictrepo.create_hash('hash', 'hash.png')});
prepare(push_to('rolled back'));
value(q{ROLLBACK PREPARED 'n'});
prepare(push_to('two', 'two', 'other') . qq{; SELECT FROM pictrepo.complete_upload('$upload', '1');
	SELECT FROM pictrepo.relate_variant_identifier('hash', 'v', 'v.png')});
value(push_to('beside'));
hears(qr/queue_status_channel" with payload "[-0-9a-f]{36} beside"/, 'another job is heard of meanwhile');
unlike($heard, qr/ two"/, 'the prepared one is not');
value(q{COMMIT PREPARED 'n'});
hears(qr/queue_status_channel" with payload "[-0-9a-f]{36} two"/, 'a job of a two-phase commit');
hears(qr/queue_status_channel" with payload "[-0-9a-f]{36} other"/, 'a job of another queue');
hears(qr/upload_completion_channel" with payload "$upload"/, 'an upload');
hears(qr/keyed_notification_channel" with payload "aGFzaA==v"/, 'a variant');
unlike($heard, qr/rolled back/, 'nothing of one that was rolled back');
is(scalar(() = $heard =~ / two"/g), 1, 'one notification for a queue');

prepare(push_to('kept'));
$node->restart;
listen_again();
value(q{COMMIT PREPARED 'n'});
hears(qr/ kept"/, 'a job of a transaction that was prepared before a restart');

# The launcher finds no place for a worker.
$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
$node->restart;
listen_again();
value(push_to('at once'));
hears(qr/ at once"/, 'without a worker a transaction notifies itself');
prepare(push_to('later'));
value(q{COMMIT PREPARED 'n'});
$node->adjust_conf('postgresql.conf', 'max_worker_processes', '8');
$node->restart;
listen_again();
value(push_to('first'));
hears(qr/ first"/, 'a worker is back');
is(value('SELECT count(*) FROM pictrepo.prepared_notifications'), '0', 'and has sent what was left for it');

# A transaction that itself notifies cannot be prepared.
foreach my $mode (qw(transactional off))
{
	like($control->ask("BEGIN; SET LOCAL pictrepo.notify = $mode; @{[push_to($mode)]}; PREPARE TRANSACTION 'n'"),
		$mode eq 'off' ? qr/^$/ : qr/0A000/, "pictrepo.notify = $mode");
}
value(q{COMMIT PREPARED 'n'});
$_->leave foreach $control, $listener;

$node->stop;
done_testing();

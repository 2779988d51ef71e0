# Every database with the extension has one worker, whatever happens to it, to
# its database or to the server.  It is in nobody's way, and a row or a duty
# that is broken does not keep it from the others.

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

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.reap_interval = '100ms'
restart_after_crash = on
max_prepared_transactions = 5
log_statement = none
});
$node->start;

sub value
{
	my ($query, $database) = @_;

	return $node->safe_psql($database // 'postgres', $query);
}

# The worker's process id in a database, when it has done its duties once more.
sub worker_pid
{
	my ($on, $database) = @_;

	return $on->safe_psql($database,
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = current_database()});
}

sub worker_works
{
	my ($name, $database, $on) = @_;
	my $runs = q{SELECT runs FROM pictrepo.maintenance WHERE duty = 'reap'};

	$database //= 'postgres';
	$on //= $node;
	my $before = $on->safe_psql($database, $runs);
	ok($on->poll_query_until($database, "SELECT runs > $before FROM ($runs) r"), $name);
	like(worker_pid($on, $database), qr/^\d+$/, "$name: it is the only one");
	return;
}

sub no_worker
{
	my ($name, $database) = @_;

	ok( $node->poll_query_until('template1',
			qq{SELECT count(*) = 0 FROM pg_stat_activity
			WHERE backend_type = 'pictrepo worker' AND datname = '$database'}),
		$name);
	return;
}

sub workers
{
	my ($database) = @_;

	return value(qq{SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'pictrepo worker' AND datname = '$database'});
}

sub wait_for_log_count
{
	my ($pattern, $count) = @_;

	foreach (1 .. 400)
	{
		last if log_count($pattern) >= $count;
		usleep(25_000);
	}
	return;
}

# The worker works again, and long before the launcher looks without being woken.
sub works_soon
{
	my ($name, $database, $since, $limit) = @_;

	worker_works($name, $database);
	cmp_ok(time - $since, '<', $limit, "$name: soon");
	return;
}

sub log_count
{
	my ($pattern, $on) = @_;
	my $log = slurp_file(($on // $node)->logfile);

	return scalar(() = $log =~ /$pattern/g);
}

# ----- databases -----

value('CREATE DATABASE other');
no_worker('without the extension there is no worker', 'other');
value('CREATE EXTENSION pictrepo', $_) foreach qw(postgres other);
worker_works("there is one in $_", $_) foreach qw(postgres other);
is(value(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pictrepo launcher'}),
	'1', 'there is a launcher');

# what is kept of one is not the other's
my $other = Session->new($node, 'other');
$other->send(q{SELECT job FROM pictrepo.pop('q', wait => '10 min')});
ok( $node->poll_query_until('other', q{SELECT waiting = 1 FROM pictrepo.queue_stats WHERE queue = 'q'}),
	'one waits in the other database');
value(q{SELECT pictrepo.push_many('q', '{1,2,3}'); SELECT pictrepo.create_hash('\x01', 'a')});
is(value(q{SELECT pictrepo.queue_length(), pictrepo.queue_length('q'), pictrepo.size()}),
	'3|3|1', 'counts of this database');
is(value(q{SELECT pictrepo.queue_length(), pictrepo.queue_length('q'), pictrepo.size()}, 'other'),
	'0|0|0', 'and of the other one');
is(value(q{SELECT waiting, woken FROM pictrepo.queue_stats WHERE queue = 'q'}, 'other'),
	'1|0', 'a push here wakes nobody there');
is(value(q{SELECT waiting, woken FROM pictrepo.queue_stats WHERE queue = 'q'}), '0|0', 'nor anybody here');
value(q{SELECT pictrepo.push('q', '4')}, 'other');
is($other->answer, '4', 'a push there does');
my $id = value(q{SELECT id FROM pictrepo.pop('q', '11111111-1111-1111-1111-111111111111')});
is( value(qq{SELECT pictrepo.heartbeat('q', '11111111-1111-1111-1111-111111111111', '$id')}, 'other'),
	'f', 'a heartbeat there is not for a job of here');
$other->leave;

# ----- what ends, comes back -----

sub comes_back
{
	my ($name, $what, $end) = @_;
	my $pid = value("SELECT pid FROM pg_stat_activity WHERE backend_type = '$what' AND coalesce(datname, 'postgres') = 'postgres'");

	$end->($pid);
	ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = '$what'
			AND coalesce(datname, 'postgres') = 'postgres' AND pid <> $pid"), $name);
	worker_works("$name, and works", $_) foreach qw(postgres other);
	return;
}

sub crash
{
	my ($victim) = @_;

	$victim->ask('SELECT 1');
	kill_and_recover($node, $victim->pid);
	$victim->vanish;
	return;
}

comes_back('a worker that was terminated comes back', 'pictrepo worker',
	sub { value("SELECT pg_terminate_backend($_[0])") });
comes_back('a launcher that was terminated comes back', 'pictrepo launcher',
	sub { value("SELECT pg_terminate_backend($_[0])") });
comes_back('after a crash all come back', 'pictrepo worker', sub { crash(Session->new($node)) });
comes_back('after a restart all come back', 'pictrepo worker', sub { $node->restart });
comes_back('after an immediate shutdown all come back', 'pictrepo worker',
	sub { $node->stop('immediate'); $node->start });

# ----- settings -----

my $runs = q{SELECT runs FROM pictrepo.maintenance WHERE duty = 'sweep'};
is(value(q{SELECT every FROM pictrepo.maintenance WHERE duty = 'sweep'}), '00:00:30', 'a duty has its interval');
value(q{ALTER SYSTEM SET pictrepo.sweep_interval = '20ms'});
value('SELECT pg_reload_conf()');
my $before = value($runs);
ok($node->poll_query_until('postgres', "SELECT runs > $before + 3 FROM ($runs) r"), 'a new one holds at once');
value('ALTER SYSTEM RESET pictrepo.sweep_interval');
value('SELECT pg_reload_conf()');

# ----- the extension goes and comes -----

foreach my $round (1 .. 3)
{
	value('DROP EXTENSION pictrepo', 'other');
	no_worker("DROP EXTENSION $round: the worker goes", 'other');
	value('CREATE EXTENSION pictrepo', 'other');
	is(value('SELECT pictrepo.queue_length(), pictrepo.size()', 'other'), '0|0', "CREATE EXTENSION $round: all is empty");
	worker_works("CREATE EXTENSION $round: the worker comes", 'other');
}
value('BEGIN; DROP EXTENSION pictrepo; ROLLBACK', 'other');
worker_works('DROP EXTENSION rolled back: the worker stays', 'other');
value('CREATE SCHEMA aside; DROP EXTENSION pictrepo; CREATE EXTENSION pictrepo; DROP SCHEMA aside', 'other');
worker_works('all in one transaction: the worker is there', 'other');

# The extension comes with a prepared transaction: workers look for it before that
# commits, and find nothing.
value('DROP EXTENSION pictrepo', 'other');
value(q{BEGIN; CREATE EXTENSION pictrepo; PREPARE TRANSACTION 'creation'}, 'other');
no_worker('CREATE EXTENSION prepared: there is no worker yet', 'other');
value(q{COMMIT PREPARED 'creation'}, 'other');
worker_works('CREATE EXTENSION prepared: the worker comes with the commit', 'other');
value('DROP EXTENSION pictrepo', 'other');
value(q{BEGIN; CREATE EXTENSION pictrepo; PREPARE TRANSACTION 'creation'}, 'other');
$node->restart;
worker_works('a restart in between', 'postgres');
no_worker('a restart in between: there is no worker yet', 'other');
value(q{COMMIT PREPARED 'creation'}, 'other');
worker_works('a restart in between: the worker comes with the commit', 'other');

# as pg_upgrade leaves it: the library is another version than the tables
value(q{UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'pictrepo'}, 'other');
value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'other'});
my $mismatch = qr/pictrepo in database "other" is of another version/;
foreach (1 .. 200)
{
	last if log_count($mismatch) > 0;
	usleep(50_000);
}
no_worker('another version: no worker', 'other');
usleep(500_000);
is(log_count($mismatch), 1, 'another version: the log says so once');
value(q{UPDATE pg_extension SET extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'pictrepo')
	WHERE extname = 'pictrepo'; ALTER EXTENSION pictrepo UPDATE}, 'other');
worker_works('ALTER EXTENSION UPDATE: the worker comes', 'other');
value(q{UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'pictrepo'}, 'other');
value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'other'});
wait_for_log_count($mismatch, 2);
no_worker('another version again: no worker', 'other');
value(q{BEGIN; UPDATE pg_extension SET extversion = (SELECT default_version FROM pg_available_extensions
		WHERE name = 'pictrepo') WHERE extname = 'pictrepo';
	ALTER EXTENSION pictrepo UPDATE; PREPARE TRANSACTION 'update'; COMMIT PREPARED 'update'}, 'other');
worker_works('ALTER EXTENSION UPDATE prepared: the worker comes', 'other');

# this one forgets that the worker was terminated
value('ALTER EXTENSION pictrepo UPDATE', 'other');

# ----- a worker that ends before it signs on -----

# It looks for the extension, which it cannot, and this is an error for it.
value(q{ALTER DATABASE other SET lock_timeout = '10ms'});
my $lock = Session->new($node, 'other');
my $gave_up = qr/ERROR:  canceling statement due to lock timeout/;
$lock->ask('BEGIN; LOCK TABLE pg_extension');
value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'other'});
wait_for_log_count($gave_up, 1);
usleep(1_500_000);
is(log_count($gave_up), 1, 'a worker that failed at its start is not started again and again');
wait_for_log_count($gave_up, 2);
is(log_count($gave_up), 2, 'but again after a while');
$lock->ask('COMMIT');
my $since = time;
$lock->leave;
works_soon('and when it can start', 'other', $since, 15);
value('ALTER DATABASE other RESET lock_timeout');

# ----- statements that want the database to themselves -----

# Nobody but the worker is there.
sub alone
{
	my ($name, @statements) = @_;

	foreach my $statement (@statements)
	{
		my ($status, undef, $error) = $node->psql('postgres', $statement);

		is($status, 0, "$name: $statement") or diag($error);
	}
	return;
}

alone('template', 'CREATE DATABASE copy TEMPLATE other');
works_soon('the copy has its worker', 'copy', time, 5);
worker_works('the template has it again', 'other');
alone('rename', 'ALTER DATABASE copy RENAME TO renamed');
worker_works('the renamed one has it again', 'renamed');
alone('tablespace', 'ALTER DATABASE renamed SET TABLESPACE pg_default');
worker_works('it is there after that, too', 'renamed');
my ($status) = $node->psql('postgres', 'CREATE DATABASE renamed TEMPLATE other');
isnt($status, 0, 'a statement that fails');
worker_works('does not keep the worker away', 'other');
alone('drop', 'DROP DATABASE renamed', 'CREATE DATABASE renamed TEMPLATE other');
worker_works('the new one of the same name has it', 'renamed');
alone('force', 'DROP DATABASE renamed WITH (FORCE)');
worker_works('the others are still there', $_) foreach qw(postgres other);
value('CREATE ROLE nobody LOGIN CREATEDB');
my $pid = value(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'other'});
($status) = $node->psql('postgres', 'SET ROLE nobody; CREATE DATABASE copied TEMPLATE other');
isnt($status, 0, 'who may not copy a database does not');
is(value(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'other'}),
	$pid, 'nor stop its worker');
($status) = $node->psql('postgres', 'SET ROLE nobody; DROP DATABASE other');
isnt($status, 0, 'who may not drop a database does not');
worker_works('and does not stop its worker', 'other');

# Two sessions hold the database, while they wait for the end of a third one in
# it, and die.
my $guest = Session->new($node, 'other');
my @copying = map { Session->new($node) } 1 .. 2;
$copying[$_]->send("CREATE DATABASE copied$_ TEMPLATE other") foreach 0 .. 1;
no_worker('two sessions hold the database: the worker goes', 'other');
value("SELECT pg_terminate_backend(@{[$copying[0]->pid]})");
$copying[0]->vanish;
usleep(500_000);
is(workers('other'), '0', 'one of them is terminated: the worker stays away');
is(value('SELECT count(*) FROM pg_locks WHERE NOT granted'), '0', 'and does not wait for the lock of the other one');
value("SELECT pg_terminate_backend(@{[$copying[1]->pid]})");
$since = time;
$copying[1]->vanish;
works_soon('both are terminated: the worker comes back', 'other', $since, 5);
$guest->leave;

# DDL meets the worker, which is busy all the time
value(q{ALTER SYSTEM SET pictrepo.reap_interval = '1ms'});
value('SELECT pg_reload_conf()');
foreach my $n (1 .. 10)
{
	value('TRUNCATE pictrepo.job_queue, pictrepo.dead_jobs, pictrepo.uploads');
	value('ALTER TABLE pictrepo.job_queue ADD mine int', 'other');
	value('REINDEX TABLE pictrepo.job_queue', 'other');
	value('DROP EXTENSION pictrepo; CREATE EXTENSION pictrepo', 'other');
}
worker_works('after DDL', $_) foreach qw(postgres other);
value(q{ALTER SYSTEM RESET pictrepo.reap_interval});
value('SELECT pg_reload_conf()');
is(log_count(qr/\] \S+ ERROR:  deadlock detected/), 0, 'nobody else met a deadlock');

# ----- broken rows and duties -----

value(q{
	SELECT pictrepo.push_many('broken', '{1,2,3,4,5}', retry => 0);
	SELECT count(*) FROM pictrepo.pop('broken', max_jobs => 5);
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF OLD.job IN ('2', '4') THEN
			RAISE 'job % is broken', OLD.job;
		END IF;
		RETURN coalesce(NEW, OLD);
	END $$;
	CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON pictrepo.job_queue FOR EACH ROW EXECUTE FUNCTION refuse()});
value("ALTER SYSTEM SET pictrepo.heartbeat_timeout = '300ms'");
value('SELECT pg_reload_conf()');
ok( $node->poll_query_until('postgres', q{SELECT string_agg(job::text, ' ' ORDER BY job) = '1 3 5' FROM pictrepo.dead_jobs}),
	'jobs are reaped beside broken ones');
is(value(q{SELECT string_agg(job::text || ' ' || state, ', ' ORDER BY job) FROM pictrepo.jobs WHERE queue = 'broken'}),
	'2 running, 4 running', 'which stay');
ok($node->poll_query_until('postgres', q{SELECT last_error ~ 'job [24] is broken' FROM pictrepo.maintenance WHERE duty = 'reap'}),
	'and are seen');
is(value(q{SELECT count(*) FROM pictrepo.maintenance WHERE last_error IS NOT NULL AND duty NOT IN ('pulses', 'reap')}),
	'0', 'other duties have no error');
value('DROP TRIGGER refuse ON pictrepo.job_queue');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 5 FROM pictrepo.dead_jobs WHERE queue = 'broken'}),
	'until they are mended');
ok($node->poll_query_until('postgres', q{SELECT last_error IS NULL FROM pictrepo.maintenance WHERE duty = 'reap'}),
	'then all is well');

# a duty that fails altogether
value(q{
	CREATE FUNCTION refuse_all() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE 'never' USING ERRCODE = 'XX000';
	END $$;
	CREATE TRIGGER refuse BEFORE DELETE ON pictrepo.dead_jobs FOR EACH STATEMENT EXECUTE FUNCTION refuse_all()});
value("ALTER SYSTEM SET pictrepo.dead_job_retention = '1s'");
value("ALTER SYSTEM SET pictrepo.dead_job_interval = '100ms'");
value('SELECT pg_reload_conf()');
ok($node->poll_query_until('postgres', q{SELECT last_error = 'never' AND errors > 1 FROM pictrepo.maintenance WHERE duty = 'dead jobs'}),
	'a duty fails time and again');
worker_works('others go on');
value('DROP TRIGGER refuse ON pictrepo.dead_jobs');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pictrepo.dead_jobs'), 'it is made up for');
value('ALTER SYSTEM RESET ALL');
value('SELECT pg_reload_conf()');

# ----- an owner who may not read pg_stat_activity -----

# The extension's statements run as its owner, who need not be a superuser.
sub change_owner
{
	my ($database) = @_;

	value('CREATE ROLE installer SUPERUSER LOGIN; CREATE ROLE boss; SET ROLE installer; CREATE EXTENSION pictrepo', $database);
	value('REASSIGN OWNED BY installer TO boss; DROP OWNED BY installer; DROP ROLE installer', $database);
	is(value(q{SELECT proowner::regrole FROM pg_proc WHERE oid = 'pictrepo.size'::regproc}, $database),
		'boss', 'the extension has another owner');
	return;
}

sub worker_is_seen
{
	my ($name, $database) = @_;

	# a task that gave way to another session fails until its next run
	ok($node->poll_query_until($database, q{SELECT pictrepo.health_check() ~ '; worker on$'}),
		"$name: health_check sees the worker");
	is( value(q{SELECT value = 'since ' || (SELECT backend_start FROM pg_stat_activity
			WHERE backend_type = 'pictrepo worker' AND datname = current_database()), advice IS NULL
			FROM pictrepo.status() WHERE item = 'worker'}, $database),
		't|t', "$name: and so does status");
	return;
}

# A session that lives keeps its job, however often others look; one that has ended does not.
sub owner_reaps
{
	my ($name, $database) = @_;
	my $session = Session->new($node, $database);

	value(q{SELECT pictrepo.push('bound', '1'); SELECT pictrepo.push('silent', '1')}, $database);
	is($session->ask(q{SELECT attempt FROM pictrepo.pop('bound', bind => true)}), '1', "$name: a bound claim");
	value(q{SELECT pictrepo.run_maintenance('rescue'); SELECT pictrepo.pop('bound')}, $database) foreach 1 .. 3;
	is(value(q{SELECT state, error IS NULL FROM pictrepo.jobs WHERE queue = 'bound'}, $database),
		'running|t', "$name: it holds");
	$session->leave;
	ok( $node->poll_query_until($database, q{SELECT pictrepo.run_maintenance('rescue') >= 0 AND state = 'ready'
			AND error ~ 'has ended$' FROM pictrepo.jobs WHERE queue = 'bound'}),
		"$name: it ends with the session");

	value(q{SELECT pictrepo.pop('silent')}, $database);
	value("ALTER SYSTEM SET pictrepo.heartbeat_timeout = '100ms'");
	value('SELECT pg_reload_conf()');
	ok( $node->poll_query_until($database, q{SELECT pictrepo.run_maintenance('reap') >= 0 AND state = 'ready'
			AND error ~ 'no heartbeat' FROM pictrepo.jobs WHERE queue = 'silent'}),
		"$name: a silent worker loses its job");
	value('ALTER SYSTEM RESET pictrepo.heartbeat_timeout');
	value('SELECT pg_reload_conf()');
	value('TRUNCATE pictrepo.job_queue', $database);
	return;
}

value('CREATE DATABASE owned');
change_owner('owned');
worker_works('an owner without rights has a worker', 'owned');
worker_is_seen('an owner without rights', 'owned');
owner_reaps('an owner without rights', 'owned');

# ----- claims that end with their sessions -----

sub bound_job
{
	my ($name, $end) = @_;
	my $session = Session->new($node);

	value(q{SELECT pictrepo.push('bound', '1', retry => 3)});
	is($session->ask(q{SELECT attempt FROM pictrepo.pop('bound', bind => true)}), '1', "$name: a claim");
	# A claim does not wait for the disk, so a crash may lose it; this does.
	value(q{SELECT pictrepo.set('flushed', '')});
	usleep(300_000);
	is(value(q{SELECT state FROM pictrepo.jobs WHERE queue = 'bound'}), 'running', "$name: it holds");
	$end->($session);
	my $start = time;
	ok($node->poll_query_until('postgres', q{SELECT state = 'ready' AND retry = 2 FROM pictrepo.jobs WHERE queue = 'bound'}),
		"$name: the job is ready again");
	cmp_ok(time - $start, '<', 30, "$name: long before its time");
	like(value(q{SELECT error FROM pictrepo.jobs WHERE queue = 'bound'}), qr/^session \S+ has ended$/, "$name: it says why");
	value('TRUNCATE pictrepo.job_queue');
	return;
}

bound_job('a session ends', sub { $_[0]->leave });
bound_job('a session is terminated', sub { value("SELECT pg_terminate_backend(@{[$_[0]->pid]})") });
bound_job('a client dies', sub { $_[0]->vanish });
bound_job('the server crashes', \&crash);

# ----- notifications -----

# Many commits are one notification; after the last one, one comes.
my $listener = Session->new($node);
$listener->ask('LISTEN queue_status_channel');

sub heard
{
	$listener->ask('SELECT 1');
	return $listener->notifications;
}

sub hears
{
	foreach (1 .. 400)
	{
		my $heard = heard();

		return $heard if $heard;
		usleep(10_000);
	}
	return 0;
}

my $push = "$PostgreSQL::Test::Utils::tmp_check/push.sql";
append_to_file($push, q{SELECT pictrepo.push('told', '1');});
$node->command_ok([ 'pgbench', '-n', '-c', '4', '-t', '500', '-f', $push, $node->connstr('postgres') ], 'load');
my $heard = hears();
usleep(500_000);
$heard += heard();
cmp_ok($heard, '<', 500, "2000 pushes are few notifications ($heard)");
foreach my $n (1 .. 5)
{
	is(heard(), 0, 'nothing more comes');
	value(q{SELECT pictrepo.push('told', '1')});
	is(hears(), 1, 'one for one push');
	usleep(200_000);
}
value(q{BEGIN; SELECT pictrepo.push('told', '1'); ROLLBACK});
usleep(300_000);
is(heard(), 0, 'none for a push that was rolled back');
$listener->leave;

# ----- a database gets the slot of one that was dropped -----

# The rows that were loaded into the old one are no reason to spare silent workers
# in the new one.  A machine whose clock is set spares them, too.
ok($node->poll_query_until('postgres', q{SELECT backend_start < now() - interval '10 s' FROM pg_stat_activity
	WHERE backend_type = 'walwriter'}), 'the server has run for a while');
my $reaped;
foreach (1 .. 3)
{
	value('CREATE DATABASE loaded');
	value(q{CREATE EXTENSION pictrepo; SET check_function_bodies = off; COPY pictrepo.settings FROM '/dev/null'}, 'loaded');
	value($_) foreach 'DROP DATABASE loaded', 'CREATE DATABASE loaded';
	value(q{CREATE EXTENSION pictrepo;
		INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt)
		VALUES (gen_random_uuid(), 'q', '1', 'running', gen_random_uuid(), '2001-01-01', 1)}, 'loaded');
	$reaped = value(q{SET pictrepo.heartbeat_timeout = '9s'; SELECT pictrepo.run_maintenance('reap')}, 'loaded');
	value('DROP DATABASE loaded');
	last if $reaped == 1;
}
is($reaped, 1, 'in a new database a silent worker loses its job');

# ----- a standby -----

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
value(q{TRUNCATE pictrepo.job_queue; SELECT pictrepo.push_many('q', '{1,2}'); SELECT pictrepo.pop('q')});
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT pictrepo.queue_length(), pictrepo.queue_length('q'), pictrepo.size()}),
	'2|2|1', 'a standby counts right');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^pictrepo'}),
	'0', 'and has neither launcher nor worker');
($status, undef, my $error) = $standby->psql('postgres', q{\set VERBOSITY sqlstate
	SELECT pictrepo.pop('q', wait => '1 s')});
like($error, qr/25006/, 'nothing is claimed there');
$node->stop;
$standby->promote;
worker_works('promoted, it has a worker', 'postgres', $standby);
is($standby->safe_psql('postgres', q{SELECT job FROM pictrepo.pop('q')}), '2', 'and gives out jobs');
is($standby->safe_psql('postgres', q{SELECT pictrepo.queue_length(), pictrepo.size()}), '2|1', 'and counts on');
$standby->stop;

# ----- no slot for a worker -----

$node->append_conf('postgresql.conf', q{
# the launchers of logical replication and of pictrepo have them
max_worker_processes = 2
pictrepo.heartbeat_timeout = '100ms'
});
$node->start;
my $no_slot = qr/no slot is free for a pictrepo worker/;
foreach (1 .. 200)
{
	last if log_count($no_slot) > 0;
	usleep(50_000);
}
usleep(1_500_000);
is(log_count($no_slot), 1, 'no slot for a worker: the log says so once');
value(q{TRUNCATE pictrepo.job_queue; SELECT pictrepo.push('q', '1', retry => 1); SELECT pictrepo.pop('q')});
ok($node->poll_query_until('postgres', q{SELECT attempt = 2 FROM pictrepo.pop('q')}), 'pops reap');
value(q{
	TRUNCATE pictrepo.job_queue;
	SELECT pictrepo.push_many('q', '{2,3}', retry => 1);
	SELECT count(*) FROM pictrepo.pop('q', max_jobs => 2);
	CREATE TRIGGER refuse BEFORE UPDATE ON pictrepo.job_queue FOR EACH ROW
		WHEN (OLD.status = 'running') EXECUTE FUNCTION refuse()});
ok($node->poll_query_until('postgres', q{SELECT job = '3' FROM pictrepo.pop('q')}), 'past jobs that are broken');
value('DROP TRIGGER refuse ON pictrepo.job_queue');
my $waiter = Session->new($node);
$waiter->send(q{SELECT job FROM pictrepo.pop('q2', wait => '10 min')});
value(q{SELECT pictrepo.push('q2', '1')});
is($waiter->answer, '1', 'waiters are called');
$waiter->leave;
like(($node->psql('postgres', qq{\\set VERBOSITY sqlstate\nSELECT pictrepo.start_worker()}))[2],
	qr/53400/, 'no slot for a worker: start_worker() says so');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
worker_works('slots again: the worker comes');

# ----- more databases than slots -----

value("CREATE DATABASE empty$_") foreach 1 .. 24;
my $warnings = log_count($no_slot);
$node->restart;
$since = time;
works_soon("among many databases, $_", $_, $since, 10) foreach qw(postgres other);
usleep(500_000);
is(log_count($no_slot), $warnings, 'the visits to the others take few slots at a time');

# more of them need a worker than are visited at a time
value("CREATE DATABASE more$_ TEMPLATE other") foreach 1 .. 4;
$node->append_conf('postgresql.conf', 'max_worker_processes = 16');
$node->restart;
$since = time;
works_soon("among many databases with the extension, $_", $_, $since, 9)
  foreach qw(postgres other more1 more2 more3 more4);
$node->stop;

# ----- without preload -----

$node->append_conf('postgresql.conf', q{
shared_preload_libraries = ''
pictrepo.heartbeat_timeout = '10min'
pictrepo.reap_interval = '100ms'
});
$node->start;
no_worker('without preload there is no worker', 'postgres');
my $start = Session->new($node);
my $started = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'postgres'};
is($start->ask('SELECT pictrepo.start_worker()'), 't', 'one can be started');
ok($node->poll_query_until('postgres', "SELECT ($started) = 1"), 'it is there');
$start->ask('SELECT pictrepo.start_worker()');
usleep(500_000);
is(value($started), '1', 'and only once');
value(q{TRUNCATE pictrepo.job_queue; SELECT pictrepo.push('q', '1', retry => 1)});
$start->ask(q{SELECT id FROM pictrepo.pop('q')});
value("ALTER SYSTEM SET pictrepo.heartbeat_timeout = '100ms'");
value('SELECT pg_reload_conf()');
ok($node->poll_query_until('postgres', q{SELECT state = 'ready' FROM pictrepo.jobs WHERE queue = 'q'}), 'it works');
value('DROP EXTENSION pictrepo');
no_worker('and goes with the extension', 'postgres');
$start->leave;

value('ALTER SYSTEM RESET ALL');
value('SELECT pg_reload_conf()');
owner_reaps('an owner without rights, without a worker', 'owned');
is(value('SELECT pictrepo.start_worker()', 'owned'), 't', 'an owner without rights can have a worker started');
is(value('SELECT pictrepo.start_worker()', 'owned'), 'f', 'and sees that it runs');
worker_is_seen('an owner without rights, without preload', 'owned');

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal (6|11)/, 'nothing odd in the log')
  foreach $node, $standby;
$node->stop;
done_testing();

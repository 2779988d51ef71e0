# What is refused again and again is said once: a line for each duty and cause, and
# then none until it changes.  It still shows in maintenance, status() and
# health_check(), with the time since when.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

# How many runs of a duty are watched.
my $RUNS = 20;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
autovacuum = off
log_statement = none
pictrepo.reap_interval = '50ms'
pictrepo.heartbeat_timeout = '300ms'
pictrepo.dead_job_retention = '1h'
pictrepo.dead_job_interval = '50ms'
});
$node->start;

sub value
{
	my ($query, $database) = @_;

	return $node->safe_psql($database // 'postgres', $query);
}

# How often the log says so since a place in it.
sub lines
{
	my ($pattern, $since) = @_;
	my $log = substr(slurp_file($node->logfile), $since);

	return scalar(() = $log =~ /(?:LOG|ERROR):  $pattern/g);
}

sub end_of_log
{
	return -s $node->logfile;
}

# Jobs whose worker says nothing.
sub silent_jobs
{
	my ($database) = @_;

	value(q{
		TRUNCATE pictrepo.job_queue, pictrepo.dead_jobs;
		SELECT pictrepo.push_many('q', array_agg(to_jsonb(n)), retry => 1) FROM generate_series(1, 10) n;
		SELECT count(*) FROM pictrepo.pop('q', max_jobs => 10)}, $database);
	return;
}

my $RUNS_OF = q{SELECT runs FROM pictrepo.maintenance WHERE duty = 'reap'};

# Wait until the worker has tried so many times.
sub wait_for_runs
{
	my ($database, $runs) = @_;
	my $before = value($RUNS_OF, $database);

	$node->poll_query_until($database, "SELECT runs >= $before + $runs FROM ($RUNS_OF) r") or die 'the worker does not run';
	return;
}

sub fails
{
	my ($database, $message) = @_;

	return ok(
		$node->poll_query_until($database,
			"SELECT count(*) = 1 FROM pictrepo.maintenance WHERE duty = 'reap' AND last_error ~ '$message'"),
		"$database: maintenance has it: $message");
}

# The log has a line for each of the duties that fail for jobs, or $most.
sub is_said_once
{
	my ($name, $database, $message, $since, $most, $runs) = @_;
	my ($first, $lines);

	fails($database, $message);
	wait_for_runs($database, 2);
	$first = value(q{SELECT failing_since FROM pictrepo.maintenance WHERE duty = 'reap'}, $database);
	$lines = lines($message, $since);
	cmp_ok($lines, '>=', 1, "$name: the log has it");
	cmp_ok($lines, '<=', $most, "$name: a line for each duty");
	wait_for_runs($database, $runs // $RUNS);
	is(lines($message, $since), $lines, "$name: and then none");
	is(value(q{SELECT failing_since FROM pictrepo.maintenance WHERE duty = 'reap'}, $database),
		$first, "$name: maintenance says since when");
	is(value(q{SELECT value LIKE format('%%reap since %s: %%', failing_since)
			FROM pictrepo.status() s, pictrepo.maintenance m WHERE s.item = 'upkeep' AND m.duty = 'reap'}, $database),
		't', "$name: status() says so, too");
	like(value(q{SET default_transaction_read_only = off; SELECT pictrepo.health_check()}, $database),
		qr/; worker on; failing: .*\breap\b/, "$name: and health_check()");
	return;
}

sub works_again
{
	my ($name, $database) = @_;

	ok($node->poll_query_until($database,
			q{SELECT count(*) = 0 FROM pictrepo.maintenance WHERE last_error IS NOT NULL OR failing_since IS NOT NULL}),
		"$name: all is well again");
	is(value(q{SELECT count(*) FROM pictrepo.job_queue WHERE status = 'running'}, $database),
		'0', "$name: the jobs are reaped");
	like(value('SELECT pictrepo.health_check()', $database), qr/; worker on$/, "$name: health_check has nothing more to say");
	return;
}

# ----- a statement trigger -----

value(q{
	CREATE EXTENSION pictrepo;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE 'refused by a %', TG_ARGV[0];
	END $$;
	CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.job::int % 2 = 0 THEN
			RAISE 'refused job %', NEW.job;
		END IF;
		RETURN NEW;
	END $$});
silent_jobs('postgres');
my $since = end_of_log();
value(q{CREATE TRIGGER refuse BEFORE UPDATE ON pictrepo.job_queue FOR EACH STATEMENT EXECUTE FUNCTION refuse('trigger')});
is_said_once('a statement trigger', 'postgres', 'refused by a trigger', $since, 2);

# another cause
my $changed = end_of_log();
value(q{
	CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM * FROM no_such_table;
	END $$});
is_said_once('another cause', 'postgres', 'relation "no_such_table" does not exist', $changed, 2);

# A session that does the upkeep itself says it once, too.
my $session = Session->new($node);
$changed = end_of_log();
$session->ask(q{SELECT pictrepo.run_maintenance('reap')}) foreach 1 .. 10;
is(lines('relation "no_such_table" does not exist', $changed), 1, 'a session says it once');
$session->leave;

value('DROP TRIGGER refuse ON pictrepo.job_queue');
works_again('no trigger', 'postgres');

# ----- rows -----

# Half of the rows are refused, each with a message of its own.
silent_jobs('postgres');
$since = end_of_log();
value(q{CREATE TRIGGER refuse BEFORE UPDATE ON pictrepo.job_queue FOR EACH ROW
	WHEN (OLD.status = 'running' AND NEW.status = 'new') EXECUTE FUNCTION refuse_some()});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 5 FROM pictrepo.job_queue WHERE status = 'new'}),
	'rows: those that are not refused are reaped');
# A run that takes long, and finds nothing to do, is followed by a pause.
is_said_once('rows', 'postgres', 'refused job \d+', $since, 2, 5);
value('DROP TRIGGER refuse ON pictrepo.job_queue');
works_again('no refused rows', 'postgres');

# ----- a duty that fails altogether -----

$since = end_of_log();
value(q{
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE 'broken by a trigger' USING ERRCODE = 'XX000';
	END $$;
	CREATE TRIGGER fail BEFORE DELETE ON pictrepo.dead_jobs FOR EACH STATEMENT EXECUTE FUNCTION fail()});
ok( $node->poll_query_until('postgres',
		"SELECT errors >= $RUNS AND last_error = 'broken by a trigger' FROM pictrepo.maintenance WHERE duty = 'dead jobs'"),
	'a duty fails time and again');
is(lines('broken by a trigger', $since), 1, 'a duty that fails says it once');
value('DROP TRIGGER fail ON pictrepo.dead_jobs');
works_again('a duty that works', 'postgres');

# Failing again is news.
$since = end_of_log();
value(q{CREATE TRIGGER fail BEFORE DELETE ON pictrepo.dead_jobs FOR EACH STATEMENT EXECUTE FUNCTION fail()});
ok($node->poll_query_until('postgres', q{SELECT last_error IS NOT NULL FROM pictrepo.maintenance WHERE duty = 'dead jobs'}),
	'it fails again');
is(lines('broken by a trigger', $since), 1, 'and says so again');
value('DROP TRIGGER fail ON pictrepo.dead_jobs');

# ----- a publication without a replica identity -----

silent_jobs('postgres');
$since = end_of_log();
value(q{ALTER TABLE pictrepo.job_queue REPLICA IDENTITY NOTHING; CREATE PUBLICATION jobs FOR TABLE pictrepo.job_queue});
is_said_once('REPLICA IDENTITY NOTHING', 'postgres', 'cannot update table "job_queue" because', $since, 2);
value(q{DROP PUBLICATION jobs; ALTER TABLE pictrepo.job_queue REPLICA IDENTITY DEFAULT});
works_again('a replica identity', 'postgres');

# ----- a database that is read-only -----

value('CREATE DATABASE frozen');
value('CREATE EXTENSION pictrepo', 'frozen');
$node->poll_query_until('frozen', q{SELECT last_run IS NOT NULL FROM pictrepo.maintenance WHERE duty = 'reap'})
  or die 'no worker comes';
silent_jobs('frozen');
value('ALTER DATABASE frozen SET default_transaction_read_only = on');
$since = end_of_log();
value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'frozen'});
# A duty that fails altogether runs once a second at most.
is_said_once('read-only', 'frozen', 'cannot execute [A-Z ]+ in a read-only transaction', $since,
	value('SELECT count(*) FROM pictrepo.maintenance', 'frozen'), 5);
value('ALTER DATABASE frozen RESET default_transaction_read_only');
value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'frozen'});
ok($node->poll_query_until('frozen', q{SELECT count(*) = 0 FROM pictrepo.job_queue WHERE status = 'running'}),
	'writable: the jobs are reaped');
works_again('writable', 'frozen');

$node->stop;
done_testing();

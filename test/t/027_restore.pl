# A restore into a server whose worker is busy: it must not touch what is
# restored in part, so that the restore succeeds and all is as it was dumped;
# afterwards it does what it is there for, and takes no job from its worker
# before a full heartbeat timeout has passed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $IMAGES = 2000;
my $JOBS = 100;

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init;
$old->start;

# All duties, all the time, and something to do for each of them.
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', join "\n",
	q{shared_preload_libraries = 'pictrepo'
log_statement = none
max_worker_processes = 20
pictrepo.heartbeat_timeout = 5s
pictrepo.variant_claim_timeout = 1s
pictrepo.variant_retention = 1d
pictrepo.proxy_retention = 1d
pictrepo.dead_job_retention = 1d
pictrepo.sample_interval = 1ms},
	map { "pictrepo.${_}_interval = 1ms" } qw(reap schedule upload claim dead_job variant proxy sweep));
$new->start;

# ----- a repo that has become old -----

fill($old, 'postgres');
$old->safe_psql('postgres', qq{
	SELECT FROM generate_series(1, $IMAGES) n, LATERAL
		pictrepo.ingest(sha256(n::text::bytea), n || '.png', '{}', n || '.png', 'secret', '2001-01-01') i
		WHERE i.outcome <> 'created';
	INSERT INTO pictrepo.variants (hash, variant, identifier, accessed)
		SELECT sha256(n::text::bytea), 'thumb', n || '.thumb.png', '2001-01-01' FROM generate_series(1, $IMAGES) n;
	SELECT FROM generate_series(1, $IMAGES, 2) n WHERE NOT pictrepo.relate_url('https://example.org/' || n, n || '.png');
	UPDATE pictrepo.proxies SET accessed = '2001-01-01';
	INSERT INTO pictrepo.variant_claims (hash, variant, worker, heartbeat)
		SELECT sha256(n::text::bytea), 'large', '$WORKER', '2001-01-01' FROM generate_series(1, $JOBS) n;
	INSERT INTO pictrepo.schedules (name, queue, job, every, first_run, next_run)
		SELECT n, 'scheduled', '1', '1 day', '2001-01-01', '2001-01-01' FROM generate_series(1, $JOBS) n;
	INSERT INTO pictrepo.job_queue (id, queue, job, unique_key)
		SELECT gen_random_uuid(), 'scheduled', '1', 'schedule:' || n FROM generate_series(1, $JOBS) n;
	INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt, retry)
		SELECT gen_random_uuid(), 'silent', '1', 'running', '$WORKER', '2001-01-01', 1, n % 2 FROM generate_series(1, $JOBS) n;
	INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt, retry, session)
		SELECT gen_random_uuid(), 'bound', '1', 'running', '$WORKER', '2001-01-01', 1, 5, '1.1' FROM generate_series(1, $JOBS) n;
	INSERT INTO pictrepo.uploads (id, created_at) SELECT gen_random_uuid(), '2001-01-01' FROM generate_series(1, $JOBS) n;
	WITH u AS (INSERT INTO pictrepo.uploads (id) SELECT gen_random_uuid() FROM generate_series(1, $JOBS) n RETURNING id)
		INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, attempt, upload)
		SELECT gen_random_uuid(), 'dead', '1', 0, now(), 1, id FROM u;
	INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, died_at, attempt)
		SELECT gen_random_uuid(), 'old', '1', 0, '2001-01-01', '2001-01-01', 1 FROM generate_series(1, $JOBS) n});

# A restore makes this last: it has what the restoring session saw then.
my @tables = tables($old, 'postgres');
$old->safe_psql('postgres', 'CREATE MATERIALIZED VIEW seen AS ' . join ' UNION ALL ',
	map { "SELECT '$_' AS name, count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM pictrepo.$_ t" } @tables);
my $seen = 'SELECT * FROM public.seen ORDER BY name';
my $dumped = $old->safe_psql('postgres', $seen);

my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump";
my %formats = (plain => [], inserts => [ '--rows-per-insert=100' ], custom => [], directory => [ '-j', 4 ]);
$old->command_ok(
	[ 'pg_dump', '--format=' . ($_ eq 'inserts' ? 'plain' : $_), @{ $formats{$_} }, '-f', "$dump.$_", $old->connstr('postgres') ],
	"$_ dump")
  foreach sort keys %formats;

# ----- restored -----

sub value
{
	my ($database, $query) = @_;

	return $new->safe_psql($database, $query);
}

sub wait_for
{
	my ($database, $query, $what) = @_;

	ok($new->poll_query_until($database, $query), $what) or diag $query;
	return;
}

# What the worker does when all is there, each of it once.
sub check_work
{
	my ($name) = @_;

	is(value($name, q{SELECT count(*), min(retry) FROM pictrepo.job_queue WHERE queue = 'silent' AND status = 'running'}),
		"$JOBS|0", "$name: no job is taken from its worker at once");
	wait_for($name, q{SELECT count(*) = 0 FROM pictrepo.job_queue WHERE status = 'running'},
		"$name: but after the timeout");
	is(value($name, q{SELECT count(*) FILTER (WHERE retry = 0), (SELECT count(*) FROM pictrepo.dead_jobs WHERE queue = 'silent')
			FROM pictrepo.job_queue WHERE queue = 'silent'}),
		$JOBS / 2 . '|' . $JOBS / 2, "$name: with one retry less");
	wait_for($name, q{SELECT count(*) = 0 FROM pictrepo.variants WHERE variant = 'thumb'}, "$name: old variants go");
	wait_for($name, q{SELECT count(*) = 0 FROM pictrepo.proxies}, "$name: so do old proxies");
	wait_for($name, q{SELECT NOT EXISTS (SELECT FROM pictrepo.variant_claims)
			AND NOT EXISTS (SELECT FROM pictrepo.uploads WHERE created_at < '2002-01-01')
			AND NOT EXISTS (SELECT FROM pictrepo.dead_jobs WHERE died_at < '2002-01-01')},
		"$name: and claims, uploads and dead jobs");
	wait_for($name, "SELECT count(*) = $JOBS FROM pictrepo.uploads WHERE result #>> '{Failure,code}' = 'job-failed'",
		"$name: who waits for a dead job's upload hears of it");
	is(value($name, q{SELECT count(*), count(DISTINCT unique_key) FROM pictrepo.job_queue WHERE queue = 'scheduled'}),
		"$JOBS|$JOBS", "$name: a schedule whose job is there has no other one");
	is(value($name, q{SELECT count(*), count(DISTINCT job) FROM pictrepo.job_queue WHERE queue = 'cleanup'}),
		join('|', (2 * $IMAGES - $IMAGES / 2 + 2) x 2), "$name: each file is removed once");
	is(value($name, q{SELECT pictrepo.size() - (SELECT count(*) FROM pictrepo.hashes),
			pictrepo.queue_length() - (SELECT count(*) FROM pictrepo.job_queue)}),
		'0|0', "$name: counts are exact");
	is(value($name, q{SELECT (SELECT count(*) FROM pictrepo.variants v LEFT JOIN pictrepo.hashes h USING (hash) WHERE h.hash IS NULL),
			(SELECT count(*) FROM pictrepo.aliases a LEFT JOIN pictrepo.hashes h USING (hash) WHERE h.hash IS NULL),
			(SELECT count(*) FROM pictrepo.proxies p LEFT JOIN pictrepo.aliases a USING (alias) WHERE a.alias IS NULL)}),
		'0|0|0', "$name: no row has lost another one");
	return;
}

# What keeps the worker away, and what status() says about it.
my $held = 'SELECT pictrepo.upkeep_held_by()';
my $upkeep = q{SELECT value, advice FROM pictrepo.status() WHERE item = 'upkeep'};

my %restores = (
	plain => [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.plain" ],
	inserts => [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.inserts" ],
	custom => [ 'pg_restore', '--exit-on-error', "$dump.custom" ],
	directory => [ 'pg_restore', '--exit-on-error', "$dump.directory" ],
	parallel => [ 'pg_restore', '--exit-on-error', '-j', 4, "$dump.directory" ],
);

foreach my $name (sort keys %restores)
{
	# in parallel, what refers to something may come before it
	local $ENV{PGOPTIONS} = $name eq 'parallel' ? '-c session_replication_role=replica' : '';

	value('postgres', "CREATE DATABASE $name");
	$new->command_ok([ @{ $restores{$name} }, '-d', $new->connstr($name) ], "$name: restored");

	# in parallel, it is made when the sessions that restored have ended
	is(value($name, $seen), $dumped, "$name: all is there, and as it was") if $name ne 'parallel';
	check_work($name);
	value('postgres', "DROP DATABASE $name");
}

# ----- in parallel, all is there as well -----

# A session that restores, as long as it is there.
sub restoring
{
	my ($database) = @_;
	my $session = Session->new($new, $database);

	$session->ask('SET check_function_bodies = off; CREATE EXTENSION pictrepo');
	return $session;
}

value('postgres', 'CREATE DATABASE gated');
my $restoring = restoring('gated');
like(value('gated', $upkeep), qr/^held by restore by process @{[$restoring->pid]}\|nothing is done until its session ends/,
	'status() says for whom the worker waits');
like(value('gated', 'SELECT pictrepo.health_check()'), qr/; upkeep held by restore by process @{[$restoring->pid]}$/,
	'so does health_check()');
is(value('gated', 'SELECT DISTINCT held_by FROM pictrepo.maintenance'), "restore by process @{[$restoring->pid]}",
	'and so does maintenance');
{
	local $ENV{PGOPTIONS} = '-c session_replication_role=replica';

	$new->command_ok(
		[
			'pg_restore', '--exit-on-error', '--clean', '--if-exists', '-j', 4,
			'-d', $new->connstr('gated'), "$dump.directory"
		],
		'gated: restored over a repo');
}
is(value('gated', $seen), $dumped, 'gated: all is there, and as it was');
$restoring->leave;
check_work('gated');
is(value('gated', $held), '', 'gated: and the worker works');

# ----- only a role that could restore the rows keeps the worker away -----

value('postgres', 'CREATE DATABASE others');
value('others', q{CREATE EXTENSION pictrepo; CREATE ROLE nobody LOGIN; CREATE ROLE writer LOGIN;
	SELECT pictrepo.grant_access('writer', 'writer')});
my %attempts = (
	nobody => q{COPY pictrepo.job_queue FROM '/dev/null'},
	writer => q{SELECT pictrepo.push('attempt', '1') IS NOT NULL, pictrepo.create_hash('attempt', 'f') IS NOT NULL});
foreach my $role (sort keys %attempts)
{
	my $session = Session->new($new, 'others');

	$session->ask("SET SESSION AUTHORIZATION $role");
	$session->ask(q{SET check_function_bodies = off; SET search_path = ''});
	my $answer = $session->ask($attempts{$role});
	$role eq 'nobody'
	  ? like($answer, qr/42501/, 'a role without rights may not copy')
	  : is($answer, 't|t', 'a writer may call functions');
	is(value('others', $held), '', "$role does not keep the worker away");
	$session->leave;
}
my $failing = Session->new($new, 'others');
$failing->ask('SET check_function_bodies = off');
like($failing->ask(q{COPY pictrepo.job_queue FROM '/nowhere'}), qr/58P01/, 'a copy that fails');
is(value('others', $held), '', 'a statement that failed does not keep the worker away');
like($failing->ask('COPY pictrepo.job_queue FROM PROGRAM \'false\''), qr/38000/, 'another one');
is(value('others', $held), '', 'nor does this one');
$failing->leave;

# ----- checks that are off for good are no restore -----

my $empty = q{COPY pictrepo.job_queue FROM '/dev/null'};
foreach my $default (
	'ALTER DATABASE others SET check_function_bodies = off',
	"ALTER ROLE @{[value('others', 'SELECT current_user')]} SET check_function_bodies = off")
{
	value('others', $default);
	my $session = Session->new($new, 'others');

	is($session->ask('SHOW check_function_bodies'), 'off', $default);
	$session->ask("SELECT set_config('search_path', '', false); $empty;"
		  . q{INSERT INTO pictrepo.job_queue (id, queue, job) VALUES (gen_random_uuid(), 'q', '1')});
	is(value('others', $held), '', "$default: the worker works");
	$session->ask("SET check_function_bodies = off; $empty");
	is(value('others', $held), "restore by process @{[$session->pid]}", "$default: and sees a restore");
	$session->leave;
	value('others', $default =~ s/SET.*/RESET check_function_bodies/r);
}

# ----- for a bounded time -----

# How often the tasks have run, which they do all the time.
my $runs = 'SELECT sum(runs) FROM pictrepo.maintenance';

sub check_away
{
	my ($database, $name) = @_;
	my $before = value($database, $runs);

	sleep 1;
	is(value($database, $runs), $before, "$name: no task runs, and none is counted");
	return;
}

sub check_at_work
{
	my ($database, $name) = @_;
	my $before = value($database, $runs);

	wait_for($database, "SELECT ($runs) > $before", "$name: the tasks run");
	return;
}

sub set_restore_timeout
{
	my ($database, $timeout) = @_;

	value($database, "ALTER SYSTEM SET pictrepo.restore_timeout = '$timeout'");
	value($database, 'SELECT pg_reload_conf()');
	wait_for($database, "SELECT current_setting('pictrepo.restore_timeout') = '$timeout'", "pictrepo.restore_timeout is $timeout");
	return;
}

my $staying = Session->new($new, 'others');
set_restore_timeout('others', '10s');
$staying->ask("SET check_function_bodies = off; $empty");
is(value('others', $held), "restore by process @{[$staying->pid]}", 'a session restores');
check_away('others', 'while it does');
wait_for('others', "SELECT ($held) IS NULL", 'a while after its last statement it keeps nobody away any more');
check_at_work('others', 'though it stays');
$staying->ask($empty);
is(value('others', $held), "restore by process @{[$staying->pid]}", 'with the next statement it does again');

# a statement that runs for longer
set_restore_timeout('others', '1s');
$staying->send(q{COPY pictrepo.job_queue FROM PROGRAM 'sleep 100000'});
sleep 3;
is(value('others', $held), "restore by process @{[$staying->pid]}", 'as it does while a statement runs, however long');
check_away('others', 'meanwhile');
value('others', "SELECT pg_cancel_backend(@{[$staying->pid]})");
like($staying->answer, qr/57014|38000/, 'the statement is cancelled');
is(value('others', $held), '', 'which keeps nobody away');
$staying->leave;
set_restore_timeout('others', '1h');

# ----- pre_restore() and post_restore() -----

foreach my $call ('pre_restore()', 'post_restore()', 'recount()')
{
	my ($stdout, $stderr) = run($new, 'others', "SELECT * FROM pictrepo.$call", user => 'writer');
	like($stderr, qr/42501/, "a writer may not call $call");
}
my $silent = q{SELECT count(*) FROM pictrepo.job_queue WHERE queue = 'silent' AND status = 'running'};
my $insert_silent = qq{INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt, retry)
	SELECT gen_random_uuid(), 'silent', '1', 'running', '$WORKER', '2001-01-01', 1, 5};

is(value('others', q{SELECT pictrepo.pre_restore() BETWEEN now() + '59 min' AND clock_timestamp() + '1 h'}), 't',
	'pre_restore() says when it ends at the latest');
like(value('others', $held), qr/^pre_restore\(\) until 2/, 'it holds when its session has ended');
check_away('others', 'pre_restore()');
value('others', $insert_silent);
like(value('others', $upkeep), qr/^held by pre_restore\(\) until 2.*\|.*post_restore\(\) ends it$/, 'status() says so');
like(value('others', 'SELECT pictrepo.health_check()'), qr/; upkeep held by pre_restore\(\) until 2/, 'and health_check()');
$new->stop('immediate');
$new->start;
like(value('others', $held), qr/^pre_restore\(\) until 2/, 'it holds after a crash');
sleep 6;
is(value('others', $silent), '1', 'no job is taken from its worker meanwhile');
is(value('others', 'SELECT pictrepo.post_restore()'), 't', 'post_restore() ends it');
is(value('others', 'SELECT pictrepo.post_restore()'), 'f', 'once');
is(value('others', $held), '', 'nothing keeps the worker away then');
sleep 2;
is(value('others', $silent), '1', 'a worker still has a full timeout for its heartbeat');
check_at_work('others', 'post_restore()');
wait_for('others', "SELECT ($silent) = 0", 'and loses its job after it');
value('others', q{SELECT pictrepo.pre_restore(); SELECT pictrepo.pre_restore('2 s')});
check_away('others', 'pre_restore() with a duration') if value('others', $held) ne '';
wait_for('others', "SELECT ($held) IS NULL", 'it ends by itself');
check_at_work('others', 'then');
value('postgres', 'DROP DATABASE others WITH (FORCE)');

# ----- as long as the restoring session is there, and a timeout longer -----

my $jobs = "$PostgreSQL::Test::Utils::tmp_check/jobs";
my %ways = (
	copied => "COPY pictrepo.job_queue FROM '$jobs'",
	inserted => q{INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt, retry)
		SELECT gen_random_uuid(), 'silent', '1', 'running', '%', '2001-01-01', 1, 5} =~ s/%/$WORKER/r);

$old->safe_psql('postgres', "COPY (SELECT * FROM pictrepo.job_queue WHERE queue = 'silent' AND retry = 1 LIMIT 1) TO '$jobs'");

# Rows come into a repo with a worker, and then nothing for a while, as when
# indexes of other tables are built.
sub check_grace
{
	my ($name, $way) = @_;
	my $runs = q{SELECT count(*) FROM pictrepo.job_queue WHERE queue = 'silent' AND status = 'running'};

	value($name, q{DELETE FROM pictrepo.job_queue WHERE queue = 'silent'});
	my $session = Session->new($new, $name);
	$session->ask("SET check_function_bodies = off; SELECT set_config('search_path', '', false); $ways{$way}");
	sleep 7;
	is(value($name, $runs), '1', "$name, $way: no job is taken away as long as the session is there");
	like(value($name, $upkeep), qr/restore by process @{[$session->pid]}/, "$name, $way: status() says why");
	$session->leave;
	sleep 3;
	is(value($name, $runs), '1', "$name, $way: nor soon afterwards");
	wait_for($name, "SELECT NOT EXISTS (SELECT FROM pictrepo.job_queue WHERE queue = 'silent' AND status = 'running')",
		"$name, $way: but after the timeout");
	return;
}

check_grace('gated', $_) foreach sort keys %ways;

# who does the same from an application that turned these checks off is no restore
my $application = Session->new($new, 'gated');
$application->ask("SET check_function_bodies = off; $ways{inserted}");
wait_for('gated', q{SELECT NOT EXISTS (SELECT FROM pictrepo.job_queue WHERE queue = 'silent' AND status = 'running')},
	'gated: an application is no restore');
$application->leave;

# ----- COPY out and in -----

value('postgres', 'CREATE DATABASE copied');
$restoring = restoring('copied');
foreach my $table (qw(hashes variants variant_claims aliases proxies),
	grep { !/^(hashes|variants|variant_claims|aliases|proxies|transfer_errors)$/ } @tables)
{
	foreach my $format (qw(text csv binary))
	{
		my $file = "$dump.$table.$format";

		$old->safe_psql('postgres', "COPY pictrepo.$table TO '$file' (FORMAT $format)");

		# rows of a table that others refer to come once
		value('copied', ($format eq 'text' ? '' : "BEGIN; DELETE FROM pictrepo.$table; ")
			  . "COPY pictrepo.$table FROM '$file' (FORMAT $format)" . ($format eq 'text' ? '' : '; COMMIT'))
		  if $format eq 'text' || $table !~ /^(hashes|aliases|transfers)$/;
	}
	is(rows_of($new, 'copied', $table), rows_of($old, 'postgres', $table), "copied: $table");
	is(value('copied', q{SELECT pictrepo.size() - (SELECT count(*) FROM pictrepo.hashes),
			pictrepo.queue_length() - (SELECT count(*) FROM pictrepo.job_queue)}),
		'0|0', "copied: counts are exact after $table");
}
$restoring->leave;

# ----- a worker that was started by hand -----

$new->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$new->restart;
is(value('gated', 'SELECT pictrepo.start_worker()'), 't', 'without preload: a worker is started');
value('gated', 'DELETE FROM pictrepo.schedules');
sleep 5;
check_grace('gated', $_) foreach sort keys %ways;

# ----- pops that reap, without any worker -----

# A pop of a paused queue takes nothing but what is silent.
my $reap = q{SELECT count(*) FROM pictrepo.pop('silent')};

value('gated', q{DELETE FROM pictrepo.job_queue; SELECT pictrepo.pause_queue('silent')});
value('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'});
my $inserting = Session->new($new, 'gated');
$inserting->ask("SET check_function_bodies = off; SELECT set_config('search_path', '', false); $ways{inserted}");
value('gated', $reap);
is(value('gated', $silent), '1', 'without a worker: a pop takes no job away while a session restores');
$inserting->leave;
value('gated', 'SELECT pictrepo.pre_restore()');
value('gated', $reap);
is(value('gated', $silent), '1', 'nor after pre_restore()');
value('gated', 'SELECT pictrepo.post_restore()');
value('gated', $reap);
is(value('gated', $silent), '1', 'nor just after post_restore()');
wait_for('gated', "SELECT count(*) = 0 FROM (SELECT count(*) FROM pictrepo.pop('silent')) p,"
	  . q{ pictrepo.job_queue WHERE queue = 'silent' AND status = 'running'}, 'but after the timeout');

unlike(slurp_file($new->logfile), qr/PANIC|XX000|TRAP/, 'nothing odd in the log');
$_->stop foreach $old, $new;
done_testing();

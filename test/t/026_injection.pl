# At each injection point (src/common/injection_points.h), in turn: an error, or the end
# of the process as by pg_terminate_backend(), after which nothing is changed and
# all goes on; a kill -9, after which the server
# starts and has what was acknowledged, and of what was not all or nothing.  And
# sessions that meet where no ordinary test can make them meet.
#
# PICTREPO_CRASHES: crashes at these points alone, and of a few of the functions that write.

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

# Seconds.  Longer than all intervals here, shorter than what puts right in the
# end whatever was forgotten.
my $SOON = 20;

# How much shared memory has room for, when nothing leaks.
my $WAITERS = 8;
my $PLACES_FOR = '64 64';
my $PLACES = q{
pictrepo.max_waiters = 8
pictrepo.max_running_jobs = 64
pictrepo.max_queues = 64
};

# Nothing happens by itself, but what the worker is told to do.
my $IDLE = join "\n", map { "pictrepo.${_}_interval = 1h" }
  qw(reap schedule upload claim dead_job variant proxy sweep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'pictrepo'
restart_after_crash = on
log_statement = none
max_worker_processes = 20
max_prepared_transactions = 5
pictrepo.synchronous_claims = on
pictrepo.variant_claim_timeout = 1h
pictrepo.heartbeat_timeout = 1h
$PLACES
$IDLE});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

my $points = value(q{SELECT current_setting('pictrepo.injection_points', true)});
plan skip_all => 'not built with PICTREPO_DEBUG=1' if $points eq '';

sub wait_until
{
	my ($query, $what) = @_;

	ok($node->poll_query_until('postgres', $query), $what) or diag $query;
	return;
}

# The same, for what must not take as long as a test may take.
sub soon
{
	my ($query, $what, $database) = @_;
	my $end = time + $SOON;

	usleep(50_000) until $node->safe_psql($database // 'postgres', $query) eq 't' || time > $end;
	cmp_ok(time, '<=', $end, $what) or diag $query;
	return;
}

# ----- the scenarios -----

my $held_job = qq{SELECT pictrepo.push('q%n', '1'); SELECT count(*) FROM pictrepo.pop('q%n', '$WORKER')};
my $running_row = qq{INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt)
	VALUES (gen_random_uuid(), 'q%n', '1', 'running', '$WORKER', '2001-01-01', 1)};
my $reap = q{SET pictrepo.heartbeat_timeout = '1ms'; SELECT pictrepo.run_maintenance('reap') > 0};
my $repair = q{UPDATE pg_extension SET extversion = default_version FROM pg_available_extensions
	WHERE name = extname AND name = 'pictrepo'; ALTER EXTENSION pictrepo UPDATE};
my $ingest = q{SELECT outcome FROM pictrepo.ingest('h%n', 'f%n.png', '{}', 'a%n.png', 'secret')};
my $push = q{SELECT pictrepo.push('q%n', '1') IS NOT NULL};
my $pop = q{SELECT count(*) FROM pictrepo.pop('q%n')};
my $delete = q{SELECT pictrepo.delete_alias('a%n.png', 'secret')};
my $telling = qq{$push; SELECT pictrepo.complete_upload(pictrepo.create_upload(),
	'{"Failure": {"message": "m", "code": "c"}}')};
my $pushed = q{SELECT count(*) = 1 FROM pictrepo.job_queue WHERE queue = 'q%n'};

sub pushing { return (act => $push, answer => 't', @_) }

# done: as it is when the second phase may come
sub preparing
{
	return (
		act => "BEGIN; $push; PREPARE TRANSACTION 'p%n'", answer => 't', crash_only => 1,
		done => q{SELECT count(*) = 1 FROM pg_prepared_xacts WHERE gid = 'p%n'},
		end => q{COMMIT PREPARED 'p%n'; SELECT 1 / count(*) FROM pictrepo.pop('q%n')});
}

sub popping { return (before => $push, act => $pop, answer => '1', @_) }
sub ingesting { return (act => $ingest, answer => 'created', @_) }
sub deleting { return (before => $ingest, act => $delete, answer => 'deleted', @_) }

sub finishing
{
	return (
		before => "SELECT pictrepo.create_upload(); $held_job",
		act => q{SELECT outcome FROM pictrepo.job_queue j,
			LATERAL (SELECT u.id FROM pictrepo.uploads u ORDER BY u.id DESC LIMIT 1) upload (upload_id),
			pictrepo.finish_ingest(j.queue, j.worker, j.id, upload_id,
				'h%n', 'f%n.png', '{}', 'a%n.png', 'secret') WHERE queue = 'q%n'},
		answer => 'created', @_);
}

sub making_a_variant
{
	return (
		before => "$ingest; SELECT pictrepo.claim_variant_processing_rights('h%n', 'v', '$WORKER')",
		act => "SELECT pictrepo.finish_variant('h%n', 'v', '$WORKER', 'v%n.png', '{}')",
		answer => 'stored', @_);
}

sub importing
{
	return (
		before => q{SELECT pictrepo.set('k%n', '\x00'); CALL pictrepo.export_pictrs('s%n');
			SELECT pictrepo.remove('k%n')},
		act => q{CALL pictrepo.import_pictrs('s%n', 2)},
		answer => qr/\|t$/,
		end => q{DROP SCHEMA s%n CASCADE; DELETE FROM pictrepo.transfers},
		but => 'transfers', also => { exporting() });
}

sub exporting
{
	return (
		before => q{SELECT pictrepo.set('k%n', '\x00')},
		act => q{CALL pictrepo.export_pictrs('s%n')},
		answer => qr/\|t$/,
		end => q{SELECT 1 / count(*) FROM s%n.settings WHERE key = 'k%n'; DROP SCHEMA s%n CASCADE;
			DELETE FROM pictrepo.transfers},
		but => 'transfers');
}

# before: what is there; act: what passes the point, and its answer.  done: the
# point comes when the act is done, but for the answer.  fails_as: the answer,
# where an error is not the caller's.  but: the table that says how far it came.
# crash_only: there is no error.  also: another scenario.  database: another one, that is needed; then: how
# it is soon afterwards.  What a worker does has: settings; act, after which it
# has to come, at its interval or called; done; and heard: the notifications of
# it, neither more nor less.
my %scenarios = (
	job_pushed => { pushing() },
	row_stored => { pushing() },
	row_noted => { pushing() },
	jobs_pushed => { act => q{SELECT cardinality(pictrepo.push_many('q%n', '{1,2,3}'))}, answer => '3' },
	claim_locked => { popping() },
	claim_noted => { popping() },
	job_ended => {
		before => $held_job,
		act => q{SELECT pictrepo.complete_job(queue, worker, id) FROM pictrepo.job_queue WHERE queue = 'q%n'},
		answer => 'completed'
	},
	jobs_reaped => {
		before => $running_row, act => $reap, answer => 't', fails_as => 'f'
	},
	heartbeat_announced => {
		before => $running_row,
		act => q{SELECT pictrepo.heartbeat(queue, worker, id) FROM pictrepo.job_queue WHERE queue = 'q%n'},
		answer => 't'
	},
	count_published => {
		before => 'ALTER EXTENSION pictrepo UPDATE', act => 'SELECT pictrepo.queue_length() >= 0', answer => 't'
	},
	wait_joined => { act => q{SELECT count(*) FROM pictrepo.pop('q%n', wait => '50 ms')}, answer => '0' },
	wait_rested => { act => q{CALL pictrepo.pop_wait('q%n', NULL, '50 ms')}, answer => '|||' },
	wait_called => {
		before => q{SELECT pictrepo.push('q%n', '1', run_at => '2100-01-01')},
		act => q{BEGIN; UPDATE pictrepo.job_queue SET run_at = clock_timestamp() + interval '200 ms' WHERE queue = 'q%n';
			SELECT count(*) FROM pictrepo.pop('q%n', wait => '10 s'); COMMIT},
		answer => '1'
	},
	commit_begun => { pushing() },
	commit_visible => { pushing(done => $pushed, crash_only => 1) },
	commit_counted => { pushing(done => $pushed, crash_only => 1) },
	commit_told => { pushing(done => $pushed, crash_only => 1) },
	prepare_begun => { preparing() },
	prepare_told => { preparing() },
	abort_begun => { act => "BEGIN; $push; ROLLBACK", answer => 't', crash_only => 1 },
	abort_told => { act => "BEGIN; $push; ROLLBACK", answer => 't', crash_only => 1 },
	content_held => { ingesting() },
	alias_stored => { ingesting() },
	details_stored => { ingesting() },
	ingest_job_ended => { finishing() },
	ingest_stored => { finishing() },
	image_locked => { deleting() },
	image_blocked => {
		before => $ingest, act => q{SELECT pictrepo.purge('a%n.png', true)}, answer => 'a%n.png'
	},
	alias_deleted => { deleting() },
	image_deleted => { deleting() },
	files_sorted => { deleting() },
	files_released => { deleting() },
	variant_claim_ended => { making_a_variant() },
	variant_stored => { making_a_variant() },
	file_moved => {
		before => $ingest, act => q{SELECT pictrepo.migrate_identifier('f%n.png', 'g%n.png')}, answer => 't'
	},
	file_forgotten => {
		before => $ingest, act => q{SELECT pictrepo.forget_missing('f%n.png')}, answer => 't'
	},
	line_stored => {
		act => q{SELECT pictrepo.import('{"setting": {"key": "k%n", "value": "00"}}')}, answer => 'stored'
	},
	batch_stored => { importing() },
	batch_noted => { importing() },
	batch_committed => { importing() },

	worker_wanted => {
		act => q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
		done => q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
		worker => 1, logs => 1
	},
	worker_requested => {
		act => q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
		done => q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
		worker => 1, logs => 1
	},
	worker_started => {
		act => q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
		done => q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
		worker => 1, logs => 1
	},
	worker_unwanted => {
		act => q{UPDATE pg_extension SET extversion = '0.0.0' WHERE extname = 'pictrepo';
			SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
		repair => $repair,
		done => q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
		worker => 1, logs => 1
	},
	worker_committed => {
		duty => 'notify', called => 1, act => $telling, heard => 2, done => $pushed, worker => 1
	},
	worker_sent_away => {
		database => 'held%n', act => q{ALTER DATABASE held%n CONNECTION LIMIT 5}, answer => '',
		then => q{SELECT count(*) = 1 FROM pg_stat_activity
			WHERE backend_type = 'pictrepo worker' AND datname = 'held%n'},
		end => 'DROP DATABASE held%n'
	},
	duty_rescue => {
		act => qq{INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt, session)
			VALUES (gen_random_uuid(), 'q%n', '1', 'running', '$WORKER', now(), 1, 'gone')},
		done => q{SELECT status = 'new' AND retry = 4 FROM pictrepo.job_queue WHERE queue = 'q%n'},
		worker => 1
	},
	duty_pulses => {
		settings => { heartbeat_timeout => '1s' }, act => $held_job,
		done => q{SELECT status = 'new' AND retry = 4 FROM pictrepo.job_queue WHERE queue = 'q%n'},
		worker => 1
	},
	duty_reap => {
		settings => { heartbeat_timeout => '1s' }, act => $running_row,
		done => q{SELECT status = 'new' AND retry = 4 FROM pictrepo.job_queue WHERE queue = 'q%n'},
		worker => 1
	},
	duty_notify => { called => 1, act => $telling, heard => 2, done => $pushed, worker => 1 },
	duty_schedules => {
		act => q{INSERT INTO pictrepo.schedules (name, queue, job, every, first_run, next_run)
			VALUES ('s%n', 'q%n', '1', '1 day', now() - interval '1 hour', now())},
		done => $pushed, worker => 1
	},
	duty_uploads => {
		act => q{WITH u AS (INSERT INTO pictrepo.uploads (id) VALUES (gen_random_uuid()) RETURNING id)
			INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, attempt, upload)
			SELECT gen_random_uuid(), 'q%n', '1', 0, now(), 1, id FROM u},
		done => q{SELECT result ? 'Failure' FROM pictrepo.uploads u JOIN pictrepo.dead_jobs d ON d.upload = u.id
			WHERE queue = 'q%n'},
		worker => 1
	},
	duty_claims => {
		settings => { variant_claim_timeout => '100ms' },
		act => "$ingest; SELECT pictrepo.claim_variant_processing_rights('h%n', 'v', '$WORKER')",
		done => q{SELECT count(*) = 0 FROM pictrepo.variant_claims}, worker => 1
	},
	duty_dead_jobs => {
		settings => { dead_job_retention => '1s' },
		act => q{INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, died_at, attempt)
			VALUES (gen_random_uuid(), 'q%n', '1', 0, '2001-01-01', '2001-01-01', 1)},
		done => q{SELECT count(*) = 0 FROM pictrepo.dead_jobs WHERE queue = 'q%n'}, worker => 1
	},
	duty_variants => {
		settings => { variant_retention => '1d' },
		act => qq{$ingest; SELECT pictrepo.relate_variant_identifier('h%n', 'v', 'v%n.png'),
			pictrepo.set_accessed_variant('h%n', 'v', '2001-01-01')},
		done => q{SELECT count(*) = 1 FROM pictrepo.job_queue
			WHERE job = '{"Identifier": {"identifier": "v%n.png"}}'},
		worker => 1
	},
	duty_proxies => {
		settings => { proxy_retention => '1d' },
		act => qq{$ingest; SELECT pictrepo.relate_url('https://example.org/%n', 'a%n.png'),
			pictrepo.set_accessed_alias('a%n.png', '2001-01-01')},
		done => q{SELECT count(*) = 1 FROM pictrepo.job_queue
			WHERE job = '{"Identifier": {"identifier": "f%n.png"}}'},
		worker => 1
	},
	duty_samples => {
		settings => { sample_interval => '100ms' }, act => q{TRUNCATE pictrepo.samples},
		done => q{SELECT count(*) > 0 FROM pictrepo.samples}, worker => 1
	},
	duty_sweep => {
		act => q{SELECT}, worker => 1,
		done => q{SELECT runs > 1 AND last_error IS NULL FROM pictrepo.maintenance WHERE duty = 'sweep'}
	},
);

my @points = split ' ', $ENV{POINTS} // $points;
is_deeply([ sort split ' ', $points ], [ sort keys %scenarios ], 'each point has a scenario');

# ----- the books -----

my $number = 0;

# A scenario with names that are new.
sub next_scenario
{
	my %scenario = %{ $_[0] };

	$number++;
	foreach my $part (grep { defined $scenario{$_} && !ref $scenario{$_} } keys %scenario)
	{
		$scenario{$part} =~ s/%n/$number/g;
	}
	return \%scenario;
}

sub state_of_tables
{
	my ($but) = @_;

	return join "\n", map { "$_:\n" . rows_of($node, 'postgres', $_) }
	  grep { $_ ne ($but // '') } tables($node, 'postgres');
}

sub check_counts
{
	my ($name) = @_;

	is(value(q{SELECT pictrepo.queue_length() - (SELECT count(*) FROM pictrepo.job_queue),
			pictrepo.size() - (SELECT count(*) FROM pictrepo.hashes),
			(SELECT count(*) FROM pictrepo.queue_counters() c WHERE pictrepo.queue_length(c.queue) <>
				(SELECT count(*) FROM pictrepo.job_queue j WHERE j.queue = c.queue))}),
		'0|0|0', "$name: counts are exact");
	return;
}

# No claim outlives its timeout.
sub check_claims
{
	my ($name) = @_;

	value(q{ALTER SYSTEM SET pictrepo.heartbeat_timeout = '1s'; ALTER SYSTEM SET pictrepo.variant_claim_timeout = '1s';
		ALTER SYSTEM SET pictrepo.reap_interval = '50ms'; ALTER SYSTEM SET pictrepo.claim_interval = '50ms'; SELECT pg_reload_conf()});
	soon(q{SELECT NOT EXISTS (SELECT FROM pictrepo.job_queue WHERE status = 'running')
		AND NOT EXISTS (SELECT FROM pictrepo.variant_claims)}, "$name: no claim outlives its timeout");
	value(q{ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()});
	return;
}

# What is left by a session that ends just now is no leak.
sub check_places
{
	my ($name) = @_;
	my $places;

	foreach (1 .. 5)
	{
		$places = places();
		last if $places eq $PLACES_FOR;
	}
	is($places, $PLACES_FOR, "$name: no place in shared memory is lost");
	return;
}

# How many heartbeats and queues find a place in shared memory, and whether all
# places in lines are free.  What is idle makes room, what leaked does not.
sub places
{
	my @waiters = map { Session->new($node) } 1 .. $WAITERS;
	my @places;

	# queues that came when there was no room for all stay until jobs are counted
	# anew, which they are after an update
	value('TRUNCATE pictrepo.job_queue; ALTER EXTENSION pictrepo UPDATE; SELECT pictrepo.queue_length()');
	$_->send(q{SELECT count(*) FROM pictrepo.pop('nothing', wait => '1h')}) foreach @waiters;
	soon("SELECT waiting = $WAITERS FROM pictrepo.queue_counters() WHERE queue = 'nothing'",
		'every place in a line is free');
	value(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ 'nothing' AND pid <> pg_backend_pid()});
	$_->leave foreach @waiters;

	push @places, value(q{
		SELECT FROM pictrepo.push_many('places', array_fill('1'::jsonb, ARRAY[1000]));
		SELECT FROM pictrepo.pop('places', max_jobs => 1000);
		SELECT count(pictrepo.pulse(id)) FROM pictrepo.job_queue WHERE queue = 'places';
		TRUNCATE pictrepo.job_queue}) =~ s/^\n+//r;
	push @places, value(q{
		BEGIN;
		SELECT FROM generate_series(1, 500) n WHERE pictrepo.push('place ' || n, '1') IS NULL;
		SELECT count(*) FROM pictrepo.queue_counters() WHERE queue ~ '^place ';
		ROLLBACK});
	return join ' ', @places;
}

sub server_start
{
	return value(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
}

sub await_restart
{
	my ($before, $point) = @_;

	wait_until("SELECT pid <> $before FROM pg_stat_activity WHERE backend_type = 'checkpointer'",
		"$point: the server starts again");
	is(slurp_file($node->data_dir . '/pictrepo_ended'), $point, "$point: there it crashed");
	return;
}

sub arm
{
	unlink $node->data_dir . '/pictrepo_ended';
	return;
}

# Statements with something injected: what they answered and what went wrong.
sub inject
{
	my ($what, $statements, $database) = @_;

	return run($node, $database // 'postgres', "SET pictrepo.injection = '$what';\n$statements;");
}

sub check_answer
{
	my ($answer, $expected, $name) = @_;

	like($answer, ref $expected ? $expected : qr/\A\Q$expected\E\z/, $name);
	return;
}

# ----- what a client does -----

# Another one with the extension and its worker.
sub make_database
{
	my ($database, $there) = @_;

	value("CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION pictrepo');
	soon($there, "$database: its worker comes");
	return;
}

sub fail_in_session
{
	my ($point, $action, $kind) = @_;
	my $scenario = next_scenario($kind);
	my $name = "$point:$action";

	value($scenario->{before}) if defined $scenario->{before};
	make_database($scenario->{database}, $scenario->{then}) if defined $scenario->{database};
	my $before = state_of_tables($scenario->{but});
	my $server_before = server_start();
	my $log_before = -s $node->logfile;
	arm();
	my ($answer, $error) = inject($name, $scenario->{act});

	if ($action eq 'crash')
	{
		await_restart($server_before, $point);
	}
	elsif ($action eq 'fatal')
	{
		like($error, qr/57P01: injected end at $point$/m, "$name: the session ends");
	}
	elsif (defined $scenario->{fails_as})
	{
		is($answer, $scenario->{fails_as}, "$name: the error is not the caller's");
		ok($node->log_contains(qr/injected error at $point$/m, $log_before), "$name: but in the log");
	}
	else
	{
		like($error, qr/38000: injected error at $point$/m, "$name: raised");
	}

	soon($scenario->{then}, "$name: and all is as before") if defined $scenario->{then};
	if (defined $scenario->{done})
	{
		is(value($scenario->{done}), 't', "$name: what is committed is done");
	}
	else
	{
		is(state_of_tables($scenario->{but}), $before, "$name: nothing is changed");
		check_answer(value($scenario->{act}), $scenario->{answer}, "$name: and the same call works");
	}
	check_counts($name);
	value($scenario->{end}) if defined $scenario->{end};
	return;
}

# ----- what the worker does -----

# How many notifications a session has heard when nothing more comes for a
# while, or more than it should.
sub hears
{
	my ($listener, $number) = @_;
	my $heard = 0;
	my $end = time + $SOON;
	my $last = $end;

	while ($heard <= $number && time < $last)
	{
		$listener->ask('SELECT 1');
		$heard += $listener->notifications;
		$last = time + 1 if $heard == $number && $last == $end;
		usleep(50_000);
	}
	return $heard;
}

sub fail_in_worker
{
	my ($point, $action) = @_;
	my $scenario = next_scenario($scenarios{$point});
	my $name = "$point:$action";
	my $duty = $scenario->{duty} // $point =~ s/^duty_//r =~ tr/_/ /r;
	my $listener = $scenario->{heard} && $action ne 'crash' ? Session->new($node) : undef;
	my $server_before = server_start();
	my $log_before = -s $node->logfile;

	$listener->ask('LISTEN queue_status_channel; LISTEN upload_completion_channel') if $listener;
	arm();

	# as if no worker had come to nothing before, so that the next one comes at once
	value('ALTER EXTENSION pictrepo UPDATE') if $action eq 'fatal';

	# what a new worker does first is not what it was called for
	soon('SELECT bool_and(runs > 0) FROM pictrepo.maintenance', "$name: the worker rests") if $scenario->{called};

	# a crash must not come before there is something to do
	my $before = $action eq 'crash' && !$scenario->{logs} && !$scenario->{called};
	run($node, 'postgres', "$scenario->{act};") if $before;
	value(join ';', "ALTER SYSTEM SET pictrepo.injection = '$name'",
		(map { "ALTER SYSTEM SET pictrepo.${_}_interval = '50ms'" }
			  $scenario->{called} ? () : qw(reap schedule upload claim dead_job variant proxy sweep)),
		(map { "ALTER SYSTEM SET pictrepo.$_ = '$scenario->{settings}{$_}'" } keys %{ $scenario->{settings} }),
		'SELECT pg_reload_conf()');
	run($node, 'postgres', "$scenario->{act};") if !$before;
	if ($action eq 'crash')
	{
		await_restart($server_before, $point);
	}
	elsif ($scenario->{logs} || $action eq 'fatal')
	{
		$node->wait_for_log(qr/injected (?:error|end) at $point$/m, $log_before);
		pass("$name: raised");
	}
	else
	{
		wait_until("SELECT last_error = 'injected error at $point' FROM pictrepo.maintenance WHERE duty = '$duty'",
			"$name: raised and shown");
	}
	value(q{ALTER SYSTEM RESET pictrepo.injection; SELECT pg_reload_conf()});
	value($scenario->{repair}) if defined $scenario->{repair};
	soon($scenario->{done}, "$name: and done in the end");
	is(hears($listener, $scenario->{heard}), $scenario->{heard}, "$name: and heard") if $listener;
	value(q{ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()});
	check_counts($name);
	return;
}

sub fail_at
{
	my ($point, $action) = @_;

	if ($scenarios{$point}{worker})
	{
		fail_in_worker($point, $action);
	}
	else
	{
		fail_in_session($point, $action, $_) foreach $scenarios{$point}, $scenarios{$point}{also} // ();
	}
	return;
}

# ----- errors and ends -----

check_places('start');
foreach my $action (qw(error fatal))
{
	fail_at($_, $action) foreach grep { !$scenarios{$_}{crash_only} } @points;
	check_claims($action);
	check_places($action);
}
my ($stdout, $stderr) = run($node, 'postgres', q{SET pictrepo.injection = 'commit_visible:error'});
like($stderr, qr/22023/, 'where there can be no error none can be had');

# ----- crashes -----

fail_at($_, 'crash') foreach $ENV{PICTREPO_CRASHES} ? split ' ', $ENV{PICTREPO_CRASHES} : @points;
check_claims('crashes');
check_places('crashes');

# ----- every function that writes, before and after its commit -----

# Rows with their versions, and who may use the schema.
sub versions
{
	return $node->safe_psql('copy', join ';', 'SELECT xmin, nspacl FROM pg_namespace ORDER BY oid',
		map { "SELECT xmin, t::text FROM pictrepo.$_ t ORDER BY 2" } tables($node, 'copy'));
}

# All of it or nothing is there: error and crash before, crash after.
sub fail_at_commit
{
	my ($function) = @_;
	my $call = call_of($function);
	my $before = versions();
	my (undef, $error) = inject('commit_begun:error', $call, 'copy');

	return 'writes nothing' if $error eq '';
	like($error, qr/38000: injected error at commit_begun$/m, "$function->{name}: an error before the commit");
	is(versions(), $before, "$function->{name}: and nothing is changed");
	foreach my $point (qw(commit_begun commit_visible))
	{
		my $server_before = server_start();

		arm();
		inject("$point:crash", $call, 'copy');
		await_restart($server_before, $point);
		is(versions() eq $before ? 'unchanged' : 'done',
			$point eq 'commit_begun' ? 'unchanged' : 'done', "$function->{name}: $point:crash");
	}
	return 'writes';
}

if (!defined $ENV{POINTS} || $ENV{POINTS} =~ /\bcommit_/)
{
	my %done;

	value('CREATE DATABASE filled');
	fill($node, 'filled');
	$node->safe_psql('filled', 'CREATE SCHEMA pictrs; SELECT pictrepo.run_maintenance()');
	value('ALTER DATABASE filled IS_TEMPLATE true');
	my @writers = grep { is_writer($_) } public_functions($node, 'postgres');
	@writers = grep { $_->{name} =~ /^(push|complete_job|finish_ingest|delete_alias)$/ } @writers if $ENV{PICTREPO_CRASHES};
	foreach my $function (@writers)
	{
		value('CREATE DATABASE copy TEMPLATE filled');
		push @{ $done{ fail_at_commit($function) } }, $function->{name};
		value('DROP DATABASE copy');
	}
	is(join(' ', sort @{ $done{'writes nothing'} // [] }),
		$ENV{PICTREPO_CRASHES} ? '' : 'heartbeat run_maintenance run_schedules start_worker',
		'all but those that have nothing to write here');
	value('ALTER DATABASE filled IS_TEMPLATE false; DROP DATABASE filled');
}

# ----- others, in between -----

my $gate;

sub session
{
	my ($point) = @_;
	my $session = Session->new($node);

	$session->ask("SET pictrepo.injection = '$point:wait'") if $point;
	return $session;
}

sub close_gate
{
	my ($point) = @_;

	$gate->ask("SELECT pg_advisory_lock(hashtext('$point'))");
	return;
}

sub open_gate
{
	$gate->ask('SELECT pg_advisory_unlock_all()');
	return;
}

# After a restart nobody has counted.
sub restart
{
	$gate->leave if $gate;
	$node->restart;
	$gate = Session->new($node);
	return;
}

sub stopped_at
{
	my ($session, $point) = @_;

	wait_until("SELECT wait_event_type = 'Lock' AND wait_event = 'advisory' FROM pg_stat_activity WHERE pid = "
		  . $session->pid, "$point: reached");
	return;
}

# A session stops at a point in a statement.
sub stop_at
{
	my ($point, $statement) = @_;
	my $session = session($point);

	close_gate($point);
	$session->send($statement);
	stopped_at($session, $point);
	return $session;
}

sub locked_out
{
	my ($session, $name) = @_;

	wait_until("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = " . $session->pid, $name);
	return;
}

sub waits_in_line
{
	my ($queue, $number) = @_;

	wait_until("SELECT waiting = $number FROM pictrepo.queue_counters() WHERE queue = '$queue'",
		"$queue: $number in line");
	return;
}

my ($first, $second);

restart();

# a claim that is not in shared memory yet
value(q{SELECT pictrepo.push_many('claim', '{1,2}')});
$first = stop_at('claim_locked', q{SELECT job FROM pictrepo.pop('claim')});
is(value(q{SELECT job FROM pictrepo.pop('claim')}), '2', 'claim_locked: another pop takes the next job');
is(value(q{SELECT count(*) FROM pictrepo.pop('claim')}), '0', 'claim_locked: and no other');
open_gate();
is($first->answer, '1', 'claim_locked: the first has the first');

# a push that is visible, and nobody was told; and while nobody has counted yet
foreach my $known (1, 0)
{
	restart();
	value('SELECT pictrepo.queue_length()') if $known;
	$second = session();
	$second->send(q{SELECT job FROM pictrepo.pop('push', wait => '1h')});
	waits_in_line('push', 1);
	$first = stop_at('commit_visible', q{SELECT count(pictrepo.push('push', '"first"'))});
	is(value(qq{SELECT job FROM pictrepo.pop('push', '$WORKER')}), '"first"', 'commit_visible: a pop finds the job');
	is(value(q{SELECT pictrepo.complete_job(queue, worker, id) FROM pictrepo.job_queue WHERE queue = 'push'}),
		'completed', 'commit_visible: and it can be done');
	cmp_ok(value(q{SELECT pictrepo.queue_length('push')}), '>=', 0, 'commit_visible: no queue has less than no job');
	cmp_ok(value(q{SELECT pictrepo.queue_length()}), '>=', 0, 'commit_visible: nor have all of them');
	open_gate();
	is($first->answer, '1', 'commit_visible: pushed');
	value(q{SELECT pictrepo.push('push', '"second"')});
	is($second->answer, '"second"', 'commit_visible: who was called in vain waits on');
	check_counts('commit_visible');
	value(q{SELECT pictrepo.complete_job(queue, worker, id) FROM pictrepo.job_queue WHERE queue = 'push'});
}

# a push between the end of the transaction and sleep
$first = stop_at('wait_rested', q{CALL pictrepo.pop_wait('rest', NULL, '1h')});
value(q{SELECT pictrepo.push('rest', '"here"')});
open_gate();
like($first->answer, qr/"here"/, 'wait_rested: the call is not missed');

# somebody is faster than the one who was called
sub call_one
{
	my ($queue) = @_;

	close_gate('wait_called');
	my $session = session('wait_called');
	$session->send("SELECT job FROM pictrepo.pop('$queue', wait => '1h')");
	waits_in_line($queue, 1);
	return $session;
}

$first = call_one('stolen');
value(q{SELECT pictrepo.push('stolen', '1')});
stopped_at($first, 'wait_called');
is(value(q{SELECT job FROM pictrepo.pop('stolen')}), '1', 'wait_called: somebody is faster');
open_gate();
value(q{SELECT pictrepo.push('stolen', '2')});
is($first->answer, '2', 'wait_called: and the one who was called waits on');

# the one who was called dies before it looks
$first = call_one('killed');
$second = session();
$second->send(q{SELECT job FROM pictrepo.pop('killed', wait => '1h')});
waits_in_line('killed', 2);
value(q{SELECT pictrepo.push('killed', '1')});
stopped_at($first, 'wait_called');
value('SELECT pg_terminate_backend(' . $first->pid . ')');
is($second->answer, '1', 'wait_called: the call of one who dies is for the next');
$first->vanish;
open_gate();

# the same content, while its last alias goes
value(q{SELECT pictrepo.ingest('same', 'same.png', '{}', 'same-1.png', 'secret')});
$first = stop_at('content_held', q{SELECT outcome FROM pictrepo.ingest('same', 'other.png', '{}', 'same-2.png', 'secret')});
$second = session();
$second->send(q{SELECT pictrepo.delete_alias('same-1.png', 'secret')});
locked_out($second, 'content_held: who deletes the last alias waits');
open_gate();
is($first->answer, 'duplicate', 'content_held: the content is known');
is($second->answer, 'deleted', 'content_held: the alias goes');
is(value(q{SELECT identifier FROM pictrepo.serve('same-2.png')}), 'same.png', 'content_held: and the image stays');

$first = stop_at('alias_deleted', q{SELECT pictrepo.delete_alias('same-2.png', 'secret')});
$second = session();
$second->send(q{SELECT outcome FROM pictrepo.ingest('same', 'new.png', '{"width": 1}', 'same-3.png', 'secret')});
locked_out($second, 'alias_deleted: who brings the content waits');
open_gate();
is($first->answer, 'deleted', 'alias_deleted: the last alias goes');
is($second->answer, 'created', 'alias_deleted: and the content comes anew');
is(value(q{SELECT identifier, details FROM pictrepo.serve('same-3.png')}), 'new.png|{"width": 1}',
	'alias_deleted: with all that belongs to it');
is(value(q{SELECT string_agg(job #>> '{Identifier,identifier}', ' ' ORDER BY id) FROM pictrepo.job_queue
		WHERE job @? '$.Identifier.identifier ? (@ == "same.png" || @ == "other.png" || @ == "new.png")'}),
	'other.png same.png', 'alias_deleted: each file is removed once, and none that is named');

# reaping, and what the silent worker does at that moment
foreach my $call (qw(complete_job heartbeat))
{
	value($running_row =~ s/%n/$call/r);
	$first = stop_at('jobs_reaped', $reap);
	$second = session();
	$second->send("SELECT pictrepo.$call(queue, worker, id) FROM pictrepo.job_queue WHERE queue = 'q$call'");
	locked_out($second, "jobs_reaped: $call waits");
	open_gate();
	is($first->answer, 't', "$call: the job is taken away");
	is($second->answer, $call eq 'complete_job' ? 'lost' : 'f', "$call: it is lost");
	is(value("SELECT status, retry, worker IS NULL, pictrepo.pulse(id) IS NULL FROM pictrepo.job_queue WHERE queue = 'q$call'"),
		'new|4|t|t', "$call: it is there for others, and no heartbeat is left of it");
}

# a heartbeat that has announced itself, of a job that ends
value($running_row =~ s/%n/beat/r);
my $beat = value(q{SELECT id FROM pictrepo.job_queue WHERE queue = 'qbeat'});
$first = stop_at('heartbeat_announced', "SELECT pictrepo.heartbeat('qbeat', '$WORKER', '$beat')");
is(value("SELECT pictrepo.complete_job('qbeat', '$WORKER', '$beat')"), 'completed', 'heartbeat_announced: the job is done');
open_gate();
is($first->answer, 'f', 'heartbeat_announced: the worker hears that it has it no more');

# a variant whose claim ends
value(qq{SELECT pictrepo.claim_variant_processing_rights('same', 'v', '$WORKER')});
$first = stop_at('variant_claim_ended', "SELECT pictrepo.finish_variant('same', 'v', '$WORKER', 'same-v.png', '{}')");
$second = session();
$second->send(q{SELECT pictrepo.claim_variant_processing_rights('same', 'v')});
my $waiter = session();
$waiter->send(q{SELECT pictrepo.variant_waiter('same', 'v', '1h')});
wait_until(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type IN ('Extension', 'Lock') AND pid = } . $waiter->pid,
	'variant_claim_ended: somebody waits for it');
open_gate();
is($first->answer, 'stored', 'variant_claim_ended: it is stored');
is($second->answer =~ s/busy/exists/r, 'exists', 'variant_claim_ended: and nobody makes it again');
is($waiter->answer, 'same-v.png', 'variant_claim_ended: who waited for it has it');

# the extension is updated just when a worker has seen that it is of another version
close_gate('worker_unwanted');
value(q{ALTER SYSTEM SET pictrepo.injection = 'worker_unwanted:wait'; SELECT pg_reload_conf()});
value($scenarios{worker_unwanted}{act});
wait_until(q{SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'},
	'worker_unwanted: reached');
value(q{ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()});
value($repair);
open_gate();
wait_until(q{SELECT worker ~ '^since' FROM (SELECT value AS worker FROM pictrepo.status() WHERE item = 'worker') s},
	'worker_unwanted: there is one');
wait_until(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND wait_event <> 'advisory'},
	'worker_unwanted: that works');

# an update makes the counts anew, and frees the places that went by the old ones
check_counts('worker_unwanted');

check_claims('others');
check_places('others');
check_counts('end');

# ----- more than shared memory has room for -----

# notifications of which the worker knows nothing yet: those that find no place
# go with the commit
my $listener = session();
$listener->ask('LISTEN upload_completion_channel');
value(q{SELECT count(pictrepo.complete_upload(pictrepo.create_upload(), '{"Failure": {"message": "m", "code": "c"}}'))
	FROM generate_series(1, 100)});
is(hears($listener, 100), 100, 'each of many notifications comes once');
is(hears($listener, 0), 0, 'and no other');
$listener->leave;

# databases
sub in
{
	my ($database, $query) = @_;

	return $node->safe_psql($database, $query);
}

my $others = 9;
my $workers = q{SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'};
my @with = ((map { "other$_" } 1 .. 7), 'postgres');
my $refused = qr/no pictrepo worker can run in database "\w+"$/m;

foreach my $database (map { "other$_" } 1 .. $others)
{
	value("CREATE DATABASE $database");
	($stdout, $stderr) = run($node, $database, 'CREATE EXTENSION pictrepo');
	my $has_room = grep { $_ eq $database } @with;

	is($stderr =~ $refused ? 0 : 1, $has_room, "$database: " . ($has_room ? 'there is room' : 'it is said that there is none'));
}
soon("SELECT ($workers) = '@with'", 'eight databases have a worker');
in('other8', q{SELECT pictrepo.push('q', '1'), pictrepo.create_hash('h', 'f')});
is(in('other8', q{SELECT pictrepo.queue_length(), pictrepo.size(), (SELECT count(*) FROM pictrepo.pop('q'))}),
	'1|1|1', 'the ninth works as without preload');
like(in('other8', q{SELECT value, advice FROM pictrepo.status() WHERE item = 'worker'}), qr/^none\|shared memory has no room/,
	'and status() says so');
($stdout, $stderr) = run($node, 'other8', 'SELECT pictrepo.start_worker()');
like($stderr, qr/53400: no pictrepo worker can run in database "other8"$/m, 'nor can one be started');
value('DROP DATABASE other9');
my $log_before = -s $node->logfile;
$node->restart;
soon("SELECT count(*) = 8 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'", 'after a restart there are eight again');
usleep(1_500_000);
is(scalar(() = substr(slurp_file($node->logfile), $log_before) =~ /$refused/g), 1, 'and the log says once that one is too many');
value("DROP DATABASE $_") foreach qw(other1 other2);
soon(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker' AND datname = 'other8'},
	'when another database goes, there is room');
value('DROP DATABASE other8');

# what was killed on purpose, and nothing else
unlike(slurp_file($node->logfile), qr/PANIC|XX000|TRAP/, 'nothing odd in the log');
$node->stop;
done_testing();

# On a hot standby every reader answers as on the primary, every writer says
# 25006, and who waits is told of what arrives.  After a promotion the writers
# work, in sessions that were there before, too; jobs that ran keep a full
# heartbeat timeout to tell that they live; and counts are exact, also when what
# came last was lost.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(usleep);

my $TIMEOUT = 3;

my $COUNTS = q{
	SELECT pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes),
		pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue),
		bool_and(pictrepo.queue_length(queue) =
			(SELECT count(*) FROM pictrepo.job_queue j WHERE j.queue = q.queue))
	FROM unnest('{q,lost,living,nothing}'::text[]) AS q (queue)};

# Calls of one session, the same before and after the promotion, so with the
# plans that it has kept.
my @READS = (
	'SELECT pictrepo.size(), pictrepo.queue_length()',
	q{SELECT identifier FROM pictrepo.serve('alias.png')},
	q{SELECT count(*) FROM pictrepo.serve('proxied.png', touch => true)},
	q{SELECT count(*) FROM pictrepo.serve_url('https://example.org/')},
	q{SELECT count(*) FROM pictrepo.serve_variant('proxied.png', 'v')},
	q{SELECT cardinality(hashes) FROM pictrepo.hash_page()},
	q{SELECT pictrepo.details('hash.png')},
	'SELECT pictrepo.session_worker()');
my @WRITES = (
	[ q{SELECT pictrepo.push('living', '1') IS NOT NULL} => 't' ],
	[ q{SELECT job FROM pictrepo.pop('living')} => '1' ],
	[ qq{SELECT pictrepo.complete_job('living', NULL, coalesce(max(id::text), '$READY')::uuid)
		FROM pictrepo.job_queue WHERE queue = 'living'} => 'completed' ],
	[ q{SELECT pictrepo.create_hash('living', 'living.png')} => 't' ]);

# Both nodes of a mode.  The worker of the primary leaves its repo as it is.
sub primary_and_standby
{
	my ($mode) = @_;
	my $primary = PostgreSQL::Test::Cluster->new("${mode}_primary");
	my $standby = PostgreSQL::Test::Cluster->new("${mode}_standby");

	$primary->init(allows_streaming => 1);
	$primary->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.reap_interval = '1h'
pictrepo.schedule_interval = '1h'
pictrepo.sweep_interval = '1h'
}) if $mode eq 'preload';
	$primary->start;
	fill($primary, 'postgres');
	$primary->safe_psql('postgres', qq{
		ALTER DATABASE postgres SET pictrepo.heartbeat_timeout = '${TIMEOUT}s';
		ALTER DATABASE postgres SET timezone = 'UTC'});
	$primary->backup('copy');
	$standby->init_from_backup($primary, 'copy', has_streaming => 1);

	# Processes that a server may be without, which a promotion starts where it has them.
	$standby->append_conf('postgresql.conf', q{
autovacuum = off
max_logical_replication_workers = 0
});
	$standby->append_conf('postgresql.conf', q{pictrepo.reap_interval = '50ms'}) if $mode eq 'preload';
	$standby->start;
	$primary->wait_for_catchup($standby);
	return ($primary, $standby);
}

# ----- readers and writers -----

# What answers from the shared memory of each server.
my $OWN = qr/^(counting|pulse|queue_counters|waiting_sessions|maintenance_status|server_state)$/;
my $NOTHING_TO_SAY = qr/^(pulse|queue_counters|waiting_sessions|upkeep_held_by)$/;

sub check_readers
{
	my ($mode, $primary, $standby, @readers) = @_;
	my @answers = try_calls($primary, 'postgres', undef, map { call_of($_) } @readers);
	my @stable = grep { $readers[$_]{volatility} ne 'v' && $readers[$_]{name} !~ $OWN } 0 .. $#readers;
	my @copies = try_calls($standby, 'postgres', undef, map { call_of($_) } @readers);

	foreach my $i (0 .. $#readers)
	{
		my $name = "$mode, $readers[$i]{signature}";

		next if $mode eq 'preload' && $readers[$i]{name} =~ $OWN;
		is($copies[$i], $answers[$i], "$name answers the same");
		unlike($copies[$i], qr/^(error.*)?$/, "$name has something to say")
		  if $readers[$i]{name} !~ $NOTHING_TO_SAY;
	}

	# and so they do in a parallel worker
	my $parallel = $primary->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';

	@copies = try_calls($primary, 'postgres', undef,
		map { "SET LOCAL $parallel = on;\n" . call_of($readers[$_]) } @stable);
	is_deeply([ map { s/\ASET\n//r } @copies ],
		[ @answers[@stable] ],
		"$mode: readers answer the same in a parallel worker");
	return;
}

sub check_refused
{
	my ($mode, $standby, @writers) = @_;
	my @copies = try_calls($standby, 'postgres', undef, map { call_of($_) } @writers);

	is($copies[$_], 'error 25006', "$mode, $writers[$_]{signature} is refused") foreach 0 .. $#writers;
	return;
}

# ----- waiting, which is looking -----

sub check_waiting
{
	my ($mode, $primary, $standby) = @_;
	my ($stdout, $stderr) = run($standby, 'postgres', qq{SELECT pictrepo.wait('$WORKER', '1 second')});

	like($stderr, qr/P0002/, "$mode: waiting for an upload that is not there");

	my $upload = $primary->safe_psql('postgres', 'SELECT pictrepo.create_upload()');
	$primary->safe_psql('postgres', qq{SELECT pictrepo.claim_variant_processing_rights('hash', 'large', '$WORKER')});
	$primary->wait_for_catchup($standby);
	my ($for_upload, $for_variant) = map { Session->new($standby) } 1 .. 2;
	$for_upload->send("SELECT pictrepo.wait('$upload', '10 min')");
	$for_variant->send(q{SELECT pictrepo.variant_waiter('hash', 'large', '10 min')});
	foreach my $session ($for_upload, $for_variant)
	{
		ok( $standby->poll_query_until('postgres',
				"SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = @{[$session->pid]}"),
			"$mode: a session waits on the standby");
	}
	ok(!$for_upload->answered && !$for_variant->answered, "$mode: for what is not there");
	$primary->safe_psql('postgres', qq{
		SELECT pictrepo.complete_upload('$upload', '"done"');
		SELECT pictrepo.finish_variant('hash', 'large', '$WORKER', 'large.png', '{}')});
	is($for_upload->answer, '"done"', "$mode: and is told of the result that arrives");
	is($for_variant->answer, 'large.png', "$mode: and of the variant");
	$_->leave foreach $for_upload, $for_variant;
	return;
}

# ----- large numbers, which the primary records -----

# The counts of the standby, and the numbers of rows there.
sub check_numbers
{
	my ($mode, $primary, $standby, $said, $stored, $name) = @_;

	$primary->wait_for_catchup($standby);
	is($standby->safe_psql('postgres', q{SELECT pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('large')}),
		join('|', @$said), "$mode: $name");
	is( $standby->safe_psql('postgres', q{SELECT (SELECT count(*) FROM pictrepo.hashes),
			count(*), count(*) FILTER (WHERE queue = 'large') FROM pictrepo.job_queue}),
		join('|', @$stored), "$mode: $name: rows");
	return;
}

sub check_recorded
{
	my ($mode, $primary, $standby) = @_;
	my $more = q{
		INSERT INTO pictrepo.hashes (hash, identifier)
			SELECT sha256(n::text::bytea), n FROM generate_series(%1$d, %2$d) n;
		INSERT INTO pictrepo.job_queue (id, queue, job)
			SELECT gen_random_uuid(), 'large', '1' FROM generate_series(%1$d, %2$d) n};
	my ($hashes, $jobs) = split /\|/, $primary->safe_psql('postgres', 'SELECT pictrepo.size(), pictrepo.queue_length()');
	my @before = ($hashes + 10000, $jobs + 10000, 10000);
	my @after = map { $_ + 5 } @before;

	$primary->safe_psql('postgres', sprintf($more, 1, 10000));
	$primary->safe_psql('postgres', q{SELECT pictrepo.run_maintenance('sweep')});
	check_numbers($mode, $primary, $standby, \@before, \@before, 'large numbers');

	# What follows shows that the standby did not count.
	$primary->safe_psql('postgres', sprintf($more, 10001, 10005));
	check_numbers($mode, $primary, $standby, $mode eq 'preload' ? \@before : \@after, \@after, 'large numbers before the next sweep');
	$primary->safe_psql('postgres', q{SELECT pictrepo.run_maintenance('sweep')});
	check_numbers($mode, $primary, $standby, \@after, \@after, 'large numbers after it');

	# A record that the primary has not renewed for long is not relied upon.
	$primary->safe_psql('postgres', q{UPDATE pictrepo.row_counts SET rows = 1, counted_at = now() - interval '11 minutes'});
	check_numbers($mode, $primary, $standby, \@after, \@after, 'an old record');

	# Nor is there one for what has become small.
	$primary->safe_psql('postgres', q{
		DELETE FROM pictrepo.hashes WHERE identifier ~ '^[0-9]+$';
		DELETE FROM pictrepo.job_queue WHERE queue = 'large';
		SELECT pictrepo.run_maintenance('sweep')});
	check_numbers($mode, $primary, $standby, [ $hashes, $jobs, 0 ], [ $hashes, $jobs, 0 ], 'small numbers');
	is($standby->safe_psql('postgres', 'SELECT count(*) FROM pictrepo.row_counts'), '0', "$mode: they are not recorded");
	return;
}

# ----- promotion -----

# Jobs and a hash that were acknowledged and did not get here, and an end that did not.
sub lose_some
{
	my ($mode, $primary, $standby) = @_;

	$standby->append_conf('postgresql.conf', q{primary_conninfo = ''});
	$standby->reload;
	ok($primary->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_replication'),
		"$mode: the standby is cut off");
	is( $primary->safe_psql('postgres', qq{
			SELECT cardinality(pictrepo.push_many('q', '{1,2,3}')), cardinality(pictrepo.push_many('lost', '{1,2}')),
				pictrepo.create_hash('lost', 'lost.png'), pictrepo.cleanup_hash('other');
			SELECT pictrepo.complete_job('q', '$WORKER', '$READY')
			FROM pictrepo.pop('q', '$WORKER') AS popped WHERE popped.id = '$READY'}),
		"3|2|t|t\ncompleted",
		"$mode: what is acknowledged now does not get there");
	return;
}

# Until a job that nobody sends heartbeats for is taken from its worker: by the
# worker of the database, or by a pop, which of a paused queue takes nothing.
sub reaped_after
{
	my ($standby, $start) = @_;

	$standby->safe_psql('postgres', q{SELECT pictrepo.pause_queue('q')});
	while (seconds() < $start + $PostgreSQL::Test::Utils::timeout_default)
	{
		$standby->safe_psql('postgres', q{SELECT count(*) FROM pictrepo.pop('q')});
		last
		  if $standby->safe_psql('postgres',
			qq{SELECT status FROM pictrepo.job_queue WHERE id = '$RUNNING'}) eq 'new';
		usleep(100_000);
	}
	return seconds() - $start;
}

# What a session answers that was there before: the same as ever, and no longer 25006.
sub lives_on
{
	my ($mode, $session, $read) = @_;

	is_deeply([ map { $session->ask($_) } @READS ], $read, "$mode: a session that was there reads on");
	is($session->ask($_->[0]), $_->[1], "$mode: and writes: @{[$_->[0] =~ s/\s+/ /gr]}") foreach @WRITES;
	return;
}

sub check_promoted
{
	my ($mode, $standby, @writers) = @_;

	is($standby->safe_psql('postgres', $COUNTS), 't|t|t', "$mode, promoted: counts are exact");
	is( $standby->safe_psql('postgres', qq{
			SELECT pictrepo.queue_length('lost'), pictrepo.identifier('lost'), pictrepo.identifier('other'),
				(SELECT state FROM pictrepo.jobs WHERE id = '$READY')}),
		'0||other.png|ready', "$mode, promoted: what did not get there is as if it had never been");
	$standby->safe_psql('postgres', qq{
		SELECT pictrepo.resume_queue('q');
		UPDATE pictrepo.job_queue SET status = 'running', worker = '$WORKER', heartbeat = now()
		WHERE id = '$RUNNING'});
	my @answers = try_calls($standby, 'postgres', undef, map { call_of($_) } @writers);

	unlike($answers[$_], qr/^error/, "$mode, promoted: $writers[$_]{signature} works") foreach 0 .. $#writers;
	is($standby->safe_psql('postgres', $COUNTS), 't|t|t', "$mode, promoted: and counts stay exact");
	return;
}

foreach my $mode ('plain', 'preload')
{
	my ($primary, $standby) = primary_and_standby($mode);
	my @functions = public_functions($primary, 'postgres');
	my @readers = grep { !is_writer($_) && $_->{name} !~ /^(session_worker|status)$/ } @functions;
	my @writers = grep { is_writer($_) } @functions;

	cmp_ok(scalar @readers, '>', 30, 'there are readers');
	cmp_ok(scalar @writers, '>', 30, 'there are writers');

	# What is tried must have something to write, or a standby has no reason to
	# refuse it.
	check_readers($mode, $primary, $standby, @readers);
	# Serving answers without recording the access, as in @READS.
	check_refused($mode, $standby, grep { $_->{name} !~ /^serve/ } @writers);
	check_waiting($mode, $primary, $standby);
	check_recorded($mode, $primary, $standby);

	# A job whose worker was silent while the primary was lost, an upload that
	# somebody waits for, and no schedule that the worker of the new primary would run.
	my $upload = $primary->safe_psql('postgres', 'SELECT pictrepo.create_upload()');
	$primary->safe_psql('postgres', qq{
		UPDATE pictrepo.job_queue SET heartbeat = now() - interval '1 day' WHERE id = '$RUNNING';
		UPDATE pictrepo.schedules SET next_run = '2100-01-01'});
	$primary->wait_for_catchup($standby);

	my ($living, $waiting) = map { Session->new($standby) } 1 .. 2;
	my @read = map { $living->ask($_) } @READS;
	unlike(join(' ', @read), qr/ERROR/, "$mode: a session on the standby reads");
	is($living->ask($_->[0]), 'ERROR:  25006', "$mode: and cannot write: @{[$_->[0] =~ s/\s+/ /gr]}") foreach @WRITES;
	$waiting->send("SELECT pictrepo.wait('$upload', '10 min')");

	lose_some($mode, $primary, $standby);
	$primary->stop('immediate');
	my $before = seconds();
	$standby->promote;
	lives_on($mode, $living, \@read);
	is($standby->safe_psql('postgres', qq{SELECT pictrepo.complete_upload('$upload', '"late"')}),
		't', "$mode: an upload is completed on the new primary");
	is($waiting->answer, '"late"', "$mode: and who waited for it before the promotion has it");
	my $taken = reaped_after($standby, $before);
	cmp_ok($taken, '>', $TIMEOUT, "$mode: running jobs get a full timeout after the promotion");
	cmp_ok($taken, '<', $PostgreSQL::Test::Utils::timeout_default, "$mode: and are given to others then");
	check_promoted($mode, $standby, @writers);

	$_->leave foreach $living, $waiting;
	$standby->stop;
	unlike(slurp_file($standby->logfile), qr/PANIC|XX000|TRAP|terminated by signal/, "$mode: nothing odd in the log");
}
done_testing();

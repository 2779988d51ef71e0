# The wall clock is set forward and back while everything goes on, and the whole
# server stands still for longer than the timeouts.  No worker that sends heartbeats
# loses a job, workers that are silent do, waits last as long as they should, and the
# background worker goes on with its tasks.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Clock;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;
use Time::HiRes qw(usleep);

my $TIMEOUT = 3;
my $MINUTE = 60;
my $HOUR = 60 * $MINUTE;
my $DAY = 24 * $HOUR;

# Half of them have no place in shared memory for a heartbeat.
my $JOBS = 50;

my $clock = Clock->new;
plan skip_all => 'there is no C compiler to build the clock' if !$clock;

my ($node, $session);

sub ask
{
	my ($query) = @_;
	my $answer = $session->ask($query);

	die "$query\n$answer" if $answer =~ /^(?:ERROR|FATAL)/m;
	return $answer;
}

sub start_server
{
	my ($name, $settings) = @_;

	$node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', qq{
autovacuum = off
fsync = off
log_min_error_statement = panic
pictrepo.heartbeat_timeout = ${TIMEOUT}s
pictrepo.variant_claim_timeout = ${TIMEOUT}s
$settings});
	$clock->start($node);
	$node->safe_psql('postgres', q{
		CREATE EXTENSION pictrepo;
		CREATE FUNCTION w(n int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
		CREATE FUNCTION beat() RETURNS bigint LANGUAGE sql VOLATILE BEGIN ATOMIC
			SELECT count(*) FILTER (WHERE pictrepo.heartbeat('q', w(1), id)) FROM pictrepo.job_queue
			WHERE queue = 'q'; END;
		SELECT pictrepo.configure_queue('q', backoff => '0');
		SELECT pictrepo.create_hash('hash', 'hash.png')});
	$session = Session->new($node);
	return;
}

# After a test: two steps that nobody looks between are none.
sub step_back_again
{
	my ($seconds) = @_;

	$clock->step(-$seconds);
	ask(q{SELECT pictrepo.run_maintenance('reap')});
	return;
}

# Set the clock, and set it right again afterwards.
sub stepped
{
	my ($seconds, $work) = @_;

	$clock->step($seconds);
	$work->();
	step_back_again($seconds);
	return;
}

sub poll
{
	my ($query, $name) = @_;
	my $end = Clock::passed() + $PostgreSQL::Test::Utils::timeout_default;
	my $answer;

	while (($answer = ask("SELECT ($query)::text")) ne 'true' && Clock::passed() < $end)
	{
		usleep(50_000);
	}
	return is($answer, 'true', $name);
}

# What a session answers; a wait that does not end shows as undef.
sub answer
{
	my ($waiting) = @_;
	my $end = Clock::passed() + $PostgreSQL::Test::Utils::timeout_default;

	until ($waiting->answered)
	{
		return if Clock::passed() > $end;
		usleep(20_000);
	}
	return $waiting->answer;
}

# ----- workers that beat, and workers that are silent -----

# The last one dies if it is taken away once.
sub hold_jobs
{
	ask('TRUNCATE pictrepo.job_queue, pictrepo.dead_jobs');
	ask(qq{SELECT pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[$JOBS - 1])) IS NULL});
	ask(q{SELECT pictrepo.push('q', '1', retry => 0) IS NULL});
	is(ask(qq{SELECT count(*) FROM pictrepo.pop('q', w(1), $JOBS)}), $JOBS, 'a worker has the jobs');
	return;
}

# The longest time without a heartbeat, for so long.
sub beat_for
{
	my ($seconds, $since) = @_;
	my $end = Clock::passed() + $seconds;
	my $longest = 0;

	for (;;)
	{
		ask('SELECT beat()');
		my $now = Clock::passed();
		$longest = $now - $since if $now - $since > $longest;
		$since = $now;
		return $longest if $now > $end;
		usleep(100_000);
	}
}

my $all_held = qq{SELECT count(*) = $JOBS AND min(retry) = 0 AND max(attempt) = 1
	FROM pictrepo.job_queue WHERE status = 'running' AND worker = w(1)};

# After the disturbance, the background worker looks at the jobs several times before
# the next heartbeat comes.  On a machine that stood still meanwhile, the worker was
# silent indeed.
sub keeps_jobs
{
	my ($name, $disturb) = @_;
	my ($held, $longest);

	foreach (1 .. 5)
	{
		hold_jobs();
		$longest = beat_for(1, Clock::passed());
		$disturb->();
		my $since = Clock::passed();
		usleep(500_000);
		my $again = beat_for($TIMEOUT + 1, $since);
		$longest = $again if $again > $longest;
		$held = ask($all_held);
		last if $held eq 't' || $longest < $TIMEOUT / 2;
	}
	is($held, 't', "$name: a worker that beats keeps its jobs")
	  or diag(ask('SELECT status, attempt, retry, count(*) FROM pictrepo.job_queue GROUP BY 1, 2, 3'));
	return;
}

sub loses_jobs
{
	my ($name, $seconds) = @_;

	hold_jobs();
	ask('SELECT beat()');
	stepped($seconds, sub
	{
		poll(q{SELECT count(*) = 1 FROM pictrepo.pop('q', w(2))}, "$name: another worker gets a job of a silent one");
		poll(q{SELECT count(*) = 0 FROM pictrepo.job_queue WHERE worker = w(1)}, "$name: it loses all of them");
		is(ask('SELECT count(*) FROM pictrepo.dead_jobs'), 1, "$name: the job without a retry is dead");
	});
	return;
}

# ----- waiting -----

my $upload;
my %waits = (
	'pop' => q{SELECT count(*) FROM pictrepo.pop('none', wait => '%s')},
	'pop_wait' => q{CALL pictrepo.pop_wait('none', NULL, '%s', NULL, NULL, NULL, NULL)},
	'wait' => q{SELECT pictrepo.wait('UPLOAD', '%s')},
	'variant_waiter' => q{SELECT pictrepo.variant_waiter('hash', 'v', '%s')});

sub begin_waits
{
	my ($time) = @_;
	my %sessions;

	foreach my $name (sort keys %waits)
	{
		$sessions{$name} = Session->new($node);
		$sessions{$name}->{began} = Clock::passed();
		$sessions{$name}->send(sprintf($waits{$name} =~ s/UPLOAD/$upload/r, $time));
	}
	return \%sessions;
}

# When each of them ended
sub end_waits
{
	my ($sessions, $until) = @_;
	my $end = Clock::passed() + $until;
	my %ended;

	while (keys %ended < keys %$sessions && Clock::passed() < $end)
	{
		foreach my $name (keys %$sessions)
		{
			$ended{$name} //= Clock::passed() - $sessions->{$name}->{began} if $sessions->{$name}->answered;
		}
		usleep(20_000);
	}
	return \%ended;
}

sub waits_last
{
	my ($name, $seconds) = @_;

	$upload = ask('SELECT pictrepo.create_upload()');
	ask(q{SELECT pictrepo.claim_variant_processing_rights('hash', 'v', w(1))});
	my $sessions = begin_waits('3 s');

	# The claim must not end before the waits do.
	$session->send(q{SELECT pictrepo.variant_heartbeat('hash', 'v', w(1)) FROM generate_series(1, 40), pg_sleep(0.1)});
	usleep(500_000);
	$clock->step($seconds);
	my $ended = end_waits($sessions, 60);
	$session->answer;
	foreach my $wait (sort keys %waits)
	{
		cmp_ok($ended->{$wait} // 1e9, '<', 60, "$name: $wait ends");
		cmp_ok($ended->{$wait} // 0, '>=', 3, "$name: $wait ends not too early") if $wait ne 'variant_waiter';
	}
	step_back_again($seconds);
	ask(q{SELECT pictrepo.notify_variant('hash', 'v', w(1))});
	return;
}

sub stop_server_for
{
	my ($seconds) = @_;

	Clock::stop($node);
	usleep($seconds * 1e6);
	Clock::continue($node);
	return;
}

# ----- with shared memory -----

start_server('preload', q{
shared_preload_libraries = 'pictrepo'
pictrepo.max_running_jobs = 25
pictrepo.reap_interval = 100ms
pictrepo.sweep_interval = 1h
pictrepo.schedule_interval = 1h
pictrepo.variant_retention = 1h
});
$clock->step($HOUR);
my $shifted = ask(qq{SELECT clock_timestamp() - to_timestamp(} . time . qq{) > '50 min'});
plan skip_all => 'the server does not use the clock of the test' if $shifted ne 't';
$clock->step(-$HOUR);

# Nothing is taken away before the server has run for the timeout.
ask("SELECT pg_sleep($TIMEOUT)");

keeps_jobs('stopped', sub { stop_server_for($TIMEOUT) });
keeps_jobs('stopped for longer', sub { stop_server_for(2 * $TIMEOUT) });
keeps_jobs('forward 5 min', sub { $clock->step(5 * $MINUTE) });
keeps_jobs('back 6 min', sub { $clock->step(-6 * $MINUTE) });
keeps_jobs('back and forward', sub { $clock->step(-$DAY); usleep(1_000_000); $clock->step($DAY) });
loses_jobs('forward 5 min', 5 * $MINUTE);
loses_jobs('back 10 min', -10 * $MINUTE);
loses_jobs('back 1 h', -$HOUR);

waits_last('back 20 min', -20 * $MINUTE);
waits_last('forward 20 min', 20 * $MINUTE);

# ----- the tasks of the background worker -----

ask('TRUNCATE pictrepo.job_queue');
my $listener = Session->new($node);
$listener->ask('LISTEN queue_status_channel');
$clock->step(-10 * $MINUTE);
my $runs = ask(q{SELECT runs FROM pictrepo.maintenance WHERE duty = 'reap'});
ask(q{SELECT pictrepo.push('heard', '1')});
my $heard = 0;
for (my $end = Clock::passed() + $PostgreSQL::Test::Utils::timeout_default; !$heard && Clock::passed() < $end;)
{
	$listener->ask('SELECT 1');
	$heard = $listener->notifications;
	usleep(50_000);
}
is($heard, 1, 'back 10 min: a notification comes');
poll("SELECT runs > $runs + 3 FROM pictrepo.maintenance WHERE duty = 'reap'", 'back 10 min: the worker reaps');
step_back_again(-10 * $MINUTE);

# The worker fails twice, so the launcher waits with the next one.
my $worker = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'};
my $last = 0;
foreach my $which ('first', 'second')
{
	poll("SELECT count(*) = 1 FROM ($worker AND pid <> $last) worker", "the $which worker runs");
	$last = ask($worker);
	ask("SELECT pg_terminate_backend($last)");
}
$clock->step(-10 * $MINUTE);
poll("SELECT count(*) = 1 FROM ($worker AND pid <> $last) worker", 'back 10 min: the launcher starts a worker');
step_back_again(-10 * $MINUTE);

# ----- jobs that are due -----

ask('TRUNCATE pictrepo.job_queue');
ask(q{SELECT pictrepo.push('q', to_jsonb(n)) FROM generate_series(1, 3) n});
ask(q{SELECT pictrepo.push('q', '"later"', run_at => clock_timestamp() + '10 min')});
my $waiting = Session->new($node);
$clock->step(-10 * $MINUTE);
$waiting->send(q{SELECT job FROM pictrepo.pop('q', wait => '1 h')});
is(answer($waiting), 1, 'back 10 min: what was ready is ready');
poll(qq{SELECT count(*) = 2 FROM pictrepo.jobs WHERE state = 'ready'}, 'back 10 min: all of it');
is(ask(q{SELECT string_agg(job::text, ' ') FROM pictrepo.pop('q', max_jobs => 10)}), '2 3',
	'back 10 min: it is ready in its order');
is(ask(q{SELECT job FROM pictrepo.pop('q', wait => '1 s')}), '', 'back 10 min: what is due later is not');
ask(q{SELECT pictrepo.push('q', '"new"')});
is(ask(q{SELECT job FROM pictrepo.pop('q')}), '"new"', 'back 10 min: a new job is ready');
$waiting = Session->new($node);
$waiting->send(q{SELECT job FROM pictrepo.pop('q', wait => '1 h')});
usleep(500_000);
$clock->step(20 * $MINUTE);
is(answer($waiting), '"later"', 'forward 20 min: a job that becomes due by this ends a wait');
step_back_again(10 * $MINUTE);

# ----- schedules -----

sub next_runs
{
	my ($name) = @_;

	ask('TRUNCATE pictrepo.job_queue');
	return poll(qq{SELECT count(*) = 1 FROM pictrepo.job_queue WHERE unique_key = 'schedule:$name'},
		"schedule $name runs");
}

ask(q{SELECT pictrepo.schedule_job('often', 's', '1', every => '1 s')});
next_runs('often');
$clock->step(-10 * $MINUTE);
next_runs('often');
ask(q{SELECT pictrepo.unschedule_job('often')});
ask(q{SELECT pictrepo.schedule_job('rare', 's', '1', every => '1 h')});
poll(q{SELECT count(*) = 1 FROM pictrepo.job_queue WHERE unique_key = 'schedule:rare'}, 'schedule rare runs at first');
$clock->step($HOUR);
next_runs('rare');
ask(q{SELECT pictrepo.unschedule_job('rare')});
step_back_again(50 * $MINUTE);

# ----- claims of variants -----

my $claim_by_2 = q{pictrepo.claim_variant_processing_rights('hash', 'v', w(2))};

sub claim_variant
{
	is(ask(q{SELECT pictrepo.claim_variant_processing_rights('hash', 'v', w(1))}), 'claimed', 'a worker has a claim');
	return;
}

foreach my $step (5 * $MINUTE, -5 * $MINUTE)
{
	claim_variant();
	stepped($step, sub
	{
		is(ask("SELECT $claim_by_2"), 'busy', "step of $step s: a claim stays");
		is(ask(q{SELECT pictrepo.run_maintenance('claims')}), 0, "step of $step s: the worker ends no claim");
		is(ask(q{SELECT pictrepo.variant_heartbeat('hash', 'v', w(1))}), 't', "step of $step s: its worker has it");
		my $waiter = Session->new($node);

		$waiter->send(q{SELECT pictrepo.variant_waiter('hash', 'v', '1 h')});
		is(answer($waiter), '', "step of $step s: a wait ends when a claim expires");
		poll("SELECT $claim_by_2 = 'claimed'", "step of $step s: it is free when its worker is silent");
		ask(q{SELECT pictrepo.notify_variant('hash', 'v', w(2))});
	});
}
claim_variant();
stepped(-$HOUR, sub { poll("SELECT $claim_by_2 = 'claimed'", 'back 1 h: the claim of a silent worker expires') });
ask(q{SELECT pictrepo.notify_variant('hash', 'v', w(2))});

# ----- times in rows -----

ask(q{SELECT pictrepo.create_alias('a.png', 'token', 'hash'), pictrepo.accessed_alias('a.png')});
stepped(-$HOUR, sub
{
	ask(q{SELECT pictrepo.accessed_alias('a.png')});
	is(ask(q{SELECT pictrepo.alias_accessed_at('a.png') < clock_timestamp() + '1 min'}), 't',
		'back 1 h: an access is noted');
});
ask(q{SELECT pictrepo.relate_variant_identifier('hash', 'old', 'old.png')});
$upload = ask('SELECT pictrepo.create_upload()');
stepped(365 * $DAY, sub
{
	is(ask(q{SELECT pictrepo.run_maintenance('variants')}), 0, 'forward 1 year: no variant has outlived its retention');
	is(ask(q{SELECT pictrepo.run_maintenance('uploads')}), 0, 'forward 1 year: no upload is too old');
	is(ask(qq{SELECT pictrepo.create_upload() IS NULL, pictrepo.complete_upload('$upload', '{"a": 1}')}), 'f|t',
		'forward 1 year: the upload is there');
});
is(ask(q{SELECT count(*) FROM pictrepo.variants}), 1, 'the variant is there');
$node->stop('fast');

# ----- without shared memory -----

# A session knows of the steps and pauses that it has seen itself.
start_server('plain', '');
ask("SELECT pg_sleep($TIMEOUT)");
ask(q{SELECT count(*) FROM pictrepo.pop('q', w(3))});
keeps_jobs('without preload, forward 5 min', sub
{
	$clock->step(5 * $MINUTE);
	ask(q{SELECT count(*) FROM pictrepo.pop('q', w(3))});
});
hold_jobs();
stepped(-$HOUR, sub
{
	poll(q{SELECT count(*) = 1 FROM pictrepo.pop('q', w(2))},
		'without preload, back 1 h: another worker gets a job of a silent one');
});
waits_last('without preload, back 20 min', -20 * $MINUTE);
waits_last('without preload, forward 20 min', 20 * $MINUTE);
keeps_jobs('without preload, stopped', sub
{
	my $waiting = Session->new($node);

	$waiting->send(q{CALL pictrepo.pop_wait('q', w(3), '1 min', NULL, NULL, NULL, NULL)});
	usleep(500_000);
	stop_server_for($TIMEOUT + 1);
	beat_for($TIMEOUT, Clock::passed());
	$waiting->vanish;
});
$node->stop('fast');

done_testing();

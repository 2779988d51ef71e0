# An open transaction delays only those who want the very rows that it has changed.
# A pop locks nothing but what it takes, the end of a job waits for no limit, and
# every task leaves what is locked to the next time.  First without a background
# worker, then with it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $SECONDS = 6;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
max_connections = 60
log_statement = none
log_min_error_statement = panic
log_lock_waits = on
deadlock_timeout = 100ms
pictrepo.dead_job_retention = '1d'
pictrepo.sample_interval = '1h'
pictrepo.access_resolution = 0
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

my ($holder, $session, $other);

sub begin_sessions
{
	($holder, $session, $other) = map { Session->new($node) } 1 .. 3;

	# A call that waits for the holder is an error.
	$_->ask(q{LOAD 'pictrepo'; SET statement_timeout = '30s'}) foreach ($session, $other);
	return;
}

sub end_sessions
{
	$_->leave foreach ($holder, $session, $other);
	return;
}

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# While the holder's transaction is open, the query answers this; when it has ended
# in this way, that.
sub beside
{
	my ($name, $statements, $query, $meanwhile, $end, $afterwards) = @_;

	$holder->ask("BEGIN; $statements");
	is($session->ask($query), $meanwhile, $name);
	$holder->ask($end);
	is($session->ask($query), $afterwards, "$name: after $end");
	return;
}

# Clients run a script.  Returns what the server logs meanwhile.
sub run_clients
{
	my ($name, $clients, $script) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";
	my $start = -s $node->logfile;
	my ($stdout, $stderr) = ('', '');

	append_to_file($file, $script);
	my $ok = IPC::Run::run(
		[
			'pgbench', '--no-vacuum', '-c', $clients, '-j', '2', '-T', $SECONDS,
			'-f', $file, $node->connstr('postgres')
		],
		'>', \$stdout, '2>', \$stderr);
	ok($ok, "$name: all clients came through") or diag $stderr;
	my ($count) = $stdout =~ /actually processed: (\d+)/;
	cmp_ok($count, '>', 200, "$name: many calls");
	return substr slurp_file($node->logfile), $start;
}

begin_sessions();

# ----- schedules -----

my $SCHEDULED = q{SELECT string_agg(job #>> '{}', ' ' ORDER BY unique_key) FROM pictrepo.jobs WHERE unique_key LIKE 'schedule:%'};

my $INSERT_SCHEDULES = q{
	INSERT INTO pictrepo.schedules (name, queue, job, every, next_run)
		SELECT name, 'scheduled', to_jsonb(name), '1 hour', '2001-01-01' FROM unnest('{a,b,c}'::text[]) name};

sub begin_schedules
{
	value("DELETE FROM pictrepo.job_queue; DELETE FROM pictrepo.schedules; $INSERT_SCHEDULES");
	return;
}

my $PUSH = q{SELECT pictrepo.push('scheduled', '"mine"', unique_key => 'schedule:a')};
my $RUN = q{SELECT pictrepo.run_schedules()};

begin_schedules();
beside('schedules: one whose key is being pushed waits for the next run', $PUSH, $RUN, 2, 'COMMIT', 0);
is(value($SCHEDULED), 'mine b c', 'schedules: the job with the key counts as one');
is(value(q{SELECT count(*) FROM pictrepo.schedules WHERE next_run < now()}), 0, 'schedules: all have run');
begin_schedules();
beside('schedules: a push with the key of one is taken back', $PUSH, $RUN, 2, 'ROLLBACK', 1);
is(value($SCHEDULED), 'a b c', 'schedules: each has run once');

# a refused job is the affair of its schedule alone
value(q{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not this one''; END';
	CREATE TRIGGER refuse BEFORE INSERT ON pictrepo.job_queue FOR EACH ROW
		WHEN (NEW.unique_key = 'schedule:b') EXECUTE FUNCTION refuse()});
begin_schedules();
is($session->ask("$RUN"), 2, 'schedules: one is refused, the others run');
is($session->ask("$RUN"), 0, 'schedules: it is not tried again before its next run');
is(value(q{SELECT string_agg(name || ' ' || error, ', ') FROM pictrepo.schedules WHERE error IS NOT NULL}),
	'b not this one', 'schedules: it shows why');
value(q{
	DROP FUNCTION refuse CASCADE;
	UPDATE pictrepo.schedules SET next_run = '2001-01-01' WHERE name = 'b'});
is($session->ask("$RUN"), 1, 'schedules: it runs again when it can');
is(value(q{SELECT count(*) FROM pictrepo.schedules WHERE error IS NOT NULL}), 0, 'schedules: and shows no error any more');
value(q{DELETE FROM pictrepo.schedules; DELETE FROM pictrepo.job_queue});

# ----- reaping -----

# Jobs of silent workers, without retries; two of them have an upload
my $INSERT_SILENT = q{
	INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, retry, upload)
		SELECT lpad(n::text, 32, '0')::uuid, 'q', to_jsonb(n), 'running', gen_random_uuid(), '2001-01-01', 0,
			CASE WHEN n < 3 THEN (SELECT id FROM pictrepo.uploads) END FROM generate_series(1, 4) n};

sub begin_silent
{
	value(qq{
		DELETE FROM pictrepo.job_queue; DELETE FROM pictrepo.dead_jobs; DELETE FROM pictrepo.uploads;
		SELECT pictrepo.create_upload();
		$INSERT_SILENT});
	return;
}

my $DEAD_JOBS = q{SELECT string_agg(job::text, ' ' ORDER BY job) FROM pictrepo.dead_jobs};

$session->ask(q{SET pictrepo.heartbeat_timeout = '100ms'});
begin_silent();
beside('reap: the upload of two jobs is locked', q{SELECT pictrepo.complete_upload(id, '1') FROM pictrepo.uploads},
	q{SELECT count(*) FROM pictrepo.pop('q')}, 0, 'COMMIT', 0);
is(value($DEAD_JOBS), '1 2 3 4', 'reap: pops have taken them away');

# a dead job of the same id that is being deleted: the new one would wait for it
my $REAP = q{SELECT pictrepo.run_maintenance('reap')};
begin_silent();
value(q{INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, attempt)
	SELECT id, queue, '0', 0, now(), 1 FROM pictrepo.job_queue WHERE job = '3'});
beside('reap: what belongs to a job is locked', q{DELETE FROM pictrepo.dead_jobs}, $REAP, 3, 'COMMIT', 1);
is(value($DEAD_JOBS), '1 2 3 4', 'reap: all have died');

# ----- the other tasks -----

value(q{
	DELETE FROM pictrepo.dead_jobs;
	INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, attempt, died_at)
		SELECT gen_random_uuid(), 'q', to_jsonb(n), 0, now(), 1, '2001-01-01' FROM generate_series(1, 3) n});
beside('dead jobs: one is locked', q{SELECT FROM pictrepo.dead_jobs WHERE job = '2' FOR KEY SHARE},
	q{SELECT pictrepo.run_maintenance('dead jobs')}, 2, 'COMMIT', 1);

value(q{
	INSERT INTO pictrepo.samples (at, images, uploads) VALUES ('2001-01-01', 0, 0), ('2001-01-02', 0, 0);
	INSERT INTO pictrepo.queue_samples (at, queue, ready, scheduled, running, dead)
		VALUES ('2001-01-01', 's', 0, 0, 0, 0), ('2001-01-02', 's', 0, 0, 0, 0)});
$holder->ask(q{BEGIN; SELECT FROM pictrepo.samples, pictrepo.queue_samples FOR KEY SHARE});
value(q{INSERT INTO pictrepo.samples (at, images, uploads) VALUES ('2001-01-03', 0, 0);
	INSERT INTO pictrepo.queue_samples (at, queue, ready, scheduled, running, dead) VALUES ('2001-01-03', 's', 0, 0, 0, 0)});
$session->ask(q{SELECT pictrepo.run_maintenance('samples')});
is(value(q{SELECT (SELECT count(*) FROM pictrepo.samples WHERE at < '2002-01-01'),
	(SELECT count(*) FROM pictrepo.queue_samples WHERE at < '2002-01-01')}), '2|2', 'samples: some are locked');
$holder->ask('COMMIT');

# What belongs to an image is locked, and another image expires.
sub begin_images
{
	value(q{
		DELETE FROM pictrepo.hashes;
		DELETE FROM pictrepo.job_queue;
		SELECT pictrepo.ingest(convert_to('h' || n, 'UTF8'), 'f' || n, '{}', 'a' || n, 'token'),
			pictrepo.relate_url('u' || n, 'a' || n), pictrepo.relate_url('v' || n, 'a' || n),
			pictrepo.set_accessed_alias('a' || n, '2001-01-01'),
			pictrepo.relate_variant_identifier(convert_to('h' || n, 'UTF8'), 'thumb', 't' || n),
			pictrepo.relate_details('t' || n, '{}'),
			pictrepo.set_accessed_variant(convert_to('h' || n, 'UTF8'), 'thumb', '2001-01-01') FROM generate_series(1, 3) n});
	return;
}

my %expire = map { $_ => "SELECT pictrepo.expire_$_('2002-01-01')" } qw(variants proxies);
my @cases = (
	[ 'proxies', 'its url is served', q{SELECT pictrepo.serve_url('u1')}, 0 ],
	[ 'proxies', 'its other url is locked', q{SELECT FROM pictrepo.proxies WHERE url = 'v1' FOR KEY SHARE}, 1 ],
	[ 'proxies', 'it gets a url', q{SELECT pictrepo.relate_url('w1', 'a1')}, 0 ],
	[ 'proxies', 'it gets an alias', q{SELECT pictrepo.create_alias('b1', 'token', 'h1')}, 1 ],
	[ 'proxies', 'its variant is served', q{SELECT pictrepo.accessed_variant('h1', 'thumb')}, 1 ],
	[ 'proxies', 'its variant is claimed', q{SELECT pictrepo.claim_variant_processing_rights('h1', 'large')}, 1 ],
	[ 'proxies', 'its details are locked', q{SELECT FROM pictrepo.details WHERE identifier = 'f1' FOR KEY SHARE}, 1 ],
	[ 'variants', 'it is served', q{SELECT pictrepo.accessed_variant('h1', 'thumb')}, 0 ],
	[ 'variants', 'its details are locked', q{SELECT FROM pictrepo.details WHERE identifier = 't1' FOR KEY SHARE}, 1 ]);
foreach my $case (@cases)
{
	my ($kind, $name, $statements, $afterwards) = @$case;

	begin_images();
	beside("$kind: $name", $statements, $expire{$kind}, 2, 'COMMIT', $afterwards);
	begin_images();
	beside("$kind: $name", $statements, $expire{$kind}, 2, 'ROLLBACK', 1);
}

# One that is refused costs itself, too, and many that are locked hide no other.
begin_images();
value(q{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not this one''; END';
	CREATE TRIGGER refuse BEFORE DELETE ON pictrepo.variants FOR EACH ROW
		WHEN (OLD.identifier = 't1') EXECUTE FUNCTION refuse()});
is($session->ask($expire{variants}), 2, 'variants: one is refused');
is($session->ask($expire{proxies}), 2, 'proxies: one is refused');
value(q{DROP FUNCTION refuse CASCADE});
begin_images();
beside('variants: as many are locked as may go', q{SELECT pictrepo.accessed_variant('h1', 'thumb')},
	q{SELECT pictrepo.expire_variants('2002-01-01', max => 1)}, 1, 'ROLLBACK', 1);
begin_images();
beside('proxies: as many are locked as may go', q{SELECT pictrepo.serve_url('u1')},
	q{SELECT pictrepo.expire_proxies('2002-01-01', max => 1)}, 1, 'ROLLBACK', 1);

# Where the whole table is locked, the task fails.
$holder->ask('BEGIN; LOCK TABLE pictrepo.variants');
like($session->ask($expire{variants}), qr/55P03/,
	'a locked table is an error');
$holder->ask('ROLLBACK');

# ----- with the background worker -----

end_sessions();
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.heartbeat_timeout = '100ms'
pictrepo.reap_interval = '50ms'
pictrepo.schedule_interval = '50ms'
});
$node->stop;
$node->start;
begin_sessions();
value(q{
	DELETE FROM pictrepo.schedules; DELETE FROM pictrepo.job_queue; DELETE FROM pictrepo.dead_jobs;
	UPDATE pictrepo.uploads SET result = NULL});
$holder->ask("BEGIN; $PUSH; SELECT pictrepo.complete_upload(id, '1') FROM pictrepo.uploads");
value("$INSERT_SCHEDULES; $INSERT_SILENT");
ok($node->poll_query_until('postgres', $SCHEDULED, 'b c'), 'worker: one schedule waits, the others run');
ok($node->poll_query_until('postgres', $DEAD_JOBS, '3 4'), 'worker: jobs whose upload is locked wait, the others die');
$holder->ask('ROLLBACK');
ok($node->poll_query_until('postgres', $SCHEDULED, 'a b c'), 'worker: the schedule runs when the key is free');
ok($node->poll_query_until('postgres', $DEAD_JOBS, '1 2 3 4'), 'worker: the jobs die when the upload is free');
is(value(q{SELECT result -> 'Failure' ->> 'code' FROM pictrepo.uploads}), 'job-failed', 'worker: and it gets a Failure');
is(value(q{SELECT sum(errors) FROM pictrepo.maintenance}), 0, 'worker: no task has failed');
value(q{DELETE FROM pictrepo.schedules; DELETE FROM pictrepo.job_queue; DELETE FROM pictrepo.dead_jobs});
$node->append_conf('postgresql.conf', "pictrepo.heartbeat_timeout = '10min'");
$node->reload;

# ----- ends beside a transaction that pops and stays open -----

value(q{SELECT count(pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[100])))});
my $log = run_clients('ends', 16, q{
\set what random(1, 100)
\if :what = 1
BEGIN;
SELECT count(*) FROM pictrepo.pop('q', max_jobs => 3);
SELECT pg_sleep(0.3);
ROLLBACK;
\else
SELECT pictrepo.push('q', '1');
SELECT (array_agg(id))[1] AS id, count(*) AS have FROM pictrepo.pop('q') \gset
\if :have
SELECT pictrepo.complete_job('q', NULL, ':id');
\endif
\endif
});
unlike($log, qr/still waiting for \w+ on (?:transaction|tuple)|deadlock detected/,
	'no end waits for a transaction that has popped');

# ----- touches beside other changes of the same row -----

value(q{
	SELECT pictrepo.create_hash('hash', 'file');
	SELECT pictrepo.create_alias('alias', 'token', 'hash');
	SELECT pictrepo.relate_variant_identifier('hash', 'variant', 'v');
	SELECT pictrepo.create_alias('proxy', 'token', 'hash');
	SELECT pictrepo.relate_url('url', 'proxy')});
foreach my $case (
	[ 'an alias', q{aliases WHERE alias = 'alias'}, q{set_accessed_alias('alias', now())}, q{accessed_alias('alias')} ],
	[ 'a url', q{proxies WHERE url = 'url'}, q{set_accessed_alias('proxy', now())}, q{accessed_alias('proxy')} ],
	[ 'a variant', q{variants WHERE variant = 'variant'}, q{set_accessed_variant('hash', 'variant', now())},
		q{accessed_variant('hash', 'variant')} ])
{
	my ($name, $row, $set, $touch) = @$case;

	$log = run_clients("touches of $name", 32, qq{
\\set what random(1, 3)
\\if :what = 1
BEGIN;
SELECT FROM pictrepo.$row FOR KEY SHARE;
SELECT 1;
COMMIT;
\\elif :what = 2
SELECT pictrepo.$set;
\\else
SELECT pictrepo.$touch;
\\endif
});
	unlike($log, qr/deadlock detected/, "touches of $name: no deadlock");
}
value(q{DELETE FROM pictrepo.hashes; DELETE FROM pictrepo.job_queue});

# ----- a queue with a limit -----

my $POP = q{SELECT job FROM pictrepo.pop('limited')};
my $NOBODY = '00000000-0000-0000-0000-000000000000';

sub begin_limited
{
	my ($limit) = @_;

	value(qq{
		DELETE FROM pictrepo.job_queue;
		SELECT pictrepo.configure_queue('limited', max_running => $limit);
		SELECT pictrepo.push_many('limited', ARRAY['1', '2', '3', '4', '5']::jsonb[])});
	return;
}

begin_limited(3);
$session->ask($POP);
beside('limit: a pop that cannot know whether there is room finds no job', $POP, $POP, '', 'COMMIT', 3);

begin_limited(3);
$session->ask($POP);
beside('limit: the pop before is taken back', $POP, $POP, '', 'ROLLBACK', 2);

begin_limited(3);
beside(
	'limit: a call whose end was lost finds no job', $POP,
	qq{SELECT outcome, job FROM pictrepo.complete_and_pop('limited', NULL, '$NOBODY')},
	'lost|', 'COMMIT', 'lost|2');

begin_limited(3);
my $mine = $session->ask(q{SELECT id FROM pictrepo.pop('limited')});
beside(
	'limit: a job ends', $POP, qq{SELECT pictrepo.complete_job('limited', NULL, '$mine')},
	'completed', 'COMMIT', 'lost');

begin_limited(2);
$mine = $session->ask(q{SELECT id FROM pictrepo.pop('limited')});
beside(
	'limit: a job ends, and makes room for the next one', $POP,
	qq{SELECT outcome, job FROM pictrepo.complete_and_pop('limited', NULL, '$mine')},
	'completed|3', 'COMMIT', 'lost|');

# a session that waits has its job when the transaction has ended
foreach my $end ('COMMIT', 'ROLLBACK')
{
	begin_limited(2);
	$holder->ask("BEGIN; $POP");
	$session->send(q{SELECT job FROM pictrepo.pop('limited', wait => '1 min')});
	$other->send(q{CALL pictrepo.pop_wait('limited', timeout => '1 min')});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pictrepo.waiting_sessions()}),
		'limit: two sessions wait');
	ok(!$session->answered && !$other->answered, 'limit: neither has a job');
	$holder->ask($end);
	$node->poll_query_until('postgres',
		q{SELECT count(*) = 2 FROM pictrepo.jobs WHERE state = 'running'});
	is(value(q{SELECT count(*) FROM pictrepo.jobs WHERE state = 'running'}), 2, "limit: room is used after $end");
	value(q{SELECT pictrepo.configure_queue('limited', max_running => -1)});
	like($session->answer, qr/^\d$/, "limit: pop has a job after $end");
	like($other->answer, qr/\|\d\|1\|/, "limit: pop_wait has a job after $end");
}
value(q{DELETE FROM pictrepo.job_queue; DELETE FROM pictrepo.queues});

end_sessions();
$node->stop;
done_testing();

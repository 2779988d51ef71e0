# Low-water marks are a hint: with them, without them, and with wrong ones, pops
# give the same jobs, lose none and give none out twice.  Wrong marks are made by
# debug builds alone.

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
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
max_connections = 60
autovacuum = off
log_statement = none
log_min_error_statement = panic
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo; CREATE TABLE odd (what text)');

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

my $debug = $node->psql('postgres', "LOAD 'pictrepo'; SET pictrepo.cursor = 'corrupt'") == 0;
my @modes = ('on', 'off', $debug ? 'corrupt' : ());
my ($run, $session);

# ----- the same jobs in the same order -----

# The same with and without: a step is random, and done in both queues.
value(q{
	TRUNCATE pictrepo.job_queue, pictrepo.dead_jobs;
	SELECT pictrepo.configure_queue(queue, backoff => '0', retries => 2) FROM unnest('{on,off,corrupt}'::text[]) queue;
	CREATE TABLE taken (queue text, job jsonb);
	CREATE FUNCTION pop_with(mode text, wanted int) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE result jsonb;
	BEGIN
		PERFORM set_config('pictrepo.cursor', mode, false);
		SELECT coalesce(jsonb_agg(p.job), '[]') INTO result FROM pictrepo.pop(mode, max_jobs => wanted) p;
		RETURN result;
	END $$;
	CREATE FUNCTION end_with(mode text, jobs jsonb, result text, again timestamptz = NULL) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE ids uuid[] = ARRAY(SELECT id FROM pictrepo.job_queue
		WHERE queue = mode AND job = ANY (ARRAY(SELECT jsonb_array_elements(jobs))) ORDER BY id);
	BEGIN
		IF result = 'success' THEN
			INSERT INTO taken SELECT mode, job FROM jsonb_array_elements(jobs) job;
		END IF;
		PERFORM pictrepo.complete_many(mode, NULL, ids, result);
		-- at the same moment in both queues
		UPDATE pictrepo.job_queue SET run_at = again WHERE id = ANY (ids) AND result = 'failure';
	END $$;
	CREATE PROCEDURE steps(modes text[], duration interval) LANGUAGE plpgsql AS $$
	DECLARE
		mode text; n int = 0; wanted int; result text; roll float; jobs jsonb; first jsonb; priority int; run_at timestamptz;
	BEGIN
		WHILE clock_timestamp() < statement_timestamp() + duration LOOP
			roll = random();
			wanted = 1 + random() * 4;
			result = (ARRAY['success', 'success', 'failure'])[1 + floor(random() * 3)];
			priority = floor(random() * random() * (CASE WHEN n % 1000 < 900 THEN 4 ELSE 12 END));
			run_at = clock_timestamp() + CASE WHEN random() < 0.8 THEN -random() * interval '2 seconds' ELSE interval '1 hour' END;
			first = NULL;
			n = n + 1;
			FOREACH mode IN ARRAY modes LOOP
				IF roll < 0.25 THEN
					PERFORM pictrepo.push(mode, to_jsonb(n), priority => priority, run_at => run_at);
				ELSIF roll < 0.3 THEN
					PERFORM pictrepo.push_many(mode, ARRAY[to_jsonb(n), to_jsonb(n + 1000000)], priority => priority, run_at => run_at);
				ELSIF roll < 0.35 THEN
					UPDATE pictrepo.job_queue j SET run_at = j.run_at - interval '1 hour'
					WHERE queue = mode AND j.run_at > clock_timestamp();
				ELSIF roll < 0.4 THEN
					-- neither pushed nor taken
					BEGIN
						PERFORM pictrepo.push(mode, '0', priority => priority), pop_with(mode, wanted);
						RAISE division_by_zero;
					EXCEPTION WHEN division_by_zero THEN
					END;
				ELSE
					jobs = pop_with(mode, wanted);
					IF jobs <> coalesce(first, jobs) THEN
						INSERT INTO odd VALUES (format('%s: %s instead of %s', n, jobs, first));
					END IF;
					first = coalesce(first, jobs);
					IF roll < 0.5 THEN
						ROLLBACK;
					ELSE
						COMMIT;
						PERFORM end_with(mode, jobs, result, run_at);
					END IF;
				END IF;
				COMMIT;
			END LOOP;
			IF random() < 0.02 THEN
				PERFORM pg_sleep(random() * 0.06);
			END IF;
		END LOOP;
	END $$;
	CREATE PROCEDURE drain(mode text) LANGUAGE plpgsql AS $$
	DECLARE jobs jsonb;
	BEGIN
		UPDATE pictrepo.job_queue SET run_at = now() WHERE run_at > now();
		COMMIT;
		LOOP
			jobs = pop_with(mode, 100);
			EXIT WHEN jobs = '[]';
			PERFORM end_with(mode, jobs, 'success');
			COMMIT;
		END LOOP;
	END $$});
value(q{CALL steps('{off,on}', '4 s')});
is(value('SELECT count(*), min(what) FROM odd'), '0|', 'with and without the marks the same jobs come in the same order');
cmp_ok(value(q{SELECT count(*) FROM taken WHERE queue = 'on'}), '>', 100, 'there were many');
value(q{CALL steps('{corrupt}', '2 s')}) if $debug;
foreach my $mode (@modes)
{
	value("CALL drain('$mode')");
	is(value(qq{SELECT count(*) FROM pictrepo.job_queue WHERE queue = '$mode'}), '0', "cursor $mode: no job is lost");
	is(value(qq{SELECT count(*) FROM (SELECT FROM taken WHERE queue = '$mode' GROUP BY job HAVING count(*) > 1) t}),
		'0', "cursor $mode: and none given out twice");
}

# many clients; a job that is taken twice violates the key
value(q{
	TRUNCATE taken, pictrepo.dead_jobs;
	ALTER TABLE taken ADD id uuid PRIMARY KEY;
	CREATE FUNCTION take(mode text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config('pictrepo.cursor', mode, false);
		WITH popped AS MATERIALIZED (SELECT * FROM pictrepo.pop(mode, max_jobs => 1 + (random() * 4)::int)),
			noted AS (INSERT INTO taken SELECT mode, job, id FROM popped RETURNING id)
		SELECT count(pictrepo.complete_job(mode, NULL, id)) FROM noted INTO mode;
	END $$});
foreach my $mode (@modes)
{
	$run = Load->start($node, 8, [ '-t', 150 ],
		qq{SELECT pictrepo.push('$mode', '1', priority => (random() * 3)::int, run_at => clock_timestamp() - random() * interval '1 s');} => 4,
		qq{SELECT pictrepo.push_many('$mode', '{1,2,3}', run_at => clock_timestamp() + random() * interval '200 ms');} => 1,
		qq{SELECT take('$mode');} => 4,
		qq{BEGIN; SELECT take('$mode'); ROLLBACK;} => 1);
	is($run->finish, '', "cursor $mode, many clients: no job is given out twice");
	my $pushed = value(qq{SELECT pushed FROM pictrepo.queue_stats WHERE queue = '$mode'});
	usleep(250_000);
	value(qq{DO \$\$ BEGIN WHILE EXISTS (SELECT FROM pictrepo.job_queue WHERE queue = '$mode') LOOP
		PERFORM take('$mode'); IF clock_timestamp() > statement_timestamp() + interval '10 s' THEN EXIT; END IF;
		END LOOP; END \$\$});
	is(value(qq{SELECT count(*) FROM pictrepo.job_queue WHERE queue = '$mode'}), '0', "cursor $mode, many clients: none is lost");
}

# ----- dead versions that a snapshot keeps -----

sub blocks_of_a_pop
{
	my ($mode) = @_;
	my $blocks = q{SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit
		FROM pg_statio_user_tables WHERE relname = 'job_queue'};
	my $popper = Session->new($node);
	my $flush = 'SELECT pg_stat_force_next_flush()';

	$popper->ask("LOAD 'pictrepo'; SET pictrepo.cursor = $mode; SELECT FROM pictrepo.pop('dead'); $flush");
	my $before = $session->ask($blocks);
	is($popper->ask(q{SELECT count(*) FROM pictrepo.pop('dead')}), '1', 'a pop');
	$popper->ask($flush);
	my $after = $session->ask($blocks);
	$popper->leave;
	return $after - $before;
}

$session = Session->new($node);
my $snapshot = Session->new($node);
$snapshot->ask('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pictrepo.job_queue');
value(q{
	SELECT pictrepo.push_many('dead', array_fill('1'::jsonb, ARRAY[50000]));
	DELETE FROM pictrepo.job_queue WHERE queue = 'dead';
	SELECT pg_sleep(0.1);
	SELECT pictrepo.push_many('dead', array_fill('1'::jsonb, ARRAY[30]));
	SELECT pg_sleep(0.1)});
is(value(q{SELECT pictrepo.queue_length('dead')}), '30', 'many jobs were done');
my $with = blocks_of_a_pop('on');
my $without = blocks_of_a_pop('off');
cmp_ok($without, '>', 500, "without marks a pop reads dead versions ($without blocks)");
cmp_ok($with, '<', 100, "with them it does not ($with blocks)");
$snapshot->leave;
$session->leave;

# where two statements lock each other out, the worker gives way
unlike(slurp_file($node->logfile), qr/PANIC|XX000|TRAP/, 'nothing odd in the log');
$node->stop;

done_testing();

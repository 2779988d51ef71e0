# Many clients do everything at once to the same few things.  No call ends in
# anything but an answer or the contract's errors (so no deadlock either), and
# what is left fits together.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $SECONDS = 8;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
log_min_error_statement = panic
deadlock_timeout = 50ms
max_connections = 40
});
$node->start;

# Everything expires all the time.
$node->safe_psql('postgres', q{
	CREATE EXTENSION pictrepo;
	LOAD 'pictrepo';
	ALTER DATABASE postgres SET pictrepo.heartbeat_timeout = '20ms';
	ALTER DATABASE postgres SET pictrepo.variant_claim_timeout = '10ms';
	ALTER DATABASE postgres SET pictrepo.access_resolution = 0});

# Calls on one of a few hashes, aliases, queues.  Arrays are in no order.
my @calls = (
	q{pictrepo.create_hash(hash, 'i')},
	q{pictrepo.cleanup_hash(hash)},
	q{pictrepo.create_alias(alias, 't', hash)},
	q{pictrepo.create_alias(alias, 't', hash)},
	q{pictrepo.cleanup_alias(alias)},
	q{pictrepo.relate_url(alias || n, alias)},
	q{pictrepo.relate_url(alias || n + 1, alias)},
	q{pictrepo.remove_relation(alias)},
	q{pictrepo.accessed_alias(alias)},
	q{pictrepo.set_accessed_alias(alias, now())},
	q{pictrepo.remove_alias_access(alias)},
	q{pictrepo.relate_variant_identifier(hash, variant, 'v')},
	q{pictrepo.remove_variant(hash, variant)},
	q{pictrepo.accessed_variant(hash, variant)},
	q{pictrepo.claim_variant_processing_rights(hash, variant)},
	q{pictrepo.variant_heartbeat(hash, variant)},
	q{pictrepo.notify_variant(hash, variant)},
	q{pictrepo.relate_details(alias, '{}')},
	q{pictrepo.cleanup_details(alias)},
	q{pictrepo.set(alias, hash)},
	q{pictrepo.mark_migrated(alias, alias)},
	q{pictrepo.clear()},
	q{pictrepo.push(queue, '1', unique_key => alias, retry => 1)},
	q{pictrepo.schedule_job(alias, queue, '1', '1 second')},
	q{pictrepo.unschedule_job(alias)},
	q{pictrepo.run_schedules()},
	q{pictrepo.push_many(queue, array_fill('1'::jsonb, ARRAY[20]),
		(SELECT array_agg('alias ' || key ORDER BY random()) FROM generate_series(1, 20) key), retry => 1)},
	q{(SELECT count(*) FROM pictrepo.pop(queue, worker, max_jobs => 10))},
	q{(SELECT count(*) FROM pictrepo.pop(queue, worker, max_jobs => 10))},
	q{(SELECT pictrepo.complete_many(queue, worker, array_agg(id ORDER BY random()), result)
		FROM pictrepo.job_queue j WHERE j.queue = queue HAVING count(*) > 0)},
	q{(SELECT pictrepo.complete_many(queue, worker, array_agg(id ORDER BY random()), result)
		FROM pictrepo.job_queue j WHERE j.queue = queue HAVING count(*) > 0)},
	q{(SELECT pictrepo.complete_and_pop(queue, worker, job_id, result) FROM a_job LIMIT 1)},
	q{(SELECT pictrepo.complete_job(queue, worker, job_id, result) FROM a_job LIMIT 1)},
	q{(SELECT pictrepo.heartbeat(queue, worker, job_id) FROM a_job LIMIT 1)},
	q{(SELECT pictrepo.requeue_dead(id) FROM (SELECT * FROM pictrepo.dead_jobs ORDER BY random() LIMIT 1) AS dead)},
	q{pictrepo.configure_queue(queue, max_running => n * 5, backoff => '0')},
	q{pictrepo.health_check()},
	q{pictrepo.size()},
	q{pictrepo.queue_length()},
);

# The workers of a queue share an id, as after a reconnect.
my $cases = join '', map { "\t\tWHEN $_ THEN ($calls[$_])::text\n" } 0 .. $#calls;
$node->safe_psql('postgres', qq{
	CREATE VIEW a_job AS SELECT id AS job_id FROM pictrepo.job_queue ORDER BY random();
	CREATE TABLE odd (what int, state text, message text);
	CREATE FUNCTION call(what int, n int, m int) RETURNS text LANGUAGE plpgsql AS \$\$
	#variable_conflict use_variable
	DECLARE
		hash bytea = 'hash ' || n;
		alias text = 'alias ' || m;
		variant text = 'variant ' || m;
		queue text = 'queue ' || n;
		worker uuid = '$WORKER';
		result text = (ARRAY['success', 'failure', 'aborted'])[1 + m % 3];
		detail text;
		context text;
	BEGIN
		RETURN CASE what
$cases
		END;
	EXCEPTION
		WHEN foreign_key_violation THEN
			RETURN '23503';
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
			INSERT INTO odd VALUES (what, SQLSTATE, concat_ws(E'\\n', SQLERRM, detail, context));
			RETURN SQLSTATE;
	END \$\$;
});

# Which calls, on how many hashes and aliases
sub run_calls
{
	my ($name, $first, $last, $hashes, $aliases) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";
	my ($stdout, $stderr) = ('', '');

	append_to_file($file, qq{
\\set what random($first, $last)
\\set n random(1, $hashes)
\\set m random(1, $aliases)
SELECT call(:what, :n, :m);
});
	my $ok = IPC::Run::run(
		[
			'pgbench', '--no-vacuum', '-c', '16', '-j', '2', '-T', $SECONDS,
			'-f', $file, $node->connstr('postgres')
		],
		'>', \$stdout, '2>', \$stderr);
	ok($ok, "$name: all clients came through") or diag $stderr;
	my ($count) = $stdout =~ /actually processed: (\d+)/;
	cmp_ok($count, '>', 200, "$name: many calls");
	return;
}

run_calls('all', 0, $#calls, 3, 10);
# one alias has several urls, and everybody is at them
my ($first) = grep { $calls[$_] =~ /create_alias/ } 0 .. $#calls;
my ($last) = grep { $calls[$_] =~ /remove_alias_access/ } 0 .. $#calls;
$node->safe_psql('postgres', q{SELECT pictrepo.create_hash(('hash ' || n)::bytea, 'i') FROM generate_series(1, 6) n});
run_calls('urls', $first, $last, 6, 2);
is( $node->safe_psql('postgres', 'SELECT what, state, message, count(*) FROM odd GROUP BY 1, 2, 3'),
	'', 'every call ended as the contract says')
  or diag join "\n", map { "$_: $calls[$_]" } 0 .. $#calls;

# ----- what is left -----

my %wrong = (
	'aliases without hash' =>
	  q{FROM pictrepo.aliases WHERE hash NOT IN (SELECT hash FROM pictrepo.hashes)},
	'urls without alias' =>
	  q{FROM pictrepo.proxies WHERE alias NOT IN (SELECT alias FROM pictrepo.aliases)},
	'variants without hash' =>
	  q{FROM pictrepo.variants WHERE hash NOT IN (SELECT hash FROM pictrepo.hashes)},
	'claims without hash' =>
	  q{FROM pictrepo.variant_claims WHERE hash NOT IN (SELECT hash FROM pictrepo.hashes)},
	'aliases that expire twice or not by their latest access' =>
	  q{FROM (SELECT FROM pictrepo.older_aliases('infinity') GROUP BY alias
			HAVING count(*) > 1 OR max(accessed) <> pictrepo.alias_accessed_at(alias)) AS a},
	'proxied aliases with an access time that do not expire' =>
	  q{FROM pictrepo.proxies WHERE accessed IS NOT NULL
			AND alias NOT IN (SELECT alias FROM pictrepo.older_aliases('infinity'))},
	'jobs that are dead and alive' =>
	  q{FROM pictrepo.dead_jobs JOIN pictrepo.job_queue USING (id)},
	'running jobs without a worker' =>
	  q{FROM pictrepo.job_queue WHERE (status = 'running') <> (worker IS NOT NULL)});
foreach my $what (sort keys %wrong)
{
	is($node->safe_psql('postgres', "SELECT count(*) $wrong{$what}"), '0', "no $what");
}
unlike(slurp_file($node->logfile), qr/PANIC|XX000|terminated by signal|deadlock detected/,
	'nothing odd in the log');

$node->stop;
done_testing();

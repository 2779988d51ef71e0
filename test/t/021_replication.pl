# What replicates row by row and what waits for a standby: the tables of the
# extension through a publication and a subscription, and as pg_recvlogical sees
# them; an acknowledged push on a synchronous standby.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $COUNTS = q{
	SELECT pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes),
		pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue),
		bool_and(pictrepo.queue_length(queue) =
			(SELECT count(*) FROM pictrepo.job_queue j WHERE j.queue = q.queue))
	FROM unnest('{q,moved,nothing}'::text[]) AS q (queue)};
my $WORKERS = q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'pictrepo worker'};

# ----- logical replication -----

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
$publisher->safe_psql('postgres', q{ALTER DATABASE postgres SET timezone = 'UTC'});
fill($publisher, 'postgres');
$publisher->safe_psql('postgres', 'CREATE PUBLICATION all_of_it FOR TABLES IN SCHEMA pictrepo');
$publisher->safe_psql('postgres',
	q{SELECT pg_create_logical_replication_slot('changes', 'test_decoding')});

# Another server, with the extension and no library preloaded: nobody but the
# publisher is to change what came from there.
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', q{
wal_receiver_status_interval = '1s'
max_logical_replication_workers = 7
max_replication_slots = 40
max_sync_workers_per_subscription = 6
});
$subscriber->start;
$subscriber->safe_psql('postgres', q{ALTER DATABASE postgres SET timezone = 'UTC'});
$subscriber->safe_psql('postgres', 'CREATE EXTENSION pictrepo');
$subscriber->safe_psql('postgres',
	qq{CREATE SUBSCRIPTION copy CONNECTION '@{[$publisher->connstr]} dbname=postgres' PUBLICATION all_of_it});
$subscriber->wait_for_subscription_sync($publisher, 'copy');

sub check_tables
{
	my ($when) = @_;

	$publisher->wait_for_catchup('copy');
	foreach my $table (tables($publisher, 'postgres'))
	{
		is(rows_of($subscriber, 'postgres', $table), rows_of($publisher, 'postgres', $table),
			"$when: rows of $table");
	}
	is($subscriber->safe_psql('postgres', $COUNTS), 't|t|t', "$when: counts are exact");
	return;
}

check_tables('copied');

# Every table has what it takes to find a row again, and what changes arrives.
$publisher->safe_psql('postgres', $_) foreach (
	q{SELECT pictrepo.push('q', to_jsonb(n)) FROM generate_series(1, 30) n},
	qq{SELECT count(*) FROM pictrepo.pop('q', '$WORKER', 5)},
	qq{SELECT pictrepo.complete_job('q', worker, id, 'success') FROM pictrepo.job_queue WHERE status = 'running'},
	qq{SELECT count(*) FROM pictrepo.pop('q', '$WORKER', 2)},
	qq{SELECT pictrepo.complete_job('q', worker, id, 'aborted', 'why')
		FROM (SELECT * FROM pictrepo.job_queue WHERE status = 'running' LIMIT 1) j},
	q{UPDATE pictrepo.job_queue SET queue = 'moved' WHERE job IN ('7', '8')},
	q{SELECT pictrepo.ingest('new', 'new.png', '{}', 'new.png', 'secret')},
	q{SELECT pictrepo.delete_alias('other.png', 'secret')});
foreach my $table (tables($publisher, 'postgres'))
{
	my $column = $publisher->safe_psql('postgres', qq{
		SELECT quote_ident(attname) FROM pg_attribute
		WHERE attrelid = 'pictrepo.$table'::regclass AND attnum > 0 AND NOT attisdropped
		ORDER BY attnum DESC LIMIT 1});
	$publisher->safe_psql('postgres', "UPDATE pictrepo.$table SET $column = $column");
}
check_tables('changed');
cmp_ok($publisher->safe_psql('postgres', q{SELECT pictrepo.queue_length('q')}), '>', 20, 'there were jobs');

my @readers =
  grep { !is_writer($_) && $_->{name} !~ /^(session_worker|status)$/ } public_functions($publisher, 'postgres');
my @answers = try_calls($publisher, 'postgres', undef, map { call_of($_) } @readers);
my @copies = try_calls($subscriber, 'postgres', undef, map { call_of($_) } @readers);

# what the server counts itself, and when its own rows came
my $own = qr/^(queue_counters|counting|maintenance_status)$/;
foreach my $i (grep { $readers[$_]{name} !~ $own } 0 .. $#readers)
{
	is($copies[$i], $answers[$i], "$readers[$i]{signature} answers the same");
}

# A publisher with the library, whose claims do not wait for the disk and whose
# heartbeats write nothing.  It starts while nobody misses it.
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION copy DISABLE');
$publisher->poll_query_until('postgres', q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'copy'});
$publisher->append_conf('postgresql.conf', q{shared_preload_libraries = 'pictrepo'});
$publisher->restart;
ok($publisher->poll_query_until('postgres', 'SELECT min(runs) > 0 FROM pictrepo.maintenance'),
	'the publisher has a worker');
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION copy ENABLE');
$publisher->safe_psql('postgres', $_) foreach (
	q{SELECT pictrepo.push_many('q', '{31,32,33}')},
	qq{SELECT count(*) FROM pictrepo.pop('q', '$WORKER', 2)},
	q{SELECT pictrepo.heartbeat(queue, worker, id), pictrepo.complete_job(queue, worker, id)
		FROM (SELECT * FROM pictrepo.job_queue WHERE status = 'running' LIMIT 1) j},
	q{SELECT pictrepo.accessed_alias('proxied.png'), pictrepo.create_hash('last', 'last.png')},
	# for this one the disk is waited for
	q{SELECT pictrepo.push('q', '34')});
check_tables('preloaded publisher');

# everything at once, alone and with what hangs on it, and what comes after it in the same transaction
$publisher->safe_psql('postgres', q{TRUNCATE pictrepo.job_queue});
check_tables('TRUNCATE of jobs');
$publisher->safe_psql('postgres', q{
	SELECT pictrepo.push('q', '35');
	BEGIN;
	TRUNCATE pictrepo.job_queue;
	TRUNCATE pictrepo.hashes CASCADE;
	SELECT pictrepo.push_many('moved', '{7,8}'), pictrepo.push_many('q', '{9,10,11}'), pictrepo.create_hash('new', 'new.png');
	COMMIT});
check_tables('TRUNCATE and more');
is( $subscriber->safe_psql('postgres', q{SELECT pictrepo.queue_length('q'), pictrepo.queue_length('moved'),
		pictrepo.size(), (SELECT count(*) FROM pictrepo.aliases)}),
	'3|2|1|0', 'TRUNCATE arrives');

# with the library, whose counts the rows that arrive change
$subscriber->append_conf('postgresql.conf', q{shared_preload_libraries = 'pictrepo'});
$subscriber->stop;
# while the slot is in use a subscriber that starts is refused, and waits
$publisher->poll_query_until('postgres', q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'copy'});
$subscriber->start;
ok($subscriber->poll_query_until('postgres', $WORKERS), 'preloaded, the subscriber has a worker');
is($subscriber->safe_psql('postgres', $COUNTS), 't|t|t', 'preloaded: counts are exact');
$publisher->safe_psql('postgres', $_) foreach (
	q{SELECT pictrepo.push_many('moved', '{1,2,3}')},
	q{DELETE FROM pictrepo.job_queue WHERE queue = 'q' AND job IN ('9', '10')},
	q{SELECT pictrepo.create_hash('newer', 'newer.png'), pictrepo.cleanup_hash('new')});
$publisher->wait_for_catchup('copy');
is($subscriber->safe_psql('postgres', $COUNTS), 't|t|t', 'and stay so while rows arrive');
is( $subscriber->safe_psql('postgres', q{SELECT pictrepo.queue_length('moved'), pictrepo.identifier('newer')}),
	'5|newer.png', 'which are there');

# a waiter there is told of what is pushed here
my $waiter = Session->new($subscriber);
$waiter->send(q{SELECT job FROM pictrepo.pop('waited for', wait => '10 min')});
$subscriber->poll_query_until('postgres',
	q{SELECT waiting = 1 FROM pictrepo.queue_stats WHERE queue = 'waited for'});
$publisher->safe_psql('postgres', q{SELECT pictrepo.push('waited for', '"far"')});
is($waiter->answer, '"far"', 'rows that arrive wake who waits');
$waiter->leave;

# the subscriber takes over
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION copy');
is( $subscriber->safe_psql('postgres', q{
		SELECT pictrepo.push('moved', '4') IS NOT NULL;
		SELECT count(*) FROM pictrepo.pop('moved', max_jobs => 10);
		SELECT pictrepo.create_hash('newest', 'newest.png')}),
	"t\n6\nt", 'it takes over');
is($subscriber->safe_psql('postgres', $COUNTS), 't|t|t', 'and counts on');
unlike(slurp_file($subscriber->logfile), qr/ERROR:|PANIC|TRAP/, 'nothing went wrong there');
$subscriber->stop;

# ----- pg_recvlogical -----

my $changes = $publisher->pg_recvlogical_upto('postgres', 'changes',
	$publisher->lsn('flush'), $PostgreSQL::Test::Utils::timeout_default, 'include-xids' => '0');
like($changes, qr/^table pictrepo\.job_queue: INSERT: id\[uuid\]:.* job\[jsonb\]:'30'/m, 'a push is seen');
like($changes, qr/^table pictrepo\.job_queue: UPDATE: .* status\[pictrepo\.job_status\]:'running'/m, 'a claim');
like($changes, qr/^table pictrepo\.job_queue: DELETE: id\[uuid\]:/m, 'the end of a job');
like($changes, qr/^table pictrepo\.dead_jobs: INSERT: .*error\[text\]:'why'/m, 'its death');
like($changes, qr/^table pictrepo\.hashes: DELETE: hash\[bytea\]:/m, 'the end of a hash');
like($changes, qr/^table (?=.*pictrepo\.hashes\b)(?=.*pictrepo\.aliases\b).*: TRUNCATE:/m, 'a TRUNCATE with what hangs on it');
unlike($changes, qr/\(no-tuple-data\)/, 'of no change it is unknown which row it was');
$publisher->stop;

# ----- a synchronous standby -----

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{shared_preload_libraries = 'pictrepo'});
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION pictrepo');
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'});
$primary->reload;
ok($primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'}),
	'the standby is synchronous');

my $client = Session->new($primary);
my @acknowledged = split /\n/, $client->ask(q{SELECT pictrepo.push('q', to_jsonb(n)) FROM generate_series(1, 20) n});
$client->ask('SET pictrepo.synchronous_claims = on');
my $claimed = $client->ask(qq{SELECT id FROM pictrepo.pop('q', '$WORKER')});
$client->ask('RESET pictrepo.synchronous_claims');

# From here on the standby hears nothing, so nothing is acknowledged but claims,
# which do not wait for the disk either.
$standby->append_conf('postgresql.conf', q{primary_conninfo = ''});
$standby->reload;
ok($primary->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_replication'), 'the standby is cut off');
my $other = Session->new($primary);
$other->send(q{SELECT pictrepo.push('q', '"never acknowledged"')});
my $ending = Session->new($primary);
$ending->send(qq{SELECT pictrepo.complete_job('q', '$WORKER', '$claimed')});
is($primary->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event = 'SyncRep'}),
	1, 'a push and the end of a job wait for the standby');
ok(!$other->answered && !$ending->answered, 'neither is acknowledged');
my $lost = $client->ask(qq{SELECT id FROM pictrepo.pop('q', '$WORKER')});
like($lost, qr/^[0-9a-f-]{36}$/, 'a claim does not wait');

$primary->stop('immediate');
$standby->promote;
is_deeply(
	[ sort split /\n/, $standby->safe_psql('postgres', q{SELECT id FROM pictrepo.job_queue}) ],
	[ sort @acknowledged ],
	'promoted, it has every acknowledged push, and no end that was not');
ok($standby->poll_query_until('postgres', $WORKERS), 'and a worker');
is($standby->safe_psql('postgres', $COUNTS), 't|t|t', 'counts are exact');
is( $standby->safe_psql('postgres', qq{
		SELECT pictrepo.heartbeat('q', '$WORKER', '$claimed');
		SELECT pictrepo.complete_job('q', '$WORKER', '$claimed');
		SELECT pictrepo.complete_job('q', '$WORKER', '$lost');
		SELECT count(*) FROM pictrepo.pop('q', max_jobs => 100)}),
	"t\ncompleted\nlost\n19", 'a claim that it knows is held on, one that it never heard of is lost, and jobs go on');
$standby->stop;

done_testing();

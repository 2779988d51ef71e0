# size() and queue_length() are right whatever way the rows came: by pg_restore
# with disabled triggers, by a session with session_replication_role = replica,
# in a transaction or by a prepared one, while others count.  Where a trigger
# does not fire always any more, status() says so, and a call mends it.  The
# configuration of queues may go by TRUNCATE.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
max_prepared_transactions = 5
pictrepo.sweep_interval = '1h'
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# What the functions say, and what the tables have.
my $said = q{SELECT pictrepo.size(), pictrepo.queue_length(), pictrepo.queue_length('q'), pictrepo.queue_length('r')};
my $stored = q{SELECT (SELECT count(*) FROM pictrepo.hashes), count(*), count(*) FILTER (WHERE queue = 'q'),
	count(*) FILTER (WHERE queue = 'r') FROM pictrepo.job_queue};

sub check_counts
{
	my ($expected, $name) = @_;

	is(value($stored), $expected, "$name: the rows");
	is(value($said), $expected, "$name: the counts");
	is(value($said), $expected, "$name: and again");
	return;
}

my $triggers = q{SELECT value, advice FROM pictrepo.status() WHERE item = 'triggers'};
my $insert = q{
	INSERT INTO pictrepo.hashes (hash, identifier) SELECT sha256(gen_random_uuid()::text::bytea), 'f' FROM generate_series(1, 5);
	INSERT INTO pictrepo.job_queue (id, queue, job)
		SELECT gen_random_uuid(), CASE WHEN n <= 4 THEN 'q' ELSE 'r' END, '1' FROM generate_series(1, 7) n};
my $delete = q{DELETE FROM pictrepo.hashes; DELETE FROM pictrepo.job_queue};
my ($disable, $enable) = map {
	my $how = $_;
	join ';', map { "ALTER TABLE pictrepo.$_ $how TRIGGER ALL" } 'hashes', 'job_queue'
} 'DISABLE', 'ENABLE';
my $mend = 'SELECT pictrepo.post_restore()';

# ----- pg_restore --data-only --disable-triggers -----

value($insert);
check_counts('5|7|4|3', 'inserted');
my $dump = "$PostgreSQL::Test::Utils::tmp_check/data";
$node->command_ok([ 'pg_dump', '-Fc', '--data-only', '-f', $dump, $node->connstr('postgres') ], 'dumped');
value($delete);
check_counts('0|0|0|0', 'deleted');
$node->command_ok(
	[ 'pg_restore', '--exit-on-error', '--data-only', '--disable-triggers', '-d', $node->connstr('postgres'), $dump ],
	'restored past the triggers');
check_counts('5|7|4|3', 'restored');
like(value($triggers), qr/^changed: .*job_came on pictrepo.job_queue.*post_restore/, 'status() says that the triggers have changed');

# what comes by a replica role then is not seen by an ordinary trigger
value("SET session_replication_role = replica; $delete");
check_counts('0|0|0|0', 'deleted past ordinary triggers');
value("SET session_replication_role = replica; $insert");
check_counts('5|7|4|3', 'inserted past ordinary triggers');
value($mend);
is(value($triggers), 'on|', 'a call makes them fire always again');
check_counts('5|7|4|3', 'mended');
value("SET session_replication_role = replica; $delete");
check_counts('0|0|0|0', 'deleted by a replica role');

# ----- while others count -----

# An open transaction loads; others keep asking.
my $loading = Session->new($node, 'postgres');
$loading->ask("BEGIN; $disable; $insert");
is($loading->ask($said), '5|7|4|3', 'the transaction that loads sees its rows');
check_counts('0|0|0|0', 'others do not');
$loading->ask('SAVEPOINT a; ' . $enable . '; ROLLBACK TO a');
$loading->ask($enable . '; COMMIT');
is($loading->ask($said), '5|7|4|3', 'nor does it forget them');
check_counts('5|7|4|3', 'loaded in one transaction');
value($mend);

# disabled in one transaction, loaded in the next, with counts in between
value($disable);
check_counts('5|7|4|3', 'disabled');
value($delete);
check_counts('0|0|0|0', 'deleted while disabled');
value($enable);
check_counts('0|0|0|0', 'enabled');
value($mend);
check_counts('0|0|0|0', 'fires always');
value($insert);
check_counts('5|7|4|3', 'counted again');

# rolled back, and by a prepared transaction
value("BEGIN; $disable; $delete; ROLLBACK");
check_counts('5|7|4|3', 'rolled back');
value("BEGIN; $disable; $delete; $enable; PREPARE TRANSACTION 'p'");
value("COMMIT PREPARED 'p'");
check_counts('0|0|0|0', 'by a prepared transaction');
value($mend);
check_counts('0|0|0|0', 'mended after it');

value("BEGIN; SELECT pictrepo.pre_restore(); PREPARE TRANSACTION 'p'");
is(value('SELECT pictrepo.upkeep_held_by()'), 'restore by a prepared transaction', 'pre_restore() is prepared');
value("ROLLBACK PREPARED 'p'");
is(value('SELECT pictrepo.upkeep_held_by()'), '', 'and rolled back');

# ----- by the sweep and by a call, where nothing gave a hint -----

# a trigger that is off in the catalog, without any statement that turns triggers off
my $catalog = q{SET allow_system_table_mods = on;
	UPDATE pg_trigger SET tgenabled = '%s' WHERE NOT tgisinternal
		AND tgrelid IN ('pictrepo.hashes'::regclass, 'pictrepo.job_queue'::regclass);
	UPDATE pg_class SET relname = relname WHERE oid IN ('pictrepo.hashes'::regclass, 'pictrepo.job_queue'::regclass)};
value(sprintf($catalog, 'D'));
value($insert);
is(value($said), '0|0|0|0', 'a change of the catalog is not noticed');
value(q{SELECT pictrepo.run_maintenance('sweep')});
check_counts('5|7|4|3', 'swept');
value(sprintf($catalog, 'A'));
check_counts('5|7|4|3', 'on again');
value(sprintf($catalog, 'D') . ";$delete;" . sprintf($catalog, 'A'));
is(value($said), '5|7|4|3', 'nor is this');
is(value('SELECT * FROM pictrepo.recount()'), '0|0', 'recount() counts');
check_counts('0|0|0|0', 'recounted');

# ----- TRUNCATE of queues -----

# A session that waits for a paused queue hears of it at once: without that, it
# would look again in the sweep only.
value(q{SELECT pictrepo.pause_queue('q'), pictrepo.push('q', '"ready"')});
my $waiting = Session->new($node, 'postgres');
$waiting->send(q{CALL pictrepo.pop_wait('q', NULL, '10 min')});
ok( $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pictrepo.waiting WHERE name = 'q'}),
	'a session waits for a paused queue');
value('BEGIN; TRUNCATE pictrepo.queues; ROLLBACK');
ok(!$waiting->answered, 'TRUNCATE that is rolled back');
my $start = seconds();
value('TRUNCATE pictrepo.queues');
like($waiting->answer, qr/"ready"/, 'TRUNCATE of queues ends the pause');
cmp_ok(seconds() - $start, '<', 600, 'long before the timeout');
$_->leave foreach $loading, $waiting;

unlike(slurp_file($node->logfile), qr/PANIC|XX000|TRAP|terminated by signal/, 'nothing odd in the log');
$node->stop;
done_testing();

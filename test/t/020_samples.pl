# Samples of what is in the queues, for graphs: none unless wanted, right when
# they are, and never more than are kept.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.sample_interval = 0
pictrepo.sample_retention = '1h'
});
$node->start;

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

sub set
{
	my ($setting, $to) = @_;

	$node->adjust_conf('postgresql.conf', "pictrepo.$setting", "'$to'");
	$node->reload;
	return;
}

value(q{
	CREATE EXTENSION pictrepo;
	SELECT pictrepo.create_hash('a', 'a.png'), pictrepo.create_upload();
	SELECT pictrepo.push_many('q', '{1,2,3}');
	SELECT pictrepo.push('q', '4', run_at => now() + interval '1 day');
	SELECT pictrepo.pop('q')});
ok( $node->poll_query_until('postgres',
		q{SELECT every IS NULL AND runs > 0 FROM pictrepo.maintenance WHERE duty = 'samples'}),
	'nothing is sampled by default');
is(value(q{SELECT pictrepo.run_maintenance('samples'), count(*) FROM pictrepo.samples}),
	'0|0', 'nor when told to');

set('sample_interval', '20ms');
ok($node->poll_query_until('postgres', 'SELECT count(*) > 5 FROM pictrepo.samples'), 'samples are taken');
is(value('SELECT DISTINCT images, uploads FROM pictrepo.samples'), '1|1', 'with images and uploads');
is( value(q{
		SELECT DISTINCT queue, ready, scheduled, running, dead, oldest_age > '0', pushed, popped, completed
		FROM pictrepo.queue_samples}),
	'q|2|1|1|0|t|4|1|0', 'and queues');
is(value('SELECT count(*) FROM pictrepo.samples s FULL JOIN pictrepo.queue_samples q USING (at) WHERE s.at IS NULL OR q.at IS NULL'),
	'0', 'at the same times');
value('SELECT pictrepo.pop(queue => \'q\', max_jobs => 2)');
ok($node->poll_query_until('postgres', 'SELECT ready = 0 AND popped = 3 FROM pictrepo.queue_samples ORDER BY at DESC LIMIT 1'),
	'they change with the queue');

# the ring
value(q{INSERT INTO pictrepo.samples SELECT now() - n * interval '1 minute', 0, 0 FROM generate_series(1, 200) n;
	INSERT INTO pictrepo.queue_samples SELECT at, 'old', 0, 0, 0, 0 FROM pictrepo.samples WHERE images = 0});
ok($node->poll_query_until('postgres', q{
	SELECT count(*) = 0 FROM (SELECT at FROM pictrepo.samples UNION ALL SELECT at FROM pictrepo.queue_samples) s
	WHERE at < now() - interval '61 minutes'}), 'old ones go');
cmp_ok(value('SELECT count(*) FROM pictrepo.samples WHERE images = 0'), '>=', 58, 'no others do');

set('sample_interval', '0');
my $runs = q{SELECT runs FROM pictrepo.maintenance WHERE duty = 'samples'};
ok($node->poll_query_until('postgres', q{SELECT every IS NULL FROM pictrepo.maintenance WHERE duty = 'samples'}),
	'and they can be switched off');
my $before;
do { $before = value($runs); $node->safe_psql('postgres', 'SELECT pg_sleep(0.5)') } until value($runs) == $before;
my $number = value('SELECT count(*) FROM pictrepo.samples');
value('SELECT pg_sleep(0.2)');
is(value('SELECT count(*) FROM pictrepo.samples'), $number, 'then there are no more');

$node->stop;
done_testing();

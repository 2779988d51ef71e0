# A session that waits for long does not grow, however often it checks.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

# With one check a millisecond, a few bytes that each leaves behind become megabytes.
my $SECONDS = 5;
my $MOST_KB = 1024;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
fsync = off
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pictrepo;
	SELECT pictrepo.create_hash('hash', 'hash.png'), pictrepo.claim_variant_processing_rights('hash', 'v');
	SELECT pictrepo.configure_queue('q', max_running => 1)});
my $upload = $node->safe_psql('postgres', 'SELECT pictrepo.create_upload()');

my %waits = (
	'pop' => q{SELECT count(*) FROM pictrepo.pop('q', wait => '1 h')},
	'pop_wait' => q{CALL pictrepo.pop_wait('q', NULL, '1 h', NULL, NULL, NULL, NULL)},
	'wait' => "SELECT pictrepo.wait('$upload', '1 h')",
	'variant_waiter' => q{SELECT pictrepo.variant_waiter('hash', 'v', '1 h')});
my %sessions;
foreach my $name (sort keys %waits)
{
	$sessions{$name} = Session->new($node);
	$sessions{$name}->ask(q{LOAD 'pictrepo'; SET pictrepo.poll_interval = '1ms'});
	$sessions{$name}->send($waits{$name});
}
sleep 1;
my %before = map { $_ => private_kb($sessions{$_}->pid) } keys %sessions;
sleep $SECONDS;
foreach my $name (sort keys %sessions)
{
	my $grown = private_kb($sessions{$name}->pid) - $before{$name};

	cmp_ok($grown, '<=', $MOST_KB, "$name does not grow");
	note "$name grew by $grown kB in $SECONDS s";
}

# What came meanwhile is what they return.
$node->safe_psql('postgres', qq{
	SELECT pictrepo.complete_upload('$upload', '"done"');
	INSERT INTO pictrepo.variants (hash, variant, identifier) VALUES ('hash', 'v', 'v.png')});
is($sessions{wait}->answer, '"done"', 'the result of the upload');
is($sessions{variant_waiter}->answer, 'v.png', 'the variant');
$node->safe_psql('postgres', q{SELECT pictrepo.push('q', '"job"')});
$node->safe_psql('postgres', q{UPDATE pictrepo.queues SET max_running = 2; SELECT pictrepo.push('q', '"job"')});
is($sessions{pop}->answer, '1', 'a job');
like($sessions{pop_wait}->answer, qr/\|"job"\|1\|/, 'and another one');
$node->stop;
done_testing();

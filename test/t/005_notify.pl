# Who listens to pict-rs's channels hears of every job that becomes ready,
# every upload result and every variant that is there or whose claim ended,
# whoever wrote it, with the writer's commit.  Claims are no news.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use MIME::Base64;
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
fill($node, 'postgres');

# The notifications that another session hears from a script, as
# "channel payload", and what the script printed.
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN ' . $_)
  foreach qw(queue_status_channel upload_completion_channel keyed_notification_channel);

sub heard
{
	my ($script, $mode) = @_;
	my ($stdout, $stderr) = run($node, 'postgres',
		"LOAD 'pictrepo'; SET pictrepo.notify = @{[$mode // 'transactional']};\n$script");
	is($stderr, '', 'no error');

	my $output = $listener->query(q{SELECT 'end'});
	my @heard;
	push @heard, "$1 $2"
	  while $output =~ /Asynchronous notification "(\w+)" with payload "(.*)" received/g;
	return (\@heard, split /\n/, $stdout);
}

sub key
{
	my ($hash, $variant) = @_;

	return 'keyed_notification_channel ' . encode_base64($hash, '') . $variant;
}

# ----- jobs -----

my ($heard, @ids) = heard(q{
	SELECT pictrepo.push('a queue', '1');
	SELECT unnest(pictrepo.push_many('other', '{1,2}'));
	INSERT INTO pictrepo.job_queue (id, queue, job) VALUES (gen_random_uuid(), 'plain', '1') RETURNING id;
});
is(scalar @ids, 4, 'four jobs');
is_deeply(
	$heard,
	[
		"queue_status_channel $ids[0] a queue",
		"queue_status_channel $ids[1] other",
		"queue_status_channel $ids[2] other",
		"queue_status_channel $ids[3] plain"
	],
	'pushed jobs');

($heard) = heard(qq{SELECT id FROM pictrepo.pop('a queue', '$WORKER')});
is_deeply($heard, [], 'a claim is no news');
($heard) = heard(qq{
	SELECT pictrepo.heartbeat('a queue', '$WORKER', '$ids[0]');
	SELECT pictrepo.complete_job('a queue', '$WORKER', '$ids[0]');
	SELECT id FROM pictrepo.pop('other', '$WORKER', max_jobs => 2)});
is_deeply($heard, [], 'nor are heartbeats and success');

($heard) = heard(qq{
	SELECT pictrepo.complete_job('other', '$WORKER', '$ids[1]', 'failure');
	SELECT pictrepo.complete_job('other', '$WORKER', '$ids[2]', 'aborted')});
is_deeply($heard, ["queue_status_channel $ids[1] other"], 'a job that is to be retried');
($heard) = heard(qq{SELECT pictrepo.requeue_dead('$ids[2]')});
is_deeply($heard, ["queue_status_channel $ids[2] other"], 'a job with another life');
($heard) = heard(qq{
	UPDATE pictrepo.job_queue SET heartbeat = '2001-01-01' WHERE id = '$RUNNING';
	SET pictrepo.heartbeat_timeout = '1ms';
	SELECT pictrepo.pause_queue('q');
	SELECT id FROM pictrepo.pop('q')});
is_deeply($heard, ["queue_status_channel $RUNNING q"], 'a job taken from a silent worker');

# ----- uploads -----

($heard, @ids) = heard(q{SELECT pictrepo.create_upload()});
is_deeply($heard, [], 'an upload that begins is no news');
($heard) = heard(qq{SELECT pictrepo.complete_upload('$ids[0]', '"done"')});
is_deeply($heard, ["upload_completion_channel $ids[0]"], 'the result of an upload');
($heard) = heard(qq{SELECT pictrepo.claim('$ids[0]')});
is_deeply($heard, [], 'its claim');
($heard) = heard(qq{
	INSERT INTO pictrepo.uploads (id) VALUES ('$WORKER');
	UPDATE pictrepo.uploads SET result = '1' WHERE id = '$WORKER';
	INSERT INTO pictrepo.uploads (id, result) VALUES ('$RUNNING', '2')});
is_deeply(
	$heard,
	[ "upload_completion_channel $WORKER", "upload_completion_channel $RUNNING" ],
	'results by plain statements');

# ----- variants -----

my $claim = qq{SELECT pictrepo.claim_variant_processing_rights('hash', 'a b', '$WORKER')};
($heard) = heard(qq{
	$claim;
	$claim;
	SELECT pictrepo.variant_heartbeat('hash', 'a b', '$WORKER')});
is_deeply($heard, [], 'a claimed variant is no news');
($heard) = heard(qq{SELECT pictrepo.notify_variant('hash', 'a b', '$WORKER')});
is_deeply($heard, [ key('hash', 'a b') ], 'the end of a claim');
($heard) = heard(q{SELECT pictrepo.relate_variant_identifier('hash', 'a b', 'a.png')});
is_deeply($heard, [ key('hash', 'a b') ], 'a variant');
($heard) = heard(q{
	INSERT INTO pictrepo.variants (hash, variant, identifier) VALUES ('other', 'plain', 'plain.png')});
is_deeply($heard, [ key('other', 'plain') ], 'a variant by a plain INSERT');

# every length of padding, and the longest there is
foreach my $hash ("\x00", "\xff\xfe", "\xfb\xef\xbe", "\xff" x 39, "\xff" x 128)
{
	my $bytes = '\x' . unpack('H*', $hash);
	my $variant = 'x' x 1024;

	($heard) = heard(qq{
		SELECT pictrepo.create_hash('$bytes', 'a');
		SELECT pictrepo.relate_variant_identifier('$bytes', '$variant', 'b')});
	is_deeply($heard, [ key($hash, $variant) ], 'a hash of ' . length($hash) . ' bytes');
}

# ----- with the commit -----

($heard) = heard(q{BEGIN; SELECT pictrepo.push('q', '1'); ROLLBACK});
is_deeply($heard, [], 'nothing after a rollback');

# ----- off -----

($heard) = heard(qq{
	SELECT pictrepo.push('q', '1');
	INSERT INTO pictrepo.job_queue (id, queue, job) VALUES (gen_random_uuid(), 'plain', '1');
	INSERT INTO pictrepo.uploads (id, result) VALUES ('$READY', '2');
	SELECT pictrepo.relate_variant_identifier('hash', 'silent', 'silent.png');
	SELECT pictrepo.notify_variant('hash', 'icon', '$WORKER')}, 'off');
is_deeply($heard, [], 'nothing when off');

$listener->quit;
$node->stop;
done_testing();

# The page that `make dashboard` writes: what the database says is what it shows,
# as text whatever is in there, also where there is nothing and for who may not
# see everything.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dashboard = "$FindBin::RealBin/../../dashboard/dashboard.py";
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.dead_job_interval = '1h'
});
$node->start;

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# The page, and the page without its tags.
sub page
{
	my ($user, $what) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/page.html';

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = 'postgres';
	local $ENV{PGUSER} = $user if $user;
	command_ok([ '/usr/bin/python3', $dashboard, $file ], "a page is written: $what");
	my $html = slurp_file($file);
	(my $text = $html) =~ s/<[^>]*>/ /g;
	$text =~ s/\s+/ /g;
	return ($html, $text);
}

# What a browser would say of a page that something broke out of.
sub is_sound
{
	my ($html, $what) = @_;
	my @open;

	while ($html =~ m,<(/?)(\w+)[^>]*?(/?)>,g)
	{
		next if $3 || $2 =~ /^(meta)$/;
		if (!$1) { push @open, $2 }
		elsif (($open[-1] // '') eq $2) { pop @open }
		else { last }
	}
	is("@open", '', "each tag is closed: $what");
	unlike($html, qr/<script|<img|<b>bold|<[^>]*\s(src|href|on\w+)\s*=|\burl\(/i, "nothing is run or fetched: $what");
	return;
}

value('CREATE EXTENSION pictrepo');
my ($html, $text) = page('', 'an empty repo');
is_sound($html, 'an empty repo');
like($text, qr/ 0 pictures /, 'it has no pictures');
like($text, qr/ waiting sessions 0 /, 'nobody waits, which is known');
like($text, qr/ Nothing was sampled\. /, 'and says how to have samples');

# ----- known content -----

# A fortnight of pictures; three moments with a restart of the server before the last.
value(q{
	SELECT pictrepo.create_hash_with_timestamp(pictrepo.make_hash(sha256(n::text::bytea), 1500, f), n || f,
		'2026-01-01 12:00Z'::timestamptz + n % 14 * interval '1 day')
	FROM generate_series(1, 1234) n, unnest('{png,webp}'::text[]) f WHERE f = 'png' OR n <= 100;
	SELECT pictrepo.push_many('full', array_agg(to_jsonb(n))) FROM generate_series(1, 321) n;
	SELECT pictrepo.pop('full', max_jobs => 21);
	INSERT INTO pictrepo.queue_samples (at, queue, ready, scheduled, running, dead, oldest_age, pushed, popped,
		completed, failed, reaped, wait_time, run_time)
	VALUES ('2026-01-01 00:00Z', 'full', 7, 0, 2, 0, NULL, 1000, 1000, 500, 9, 0, '1000 s', '2000 s'),
		('2026-01-01 00:10Z', 'full', 40, 5, 8, 0, '20 min', 7000, 4000, 3500, 9, 0, '7000 s', '14000 s'),
		('2026-01-01 00:20Z', 'full', 1, 0, 1, 0, '5 min', 1200, 700, 600, 0, 0, '2100 s', '600 s');
	INSERT INTO pictrepo.samples (at, images, uploads)
	VALUES ('2026-01-01 00:00Z', 100, 1), ('2026-01-01 00:10Z', 150, 9), ('2026-01-01 00:20Z', 140, 3)});

# Text that would be something else in HTML, wherever a client may leave some.
value(q{
	SELECT pictrepo.push('<script>alert("queue")</script>', '"</code><script>alert(1)</script>"', retry => 0);
	SELECT pictrepo.complete_job(queue, NULL, id, 'aborted', '<img src=x onerror=''alert(2)''> & <b>bold</b>')
	FROM pictrepo.pop('<script>alert("queue")</script>'), (VALUES ('<script>alert("queue")</script>')) q (queue);
	SELECT pictrepo.pause_queue('"><b>bold</b>');
	INSERT INTO pictrepo.queue_samples (at, queue, ready, scheduled, running, dead)
	VALUES ('2026-01-01 00:20Z', '</svg><img src=x>', 1, 0, 0, 0);
	SELECT pictrepo.push('full', to_jsonb(repeat('long', 1000)), retry => 0, priority => 9);
	SELECT pictrepo.complete_job('full', NULL, id, 'failure', NULL) FROM pictrepo.pop('full')});

($html, $text) = page('', 'known content');
is_sound($html, 'hostile content');
like($text, qr/ 1,334 pictures /, 'pictures');
like($text, qr/ 2 MB of content /, 'their bytes');
like($text, qr/ 300 jobs ready /, 'ready jobs');
like($text, qr/ 21 jobs running /, 'running jobs');
like($text, qr/ 2 dead jobs /, 'dead jobs');
like($text, qr/ png 1,234 1\.85 MB 1\.5 kB webp 100 150 kB 1\.5 kB all 1,334 2 MB /, 'formats');
like($text, qr/ full 300 0 21 1 \d[\d.]* (m?s|min|h)/, 'a queue');
like($text, qr/ paused /, 'a paused one');
like($text, qr/ reap 5 s \d{4}-/, 'the last maintenance');
like($text, qr/ preload on /, 'the status');
like($text, qr/&lt;img src=x onerror=&#x27;alert\(2\)&#x27;&gt; &amp; &lt;b&gt;bold/, 'the error of a dead job is text');
like($text, qr/&quot;&lt;\/code&gt;&lt;script&gt;alert\(1\)/, 'and so is the job');
like($text, qr/(long){70}[a-z]*…/, 'which is cut');
cmp_ok(() = $html =~ /<svg /g, '==', 7, 'seven plots');

# A line's points, by where the axis' ticks are.
sub points
{
	my ($name) = @_;
	my ($svg) = $html =~ m,(<svg [^>]*aria-label="$name".*?</svg>),s;
	my %at = map { my ($y, $tick) = /y="([\d.]+)"[^>]*text-anchor="end"[^>]*>([^<]+)/; ($tick => $y - 4) }
		$svg =~ /(<text [^>]*text-anchor="end"[^>]*>[^<]+)/g;
	my ($bottom, $top) = (sort { $a <=> $b } keys %at)[ 0, -1 ];
	return map {
		[ map { my (undef, $y) = split /,/;
				sprintf('%.1f', $bottom + ($at{$bottom} - $y) / ($at{$bottom} - $at{$top}) * ($top - $bottom)) } split / / ]
	} $svg =~ /points="([^"]*)"/g;
}

my @depth = points('Queue depth');
is_deeply($depth[0], [ '9.0', '48.0', '2.0' ], 'the depth of a queue over time')
	or diag(explain(\@depth));
my @rates = points('Throughput');
is_deeply([ map { $rates[0][$_] } 0, 1 ], [ '10.0', '2.0' ], 'pushed per second, over a restart')
	or diag(explain(\@rates));
is_deeply([ map { $rates[1][$_] } 0, 1 ], [ '5.0', '1.0' ], 'completed per second')
	or diag(explain(\@rates));
my ($age) = points('Oldest ready job');
is_deeply($age, [ '0.0', '20.0', '5.0' ], 'the age of the oldest job, in minutes as it is so long') or diag(explain($age));
my ($waited, $ran) = points('Latency');
is_deeply($waited, [ '2.0', '3.0' ], 'how long jobs waited, over a restart') or diag(explain($waited));
is_deeply($ran, [ '4.0', '1.0' ], 'and how long they ran') or diag(explain($ran));
my ($images) = points('Pictures over time');
is_deeply($images, [ '100.0', '150.0', '140.0' ], 'pictures, on an axis that does not begin with 0')
	or diag(explain($images));
my ($uploads) = points('Uploads under way');
is_deeply($uploads, [ '1.0', '9.0', '3.0' ], 'uploads') or diag(explain($uploads));
my ($bars) = $html =~ m,(aria-label="Pictures by day".*?</svg>),s;
cmp_ok(() = $bars =~ /<rect /g, '==', 28, 'a bar per day and format');

# ----- other roles -----

value(q{CREATE ROLE looker LOGIN; SELECT pictrepo.grant_access('looker', 'reader'); CREATE ROLE nobody LOGIN;
	GRANT USAGE ON SCHEMA pictrepo TO nobody});
($html, $text) = page('looker', 'a reader');
like($text, qr/ 1,334 pictures .*Dead jobs This role may not see them/, 'a reader sees all but the jobs');
($html, $text) = page('nobody', 'a role without rights');
is_sound($html, 'a role without rights');
like($text, qr/ Status This role may not see it/, 'it says so');

# ----- and without the library -----

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
($html, $text) = page('', 'without shared_preload_libraries');
is_sound($html, 'without shared_preload_libraries');
like($text, qr/ preload off set shared_preload_libraries = &#x27;pictrepo&#x27; and restart the server: /, 'it says what that would bring');

$node->stop;
done_testing();

# What nobody looks at any more goes by itself, when the settings say so: no
# sooner, nothing else, and never at the cost of those who do look.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.variant_interval = '50ms'
pictrepo.proxy_interval = '50ms'
pictrepo.variant_retention = '0'
pictrepo.proxy_retention = '0'
});
$node->start;

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

sub becomes
{
	my ($query, $expected, $name) = @_;

	$node->poll_query_until('postgres', $query, $expected);
	is(value($query), $expected, $name);
	return;
}

sub set_retention
{
	my (%settings) = @_;

	$node->adjust_conf('postgresql.conf', "pictrepo.${_}_retention", "'$settings{$_}'")
	  foreach keys %settings;
	$node->reload;
	return;
}

# Both duties have begun anew twice: what they would do is done.
sub duties_ran
{
	my $runs = q{SELECT min(runs) FROM pictrepo.maintenance WHERE duty IN ('variants', 'proxies')};
	my $before = value($runs);

	ok($node->poll_query_until('postgres', "SELECT min >= $before + 3 FROM ($runs) r"),
		'the duties run');
	return;
}

my $variants = q{SELECT string_agg(variant, ' ' ORDER BY variant COLLATE "C") FROM pictrepo.variants};
my $aliases = q{SELECT string_agg(alias, ' ' ORDER BY alias COLLATE "C") FROM pictrepo.aliases};
my $removed = q{
	SELECT string_agg(job #>> '{Identifier,identifier}', ' ' ORDER BY job)
	FROM pictrepo.job_queue WHERE queue = 'cleanup'};

# Variants served 1, 2, ... days ago; proxied urls the same; and what a user
# uploaded, which nobody looked at for years.
value(q{
	CREATE EXTENSION pictrepo;
	SELECT pictrepo.ingest('mine', 'mine.png', '{}', 'mine', 'token');
	SELECT pictrepo.set_accessed_alias('mine', '2001-01-01');
	SELECT pictrepo.relate_variant_identifier('mine', 'v' || n, 'v' || n || '.png'),
		pictrepo.set_accessed_variant('mine', 'v' || n, now() - n * interval '1 day')
		FROM generate_series(1, 6) n;
	SELECT pictrepo.ingest(convert_to('p' || n, 'UTF8'), 'p' || n || '.png', '{}', 'p' || n, 'token'),
		pictrepo.relate_url('https://example.org/' || n, 'p' || n),
		pictrepo.set_accessed_alias('p' || n, now() - n * interval '1 day')
		FROM generate_series(1, 6) n});

duties_ran();
is(value($variants), 'v1 v2 v3 v4 v5 v6', 'without a retention all variants stay');
is(value($aliases), 'mine p1 p2 p3 p4 p5 p6', 'and all aliases');

set_retention(variant => '132h');
becomes($variants, 'v1 v2 v3 v4 v5', 'an old variant goes');
is(value($removed), 'v6.png', 'its file is queued');
duties_ran();
is(value($aliases), 'mine p1 p2 p3 p4 p5 p6', 'that is not for aliases');
set_retention(proxy => '132h');
becomes($aliases, 'mine p1 p2 p3 p4 p5', 'an old alias of a url goes');
is(value($removed), 'p6.png v6.png', 'with its picture');

# Somebody is at a row: the others go, and this one later.
my $session = Session->new($node);
$session->ask(q{BEGIN; SELECT pictrepo.create_alias('another', 'token', 'p5');
	SELECT count(*) FROM (SELECT FROM pictrepo.variants WHERE variant = 'v5' FOR UPDATE) v});
set_retention(variant => '84h', proxy => '84h');
becomes($variants, 'v1 v2 v3 v5', 'a variant that somebody is at stays');
becomes($aliases, 'mine p1 p2 p3 p5', 'and an alias');
$session->ask('COMMIT');
becomes($variants, 'v1 v2 v3', 'and goes when he has left');
becomes($aliases, 'another mine p1 p2 p3', 'the same for the alias');
is(value($removed), 'p4.png p6.png v4.png v5.png v6.png', 'whose picture has another now');

# Somebody looks at it again.
$session->ask(q{BEGIN; SELECT pictrepo.accessed_variant('mine', 'v3'); SELECT pictrepo.accessed_alias('p3')});
set_retention(variant => '60h', proxy => '60h');
duties_ran();
$session->ask('COMMIT');
duties_ran();
is(value($variants), 'v1 v2 v3', 'a variant that is looked at stays');
is(value($aliases), 'another mine p1 p2 p3', 'and an alias');
$session->leave;

# A row that cannot go is in nobody's way.
value(q{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'I stay';
	END $$;
	CREATE TRIGGER refuse BEFORE DELETE ON pictrepo.variants FOR EACH ROW
		WHEN (old.variant = 'v2') EXECUTE FUNCTION refuse();
	CREATE TRIGGER refuse BEFORE DELETE ON pictrepo.aliases FOR EACH ROW
		WHEN (old.alias = 'p2') EXECUTE FUNCTION refuse()});
set_retention(variant => '12h', proxy => '12h');
becomes($variants, 'v2 v3', 'a variant that cannot be removed is passed by');
becomes($aliases, 'another mine p2 p3', 'and an alias');
becomes(
	q{SELECT string_agg(duty || ': ' || last_error, ', ' ORDER BY duty) FROM pictrepo.maintenance
	WHERE last_error IS NOT NULL},
	'proxies: I stay, variants: I stay', 'with a word of it');
value('DROP TRIGGER refuse ON pictrepo.variants; DROP TRIGGER refuse ON pictrepo.aliases');
becomes($variants, 'v3', 'when it can be removed, it is');
becomes($aliases, 'another mine p3', 'and the alias');
becomes(q{SELECT count(*) FROM pictrepo.maintenance WHERE last_error IS NOT NULL},
	'0', 'and nobody complains any more');

# Many at once: several batches, without a pause between them.
value(q{
	INSERT INTO pictrepo.variants (hash, variant, identifier, accessed)
	SELECT 'mine', n, n || '.png', '2001-01-01' FROM generate_series(1, 1000) n});
becomes($variants, 'v3', 'a thousand go');
is(value(q{SELECT count(*) FROM pictrepo.job_queue WHERE queue = 'cleanup' AND job::text ~ '"\d+\.png"'}),
	'1000', 'with their files');
is(value('SELECT count(*) FROM pictrepo.orphans'), '0', 'nothing is orphaned');

# Without a worker whoever calls run_maintenance does it.
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
value(q{SELECT pictrepo.set_accessed_variant('mine', 'v3', '2001-01-01'), pictrepo.set_accessed_alias('p3', '2001-01-01')});
is(value(q{SELECT pictrepo.run_maintenance('variants'), pictrepo.run_maintenance('proxies')}),
	'1|1', 'run_maintenance does the same');
is(value($aliases), 'another mine', 'the alias is gone');

$node->stop;
done_testing();

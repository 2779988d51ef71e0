# What a call costs does not grow with the tables: with many rows, whether the
# server has statistics of them or still those of empty tables, no call that
# asks for a part reads a whole table.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\n");
$node->start;

my @tables = qw(hashes variants aliases proxies details job_queue);
my $scans = qq{
	SELECT pg_stat_force_next_flush();
	SELECT sum(seq_scan) FROM pg_stat_user_tables
	WHERE schemaname = 'pictrepo' AND relname = ANY ('{@{[ join ',', @tables ]}}');
};

# Each call twice: once with a new plan, once with the kept one.
my @calls = (
	q{pictrepo.hash_page(NULL, 20)},
	q{pictrepo.hash_page_by_date('2020-01-02', 20)},
	q{pictrepo.hash_page(pictrepo.hash_to_slug(sha256(int8send(77))), 20)},
	q{pictrepo.older_variants('2020-01-02', 100)},
	q{pictrepo.older_aliases('2020-01-02', 100)},
	q{pictrepo.variants(sha256(int8send(7)))},
	q{pictrepo.aliases_for_hash(sha256(int8send(7)))},
	q{pictrepo.aliases_from_alias('a7')},
	q{pictrepo.identifier_from_alias('a7')},
	q{pictrepo.related('https://example.com/7')},
	q{pictrepo.alias_accessed_at('a7')},
	q{pictrepo.accessed_alias('a7')},
	q{pictrepo.accessed_alias('a19999')},
	q{pictrepo.set_accessed_alias('a8', now())},
	q{pictrepo.accessed_variant(sha256(int8send(7)), 'v')},
	q{pictrepo.claim_variant_processing_rights(sha256(int8send(7)), 'w')},
	q{pictrepo.remove_relation('a9')},
	q{pictrepo.cleanup_alias('a' || (100 + random() * 1000)::int)},
	q{pictrepo.cleanup_hash(sha256(int8send((100 + random() * 1000)::int8)))},
	q{pictrepo.push('q', '1')},
	q{pictrepo.push_many('q', '{1,2,3}')},
	q{pictrepo.pop('q')},
	q{pictrepo.pop('q', max_jobs => 100)},
	q{pictrepo.heartbeat('q', NULL, (SELECT id FROM pictrepo.pop('q')))},
	q{pictrepo.complete_job('q', NULL, (SELECT id FROM pictrepo.pop('q')))},
	q{pictrepo.complete_job('q', NULL, (SELECT id FROM pictrepo.pop('q')), 'failure')},
	q{pictrepo.complete_many('q', NULL, ARRAY(SELECT id FROM pictrepo.pop('q', max_jobs => 5)))},
	q{pictrepo.complete_and_pop('q', NULL, (SELECT id FROM pictrepo.pop('q')), 'aborted')});

# Operations, with the most pages that one may touch: an index that is read from
# end to end has a hundred at least.
# Of what goes, another one each time; a random one might be gone.
my $n = q{nextval('fresh')};
my %operations = (
	q{pictrepo.serve('a7')} => 60,
	q{pictrepo.serve('a7', touch => true)} => 90,
	q{pictrepo.serve_url('https://example.com/7')} => 90,
	q{pictrepo.serve_variant('a7', 'v')} => 120,
	q{pictrepo.ingest(sha256(float8send(random())), gen_random_uuid()::text, '{}', gen_random_uuid()::text, 't')} => 150,
	q{pictrepo.ingest(sha256(int8send(7)), gen_random_uuid()::text, '{}', gen_random_uuid()::text, 't')} => 150,
	qq{pictrepo.delete_alias('a' || $n, 't')} => 250,
	qq{pictrepo.purge('a' || $n)} => 250,
	qq{pictrepo.migrate_identifier('f' || $n, gen_random_uuid()::text)} => 200,
	qq{pictrepo.forget_missing('vf' || $n)} => 250,
	q{pictrepo.page(NULL, 20)} => 1000,
	q{pictrepo.page_by_date('2020-01-02', 20)} => 1000,
	q{pictrepo.prune_page(NULL, 20)} => 400,
	q{pictrepo.aliases_created('2000-01-01', 'infinity', page_limit => 20)} => 60,
	q{pictrepo.expire_variants('2020-01-02', 20)} => 1000,
	q{pictrepo.expire_proxies('2020-01-02', 20)} => 4000);

push @calls, sort keys %operations;

sub check_calls
{
	my ($state) = @_;

	foreach my $call (@calls)
	{
		my ($before, $after) = grep { /^\d+$/ } split /\n/,
		  $node->safe_psql('postgres',
			"$scans SELECT count(*) || ' rows' FROM $call; SELECT count(*) || ' rows' FROM $call; $scans");
		is($after, $before, "$state: $call");
	}
	return;
}

# How many pages a call touches once its plan is there, and what it runs by it.
sub pages_of
{
	my ($call) = @_;
	my $plan = $node->safe_psql('postgres', qq{
		SELECT count(*) FROM $call;
		SELECT count(*) FROM $call;
		EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM $call});
	my ($hit) = $plan =~ /shared hit=(\d+)/;

	die "no count of pages in:\n$plan" if !defined $hit;
	return $hit;
}

$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo; CREATE SEQUENCE fresh START 2000; ANALYZE;');
$node->safe_psql('postgres', q{
	INSERT INTO pictrepo.hashes (hash, identifier, created_at)
		SELECT sha256(int8send(n)), 'f' || n, '2020-01-01'::timestamptz + n * interval '1 minute'
		FROM generate_series(1, 20000) n;
	INSERT INTO pictrepo.aliases (alias, hash, delete_token)
		SELECT 'a' || n, sha256(int8send(n)), 't' FROM generate_series(1, 20000) n;
	INSERT INTO pictrepo.variants (hash, variant, identifier, accessed)
		SELECT hash, 'v', 'v' || identifier, created_at FROM pictrepo.hashes;
	INSERT INTO pictrepo.proxies (digest, url, alias, accessed)
		SELECT pictrepo.url_digest('https://example.com/' || n), 'https://example.com/' || n, 'a' || n,
			'2020-01-01'::timestamptz + n * interval '1 minute'
		FROM generate_series(1, 15000) n;
	INSERT INTO pictrepo.details SELECT identifier, '{}' FROM pictrepo.hashes;
	SELECT count(pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[10000]),
		run_at => now() + interval '1 day', priority => priority)) FROM generate_series(1, 3) priority;
	SELECT count(pictrepo.push_many('q', array_fill('1'::jsonb, ARRAY[20000])))});

check_calls('statistics of empty tables');

# The access times of others are not looked through for that of one alias.
cmp_ok(pages_of(q{pictrepo.alias_accessed_at('a10')}), '<', 40, 'the access time of an alias touches few pages');

$node->safe_psql('postgres', 'VACUUM ANALYZE');
check_calls('statistics of full tables');

foreach my $call (sort keys %operations)
{
	my $pages = pages_of($call);

	cmp_ok($pages, '<=', $operations{$call}, "$call touches few pages ($pages)");
}

# Jobs that are not due, of a higher priority, are stepped over.
cmp_ok(pages_of(q{pictrepo.pop('q')}), '<', 200, 'a pop behind 30,000 scheduled jobs touches few pages');

# Set-returning functions keep their rows on disk, not in memory.
my $memory = $node->safe_psql('postgres', q{
	INSERT INTO pictrepo.hashes (hash, identifier)
		SELECT sha256(int4send(n)), 'f' FROM generate_series(1, 300000) n;
	SET work_mem = '1MB';
	SELECT count(*) FROM pictrepo.hashes() WHERE false;
	CREATE TEMP TABLE before AS SELECT sum(total_bytes) AS bytes FROM pg_backend_memory_contexts;
	DECLARE c CURSOR WITH HOLD FOR SELECT * FROM pictrepo.hashes();
	FETCH 1 FROM c \g /dev/null
	SELECT (sum(total_bytes) - (SELECT bytes FROM before)) / 1024 / 1024 < 20 FROM pg_backend_memory_contexts});
like($memory, qr/t$/, 'hashes() over 320,000 rows: memory stays flat');

$node->stop;
done_testing();

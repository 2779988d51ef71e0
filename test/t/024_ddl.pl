# DDL while the functions are called: columns come and go, indexes are made
# anew, statistics change, the extension itself goes and comes back. Calls
# answer, or fail with an error that says what is not there; afterwards all is
# right, in the sessions that were there all the time.

use strict;
use warnings;

use FindBin;
use POSIX ();
use lib "$FindBin::RealBin/lib";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $SECONDS = 4;

# deadlock with DDL that locks several tables; what is dropped just now: schema,
# function, table, type, object, and a row of its catalog, which the server
# calls an internal error
my %EVER = map { $_ => 1 } qw(40P01);
my %WHILE_GONE = (%EVER, map { $_ => 1 } qw(3F000 42883 42P01 42704 55000));
my $RACE = qr/cache lookup failed|could not open relation with OID|could not find tuple for|tuple concurrently (deleted|updated)|has been dropped|relation with OID \d+ does not exist/;

my @CALLS = (
	q{SELECT pictrepo.push('q', '1')},
	q{SELECT count(pictrepo.complete_job('q', NULL, id)) FROM pictrepo.pop('q', NULL, 3)},
	q{SELECT pictrepo.size(), pictrepo.queue_length('q')},
	q{SELECT pictrepo.ingest(sha256(random()::text::bytea), 'file ' || gen_random_uuid(), '{"width": 1}',
		gen_random_uuid()::text, 'token')},
	q{SELECT count(*) FROM pictrepo.serve('alias', true)},
	q{SELECT next FROM pictrepo.page(NULL, 3)},
	q{SELECT pictrepo.set('key', 'x'), pictrepo.get('key')},
	q{SELECT pictrepo.create_upload()},
	q{SELECT count(*) FROM (SELECT pictrepo.purge(alias) FROM pictrepo.aliases WHERE alias <> 'alias' LIMIT 1) gone});

my @TABLES = qw(hashes aliases details job_queue uploads settings);
my @DDL = (
	(map { "ALTER TABLE pictrepo.$_ ADD COLUMN extra int DEFAULT 7" } @TABLES),
	(map { "ALTER TABLE pictrepo.$_ DROP COLUMN extra" } @TABLES),
	(map { "REINDEX TABLE pictrepo.$_" } @TABLES),
	(map { "ANALYZE pictrepo.$_" } @TABLES),
	(map { "VACUUM FULL pictrepo.$_" } qw(job_queue hashes)),
	'CREATE INDEX extra_index ON pictrepo.job_queue (attempt)',
	'DROP INDEX pictrepo.extra_index');

# What nobody waits for, so that what a call reads about a table goes from under it at any moment
my @NOTED = map {
	"DO 'BEGIN FOR i IN 1 .. 50 LOOP
		ALTER TABLE pictrepo.$_ SET (autovacuum_vacuum_threshold = 50); COMMIT;
	END LOOP; END'"
} qw(hashes aliases variants variant_claims job_queue details uploads);

my $FILL = q{SELECT pictrepo.ingest('hash', 'file', '{"width": 1}', 'alias', 'token')};

# Statements, again and again until the time is up; the SQLSTATEs and messages of those that fail
sub session
{
	my ($node, @statements) = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";

	if ($pid == 0)
	{
		require DBI;
		my $db = DBI->connect('dbi:Pg:' . $node->connstr('postgres'), '', '',
			{ PrintError => 0, RaiseError => 0, AutoCommit => 1 });
		my $end = time + $SECONDS;
		my $good = 0;
		my @errors;

		for (my $i = $$; time < $end; $i++)
		{
			my $statement = $statements[ $i % @statements ];

			if (defined $db->do($statement)) { $good++ }
			else { push @errors, $db->state . ' ' . $db->errstr =~ s/\n/ /gr . " ($statement)" =~ s/\s+/ /gr . "\n" }
		}
		# in the end, as nobody reads before, and a pipe has its size
		print @errors, "good $good\n";
		close STDOUT;
		# not by way of what the test itself does at its end
		POSIX::_exit(0);
	}
	return $out;
}

sub errors_of
{
	my ($out) = @_;
	my @lines = <$out>;
	my ($good) = (pop(@lines) // '') =~ /^good (\d+)/;

	close $out;
	chomp @lines;
	return ($good // 0, @lines);
}

sub run_beside
{
	my ($node, $name, $allowed, @ddl) = @_;
	my @callers = map { session($node, @CALLS) } 1 .. 2;
	my ($changed, @ddl_errors) = errors_of(session($node, @ddl));
	my ($called, @errors) = (0);

	foreach my $caller (@callers)
	{
		my ($good, @its_errors) = errors_of($caller);

		$called += $good;
		push @errors, @its_errors;
	}
	my @unexpected = grep { !$allowed->{ substr($_, 0, 5) } && !(/^XX000/ && /$RACE/ && $allowed == \%WHILE_GONE) } @errors;

	is(join("\n", @unexpected), '', "$name: no error that should not be");
	cmp_ok($changed, '>', 5, "$name: the DDL went on");
	cmp_ok($called, '>', 0, "$name: calls were answered");
	note "$name: $changed statements of DDL, $called calls, " . @errors . ' errors';
	return;
}

sub answers_are_right
{
	my ($node, $name) = @_;

	is( $node->safe_psql(
			'postgres', q{
			SELECT pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes),
				pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue),
				pictrepo.queue_length('q') = (SELECT count(*) FROM pictrepo.job_queue WHERE queue = 'q'),
				(SELECT count(*) FROM pictrepo.orphans),
				(SELECT identifier FROM pictrepo.serve('alias')),
				(SELECT count(*) FROM pictrepo.push('fresh', '"x"')), (SELECT job FROM pictrepo.pop('fresh'))}),
		't|t|t|0|file|1|"x"', "$name: counts, images and jobs are right");
	return;
}

foreach my $mode ([ plain => '' ], [ preload => q{shared_preload_libraries = 'pictrepo'} ])
{
	my ($name, $settings) = @$mode;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "log_statement = none\n$settings\n");
	$node->start;
	$node->safe_psql('postgres', "CREATE EXTENSION pictrepo; $FILL");

	run_beside($node, "$name, tables change", \%EVER, @DDL);
	answers_are_right($node, "$name, tables changed");

	run_beside($node, "$name, what is known of tables is noted anew", \%EVER, @NOTED);
	answers_are_right($node, "$name, noted anew");

	run_beside($node, "$name, the extension goes and comes", \%WHILE_GONE,
		'DROP EXTENSION pictrepo CASCADE', "CREATE EXTENSION pictrepo; $FILL",
		# time for calls that find it there
		'SELECT pg_sleep(0.2)');
	$node->safe_psql('postgres',
		"SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS pictrepo; $FILL");
	answers_are_right($node, "$name, the extension came back");

	$node->stop;
	unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC:|TRAP:/, "$name: no crash");
}

done_testing();

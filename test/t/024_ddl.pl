# DDL while the functions are called: columns, constraints and triggers come and
# go, indexes and primary keys are made anew, statistics change, the extension
# itself goes and comes back. Calls answer, or fail with an error that says what
# is not there; so do those that wait; afterwards all is right, in a session that
# was there all the time.

use strict;
use warnings;

use FindBin;
use POSIX ();
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

# At least so long, and until each statement of DDL has been done.
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
	q{SELECT count(*) FROM pictrepo.pop('waited for', wait => '20 ms')},
	q{CALL pictrepo.pop_wait('waited for', NULL, '20 ms', NULL, NULL, NULL, NULL)},
	q{SELECT pictrepo.wait(id, '20 ms') FROM (SELECT pictrepo.create_upload() AS id) upload},
	q{SELECT pictrepo.variant_waiter('hash', 'none', '20 ms')},
	q{SELECT count(*) FROM (SELECT pictrepo.purge(alias) FROM pictrepo.aliases WHERE alias <> 'alias' LIMIT 1) gone});

my @TABLES = qw(hashes aliases details job_queue uploads settings);
my @DDL = (
	(map { "ALTER TABLE pictrepo.$_ ADD COLUMN IF NOT EXISTS extra int DEFAULT 7" } @TABLES),
	(map { "ALTER TABLE pictrepo.$_ DROP COLUMN IF EXISTS extra" } @TABLES),
	(map { "REINDEX TABLE pictrepo.$_" } @TABLES),
	(map { "ANALYZE pictrepo.$_" } @TABLES),
	(map { "VACUUM FULL pictrepo.$_" } qw(job_queue hashes)),
	(map { "ALTER TABLE pictrepo.$_ DROP CONSTRAINT IF EXISTS extra, ADD CONSTRAINT extra CHECK (now() IS NOT NULL)" } @TABLES),
	(map { "ALTER TABLE pictrepo.$_ DROP CONSTRAINT IF EXISTS extra" } @TABLES),
	(map { "CREATE OR REPLACE TRIGGER extra BEFORE INSERT OR UPDATE ON pictrepo.$_ FOR EACH ROW EXECUTE FUNCTION nothing()" } @TABLES),
	(map { "DROP TRIGGER IF EXISTS extra ON pictrepo.$_" } @TABLES),
	'CREATE INDEX IF NOT EXISTS extra_index ON pictrepo.job_queue (attempt)',
	'DROP INDEX IF EXISTS pictrepo.extra_index');

# These wait for every transaction that there was before
my @CONCURRENT = map { "REINDEX TABLE CONCURRENTLY pictrepo.$_" } @TABLES;

# Other keys, of the same names: key of a table, its column, and the tables with a column that refers to it
my @KEYS = map {
	my ($table, $key, %references) = @$_;

	join '; ', "ALTER TABLE pictrepo.$table DROP CONSTRAINT ${table}_pkey CASCADE, ADD PRIMARY KEY ($key)",
	  map { "ALTER TABLE pictrepo.$_ ADD FOREIGN KEY ($references{$_}) REFERENCES pictrepo.$table ON DELETE CASCADE" }
	  sort keys %references;
} ([ details => 'identifier' ], [ aliases => 'alias', proxies => 'alias' ],
	[ hashes => 'hash', aliases => 'hash', variants => 'hash', variant_claims => 'hash' ]);

# What nobody waits for, so that what a call reads about a table goes from under it at any moment
my @NOTED = map {
	"DO 'BEGIN FOR i IN 1 .. 50 LOOP
		ALTER TABLE pictrepo.$_ SET (autovacuum_vacuum_threshold = 50); COMMIT;
	END LOOP; END'"
} qw(hashes aliases variants variant_claims job_queue details uploads);

my $FILL = q{SELECT pictrepo.ingest('hash', 'file', '{"width": 1}', 'alias', 'token')};

# Statements, again and again: until it is told to end, or until $enough of them
# were done and the time is up.  The SQLSTATEs and messages of those that failed.
sub session
{
	my ($node, $enough, @statements) = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";

	if ($pid == 0)
	{
		my $over = 0;

		local $SIG{TERM} = sub { $over = 1 };
		require DBI;
		my $db = DBI->connect('dbi:Pg:' . $node->connstr('postgres'), '', '',
			{ PrintError => 0, RaiseError => 0, AutoCommit => 1 });
		$db->do('SET client_min_messages = warning');
		my $start = time;
		my $good = 0;
		my @errors;

		for (my $i = $$; !$over && time < $start + $PostgreSQL::Test::Utils::timeout_default; $i++)
		{
			last if $enough && $good >= $enough && time >= $start + $SECONDS;
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
	return ($out, $pid);
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
	my @callers = map { [ session($node, 0, @CALLS) ] } 1 .. 2;
	my ($ddl) = session($node, scalar @ddl, @ddl);
	my ($changed, @errors) = errors_of($ddl);
	my $called = 0;

	foreach my $caller (@callers)
	{
		my ($out, $pid) = @$caller;

		kill 'TERM', $pid;
		my ($good, @its_errors) = errors_of($out);

		$called += $good;
		push @errors, @its_errors;
	}
	my @unexpected = grep { !$allowed->{ substr($_, 0, 5) } && !(/^XX000/ && /$RACE/ && $allowed == \%WHILE_GONE) } @errors;

	is(join("\n", @unexpected), '', "$name: no error that should not be");
	cmp_ok($changed, '>=', scalar @ddl, "$name: the DDL went on");
	cmp_ok($called, '>', 0, "$name: calls were answered");
	note "$name: $changed statements of DDL, $called calls, " . @errors . ' errors';
	return;
}

sub answers_are_right
{
	my ($session, $name) = @_;

	is( $session->ask(q{
			SELECT pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes),
				pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue),
				pictrepo.queue_length('q') = (SELECT count(*) FROM pictrepo.job_queue WHERE queue = 'q'),
				(SELECT count(*) FROM pictrepo.orphans),
				(SELECT identifier FROM pictrepo.serve('alias')),
				(SELECT count(*) FROM pictrepo.push('fresh', '"x"')), (SELECT job FROM pictrepo.pop('fresh'))}),
		't|t|t|0|file|1|"x"', "$name: counts, images and jobs are right");
	return;
}

# Who waits in one statement has the tables until its time is up, and so long the
# extension stays.  Who waits in pop_wait has nothing, so it goes, and the jobs of
# the next one are for the functions of the next one.
sub goes_while_they_wait
{
	my ($node, $name) = @_;
	my ($upload) = split /\n/, $node->safe_psql('postgres', q{SELECT pictrepo.create_upload();
		SELECT FROM pictrepo.claim_variant_processing_rights('hash', 'waited for')});
	my @waits = (
		q{SELECT job FROM pictrepo.pop('waited for', wait => '3 s')},
		"SELECT pictrepo.wait('$upload', '3 s')",
		q{SELECT pictrepo.variant_waiter('hash', 'waited for', '3 s')},
		q{CALL pictrepo.pop_wait('waited for', NULL, '10 min', NULL, NULL, NULL, NULL)});
	my @waiters = map { Session->new($node) } @waits;
	my $dropping = Session->new($node);
	my @pids = map { $_->pid } @waiters;

	$waiters[$_]->send($waits[$_]) foreach 0 .. $#waits;
	ok( $node->poll_query_until('postgres', qq{SELECT count(*) = @{[scalar @waits]} FROM pg_stat_activity
			WHERE pid IN (@{[join ', ', @pids]}) AND wait_event_type = 'Extension'}), "$name: they wait");
	$dropping->send('DROP EXTENSION pictrepo');
	my $last = pop @waiters;
	is($_->answer, '', "$name: who waits in a statement waits until its time is up") foreach @waiters;
	is($dropping->answer, '', "$name: and the extension goes");
	$node->safe_psql('postgres', "CREATE EXTENSION pictrepo; $FILL; SELECT pictrepo.push('waited for', '1')");
	like($last->answer, qr/^ERROR:  (42883|42P01)$/,
		"$name: who waits in pop_wait hears that its function, or table, is not there any more");
	unlike($_->ask(q{SELECT pictrepo.set('key', 'x'), pictrepo.queue_length('fresh')}), qr/ERROR/,
		"$name: its session calls on")
	  foreach @waiters, $last;
	$_->leave foreach @waiters, $last, $dropping;
	return;
}

foreach my $mode ([ plain => '' ], [ preload => q{shared_preload_libraries = 'pictrepo'} ])
{
	my ($name, $settings) = @$mode;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $living;

	$node->init;
	$node->append_conf('postgresql.conf', "log_statement = none\n$settings\n");
	$node->start;
	$node->safe_psql('postgres', qq{CREATE EXTENSION pictrepo; $FILL;
		CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'});
	$living = Session->new($node);
	answers_are_right($living, "$name, before");

	run_beside($node, "$name, tables change", \%EVER, @DDL);
	answers_are_right($living, "$name, tables changed");

	run_beside($node, "$name, indexes and keys change", \%EVER, @CONCURRENT, @KEYS);
	answers_are_right($living, "$name, keys changed");

	run_beside($node, "$name, what is known of tables is noted anew", \%EVER, @NOTED);
	answers_are_right($living, "$name, noted anew");

	goes_while_they_wait($node, $name);
	answers_are_right($living, "$name, gone while they waited");

	run_beside($node, "$name, the extension goes and comes", \%WHILE_GONE,
		'DROP EXTENSION IF EXISTS pictrepo CASCADE', "CREATE EXTENSION IF NOT EXISTS pictrepo; $FILL",
		# time for calls that find it there
		'SELECT pg_sleep(0.2)');
	$node->safe_psql('postgres',
		"SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS pictrepo; $FILL");
	answers_are_right($living, "$name, the extension came back");

	$living->leave;
	$node->stop;
	unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC:|TRAP:/, "$name: no crash");
}

done_testing();

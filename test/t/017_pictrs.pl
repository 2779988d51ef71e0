# Moving from and to pict-rs's own tables: a call that is killed or cancelled is
# followed by one that goes on, others see how far it is, only one at a time is
# at a schema, and what stands in that schema gets no rights but the caller's.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $IMAGES = 20_000;
my @TABLES = qw(hashes variants aliases proxies details settings store_migrations uploads
  job_queue keyed_notifications);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
restart_after_crash = on
timezone = 'Asia/Kathmandu'
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

sub value
{
	return $node->safe_psql('postgres', $_[0]);
}

# Is it so before the time is up?
sub comes_true
{
	my ($question, $name) = @_;

	ok($node->poll_query_until('postgres', $question), $name);
	return;
}

# The tables are made by an export of nothing, then filled as pict-rs would.
sub fill_source
{
	my ($schema) = @_;

	value("CALL pictrepo.export_pictrs('$schema')");
	value(qq{
		SET search_path = $schema;
		INSERT INTO hashes (hash, identifier, created_at)
			SELECT encode(sha256(n::text::bytea) || substr(int8send(n), 3) || '\\x07', 'base64'),
				n || '.png', '2001-01-01'::timestamp + n * '1 min'::interval
			FROM generate_series(1, $IMAGES) n;
		INSERT INTO variants (hash, variant, identifier) SELECT hash, 'thumb', identifier || '.webp' FROM hashes;
		INSERT INTO aliases SELECT md5(identifier)::uuid || '.png', hash, md5(hash)::uuid FROM hashes;
		INSERT INTO proxies (url, alias) SELECT 'https://example.org/' || alias, alias FROM aliases LIMIT 1000;
		INSERT INTO details SELECT identifier, '{"width": 1}' FROM hashes;
		INSERT INTO settings VALUES ('last-path', '00ff');
		INSERT INTO job_queue (queue, job) SELECT 'cleanup', to_jsonb(n) FROM generate_series(1, 1000) n;
		INSERT INTO hashes VALUES ('bad', 'bad.png')});
	return;
}

# Rows that one of the schemas has and the other has not.
sub differences
{
	my ($one, $other) = @_;

	return join ' ', grep {
		my ($all, $others) = map { "SELECT t::text FROM $_ t" } "$one.$_", "$other.$_";

		value(qq{SELECT (SELECT count(*) FROM ($all EXCEPT ALL $others) a)
			+ (SELECT count(*) FROM ($others EXCEPT ALL $all) b)}) ne '0'
	} @TABLES;
}

value(q{
	CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock_shared(17);
		RETURN NEW;
	END $$});

# pictrepo's names of these tables and their keys
my %KEYS = (
	hashes => [ 'identifier', 'hash', 'hash' ],
	variants => [ 'identifier', 'id', 'hash, variant' ],
	aliases => [ 'alias', 'alias', 'alias' ],
	details => [ 'identifier', 'identifier', 'identifier' ]);
my $HALF = $IMAGES / 2;

# Starts a call in a session of its own, and stops it when half of a table is done:
# at a row for which somebody holds a lock.
sub interrupt
{
	my ($direction, $schema, $table, $how) = @_;
	my ($source, $target) = $direction eq 'import' ? ($schema, 'pictrepo') : ('pictrepo', $schema);
	my ($column, $theirs, $ours) = @{ $KEYS{$table} };
	my $order = $direction eq 'import' ? $theirs : $ours;
	my $row = value("SELECT $column FROM $source.$table ORDER BY $order OFFSET $HALF LIMIT 1");
	my $holder = Session->new($node);
	my $session = Session->new($node);
	my $pid = $session->pid;

	value(qq{
		CREATE TRIGGER hold BEFORE INSERT ON $target.$table FOR EACH ROW
			WHEN (NEW.$column = '$row') EXECUTE FUNCTION public.hold()});
	$holder->ask('SELECT pg_advisory_lock(17)');
	$session->send("CALL pictrepo.${direction}_pictrs('$schema', 50)");
	comes_true(qq{SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE pid = $pid},
		"$direction: half of $table is done");
	is( value(
			qq{SELECT rows_read, source_rows >= $IMAGES, finished IS NULL FROM pictrepo.transfers
			WHERE direction = '$direction' AND schema = '$schema' AND relation = '$table'}),
		"$HALF|t|t",
		"$direction: another session sees it");
	is(value(qq{SELECT query ~ '^CALL pictrepo.${direction}_pictrs.* -- $table: $HALF of \\d+\$'
			FROM pg_stat_activity WHERE pid = $pid}),
		't', "$direction: and in pg_stat_activity");
	my $done = value(qq{SELECT format('%s %s: %s of %s rows', direction, schema, sum(rows_read), sum(source_rows))
		FROM pictrepo.transfers WHERE direction = '$direction' AND schema = '$schema' GROUP BY direction, schema});
	my $status = q{SELECT value, advice FROM pictrepo.status() WHERE item = 'import, export'};
	is(value($status), "$done|", "$direction: and in status()");
	$how->($session);
	$holder->vanish;
	is(value($status), "$done|CALL pictrepo.${direction}_pictrs('$schema') continues where it stopped",
		"$direction: which says when nobody is at it any more");
	value("DROP TRIGGER hold ON $target.$table");
	return;
}

# The backend ends, and its transaction with it.
sub terminate
{
	my ($session) = @_;
	my $pid = $session->pid;

	value("SELECT pg_terminate_backend($pid)");
	comes_true("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)", 'terminated');
	$session->vanish;
	return;
}

sub kill_backend
{
	my ($session) = @_;

	kill_and_recover($node, $session->pid);
	$session->vanish;
	return;
}

# How far is it?
sub state_of
{
	my ($direction, $schema) = @_;

	return value(qq{SELECT sum(rows_read), sum(stored), sum(same), sum(different), sum(bad), count(finished) < 10
		FROM pictrepo.transfers WHERE direction = '$direction' AND schema = '$schema'});
}

# ----- killed in the middle -----

fill_source('pictrs');
is(state_of('export', 'pictrs'), '0|0|0|0|0|f', 'an export of nothing');

# the tables for the way back
value("CALL pictrepo.export_pictrs('back')");

interrupt('import', 'pictrs', 'variants', \&kill_backend);
my ($read, $stored, $same, $different, $bad, $unfinished) = split /\|/, state_of('import', 'pictrs');
is($unfinished, 't', 'killed before its end');
is($read, $stored + $bad, 'what was read by then is stored or bad');
is($read, value(q{SELECT (SELECT count(*) FROM pictrepo.hashes) + (SELECT count(*) FROM pictrepo.variants) + 1}),
	'and it is there');
is($read, $IMAGES + 1 + $HALF, 'and not all');

# and once more, when it has gone on
interrupt('import', 'pictrs', 'aliases', \&kill_backend);
like(value("CALL pictrepo.import_pictrs('pictrs')"), qr/^\d+\|\d+\|0\|1\|f$/, 'the next call goes on');
is(state_of('import', 'pictrs'), 4 * $IMAGES + 2002 . '|' . (4 * $IMAGES + 2001) . '|0|0|1|f',
	'each row was read and stored once');
is(value('SELECT pictrepo.size()'), $IMAGES, 'all images are there');
is(value('SELECT pictrepo.queue_length()'), 1000, 'and all jobs');
is(value('TABLE pictrepo.transfer_errors'), q{import|pictrs|hashes|} . value('SELECT place FROM pictrepo.transfer_errors')
	  . '|bad|hash: it is not base64', 'but for the bad one');

# ----- cancelled on the way back -----

sub cancel
{
	my ($session) = @_;

	value('SELECT pg_cancel_backend(' . $session->pid . ')');
	like($session->answer, qr/57014/, 'cancelled');

	# the session is none the worse for it, and nothing is locked
	is($session->ask('SELECT current_user'), value('SELECT current_user'), 'the session goes on as who it was');
	is($session->ask(q{SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND granted AND pid = pg_backend_pid()}),
		'0', 'and holds no lock');
	$session->leave;
	return;
}

interrupt('export', 'back', 'details', \&cancel);
like(value("CALL pictrepo.export_pictrs('back')"), qr/^\d+\|0\|0\|0\|t$/, 'the next call goes on');
is(state_of('export', 'back'), 4 * $IMAGES + 2001 . '|' . (4 * $IMAGES + 2001) . '|0|0|0|f',
	'each row was read and stored once');
value(q{DELETE FROM pictrs.hashes WHERE hash = 'bad'});
is(differences('pictrs', 'back'), '', 'the tables are equal');
is((split /\|/, value("CALL pictrepo.export_pictrs('back')"))[0], '0', 'again: nothing new');

# ----- from the beginning -----

value(qq{
	DELETE FROM pictrepo.transfers;
	TRUNCATE pictrepo.hashes, pictrepo.variants, pictrepo.aliases, pictrepo.proxies, pictrepo.details,
		pictrepo.settings, pictrepo.job_queue, pictrepo.variant_claims});
interrupt('import', 'pictrs', 'hashes', \&terminate);
is(value('SELECT pictrepo.size()'), $HALF, 'half is there');
is( value("CALL pictrepo.import_pictrs('pictrs', resume => false)"),
	4 * $IMAGES + 2001 - $HALF . "|$HALF|0|0|t", 'from the beginning: what is there stays');

# ----- two at once -----

my $first = Session->new($node);
my $second = Session->new($node);

# the first waits for a row that somebody else is about to store
my $holder = Session->new($node);
value(q{TRUNCATE pictrepo.settings});
$holder->ask(q{BEGIN; INSERT INTO pictrepo.settings VALUES ('last-path', '')});
$first->send("CALL pictrepo.import_pictrs('pictrs')");
comes_true(q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^CALL')},
	'one import is at work');
like($second->ask("CALL pictrepo.import_pictrs('pictrs')"), qr/55006/, 'another of the same schema is refused');
like($second->ask("CALL pictrepo.export_pictrs('pictrs')"), qr/55006/, 'and an export to it');
is($second->ask("CALL pictrepo.export_pictrs('other')"), 4 * $IMAGES + 2000 . '|0|0|0|t', 'but none of another schema');
$holder->ask('ROLLBACK');
like($first->answer, qr/^1\|\d+\|0\|0\|t$/, 'the first gets through');
like($second->ask("CALL pictrepo.import_pictrs('pictrs')"), qr/^0\|\d+\|0\|0\|t$/, 'and then others can');

# whose rows in transfers somebody removes
value(q{TRUNCATE pictrepo.settings});
$holder->ask(q{BEGIN; INSERT INTO pictrepo.settings VALUES ('last-path', '')});
$first->send("CALL pictrepo.import_pictrs('pictrs')");
comes_true(q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^CALL')},
	'an import is at work');
value(q{DELETE FROM pictrepo.transfers});
$holder->ask('ROLLBACK');
like($first->answer, qr/55000/, 'it says so');
like($first->ask("CALL pictrepo.import_pictrs('pictrs')"), qr/^1\|\d+\|0\|0\|t$/, 'and begins again');
$_->leave foreach $first, $second, $holder;

# ----- what comes and goes meanwhile -----

# Rows that come behind the place that was reached are found by the counts.
value(q{TRUNCATE pictrepo.variants});
interrupt('import', 'pictrs', 'variants', \&terminate);
value(q{INSERT INTO pictrs.hashes VALUES ('AQ==', 'late.png')});
like(value("CALL pictrepo.import_pictrs('pictrs')"), qr/\|f$/, 'the counts do not agree');
like(value("CALL pictrepo.import_pictrs('pictrs')"), qr/^1\|\d+\|0\|0\|t$/, 'and then they do');

# ----- rights -----

value(q{
	CREATE ROLE mover LOGIN;
	CREATE ROLE a_writer LOGIN;
	CREATE ROLE hostile LOGIN;
	SELECT pictrepo.grant_access('mover', 'admin');
	SELECT pictrepo.grant_access('a_writer', 'writer')});

sub errors_of
{
	my ($user, $statement) = @_;
	my ($stdout, $stderr) = run($node, 'postgres', $statement, user => $user);

	return $stderr;
}

like(errors_of('a_writer', "CALL pictrepo.$_"), qr/42501/, "$_ is not for writers")
  foreach "import_pictrs('pictrs')", "export_pictrs('pictrs')";
like(errors_of('mover', q{CALL pictrepo.import_pictrs('pictrs')}), qr/42501.*pictrs/,
	'who may not read the tables may not import them');
like(errors_of('mover', q{CALL pictrepo.export_pictrs('pictrs')}), qr/42501.*pictrs/,
	'who may not write them may not export to them');
like(errors_of('mover', q{CALL pictrepo.export_pictrs('new_schema')}), qr/42501/,
	'who may not create a schema gets none');
value(q{GRANT USAGE ON SCHEMA pictrs TO mover; GRANT SELECT ON ALL TABLES IN SCHEMA pictrs TO mover});
is(errors_of('mover', q{CALL pictrepo.import_pictrs('pictrs')}), '', 'who may read them may import them');
like(errors_of('mover', q{CALL pictrepo.export_pictrs('pictrs')}), qr/42501/,
	'but not export to them');
is(value(q{SELECT count(*) FROM pictrepo.transfers WHERE direction = 'export' AND schema = 'pictrs' AND bad > 0}),
	'0', 'for which no row is to blame');

# Somebody's schema, in which everything runs code of theirs: as the caller, who
# is who called.
value(q{
	CREATE SCHEMA trap AUTHORIZATION hostile;
	CREATE TABLE public.seen (who name, path text);
	GRANT ALL ON public.seen TO PUBLIC});
my $trap = q{
	CREATE FUNCTION trap.look() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.seen VALUES (current_user, current_setting('search_path'));
		RETURN true;
	END $$;
	CREATE FUNCTION trap.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM trap.look();
		RETURN NEW;
	END $$;
	GRANT USAGE ON SCHEMA trap TO PUBLIC;
};
foreach my $table (@TABLES)
{
	$trap .= qq{
		CREATE TABLE trap.$table (LIKE pictrs.$table INCLUDING ALL);
		CREATE TRIGGER fire BEFORE INSERT ON trap.$table FOR EACH ROW EXECUTE FUNCTION trap.fire();
		GRANT SELECT, INSERT ON trap.$table TO mover;
	};
}
value(q{GRANT SELECT ON ALL TABLES IN SCHEMA pictrs TO hostile; GRANT USAGE ON SCHEMA pictrs TO hostile});
is(errors_of('hostile', $trap), '', 'the trap is set');
is(errors_of('mover', q{
	SET search_path = trap, pg_catalog;
	CALL pictrepo.export_pictrs('trap');
	SELECT 1/(current_user = 'mover' AND current_setting('search_path') = 'trap, pg_catalog')::int}),
	'', 'an export with triggers');
is(value('SELECT DISTINCT who, path FROM public.seen'), 'mover|pg_catalog, pg_temp', 'they ran as the caller');

value(q{DELETE FROM public.seen});
is(errors_of('hostile', q{
	ALTER TABLE trap.hashes RENAME TO real_hashes;
	CREATE VIEW trap.hashes WITH (security_barrier) AS SELECT * FROM trap.real_hashes WHERE trap.look();
	GRANT SELECT ON trap.hashes TO mover}),
	'', 'a view that looks who reads it');
is(errors_of('mover', q{CALL pictrepo.import_pictrs('trap')}), '', 'an import of a view');
is(value('SELECT DISTINCT who FROM public.seen'), 'mover', 'it was read as the caller');
like(errors_of('hostile', q{SELECT * FROM pictrepo.transfers}), qr/42501/, 'and nobody got a right');

# A trigger that refuses some rows keeps nobody else's from coming.
value(q{
	DROP SCHEMA back CASCADE;
	CALL pictrepo.export_pictrs('back');
	DELETE FROM back.settings;
	DELETE FROM back.job_queue WHERE job::text ~ '00$';
	CREATE FUNCTION back.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.job::text ~ '500$' THEN RAISE 'not this one'; END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER refuse BEFORE INSERT ON back.job_queue FOR EACH ROW EXECUTE FUNCTION back.refuse()});
like(value(q{CALL pictrepo.export_pictrs('back')}), qr/^10\|\d+\|0\|1\|f$/, 'a trigger refuses a row');
is(value(q{SELECT message FROM pictrepo.transfer_errors WHERE direction = 'export'}), 'not this one', 'and says why');

# ----- SQLSTATEs -----

sub state_for
{
	my ($statement) = @_;
	my ($stdout, $stderr) = run($node, 'postgres', $statement);

	return $stderr =~ /ERROR:  (\w{5})/ ? $1 : $stderr;
}

my %states = (
	q{BEGIN; CALL pictrepo.import_pictrs('pictrs')} => '2D000',
	q{BEGIN; CALL pictrepo.export_pictrs('pictrs')} => '2D000',
	q{CALL pictrepo.import_pictrs(NULL)} => '22004',
	q{CALL pictrepo.import_pictrs('')} => '22023',
	q{CALL pictrepo.import_pictrs(repeat('x', 100))} => '22001',
	q{CALL pictrepo.import_pictrs('pictrs', 0)} => '22023',
	q{CALL pictrepo.import_pictrs('nowhere')} => '3F000',
	q{CALL pictrepo.import_pictrs('public')} => '42P01',
	q{CALL pictrepo.import_pictrs('pictrepo')} => '42804',
	q{CALL pictrepo.export_pictrs('pictrepo')} => '22023',
	q{SET default_transaction_read_only = on; CALL pictrepo.import_pictrs('pictrs')} => '25006',
);
is(state_for($_), $states{$_}, "$states{$_}: $_") foreach sort keys %states;

# whatever the isolation level
foreach my $level ('repeatable read', 'serializable')
{
	like(value(qq{SET default_transaction_isolation = '$level'; CALL pictrepo.import_pictrs('pictrs')}) =~ s/^SET\n//r,
		qr/^0\|\d+\|0\|0\|t$/, "at $level");
}
value(q{
	ALTER TABLE pictrs.aliases DROP CONSTRAINT aliases_hash_fkey;
	INSERT INTO pictrs.aliases VALUES ('orphan', 'bm8gaGFzaA==', 'token')});
foreach my $level ('repeatable read', 'serializable')
{
	like(value(qq{SET default_transaction_isolation = '$level'; CALL pictrepo.import_pictrs('pictrs')}) =~ s/^SET\n//r,
		qr/^0\|\d+\|0\|1\|f$/, "at $level, an alias without a hash is a bad row");
}

# ----- a standby -----

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
foreach my $call ("import_pictrs('pictrs')", "export_pictrs('back')")
{
	my ($stdout, $stderr) = run($standby, 'postgres', "CALL pictrepo.$call");

	like($stderr, qr/25006/, "$call on a standby");
}

$_->stop foreach $standby, $node;
done_testing();

# The whole repo passes through a file or a pipe as JSON lines: into another
# database, also of another encoding, again and again, beside clients at work,
# in flat memory, and whatever becomes of the lines on the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Streams are UTF-8, as doc/moving.md says.
$ENV{PGCLIENTENCODING} = 'UTF8';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
log_min_error_statement = panic
deadlock_timeout = 50ms
});
$node->start;

my $file = "$PostgreSQL::Test::Utils::tmp_check/lines.jsonl";
my $script = "$PostgreSQL::Test::Utils::tmp_check/lines-import.sql";

# What doc/moving.md says: out, and in.
my $copy = q{COPY (SELECT pictrepo.export()) TO STDOUT (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02')};
append_to_file($script, <<'EOS');
CREATE TEMP TABLE lines (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text);
\copy lines (line) FROM pstdin (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02')
SELECT format('SELECT * FROM pictrepo.import_lines(ARRAY(SELECT line FROM lines WHERE number BETWEEN %s AND %s ORDER BY number), %s) WHERE error IS NOT NULL', n, n + 999, n) FROM generate_series(1, (SELECT max(number) FROM lines), 1000) AS n \gexec
EOS

sub psql
{
	my ($database) = @_;

	return "psql -X -q -At -v ON_ERROR_STOP=1 -d '" . $node->connstr($database) . "'";
}

sub export_lines
{
	my ($database) = @_;
	my ($stdout, $stderr) = run_command([ 'bash', '-c', psql($database) . qq{ -c "$copy"} ]);

	is($stderr, '', "$database is exported");
	return $stdout;
}

sub sorted
{
	return join "\n", sort split /\n/, shift;
}

# The rows that an import brings: claims are of the moment, samples and what
# was moved from where are of the server.
sub contents
{
	my ($database) = @_;

	return join "\n", map { "$_:\n" . rows_of($node, $database, $_) }
	  grep { !/^(variant_claims|transfer|samples|queue_samples)/ } tables($node, $database);
}

# ----- from one database into another -----

fill($node, 'postgres');

# Every byte, and every kind of character, where text may be.
$node->safe_psql('postgres', q{
	CREATE FUNCTION odd() RETURNS text LANGUAGE sql AS $$
		SELECT string_agg(chr(n), '' ORDER BY n) FROM generate_series(1, 255) n $$;
	SELECT pictrepo.create_hash(decode(repeat('00ff5c22', 32), 'hex'), odd() || U&'\+01f600\fffd\feff\ffff');
	SELECT pictrepo.create_alias(left(odd(), 160), U&'\+01f600"\005c' || chr(9), decode(repeat('00ff5c22', 32), 'hex'));
	SELECT pictrepo.create_alias(E'\\\\.', E'\\\\N', 'hash');
	SELECT pictrepo.create_alias(n || '.png', 'many', 'other') FROM generate_series(1, 3000) n;
	SELECT pictrepo.relate_url(odd() || repeat('x', 60000), '1.png');
	SELECT pictrepo.relate_variant_identifier('hash', odd(), odd());
	SELECT pictrepo.relate_details(odd(), jsonb_build_object(odd(), odd(), 'n', '[1e-300, 1e300, 123456789012345678901234567890.123456789]'::jsonb));
	SELECT pictrepo.set(left(odd(), 40), (SELECT string_agg(set_byte('\x00', 0, n), '' ORDER BY n) FROM generate_series(0, 255) n));
	SELECT pictrepo.push(left(odd(), 40), to_jsonb(odd()), unique_key => left(odd(), 40));
	SELECT pictrepo.push('deep', (repeat('[', 2000) || repeat(']', 2000))::jsonb);
});
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->safe_psql('copy', 'CREATE EXTENSION pictrepo');

my $pipe = psql('postgres') . qq{ -c "$copy" | } . psql('copy') . " -f '$script'";
my ($stdout, $stderr) = run_command([ 'bash', '-o', 'pipefail', '-c', $pipe ]);
is("$stdout$stderr", '', 'from one database into another, in a pipe');

my $exported = export_lines('postgres');
is(sorted(export_lines('copy')), sorted($exported), 'the copy is exported as the original');

# A running job comes as one that is ready.
$node->safe_psql('postgres', qq{
	UPDATE pictrepo.job_queue SET status = 'new', worker = NULL, heartbeat = NULL WHERE id = '$RUNNING'});
is(contents('copy'), contents('postgres'), 'the copy is the original');
is(scalar(() = $exported =~ /\n/g) + 1, scalar(split /\n/, $exported), 'one thing a line');

my $before = contents('copy');
($stdout, $stderr) = run_command([ 'bash', '-o', 'pipefail', '-c', $pipe ]);
is("$stdout$stderr", '', 'once more');
is(contents('copy'), $before, 'importing twice changes nothing');

# ----- broken lines -----

my @lines = split /\n/, $exported;
my @broken = @lines;
$broken[2] = substr($broken[2], 0, 100);
splice @broken, 5, 0, '', '"', '\\.x';
append_to_file($file, join("\n", @broken) . "\n");
$node->safe_psql('postgres', 'CREATE DATABASE broken');
$node->safe_psql('broken', 'CREATE EXTENSION pictrepo');
($stdout, $stderr) = run_command([ 'bash', '-c', psql('broken') . " -f '$script' <'$file'" ]);
is($stderr, '', 'a file with broken lines is read to its end');
is_deeply([ map { join '|', (split /\|/)[ 0 .. 2 ] } split /\n/, $stdout ],
	[ '3||22P02', '6||22004', '7||22P02', '8||22P02' ], 'they come back with their numbers');
is( sorted(export_lines('broken')),
	sorted(join "\n", @lines[ 0, 1 ], @lines[ 3 .. $#lines ]),
	'and all others are stored');

# ----- other encodings -----

foreach my $encoding (qw(LATIN1 SQL_ASCII))
{
	my $name = lc $encoding;

	$node->safe_psql('postgres',
		"CREATE DATABASE $_ TEMPLATE template0 ENCODING $encoding LC_COLLATE 'C' LC_CTYPE 'C'")
	  foreach $name, "${name}_copy";
	$node->safe_psql($_, 'CREATE EXTENSION pictrepo') foreach $name, "${name}_copy";

	# In LATIN1 these are 255 characters, which UTF-8 has more bytes for.
	$node->safe_psql($name, q{
		SET client_encoding = 'SQL_ASCII';
		CREATE FUNCTION every_byte() RETURNS text LANGUAGE sql AS $$
			SELECT string_agg(chr(n), '' ORDER BY n) FROM generate_series(1, 255) n $$;
		SELECT pictrepo.create_hash('h', every_byte());
		SELECT pictrepo.create_alias(every_byte(), every_byte(), 'h');
		INSERT INTO pictrepo.details VALUES (every_byte(), jsonb_build_object(every_byte(), every_byte(), 'n', 1e300));
		SELECT pictrepo.push('q', to_jsonb(every_byte()));
		SELECT pictrepo.create_hash('l', every_byte());
		SELECT pictrepo.create_hash('a', 'ascii only')});
	if ($encoding eq 'SQL_ASCII')
	{
		$node->safe_psql($name, q{SELECT pictrepo.create_hash('u', 'utf-8: ü'), pictrepo.relate_details('utf-8: ü', '{"ü": "ö"}')});
	}
	($stdout, $stderr) = run_command([ 'bash', '-o', 'pipefail', '-c',
			psql($name) . qq{ -c "$copy" | } . psql("${name}_copy") . " -f '$script'" ]);
	is("$stdout$stderr", '', "$encoding: in a pipe");
	is(contents_in_hex("${name}_copy"), contents_in_hex($name), "$encoding: the copy is the original");
	is(export_lines("${name}_copy"), export_lines($name), "$encoding: and is exported as it");
}

sub contents_in_hex
{
	my ($database) = @_;

	return join "\n", map {
		my $table = $_;
		"$table:\n" . $node->safe_psql($database,
			qq{SET client_encoding = 'SQL_ASCII'; SELECT encode(textsend(t::text), 'hex') FROM pictrepo.$table t ORDER BY 1})
	} tables($node, $database);
}

my @wrapped = grep { /^\{"bytes"/ } split /\n/, export_lines('sql_ascii');
is(scalar @wrapped, 3, 'lines that are not UTF-8 come as bytes: two images and a job');
like(export_lines('sql_ascii'), qr/utf-8: ü/, 'and all others as they are');

# What another encoding has not is refused, and the rest goes on.
($stdout, $stderr) = run_command([ 'bash', '-o', 'pipefail', '-c',
		psql('sql_ascii') . qq{ -c "$copy" | } . psql('broken') . " -f '$script'" ]);
is_deeply([ map { join '|', (split /\|/)[ 1 .. 2 ] } split /\n/, $stdout ],
	[ '|22023', '|22023', '|22023' ], 'bytes are refused where there is an encoding');
is($node->safe_psql('broken', q{SELECT pictrepo.identifier('u')}), 'utf-8: ü', 'UTF-8 is not');
($stdout, $stderr) = run_command([ 'bash', '-o', 'pipefail', '-c',
		psql('latin1') . qq{ -c "$copy" | } . psql('broken') . " -f '$script'" ]);
is($node->safe_psql('broken', q{SELECT encode(convert_to(pictrepo.identifier('l'), 'LATIN1'), 'hex')}),
	$node->safe_psql('latin1', q{SET client_encoding = 'SQL_ASCII'; SELECT encode(textsend(pictrepo.identifier('l')), 'hex')}),
	'from LATIN1 into UTF-8');
($stdout, $stderr) = run($node, 'latin1', q{
	SELECT pictrepo.import('{"image": {"hash": "77", "identifier": "\u20ac"}}');
	SELECT pictrepo.import('{"image": {"hash": "77", "identifier": "a", "details": {"width": "\u20ac"}}}');
	SELECT pictrepo.import('{"image": {"hash": "77", "identifier": "' || repeat('ü', 1025) || '"}}');
	SELECT pictrepo.import('{"image": {"hash": "77", "identifier": "' || repeat('ü', 1024) || '"}}')});
is_deeply([ $stderr =~ /ERROR:  (\w+):/g ], [qw(22P02 22023 22001)], 'LATIN1: what does not fit is refused');
is($stdout, 'stored', 'LATIN1: and what does is not');
($stdout, $stderr) = run($node, 'sql_ascii', q{
	SELECT pictrepo.import('{"image": {"hash": "78", "identifier": "\u00fc"}}');
	SELECT pictrepo.import('{"bytes": "' || encode('{"image": {"hash": "77", "identifier": "a", "details": {"width": "', 'hex') || 'fffe' || encode('"}}}', 'hex') || '"}');
	SELECT pictrepo.import('{"bytes": "7b7d00"}');
	SELECT pictrepo.import('{"bytes": "ff"}');
	SELECT pictrepo.import('{"bytes": "7b226279746573223a2237623764227d"}')});
is_deeply([ $stderr =~ /ERROR:  (\w+):/g ], [qw(22P02 22023 22P02 22P02 22023)],
	'SQL_ASCII: broken bytes are refused');

# ----- beside clients at work -----

# All do everything to the same few images.
my $work = "$PostgreSQL::Test::Utils::tmp_check/lines-work.sql";
append_to_file($work, q{
\set n random(1, 3)
\set m random(1, 4)
\set o random(1, 10)
SELECT CASE
	WHEN :o <= 3 THEN (SELECT outcome FROM pictrepo.ingest(('image ' || :n)::bytea, 'file ' || :n, '{}', 'alias ' || :m, 't'))
	WHEN :o <= 6 THEN pictrepo.delete_alias('alias ' || :m, 't')
	WHEN :o = 7 THEN (SELECT max(a) FROM pictrepo.purge('alias ' || :m) a)
	WHEN :o = 8 THEN (SELECT string_agg(outcome || error, '') FROM pictrepo.import_lines(ARRAY(SELECT line FROM lines ORDER BY random()))) ELSE
	pictrepo.import((SELECT line FROM lines ORDER BY random() LIMIT 1)) END;
});
$node->safe_psql('postgres', 'CREATE DATABASE busy');
$node->safe_psql('busy', q{
	CREATE EXTENSION pictrepo;
	CREATE TABLE lines (line text);
	SELECT pictrepo.ingest(('image ' || n)::bytea, 'file ' || n, '{"width": 1}', 'alias ' || m, 't')
		FROM (VALUES (1, 1), (2, 2), (2, 3), (3, 3), (3, 4)) AS v (n, m);
	SELECT pictrepo.relate_url('url ' || alias, alias), pictrepo.relate_variant_identifier(hash, 'v', 'v of ' || encode(hash, 'escape'))
		FROM pictrepo.aliases;
	INSERT INTO lines SELECT pictrepo.export()});
# import_lines takes several images in one transaction, in any order: the one
# that is chosen in a deadlock has stored nothing, and may try again
my $result = run_log([ 'pgbench', '-n', '-c', '6', '-j', '2', '-t', '400', '--max-tries', '1000',
			'-f', $work, $node->connstr('busy') ], '>', \$stdout, '2>', \$stderr);
ok($result, 'six clients import, take in and remove') or diag $stderr;
like($stdout, qr/number of transactions actually processed: 2400\/2400/, 'and all of it ends well');
foreach my $wrong (
	q{FROM pictrepo.aliases WHERE hash NOT IN (SELECT hash FROM pictrepo.hashes)},
	q{FROM pictrepo.variants WHERE hash NOT IN (SELECT hash FROM pictrepo.hashes)},
	q{FROM pictrepo.proxies WHERE alias NOT IN (SELECT alias FROM pictrepo.aliases)},
	q{FROM pictrepo.hashes WHERE hash NOT IN (SELECT hash FROM pictrepo.aliases)})
{
	is($node->safe_psql('busy', "SELECT count(*) $wrong"), '0', "none $wrong");
}

# The last alias is being deleted: whoever imports waits, and stores it anew.
$node->safe_psql('busy', q{
	SELECT pictrepo.purge(alias) FROM pictrepo.aliases;
	SELECT pictrepo.import(line) FROM lines WHERE line LIKE '%"file 1"%'});
my $deleter = $node->background_psql('busy');
$deleter->query_safe(q{BEGIN; SELECT pictrepo.delete_alias('alias 1', 't')});
my $importer = $node->background_psql('busy');
$importer->query_until(qr/begun/, q{
	\echo begun
	SELECT pictrepo.import(line) FROM lines WHERE line LIKE '%"file 1"%';
});
$node->poll_query_until('busy',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%import(line)%'})
  or die 'the import does not wait';
$deleter->query_safe('COMMIT');
like($importer->query_safe('SELECT 1'), qr/1/, 'it waits no longer');
$importer->quit;
$deleter->quit;
is($node->safe_psql('busy', q{SELECT pictrepo.identifier_from_alias('alias 1')}), 'file 1',
	'an image whose last alias was being deleted is there again');

# ----- lines that something happened to -----

my $seed = $ENV{PICTREPO_SEED} // 20240229;
srand($seed);
note "seed $seed; set PICTREPO_SEED for another";

my @short = grep { length($_) < 3000 } @lines;
my @mutants;
my @pieces = ('"', '\\', '{', '}', '[', ']', ',', ':', 'null', '1e999999', '-', '""', '\\u0000',
	'\\ud800', "\x{c3}", "\x{ff}", '99999999999999999999', 'true', '{}', '"\\u00fc"', ' ', "'", '/**/', 'NaN');
foreach (1 .. 4000)
{
	my $line = $short[ rand @short ];

	foreach (0 .. int rand 3)
	{
		my $place = int rand length $line;
		my $what = int rand 6;

		substr($line, $place, 1) = chr(1 + int rand 255) if $what == 0;
		substr($line, $place, int rand 5) = $pieces[ rand @pieces ] if $what == 1;
		$line = substr($line, 0, $place) if $what == 2;
		substr($line, $place, 1 + int rand 20) = '' if $what == 3;
		substr($line, $place, 0) = substr($line, int rand length $line, 1 + int rand 30) if $what == 4;
		$line =~ s/(: )(?:"[^"]*"|\d+|null)/$1 . $pieces[rand @pieces]/e if $what == 5;
		$line = ' ' if $line eq '';
	}
	push @mutants, unpack('H*', $line);
}
$node->safe_psql('postgres', 'CREATE DATABASE fuzzed');
$node->safe_psql('fuzzed', q{
	CREATE EXTENSION pictrepo;
	CREATE TABLE mutants (n serial, hex text, answer text);
	CREATE FUNCTION whole() RETURNS bigint LANGUAGE sql AS $$
		SELECT (SELECT count(*) FROM pictrepo.hashes) + (SELECT count(*) FROM pictrepo.aliases)
			+ (SELECT count(*) FROM pictrepo.proxies) + (SELECT count(*) FROM pictrepo.variants)
			+ (SELECT count(*) FROM pictrepo.details) $$;
	CREATE PROCEDURE try_mutants() LANGUAGE plpgsql AS $$
	DECLARE
		mutant mutants;
		reply text;
		rows bigint;
	BEGIN
		FOR mutant IN SELECT * FROM mutants ORDER BY n LOOP
			rows = whole();
			BEGIN
				reply = pictrepo.import(convert_from(decode(mutant.hex, 'hex'), 'UTF8'));
			EXCEPTION WHEN OTHERS THEN
				-- not text at all: the server takes none such
				reply = CASE WHEN SQLSTATE = '22021' THEN 'no text' ELSE SQLSTATE END;
			END;
			IF reply NOT IN ('stored', 'merged', 'conflict') AND whole() <> rows THEN
				reply = 'half written after ' || reply;
			END IF;
			UPDATE mutants SET answer = reply WHERE n = mutant.n;
		END LOOP;
	END $$});
$node->safe_psql('fuzzed',
	"COPY mutants (hex) FROM stdin;\n" . join('', map { "$_\n" } @mutants) . "\\.\n");
$node->safe_psql('fuzzed', 'CALL try_mutants()');
is( $node->safe_psql('fuzzed', q{
		SELECT answer, hex FROM mutants WHERE answer IS NULL OR answer NOT IN
			('stored', 'merged', 'exists', 'conflict', 'blocked', 'no text', '22P02', '22023', '22001') LIMIT 5}),
	'', 'every answer is one of the contract');
foreach my $answer (qw(stored exists conflict 22P02 22023))
{
	cmp_ok($node->safe_psql('fuzzed', "SELECT count(*) FROM mutants WHERE answer = '$answer'"),
		'>', 0, "some are $answer");
}

# ----- tokens -----

my $token = '5ecc0000-aaaa-4bbb-8ccc-dddddddddddd';
my $image = qq{{"image": {"hash": "99", "identifier": "a", "aliases": [{"alias": "b", "delete_token": "$token"}]}}};
my @secrets = map { $image =~ s/$_->[0]/$_->[1]/r } (
	[ qr/\}\]\}\}/, '' ], [ qr/"$token"/, qq{["$token"]} ], [ qr/"$token"/, qq{"$token\\u0000"} ],
	[ qr/$token/, $token x 10 ], [ qr/"delete_token"/, '"token"' ], [ qr/"b"/, qq{"b", "$token": 1} ],
	[ qr/"99"/, '"9"' ], [ qr/"a"/, qq{"a", "created_at": "2001-02-30T00:00:00Z"} ],
	[ qr/"a"/, qq{"a", "details": {"big": 1e999999}} ], [ qr/"hash"/, '"hash":1,' ], [ qr/image/, $token ],
	[ qr/"a"/, qq{"a", "created_at": "$token"} ], [ qr/"a"/, qq{"a", "blurhash": {"$token": "$token"}} ]);
foreach my $secret (@secrets)
{
	($stdout, $stderr) = run($node, 'fuzzed', qq{
		SELECT pictrepo.import(\$\$$secret\$\$);
		SELECT error FROM pictrepo.import_lines(ARRAY[\$\$$secret\$\$])});
	like($stderr, qr/ERROR:  22/, ($secret =~ s/$token/TOKEN/gr) . ' is an error');
	unlike("$stdout$stderr", qr/5ecc0000|dddddddddddd/, 'and shows no token');
}

# ----- memory -----

$node->safe_psql('fuzzed', q{
	INSERT INTO pictrepo.hashes (hash, identifier) SELECT sha256(int4send(n)), 'f' || n FROM generate_series(1, 60000) n;
	INSERT INTO pictrepo.aliases (alias, hash, delete_token) SELECT 'a' || n, sha256(int4send(n)), 't' FROM generate_series(1, 60000) n});
my $bytes = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts};
my @measured = split /\n/, $node->safe_psql('fuzzed', qq{
	BEGIN;
	DECLARE c CURSOR FOR SELECT pictrepo.export();
	MOVE 5000 FROM c;
	$bytes;
	MOVE 50000 FROM c;
	$bytes;
	FETCH 1 FROM c \\g /dev/null
	COMMIT});
cmp_ok($measured[1] - $measured[0], '<', 1_000_000, "the export of 50,000 more images takes no more memory (@measured)");

# It is one snapshot, however long it takes.
is($node->safe_psql('fuzzed', q{
	BEGIN;
	DECLARE c CURSOR FOR SELECT pictrepo.export();
	MOVE 10 FROM c;
	DELETE FROM pictrepo.hashes;
	MOVE ALL FROM c;
	SELECT count(*) FROM pictrepo.hashes;
	ROLLBACK;
	BEGIN;
	DECLARE d CURSOR WITH HOLD FOR SELECT pictrepo.export();
	FETCH 1 FROM d;
	COMMIT;
	FETCH 1 FROM d \g /dev/null
	CLOSE d}),
	"0\n{\"pictrepo\" : {\"version\" : 1}}", 'a cursor may be kept, and what goes meanwhile is no error');
($stdout, $stderr) = run($node, 'fuzzed', q{
	CREATE FUNCTION count_while_deleting() RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		line text;
		count bigint = 0;
	BEGIN
		FOR line IN SELECT pictrepo.export() LOOP
			IF count = 10 THEN DELETE FROM pictrepo.aliases; END IF;
			IF line LIKE '_"image" :%"alias" :%' THEN count = count + 1; END IF;
		END LOOP;
		RETURN count;
	END $$;
	BEGIN;
	SELECT count(DISTINCT hash) FROM pictrepo.aliases;
	SELECT count_while_deleting();
	ROLLBACK});
my @counts = split /\n/, $stdout;
is($counts[1], $counts[0], 'all lines are of one snapshot');

unlike(slurp_file($node->logfile), qr/PANIC|XX000|terminated by signal|Assert/,
	'no crash and no internal error in the log');

$node->stop;
done_testing();

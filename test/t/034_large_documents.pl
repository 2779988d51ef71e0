# Documents that are valid and as large as they may be: wide, deep, long, with
# pictrepo.max_document_size at its largest, and lines to import up to theirs.
# They get to the parser, and what comes back is what was given. One byte more, or
# more levels than the stack has room for, is an error of the contract. And arrays
# with very many elements.
#
# PICTREPO_SIZE_MB: how large the documents are, see `make sizes`.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use List::Util qw(min);
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $MB = $ENV{PICTREPO_SIZE_MB} // 4;

# A document has 256 MB at most, with all that is in it, and a line 64.
my $SIZE = min($MB, 250) * 1024 * 1024;
my $LINE = 64 * 1024 * 1024;
my $LINE_SIZE = min($SIZE, $LINE);

# elements of an array
my $MANY = $MB >= 100 ? 1_000_000 : 20_000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
pictrepo.max_document_size = '256MB'
max_wal_size = '8GB'
log_statement = none
log_min_error_statement = panic
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');
my $session = Session->new($node);

# What is asked, what is answered, and how long it took.
sub answers
{
	my ($name, $query, $answer) = @_;
	my $start = seconds();

	is($session->ask($query), $answer, $name);
	note sprintf '%s: %.1f s', $name, seconds() - $start;
	return;
}

# ----- documents -----

# As jsonb a member of the object has some 36 bytes, a number 16.
sub levels
{
	my ($levels) = @_;

	return "(repeat('[', $levels) || repeat(']', $levels))::jsonb";
}

# what fits the default max_stack_depth with room to spare
my $LEVELS = 5000;
my $deep = levels($LEVELS - 1);
my %documents = (
	'one text' => qq{to_jsonb(repeat('x', $SIZE))},
	'a wide object' =>
	  "(SELECT jsonb_object_agg('member ' || n, 'value' || n) FROM generate_series(1, $SIZE / 36) n)",
	'a long array' => "(SELECT jsonb_agg(n) FROM generate_series(1, $SIZE / 16) n)",
	'a deep document' => levels($LEVELS),
	'an array of deep documents' => "to_jsonb(array_fill($deep, ARRAY[$SIZE / 16 / $LEVELS]))",
);

$session->ask('CREATE TABLE documents (name text PRIMARY KEY, details jsonb, result jsonb)');
foreach my $name (sort keys %documents)
{
	answers("$name is made", qq{
		INSERT INTO documents
		SELECT '$name', jsonb_build_object('width', 1, 'more', d),
			jsonb_build_object('Success', '{"alias": "a", "token": "t"}'::jsonb, 'more', d)
		FROM (SELECT $documents{$name}) AS made (d)}, '');
	note $session->ask("SELECT pg_size_pretty(octet_length(details::text)::bigint) FROM documents WHERE name = '$name'");
	answers("$name as details",
		"SELECT pictrepo.relate_details(name, details) FROM documents WHERE name = '$name'", 't');
	answers("$name: they come back",
		"SELECT pictrepo.details(name) = details FROM documents WHERE name = '$name'", 't');
	answers("$name as the result of an upload", qq{
		SELECT pictrepo.complete_upload(pictrepo.create_upload(), result) FROM documents WHERE name = '$name'}, 't');
	answers("$name: it comes back", qq{
		SELECT pictrepo.wait(id, '0') = d.result FROM pictrepo.uploads, documents d WHERE name = '$name'}, 't');
	answers("$name with an image", qq{
		SELECT (pictrepo.ingest(convert_to(name, 'UTF8'), 'file of ' || name, details, name, 'token')).outcome
		FROM documents WHERE name = '$name'}, 'created');
	answers("$name: it is served",
		"SELECT s.details = d.details FROM documents d, pictrepo.serve(name) s WHERE name = '$name'", 't');
	answers("$name as a job", qq{
		SELECT pictrepo.push('q', details) IS NOT NULL FROM documents WHERE name = '$name'}, 't');
	answers("$name: it is popped",
		"SELECT job = details FROM pictrepo.pop('q'), documents WHERE name = '$name'", 't');
	$session->ask('TRUNCATE pictrepo.uploads, pictrepo.job_queue, pictrepo.hashes, pictrepo.details, documents CASCADE');
}

# As deep as the server reads, and then no deeper than the stack allows: whoever parses
# it recurses. A function that is called in a deep place has less room.
$session->ask(q{
	CREATE FUNCTION deepest() RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		least int = 1000;
		most int = 1000000;
		middle int;
	BEGIN
		WHILE most - least > 1 LOOP
			middle = (least + most) / 2;
			BEGIN
				PERFORM (repeat('[', middle) || repeat(']', middle))::jsonb;
				least = middle;
			EXCEPTION WHEN statement_too_complex THEN
				most = middle;
			END;
		END LOOP;
		RETURN least;
	END $$;
	CREATE FUNCTION descend(levels int, statement text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		answer text;
	BEGIN
		IF levels > 0 THEN RETURN descend(levels - 1, statement); END IF;
		EXECUTE statement INTO answer;
		RETURN answer;
	EXCEPTION WHEN invalid_text_representation OR statement_too_complex THEN
		RETURN 'refused';
	END $$;
	CREATE TABLE deepest AS SELECT jsonb_build_object('more', (repeat('[', n - 200) || repeat(']', n - 200))::jsonb) AS details
		FROM deepest() AS n});
answers('as deep as the server reads', q{SELECT pictrepo.relate_details('deep', details) FROM deepest}, 't');
answers('it comes back', q{SELECT pictrepo.details('deep') = details FROM deepest}, 't');
like($session->ask(q{SELECT descend(n, 'SELECT pictrepo.relate_details(''other'', details) FROM deepest') FROM (VALUES (0), (50), (100), (150)) v (n)}),
	qr/^(?:(?:true|false|refused)\n?)+$/, 'in a deep place, too, it is taken or refused');
$session->ask('TRUNCATE pictrepo.details');

# ----- lines -----

# An image with as many names, urls and variants as fit into $bytes.
sub image_line
{
	my ($bytes) = @_;

	return qq{(SELECT '{"image": {"hash": "0b", "identifier": "i", "created_at": "2001-01-01T00:00:00Z", "details": {}, '
		|| '"aliases": [' || string_agg('{"alias": "a' || n || '", "delete_token": "t", "created_at": '
			|| '"2001-01-01T00:00:00Z", "accessed": null, "urls": [{"url": "u' || n || '"}]}', ',') || '], '
		|| '"variants": [' || string_agg('{"variant": "v' || n || '", "identifier": "w' || n || '"}', ',') || ']}}'
		FROM generate_series(1, $bytes / 180) n)};
}

# Details in exactly so many bytes.
sub details_line
{
	my ($bytes) = @_;
	my ($before, $after) = ('{"details": {"identifier": "long", "details": {"more": "', '"}}}');
	my $rest = $bytes - length("$before$after");

	return qq{'$before' || repeat('x', $rest) || '$after'};
}

answers('a line with one image and all that it has',
	'SELECT pictrepo.import(line) FROM ' . image_line($LINE_SIZE) . ' AS line (line)', 'stored');
answers('what it has', q{
	SELECT count(*) > 1000, count(*) = (SELECT count(*) FROM pictrepo.variants),
		count(*) = (SELECT count(*) FROM pictrepo.proxies) FROM pictrepo.aliases}, 't|t|t');
answers('the same among others',
	'SELECT line, outcome, sqlstate FROM pictrepo.import_lines(ARRAY[' . image_line($LINE_SIZE)
	  . q{, '{"setting": {"key": "k", "value": "00"}}'])}, "1|exists|\n2|stored|");
answers('it is exported', q{SELECT count(*) >= 3, max(length(line)) > 100000 FROM pictrepo.export() AS line}, 't|t');
# The largest documents come back in; with the default size, a line has a limit.
$session->ask(q{SET pictrepo.max_document_size = '1MB'});
answers('a line as long as it may be', "SELECT pictrepo.import(@{[details_line($LINE)]})", 'stored');
answers('all of it', q{SELECT length(details ->> 'more') > 60000000 FROM pictrepo.details('long') AS details}, 't');
answers('one byte more', "SELECT pictrepo.import(@{[details_line($LINE + 1)]})", 'ERROR:  22001');
answers('and in a batch', qq{
	SELECT line, outcome, sqlstate
	FROM pictrepo.import_lines(ARRAY[@{[details_line($LINE + 1)]}, '{"setting": {"key": "k", "value": "00"}}'])},
	"1||22001\n2|exists|");

# ----- arrays -----

answers("$MANY jobs are pushed", qq{
	SELECT cardinality(pictrepo.push_many('many', array_agg(to_jsonb(n)), array_agg('key ' || n)))
	FROM generate_series(1, $MANY) n}, $MANY);
answers('popped', "SELECT sum((SELECT count(*) FROM pictrepo.pop('many', max_jobs => 10000 + 0 * n)))
	FROM generate_series(1, $MANY / 10000) n", $MANY);
answers('and completed', qq{
	SELECT count(*), max(outcome) FROM unnest(pictrepo.complete_many('many', NULL,
		(SELECT array_agg(id) FROM pictrepo.job_queue WHERE queue = 'many'))) AS outcome}, "$MANY|completed");
answers("$MANY lines", qq{
	SELECT count(*), max(outcome) FROM pictrepo.import_lines((SELECT array_agg(format(
		'{"setting": {"key": "%s", "value": "00"}}', n)) FROM generate_series(1, $MANY) n))}, "$MANY|stored");
answers('counts are exact', q{
	SELECT pictrepo.size() - (SELECT count(*) FROM pictrepo.hashes),
		pictrepo.queue_length() - (SELECT count(*) FROM pictrepo.job_queue)}, '0|0');

$session->leave;
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|XX000|TRAP|terminated by signal/, 'nothing odd in the log');
done_testing();

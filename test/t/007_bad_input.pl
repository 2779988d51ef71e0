# Whatever a caller passes, the answer is an answer or an error with one of the
# SQLSTATEs that the contract names: never an internal error, a crash or a
# hang, and no memory is lost on the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use List::Util qw(shuffle);
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# All that a call may end in.
my %ALLOWED = map { $_ => 1 } qw(ok 22004 22023 22001 23503 22P02 P0002 42704);

my $ROUNDS = 3;			# of all calls; after the first all caches are full
my $BATCH = 500;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\nlog_min_error_statement = panic\nwork_mem = 64kB\n");
$node->start;
fill($node, 'postgres');

my $seed = $ENV{PICTREPO_SEED} // 20240229;
srand($seed);
note "seed $seed; set PICTREPO_SEED for another";

# ----- values -----

# Arguments with which a call works, by name, else by type.
my %good = (
	sha256 => q{sha256('a')},
	size => '1',
	format => q{'png'},
	slug => q{'AWhhc2g'},
	hash => q{'hash'},
	role => q{'pg_monitor'},
	level => q{'reader'},
	alias => q{'alias.png'},
	job => q{'1'},
	jobs => q{ARRAY['1', '2']::jsonb[]},
	details => q{'{"width": 1}'},
	queue => q{'q'},
	line => q{'{"setting": {"key": "imported", "value": "00ff"}}'},
	lines => q{ARRAY['{"setting": {"key": "imported", "value": "00ff"}}', '{}', NULL]},
	page_limit => '3',
	max_jobs => '2',
	unique_keys => 'NULL',
	run_at => 'NULL',
	retry => 'NULL',
	retries => 'NULL',
	backoff => 'NULL',
	backoff_max => 'NULL',
	every => q{'1 day'},
	cron => 'NULL',
	max_running => 'NULL',
	paused => 'NULL',
	upload => qq{'$DEAD'},
	text => q{'x'},
	bytea => q{'x'},
	'timestamp with time zone' => q{'2001-01-01'},
	integer => '1',
	bigint => '1',
	interval => q{'0'},
	uuid => qq{'$WORKER'},
	'uuid[]' => qq{'{$WORKER}'},
	jsonb => q{'"x"'},
	boolean => 'NULL',
);

sub good_value
{
	my ($function, $argument) = @_;

	return q{'success'}
	  if $argument->{name} eq 'result' && $argument->{type} eq 'text';
	return q{'0 0 * * *'} if $function->{name} eq 'next_run' && $argument->{name} eq 'cron';
	return $good{ $argument->{name} } // $good{ $argument->{type} }
	  // die "no value for $argument->{name} $argument->{type} of $function->{signature}\n";
}

my $deep = q{(repeat('[', %d) || repeat(']', %d))::jsonb};
my @documents = (
	q{'null'}, q{'[]'}, q{'{}'}, q{'1'}, q{'true'}, q{'""'}, q{'1e400'}, q{'-0'},
	q{'123456789012345678901234567890'},
	q{to_jsonb(repeat('x', 1100000))},
	q{to_jsonb(repeat(U&'\00fc\+01f600', 1000))},
	(map { sprintf $deep, $_, $_ } 60, 70, 3000),
	(
		map { qq{'{"a": ' || $_ || '}'} }
		map { sprintf $deep =~ s/::jsonb//r, $_, $_ } 60, 70
	),
	(
		map {
			my $member = $_;
			map { qq{'{"$member": $_}'} } 'null', '0', '-1', '1.5', '65536', '1e30',
			  '99999999999999999999', 'true', '""', '"x"', '[]', '{}', '[1]',
			  '{"Image": "gif"}', '{"Image": null}', '{"Image": "png", "Video": "Mp4"}',
			  '"image/"', '"/png"', '"image/png\n"', '"2024-02-30T00:00:00Z"',
			  '"2024-02-29T24:00:00Z"', '"2024-02-29T00:00:00"', '"\u0001\ud83d\ude00"',
			  '{"alias": 1, "token": 2}', '{"alias": "", "token": ""}',
			  '{"message": [], "code": {}}', '{"message": "", "code": ""}'
		} qw(width height frames content_type created_at format Success Failure)
	),
	q{'{"Success": {"alias": "a", "token": "b"}, "Failure": {"message": "a", "code": "b"}}'},
	q{'{"Success": {"alias": "' || repeat('a', 300) || '", "token": "b"}}'},
	q{'{"": 1, "width ": 0, "WIDTH": -1}'});

my @texts = (
	q{''}, q{' '}, q{'.'}, q{'..png'}, q{'='}, q{'AAAA'}, q{'{}'}, q{'%s%n%d'},
	q{'''; DROP TABLE pictrepo.hashes; --'}, q{E'\x01\x7f\t\n'},
	q{U&'\00fc\+01f600\200f\feff'},
	q{repeat('x', 81)}, q{repeat('x', 256)}, q{repeat('x', 1025)},
	q{repeat('x', 65537)}, q{repeat('x', 1000000)},
	q{repeat(U&'\+01f600', 64)}, q{repeat(U&'\+01f600', 20000)},
	qq{'{$WORKER}.png'}, qq{'urn:uuid:$WORKER'}, qq('{$WORKER'), q{repeat('0', 32)},
	q{repeat('A', 52)}, q{'AwAA'}, q{'AwH_________'}, q{'AwAAHMKp60AAaGFzaA'}, q{'BwAA'},
	q{'AWhhc2h'}, q{repeat('_', 186)}, q{repeat('A', 200)},
	q{'* * * * *'}, q{'0 0 30 2 *'}, q{'0-59/7,* 23 29 feb */7'}, q{'@yearly'}, q{'@'},
	q{'1-1-1/1/1 , , , ,'}, q{'99999999999999999999 * * * *'}, q{U&'* * * * \00fc\+01f600'});
my @bytes = (
	q{''}, q{'\x00'}, q{'\xff'}, q{decode(repeat('ff', 32), 'hex')},
	q{decode(repeat('ff', 39), 'hex')}, q{decode(repeat('00', 128), 'hex')},
	q{decode(repeat('00', 129), 'hex')}, q{decode(repeat('00', 65537), 'hex')},
	q{decode(repeat('00', 1000000), 'hex')});
my %bad = (
	text => \@texts,
	name => [ q{''}, q{'nobody'}, q{'public'}, q{'none'}, q{'a"b''c'}, q{repeat('x', 63)} ],
	bytea => \@bytes,
	integer => [qw(0 -1 10000 10001 1000001 2147483647 -2147483648)],
	bigint => [
		qw(0 -1 281474976710655 281474976710656 9223372036854775807),
		q{'-9223372036854775808'}
	],
	boolean => [qw(true false)],
	'timestamp with time zone' => [
		map { "'$_'" } 'infinity', '-infinity', '4714-11-24 00:00:00+00 BC',
		'294276-12-31 23:59:59.999999+00', 'epoch'
	],
	interval => [
		map { "'$_'" } '-1 second', '-1 day 24 hours 1 second', '1 mon -29 days -24 hours',
		'1 microsecond', '31 days', '178000000 years', '-178000000 years',
		'178000000 years 2147483647 days', ($node->pg_version >= 17 ? ('infinity', '-infinity') : ())
	],
	uuid => [
		map { "'$_'" } '00000000-0000-0000-0000-000000000000',
		'ffffffff-ffff-ffff-ffff-ffffffffffff', $READY, $RUNNING, $DEAD, $UPLOAD
	],
	jsonb => \@documents,
	'jsonb[]' => [
		q{'{}'}, q{ARRAY[NULL]::jsonb[]}, q{ARRAY['1', NULL]::jsonb[]},
		q{ARRAY[ARRAY['1'], ARRAY['2']]::jsonb[]}, q{'[5:6]={1,2}'}, q{'{null}'},
		q{array_fill('1'::jsonb, ARRAY[1000])},
		q{ARRAY[to_jsonb(repeat('x', 1100000))]}
	],
	'text[]' => [
		q{'{}'}, q{'{NULL}'}, q{'{NULL,NULL}'}, q{ARRAY['', '']}, q{ARRAY['a', 'a']},
		q{ARRAY['a', NULL]}, q{'[5:6]={b,c}'}, q{'{{a},{b}}'},
		q{ARRAY[repeat('x', 81), repeat('y', 80)]}
	],
	'uuid[]' => [
		q{'{}'}, q{'{NULL}'}, qq{'{$RUNNING,$RUNNING}'}, qq{'[5:6]={$RUNNING,$WORKER}'},
		qq{'{{$RUNNING},{$WORKER}}'}, qq{array_fill('$READY'::uuid, ARRAY[1000])}
	]);

# Bytes at random, as a value of the type.
sub random_value
{
	my ($type) = @_;
	my $length = int(2**(rand 9));

	return q{'\x} . join('', map { sprintf '%02x', rand 256 } 1 .. $length) . q{'}
	  if $type eq 'bytea';
	return join('||',
		map { 'chr(' . (1 + int(rand(2)) * 127 + int(rand 126)) . ')' } 1 .. $length % 60 + 1)
	  if $type eq 'text';
	return 'gen_random_uuid()' if $type eq 'uuid';
	return undef;
}

# A call that waits longer than a test can is tried alone.
sub waits_long
{
	my ($argument, $value) = @_;

	return $argument->{name} =~ /^(wait|timeout)$/ && $value =~ /day|years|'infinity/;
}

# ----- calls -----

my @functions = public_functions($node, 'postgres');
foreach my $function (@functions)
{
	$function->{arguments} = [
		map {
			my %argument;
			@argument{qw(name type optional)} = split /\|/;
			\%argument;
		  } split /\n/,
		$node->safe_psql(
			'postgres', qq{
			SELECT proargnames[place], format_type(type, NULL), place > pronargs - pronargdefaults
			FROM pg_proc, unnest(proargtypes) WITH ORDINALITY AS argument (type, place)
			WHERE pg_proc.oid = '$function->{signature}'::regprocedure ORDER BY place})
	];
}

sub statement
{
	my ($function, @values) = @_;
	my @arguments = @{ $function->{arguments} };

	return "SELECT * FROM pictrepo.$function->{name}("
	  . join(', ', map { "$values[$_]::$arguments[$_]{type}" } 0 .. $#arguments) . ')';
}

my @statements;
my @long;
my %null_refused;
foreach my $function (@functions)
{
	my @arguments = @{ $function->{arguments} };
	my @base = map { good_value($function, $_) } @arguments;

	push @statements, statement($function, @base);
	foreach my $i (0 .. $#arguments)
	{
		foreach my $value ('NULL', @{ $bad{ $arguments[$i]{type} } // die $arguments[$i]{type} },
			(grep { defined } map { random_value($arguments[$i]{type}) } 1 .. 5))
		{
			my @values = @base;

			$values[$i] = "($value)";

			# NULL stands for something only where it says so: a default, the
			# session's worker, and no upload
			$null_refused{ statement($function, @values) } = 1
			  if $value eq 'NULL'
			  && $arguments[$i]{optional} eq 'f'
			  && $arguments[$i]{name} ne 'worker'
			  && !($function->{name} eq 'finish_ingest' && $arguments[$i]{name} eq 'upload')
			  && $function->{name} ne 'url_digest';
			if (waits_long($arguments[$i], $value))
			{
				push @long, statement($function, @values);
			}
			else
			{
				push @statements, statement($function, @values);
			}
		}
	}
	push @statements, statement($function, ('NULL') x @arguments) if @arguments;
}
my $systematic = @statements;

# and several at once, at random
foreach (1 .. 3000)
{
	my $function = $functions[ rand @functions ];
	my @values;

	foreach my $argument (@{ $function->{arguments} })
	{
		my @choices = (
			good_value($function, $argument), good_value($function, $argument), 'NULL',
			grep { !waits_long($argument, $_) } @{ $bad{ $argument->{type} } });

		push @values, '(' . (rand() < 0.3 && random_value($argument->{type})
			|| $choices[ rand @choices ]) . ')';
	}
	push @statements, statement($function, @values);
}
push @statements, $statements[0] while @statements % $BATCH;
note "$systematic systematic calls, 3000 at random, "
  . @long . ' that wait';

# in no order, so that the first of them do a bit of everything
@statements = shuffle(@statements);

# ----- run them -----

$node->safe_psql(
	'postgres', q{
	CREATE TABLE calls (id serial PRIMARY KEY, statement text, answer text, seconds float8);
	CREATE PROCEDURE try_calls(first int, last int) LANGUAGE plpgsql AS $$
	DECLARE
		call calls;
		reply text;
		start timestamptz;
	BEGIN
		FOR call IN SELECT * FROM calls WHERE id BETWEEN first AND last LOOP
			start = clock_timestamp();
			BEGIN
				EXECUTE call.statement;
				reply = 'ok';
			EXCEPTION WHEN OTHERS THEN
				reply = SQLSTATE;
			END;
			UPDATE calls SET answer = reply,
				seconds = extract(epoch FROM clock_timestamp() - start) WHERE id = call.id;
		END LOOP;
	END $$;
});
$node->safe_psql('postgres',
	"COPY calls (statement) FROM stdin;\n"
	  . join('', map { s/\\/\\\\/gr =~ s/\t/\\t/gr =~ s/\n/\\n/gr . "\n" } @statements)
	  . "\\.\n");

# What the session holds: the sum of its memory contexts, and what is its own of
# its resident pages (where there is a /proc).
my $memory = q{
	SELECT (SELECT sum(total_bytes) FROM pg_backend_memory_contexts),
		(split_part(statm, ' ', 2)::bigint - split_part(statm, ' ', 3)::bigint) * 4096
	FROM (SELECT coalesce(pg_read_file('/proc/self/statm', 0, 1000, true), '0 0 0')) AS proc (statm);
};
my $script = "\\o /dev/null\nSET statement_timeout = '100s';\n";
foreach my $round (1 .. $ROUNDS)
{
	for (my $first = 1; $first <= @statements; $first += $BATCH)
	{
		$script .= sprintf "CALL try_calls(%d, %d);\n", $first, $first + $BATCH - 1;
	}
	$script .= "\\o\n$memory\n\\o /dev/null\n" if $round == 1;
}

# That a statement of ours was compiled shows in what the session has loaded.
my $compiler = q{SELECT coalesce(pg_read_file('/proc/self/maps', 0, 10000000, true), '') ~ 'llvmjit'};
$script .= "\\o\n$memory\n$compiler;\n";

my ($stdout, $stderr) = run($node, 'postgres', "SET client_min_messages = error;\n$script");
is($stderr, '', 'the session lives');
my ($early, $late, $compiled) = map { [ split /\|/ ] } split /\n/, $stdout;

SKIP:
{
	skip 'no answer', 3 if !defined $late->[1];
	cmp_ok($late->[0] - $early->[0], '<', 1_000_000,
		"memory contexts do not grow ($early->[0] bytes, then $late->[0])");
	cmp_ok($late->[1] - $early->[1], '<', 4_000_000,
		"the process does not grow ($early->[1] bytes, then $late->[1])");
	is($compiled->[0], 'f', 'no statement is compiled, which would take longer than to run it');
}

is($node->safe_psql('postgres', 'SELECT count(*) FROM calls WHERE answer IS NULL'),
	'0', 'every call was made');
my $states = join ', ', map { "'$_'" } sort keys %ALLOWED;
my $odd = $node->safe_psql(
	'postgres', qq{
	SELECT answer || '  ' || left(statement, 300) FROM calls
	WHERE answer NOT IN ($states) ORDER BY id LIMIT 50});
is($odd, '', 'every answer is one of the contract');
is( $node->safe_psql('postgres', 'SELECT left(statement, 300), seconds FROM calls WHERE seconds > 5'),
	'', 'no call takes long');

my @null_taken = grep { /^SELECT/ && $null_refused{$_} } split /\n/,
  $node->safe_psql('postgres', q{SELECT statement FROM calls WHERE answer <> '22004'});
is_deeply(\@null_taken, [], scalar(keys %null_refused) . ' times NULL is refused');

foreach my $state (qw(22004 22023 22001 23503 22P02 P0002 42704))
{
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM calls WHERE answer = '$state'"),
		'>', 0, "$state came up");
}

# What waits: an answer, an error of the contract, or our own timeout.
my %waiting = map { $_ => 1 } keys %ALLOWED, '57014', '00000';
my @answers = try_calls($node, 'postgres', undef,
	map { "SET LOCAL statement_timeout = '50ms';\n$_" } @long);
foreach my $i (0 .. $#long)
{
	my ($state) = $answers[$i] =~ /^error (.*)/;

	ok(!defined $state || $waiting{$state}, "$long[$i]: " . ($state // 'an answer'));
}

# Messages are for people: whatever is passed, they name the argument.
my ($out, $messages) = run($node, 'postgres', q{
	SELECT pictrepo.create_hash(NULL, 'a');
	SELECT pictrepo.create_hash('', 'a');
	SELECT pictrepo.create_hash('a', repeat('x', 2000));
	SELECT pictrepo.create_alias('a', 'b', 'unknown');
});
my @named = $messages =~ /ERROR:  \w+: .*argument "(\w+)"/g;
is_deeply(\@named, [qw(hash hash identifier hash)], 'messages name the argument');
my @details = $messages =~ /^DETAIL:  (.*)/mg;
is((grep { length($_) > 250 } @details), 0, 'what was given is cut');

# The repo is whole after all that.
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM pictrepo.aliases WHERE hash NOT IN (SELECT hash FROM pictrepo.hashes)}),
	'0', 'nothing is half written');
unlike(slurp_file($node->logfile), qr/PANIC|XX000|terminated by signal|Assert|was aborted/,
	'no crash and no internal error in the log');

$node->stop;
done_testing();

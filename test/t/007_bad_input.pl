# Whatever a caller passes, and however, the answer is an answer or an error with
# one of the SQLSTATEs that the contract names: never an internal error, a crash
# or a hang. No memory is lost on the way, and counts stay exact.
#
# PICTREPO_SEED: other calls at random. PICTREPO_SIZE_MB: how large the largest
# values are, see `make sizes`.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use List::Util qw(min shuffle);
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# All that a call may end in.
my %ALLOWED = map { $_ => 1 } qw(ok 22004 22023 22001 23503 22P02 P0002 42704);

my $BATCH = 500;
my $MB = $ENV{PICTREPO_SIZE_MB} // 8;

# All calls in each of these ways: which form of the statement, and as whom. After
# the first all caches are full.
my @WAYS = (
	[ prepared => 'prepared', 'none' ],
	[ direct => 'direct', 'none' ],
	[ writer => 'prepared', 'a_writer' ]);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\nlog_min_error_statement = panic\nwork_mem = 64kB\n");
$node->start;
fill($node, 'postgres');
$node->safe_psql('postgres', q{
	CREATE ROLE a_writer LOGIN;
	SELECT pictrepo.grant_access('a_writer', 'writer')});

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
	new_identifier => q{'y'},
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
	'integer[]' => q{'{1}'},
	jsonb => q{'"x"'},
	duty => 'NULL',
	boolean => 'false',
	oid => q{'pictrepo.hashes'::regclass},
	tid => q{'(0,1)'},
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
	(map { sprintf $deep, $_, $_ } 60, 70, 1000, 3000, 5000),
	# wide, and what jsonb has no number for
	q('{) . join(', ', map { qq("member $_": $_) } 1 .. 1000) . q(}'), q{to_jsonb(array_fill(0, ARRAY[10000]))},
	q{to_jsonb('NaN'::numeric)},
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
	q{repeat('x', 8192)}, q{repeat('x', 65537)}, q{repeat('x', 4000000)},
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
	oid => [qw(0 1 4294967295), map { "'$_'::regclass" } qw(pictrepo.jobs pictrepo.hashes_pkey pg_class)],
	tid => [ map { "'$_'" } '(0,0)', '(0,2)', '(0,65535)', '(1,1)', '(4294967295,1)' ],
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
	],
	'integer[]' => [
		q{'{}'}, q{'{NULL}'}, q{'{1,1}'}, q{'[5:5]={0}'}, q{'{{1},{2}}'}, q{'{-2147483648}'}, q{array_fill(1, ARRAY[1000])}
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

# What a caller gives: procedures give back what else they have.
sub arguments_of
{
	my ($function) = @_;

	return [
		map {
			my %argument;
			@argument{qw(name type optional)} = split /\|/;
			\%argument;
		  } split /\n/,
		$node->safe_psql(
			'postgres', qq{
			SELECT proargnames[place], format_type(type, NULL), place > pronargs - pronargdefaults
			FROM pg_proc, unnest(proargtypes) WITH ORDINALITY AS argument (type, place)
			WHERE pg_proc.oid = '$function->{signature}'::regprocedure
				AND (prokind <> 'p' OR proargmodes[place] = 'i')
			ORDER BY place})
	];
}

my @routines = public_routines($node, 'postgres');
$_->{arguments} = arguments_of($_) foreach @routines;
my @functions = grep { $_->{kind} ne 'p' } @routines;
$functions[$_]{prepared} = "call_$_" foreach 0 .. $#functions;

sub good_values
{
	my ($function) = @_;

	return map { good_value($function, $_) } @{ $function->{arguments} };
}

sub typed
{
	my ($function, @values) = @_;
	my @arguments = @{ $function->{arguments} };

	return join(', ', map { "$values[$_]::$arguments[$_]{type}" } 0 .. $#arguments);
}

sub statement
{
	my ($function, @values) = @_;

	return "SELECT * FROM pictrepo.$function->{name}(" . typed($function, @values) . ')';
}

# The same call in both forms.
sub call
{
	my ($function, @values) = @_;
	my $values = typed($function, @values);

	return {
		signature => $function->{signature},
		direct => statement($function, @values),
		prepared => "EXECUTE $function->{prepared}" . ($values ne '' ? "($values)" : '') };
}

sub preparation
{
	my ($function) = @_;
	my @arguments = @{ $function->{arguments} };
	my $types = join ', ', map { $_->{type} } @arguments;

	return "PREPARE $function->{prepared}" . ($types ne '' ? "($types)" : '')
	  . " AS SELECT * FROM pictrepo.$function->{name}(" . join(', ', map { "\$$_" } 1 .. @arguments) . ')';
}

# What is tried is one argument in a call that works but for it.
my @good = map { statement($_, good_values($_)) } @functions;
my @good_answers = try_calls($node, 'postgres', undef, @good);
is_deeply(
	[ map { "$good[$_]: $good_answers[$_]" } grep { $good_answers[$_] =~ /^error/ } 0 .. $#good ],
	[ map { "$_: error P0002" } grep { /pictrepo\.wait\(/ } @good ],
	'with good values every call works, but for a wait for no upload');

my @calls;
my @long;
my %null_refused;
foreach my $function (@functions)
{
	my @arguments = @{ $function->{arguments} };
	my @base = good_values($function);

	push @calls, call($function, @base);
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
				push @calls, call($function, @values);
			}
		}
	}
	push @calls, call($function, ('NULL') x @arguments) if @arguments;
}
my @systematic = @calls;

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
	push @calls, call($function, @values);
}
note @systematic . ' systematic calls, 3000 at random, ' . @long . ' that wait';

# ----- run them -----

# What the session holds: the sum of its memory contexts, and what is its own of
# its resident pages (where there is a /proc).
my $memory = q{
	SELECT (SELECT sum(total_bytes) FROM pg_backend_memory_contexts),
		(split_part(statm, ' ', 2)::bigint - split_part(statm, ' ', 3)::bigint) * 4096
	FROM (SELECT coalesce(pg_read_file('/proc/self/statm', 0, 1000, true), '0 0 0')) AS proc (statm);
};

# That a statement of ours was compiled shows in what the session has loaded.
my $compiler = q{SELECT coalesce(pg_read_file('/proc/self/maps', 0, 10000000, true), '') ~ 'llvmjit'};

# All calls in one session in each of the ways, in no order, so that the first of
# them do a bit of everything. The tables calls and answers have what came of it.
sub call_all
{
	my ($on, $database, $calls, @ways) = @_;

	$on->safe_psql(
		$database, q{
		CREATE TABLE calls (id serial PRIMARY KEY, signature text, direct text, prepared text);
		CREATE TABLE answers (id int, way text, answer text, seconds float8);
		GRANT SELECT ON calls TO a_writer;
		GRANT INSERT ON answers TO a_writer;
		CREATE PROCEDURE try_calls(first int, last int, form text, way text) LANGUAGE plpgsql AS $$
		DECLARE
			call calls;
			reply text;
			start timestamptz;
		BEGIN
			FOR call IN SELECT * FROM calls WHERE id BETWEEN first AND last LOOP
				start = clock_timestamp();
				BEGIN
					EXECUTE CASE form WHEN 'direct' THEN call.direct ELSE call.prepared END;
					reply = 'ok';
				EXCEPTION WHEN OTHERS THEN
					reply = SQLSTATE;
				END;
				INSERT INTO answers VALUES (call.id, way, reply, extract(epoch FROM clock_timestamp() - start));
			END LOOP;
		END $$;
	});
	my @rows = map { join "\t", map { s/\\/\\\\/gr =~ s/\t/\\t/gr =~ s/\n/\\n/gr } @$_{qw(signature direct prepared)} }
	  shuffle(@$calls);
	$on->safe_psql($database,
		"COPY calls (signature, direct, prepared) FROM stdin;\n" . join("\n", @rows, '\\.') . "\n");

	my $script = "\\o /dev/null\nSET client_min_messages = error;\nSET statement_timeout = '100s';\n"
	  . join('', map { preparation($_) . ";\n" } @functions);
	foreach my $way (@ways)
	{
		my ($name, $form, $role) = @$way;

		$script .= "SET ROLE $role;\n";
		for (my $first = 1; $first <= @rows; $first += $BATCH)
		{
			$script .= sprintf "CALL try_calls(%d, %d, '%s', '%s');\n", $first, $first + $BATCH - 1, $form, $name;
		}
		$script .= "RESET ROLE;\n\\o\n$memory\n\\o /dev/null\n";
	}
	return run($on, $database, "$script\\o\n$compiler;\n");
}

# Every call was made in each way, and every answer is one of these; a writer may
# be refused what is not for writers.
sub check_answers
{
	my ($on, $database, $name, $count, @states) = @_;
	my $states = join ', ', map { "'$_'" } sort @states;

	is($on->safe_psql($database, 'SELECT count(*) FROM answers'), $count, "$name: every call was made");
	is( $on->safe_psql(
			$database, qq{
			SELECT way || '  ' || answer || '  ' || left(direct, 300) FROM answers JOIN calls USING (id)
			WHERE answer NOT IN ($states) AND NOT (way = 'writer' AND answer = '42501'
				AND NOT has_function_privilege('a_writer', signature, 'EXECUTE'))
			ORDER BY id LIMIT 50}),
		'', "$name: every answer is one of the contract");
	is( $on->safe_psql($database,
			'SELECT left(direct, 300), way, seconds FROM answers JOIN calls USING (id) WHERE seconds > 5'),
		'', "$name: no call takes long");
	return;
}

# The repo is whole after all that, and works.
sub check_repo
{
	my ($on, $database, $name) = @_;

	is( $on->safe_psql(
			$database, q{
			SELECT pictrepo.size() = (SELECT count(*) FROM pictrepo.hashes),
				pictrepo.queue_length() = (SELECT count(*) FROM pictrepo.job_queue),
				(SELECT count(*) FROM (SELECT queue, count(*) FROM pictrepo.job_queue GROUP BY queue) AS q
					WHERE pictrepo.queue_length(queue) <> count),
				(SELECT count(*) FROM pictrepo.orphans WHERE kind = 'alias'),
				pictrepo.push('afterwards', '"x"') IS NOT NULL}),
		't|t|0|0|t', "$name: counts are exact, nothing is half written");
	is($on->safe_psql($database, q{SELECT job FROM pictrepo.pop('afterwards')}), '"x"', "$name: and the queue works");
	return;
}

my ($stdout, $stderr) = call_all($node, 'postgres', \@calls, @WAYS);
is($stderr, '', 'the session lives');
my ($early, undef, $late, $compiled) = map { [ split /\|/ ] } split /\n/, $stdout;

SKIP:
{
	skip 'no answer', 3 if !defined $late->[1];
	cmp_ok($late->[0] - $early->[0], '<', 1_000_000,
		"memory contexts do not grow ($early->[0] bytes, then $late->[0])");
	cmp_ok($late->[1] - $early->[1], '<', 4_000_000,
		"the process does not grow ($early->[1] bytes, then $late->[1])");
	is($compiled->[0], 'f', 'no statement is compiled, which would take longer than to run it');
}

check_answers($node, 'postgres', 'plain', @WAYS * @calls, keys %ALLOWED);

my @null_taken = grep { /^SELECT/ && $null_refused{$_} } split /\n/,
  $node->safe_psql('postgres', q{SELECT direct FROM answers JOIN calls USING (id) WHERE answer <> '22004' AND way <> 'writer'});
is_deeply(\@null_taken, [], scalar(keys %null_refused) . ' times NULL is refused');

foreach my $state (qw(22004 22023 22001 23503 22P02 P0002 42704))
{
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM answers WHERE answer = '$state'"),
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

# Procedures, which want no transaction around them; no schema here is one of pict-rs.
my @procedure_calls;
foreach my $procedure (grep { $_->{kind} eq 'p' } @routines)
{
	foreach my $i (0 .. $#{ $procedure->{arguments} })
	{
		foreach my $value ('NULL', @{ $bad{ $procedure->{arguments}[$i]{type} } })
		{
			my @values = good_values($procedure);

			$values[$i] = "($value)";
			push @procedure_calls, "CALL pictrepo.$procedure->{name}(" . typed($procedure, @values) . ')';
		}
	}
}
my ($states) = run($node, 'postgres',
	"SET statement_timeout = '50ms';\n"
	  . join('', map { "\\o /dev/null\n$_;\n\\o\n\\echo :SQLSTATE\n" } @procedure_calls));
my @states = split /\n/, $states;
is(scalar @states, scalar @procedure_calls, 'every call of a procedure was answered');
is_deeply(
	[ map { "$procedure_calls[$_]: $states[$_]" } grep { !$waiting{ $states[$_] } && $states[$_] ne '3F000' } 0 .. $#states ],
	[], scalar(@procedure_calls) . ' calls of procedures: every answer is one of the contract');

# As large as a value can be, for all that may be large: an answer, or an error of
# the contract or of the server's own limits, and the session goes on.
my $size = $MB * 1024 * 1024;
my $text = sprintf q{repeat('x', %d)}, min($size, 1_073_741_000);
my $document = sprintf q{to_jsonb(repeat('x', %d))}, min($size, 268_435_000);
my %large = (
	text => $text,
	bytea => "convert_to($text, 'UTF8')",
	'text[]' => "ARRAY[$text]",
	jsonb => $document,
	'jsonb[]' => "ARRAY[$document]");
my %came;
foreach my $function (@functions)
{
	my @arguments = @{ $function->{arguments} };
	my @large_calls;

	foreach my $i (grep { $large{ $arguments[$_]{type} } } 0 .. $#arguments)
	{
		my @values = good_values($function);

		$values[$i] = "($large{ $arguments[$i]{type} })";
		push @large_calls, statement($function, @values);
	}
	next if !@large_calls;
	my @large_answers = try_calls($node, 'postgres', undef, @large_calls);
	foreach my $i (0 .. $#large_calls)
	{
		my ($state) = $large_answers[$i] =~ /^error (.*)/ ? $1 : 'ok';

		$came{$state}++;
		ok($ALLOWED{$state} || $state =~ /^(54000|53200)$/, "$MB MB, $large_calls[$i]: $state");
	}
}
note "$MB MB: " . join ', ', map { "$came{$_} times $_" } sort keys %came;

# Messages are for people: whatever is passed, they name the argument.
my ($out, $messages) = run($node, 'postgres', q{
	SELECT pictrepo.create_hash(NULL, 'a');
	SELECT pictrepo.create_hash('', 'a');
	SELECT pictrepo.create_hash('a', repeat('x', 2000));
	SELECT pictrepo.create_alias('a', 'b', 'unknown');
});
my @named = $messages =~ /ERROR:  \w+: (?|.*argument "(\w+)"|(\w+) ".*" does not exist)/g;
is_deeply(\@named, [qw(hash hash identifier hash)], 'messages name the argument');
my @details = $messages =~ /^DETAIL:  (.*)/mg;
is((grep { length($_) > 250 } @details), 0, 'what was given is cut');

check_repo($node, 'postgres', 'plain');
$node->stop;

# ----- with preload, and where a text is any bytes -----

# In a database without an encoding nobody has looked at what a text is made of:
# overlong, surrogates, beyond Unicode, cut off, no UTF-8 at all.
my @raw = map { "convert_from('\\x$_', 'SQL_ASCII')" }
  qw(c080 c1bf e08080 f0808080 eda080 edb080 f4908080 f888808080 ff 80 c3 e282 61c0 c3a9c3 22c3);
my %raw_of = (
	text => '%s',
	name => '%s',
	jsonb => q{to_jsonb(%s)},
	'jsonb[]' => q{ARRAY[to_jsonb(%s)]},
	'text[]' => q{ARRAY[%s]});
my @raw_calls;
foreach my $function (@functions)
{
	my @arguments = @{ $function->{arguments} };

	foreach my $i (0 .. $#arguments)
	{
		my $form = $raw_of{ $arguments[$i]{type} } // next;

		foreach my $raw (@raw)
		{
			my @values = good_values($function);

			$values[$i] = '(' . sprintf($form, $raw) . ')';
			push @raw_calls, call($function, @values);
		}
	}
}

my $preload = PostgreSQL::Test::Cluster->new('preload');
$preload->init;
$preload->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
log_statement = none
log_min_error_statement = panic
work_mem = 64kB
});
$preload->start;
$preload->safe_psql('postgres',
	"CREATE ROLE a_writer; CREATE DATABASE bytes TEMPLATE template0 ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'");
foreach my $case ([ postgres => 'preload', \@systematic ], [ bytes => 'raw bytes', \@raw_calls, '22021' ])
{
	my ($database, $name, $calls, @states) = @$case;

	fill($preload, $database);
	$preload->safe_psql($database, q{SELECT pictrepo.grant_access('a_writer', 'writer')});
	(undef, $stderr) = call_all($preload, $database, $calls, $WAYS[0]);
	is($stderr, '', "$name: the session lives");
	check_answers($preload, $database, $name, scalar @$calls, keys %ALLOWED, @states);
	check_repo($preload, $database, $name);
	note "$name: " . @$calls . ' calls';
}
$preload->stop;

foreach my $server ($node, $preload)
{
	unlike(slurp_file($server->logfile), qr/PANIC|XX000|terminated by signal|Assert|was aborted/,
		$server->name . ': no crash and no internal error in the log');
}

done_testing();

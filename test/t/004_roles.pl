# A role needs EXECUTE and nothing else, and gets what grant_access gives it:
# PUBLIC can do nothing, no level reads or writes more than it says, a hostile
# search_path changes nothing, and no delete token gets into a message or log.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE ROLE nobody LOGIN;
	CREATE ROLE a_reader LOGIN;
	CREATE ROLE a_writer LOGIN;
	CREATE ROLE an_admin LOGIN;
	CREATE ROLE hostile LOGIN;
	CREATE DATABASE good;
	CREATE DATABASE with_worker;
	CREATE DATABASE foreign_schema});

foreach my $database ('good', 'with_worker')
{
	fill($node, $database);
	$node->safe_psql($database, qq{
		ALTER DATABASE $database SET timezone = 'UTC';
		SELECT pictrepo.grant_access('a_reader', 'reader');
		SELECT pictrepo.grant_access('a_writer', 'writer');
		SELECT pictrepo.grant_access('an_admin', 'admin')});
}

# A worker would be in the way of copying the database, and what intervals look
# like depends on the session. These have a database of their own.
my $OF_WORKER = qr/^(start_worker|maintenance_status|status)$/;
my @functions = grep { $_->{name} !~ $OF_WORKER } public_functions($node, 'good');
my @of_worker = grep { $_->{name} =~ $OF_WORKER } public_functions($node, 'good');
my @procedures = grep { $_->{kind} eq 'p' } public_routines($node, 'good');
my @views = split /\n/, $node->safe_psql('good', q{
	SELECT relname FROM pg_class WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('v', 'm')});

# ----- levels -----

my %only_admin = map { $_ => 1 } qw(
  configure_queue pause_queue resume_queue drop_queue requeue_dead delete_dead cancel_job cancel_jobs update_job
  start_worker run_maintenance recount pre_restore post_restore
  schedule_job unschedule_job export import import_lines import_pictrs export_pictrs);

# The lowest level that may call a function: 1 reader, 2 writer, 3 admin, 4 none.
sub level_of
{
	my ($function) = @_;

	return 4 if $function->{name} =~ /^(grant_access|lock_row)$/;
	return 3 if $only_admin{ $function->{name} };
	return 1 if $function->{name} =~ /^serve/;
	return 2 if is_writer($function);

	# what may give a delete token away
	return 2 if $function->{name} =~ /^(delete_token|wait)$/;
	return 1;
}

# What may be called is; a procedure says that it is no part of a transaction.
sub check_calls
{
	my ($database, $role, $level, @routines) = @_;
	my @answers = try_calls($node, $database, $role, map { call_of($_) } @routines);

	foreach my $i (0 .. $#routines)
	{
		my $routine = $routines[$i];
		my $name = "$role and $routine->{signature}";

		if (level_of($routine) > $level)
		{
			is($answers[$i], 'error 42501', "not $name");
		}
		elsif ($routine->{kind} eq 'p')
		{
			is($answers[$i], 'error 2D000', $name);
		}
		else
		{
			unlike($answers[$i], qr/^error/, $name);
		}
	}
	return;
}

# Views are for everybody who may look. What one calls is called by who looks.
sub check_views
{
	my ($role, $level) = @_;
	my @answers = try_calls($node, 'good', $role, map { "SELECT count(*) FROM pictrepo.$_" } @views);

	foreach my $i (0 .. $#views)
	{
		like($answers[$i], $level > 0 ? qr/^\d+$/ : qr/^error 42501$/, "$role and view $views[$i]");
	}
	return;
}

# Call and look at everything as a role of a level.
sub check_level
{
	my ($role, $level) = @_;

	check_calls('good', $role, $level, @functions, @procedures);
	check_calls('with_worker', $role, $level, @of_worker);
	check_views($role, $level);

	# samples are for graphs, which readers draw
	my @readable = sort $level > 0 ? @views : (),
	  grep { $level == 3 || $level > 0 && /samples$/ } tables($node, 'good'), qw(restore_hold row_counts);

	foreach my $privilege (qw(SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER))
	{
		is( $node->safe_psql(
				'good', qq{
				SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
				WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('r', 'p', 'S', 'v', 'm')
				AND has_table_privilege('$role', oid, '$privilege')}),
			$privilege eq 'SELECT' ? join(' ', @readable) : '',
			"$role and $privilege");
	}
	is( $node->safe_psql(
			'good', qq{
			SELECT count(*) FROM pg_proc
			WHERE pronamespace = 'pictrepo'::regnamespace AND prorettype = 'trigger'::regtype
			AND has_function_privilege('$role', oid, 'EXECUTE')}),
		'0',
		"no trigger function for $role");
	is( $node->safe_psql('good', "SELECT has_schema_privilege('$role', 'pictrepo', 'CREATE')"),
		'f', "$role cannot create in the schema");
	return;
}

cmp_ok(scalar @procedures, '>', 2, 'there are procedures');
cmp_ok(scalar @views, '>', 4, 'and views');
is(scalar @of_worker, 3, 'and what is about the worker');
check_level('nobody', 0);
check_level('a_reader', 1);
check_level('a_writer', 2);
check_level('an_admin', 3);

# What is granted with the schema alone: PUBLIC has no function.
$node->safe_psql('good', 'GRANT USAGE ON SCHEMA pictrepo TO nobody');
check_level('nobody', 0);

# A role that only has EXECUTE on one function.
$node->safe_psql('good', 'GRANT EXECUTE ON FUNCTION pictrepo.create_hash TO nobody');
is((try_calls($node, 'good', 'nobody', q{SELECT pictrepo.create_hash('a', 'b')}))[0],
	't', 'EXECUTE is all that a call needs');

# Rights end with the call: what follows it is the caller's own.
my ($stdout, $stderr) = run($node, 'good', q{
	SELECT pictrepo.create_hash('a', 'b'), current_user, current_setting('search_path');
	SELECT current_user, current_setting('search_path');
	SELECT pictrepo.create_hash(NULL, 'b');
	SELECT current_user, current_setting('search_path');
	DO $$ BEGIN PERFORM pictrepo.create_hash(NULL, 'b'); EXCEPTION WHEN OTHERS THEN
		RAISE NOTICE '% %', current_user, current_setting('search_path'); END $$;
	TABLE pictrepo.hashes;
}, user => 'nobody');
is($stdout, qq{t|nobody|"\$user", public\nnobody|"\$user", public\nnobody|"\$user", public},
	'the caller stays who it is');
like($stderr, qr/nobody "\$user", public/, 'after a caught error, too');
like($stderr, qr/42501/, 'and cannot read the tables');

# ----- a hostile search_path -----

$node->safe_psql('good', q{
	GRANT CREATE ON DATABASE good TO hostile;
	SELECT pictrepo.grant_access('hostile', 'admin')});

# What pictrepo's SQL might use by an unqualified name, shadowed.
my @operators = (
	map {
		my $type = $_;
		map { [ $_, $type, $type, 'bool' ] } qw(= <> < <= > >=)
	} qw(bytea text uuid int4 int8 float8 bool interval timestamptz jsonb name oid regtype regnamespace "char")
);
push @operators,
  [ '+', 'timestamptz', 'interval', 'timestamptz' ],
  [ '-', 'timestamptz', 'interval', 'timestamptz' ],
  (map { [ $_, 'int4', 'int4', 'int4' ], [ $_, 'int8', 'int8', 'int8' ], [ $_, 'float8', 'float8', 'float8' ] }
	qw(+ - * /)),
  [ '||', 'text', 'text', 'text' ];
my @shadows = (
	[ 'now', '', 'timestamptz' ],
	[ 'clock_timestamp', '', 'timestamptz' ],
	[ 'random', '', 'float8' ],
	[ 'current_database', '', 'name' ],
	[ 'pg_postmaster_start_time', '', 'timestamptz' ],
	[ 'unnest', 'anyarray', 'SETOF anyelement' ],
	[ 'unnest', 'uuid[]', 'SETOF uuid' ],
	[ 'power', 'float8, float8', 'float8' ],
	[ 'format', 'text, VARIADIC "any"', undef ],
	[ 'jsonb_build_object', 'VARIADIC text[]', 'jsonb' ],
	[ 'make_interval', 'secs float8', 'interval' ],
	[ 'interval_send', 'interval', 'bytea' ],
	[ 'extract', 'text, interval', 'numeric' ],
	[ 'octet_length', 'bytea', 'int4' ],
	[ 'octet_length', 'text', 'int4' ],
	[ 'isfinite', 'timestamptz', 'bool' ],
	[ 'sha256', 'bytea', 'bytea' ]);

my $trap = '';
my $n = 0;
foreach my $operator (@operators)
{
	my ($name, $left, $right, $result) = @$operator;

	$n++;
	$trap .= qq{
		CREATE FUNCTION evil.operator$n($left, $right) RETURNS $result LANGUAGE plpgsql
			AS \$\$ BEGIN RAISE 'evil operator $name($left, $right)'; END \$\$;
		CREATE OPERATOR evil.$name (FUNCTION = evil.operator$n, LEFTARG = $left, RIGHTARG = $right);
	};
}
foreach my $shadow (grep { defined $_->[2] } @shadows)
{
	$trap .= qq{
		CREATE FUNCTION evil.$shadow->[0]($shadow->[1]) RETURNS $shadow->[2] LANGUAGE plpgsql
			AS \$\$ BEGIN RAISE 'evil function $shadow->[0]($shadow->[1])'; END \$\$;
	};
}
$trap .= qq{
	CREATE FUNCTION evil.fire() RETURNS trigger LANGUAGE plpgsql
		AS \$\$ BEGIN RAISE 'evil trigger'; END \$\$;
	CREATE FUNCTION evil.sum(float8, int8) RETURNS float8 LANGUAGE plpgsql
		AS \$\$ BEGIN RAISE 'evil aggregate'; END \$\$;
	CREATE AGGREGATE evil.count(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '666');
	CREATE AGGREGATE evil.max(timestamptz) (SFUNC = timestamptz_smaller, STYPE = timestamptz);
};
$node->safe_psql('good', "SET ROLE hostile;\nCREATE SCHEMA evil;\n$trap");

# In the caller's own session: temporary tables in place of pictrepo's, with
# rows and triggers.
my $snare = '';
foreach my $table (tables($node, 'good'), qw(pg_proc pg_class pg_extension pg_stat_activity))
{
	$snare .= qq{
		CREATE TEMP TABLE $table (id uuid, hash bytea, alias text);
		INSERT INTO pg_temp.$table DEFAULT VALUES;
		CREATE TRIGGER evil BEFORE INSERT OR UPDATE OR DELETE ON pg_temp.$table
			FOR EACH ROW EXECUTE FUNCTION evil.fire();
	};
}
$snare .= q{
	CREATE TEMP VIEW jobs AS SELECT 1;
	CREATE TYPE pg_temp.job_status AS ENUM ('evil');
	SET search_path = evil, pg_temp, pg_catalog, pictrepo;
	SET transform_null_equals = on;
	SET array_nulls = off;
	SET quote_all_identifiers = on;
	SET IntervalStyle = sql_standard;
	SET client_encoding = LATIN1;
	SET plan_cache_mode = force_custom_plan;
};

# The same calls in two copies of the database, in good and in evil company.
# What differs from run to run is replaced.
sub plain
{
	my ($text) = @_;

	$text =~ s/\b(?!01900000-|11111111-)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/UUID/g;
	$text =~ s/\b20[2-9]\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00(:00)?|Z)/TIME/g;
	$text =~ s/\bAwA[\w-]{10,}/SLUG/g;
	$text =~ s/(health-value,)"[^"]*"/$1TIME/g;
	return $text;
}

my $calls = join '',
  sort { ($a =~ /claim\(uuid\)/) <=> ($b =~ /claim\(uuid\)/) }
  map { "\\echo ==== $_->{signature}\n" . call_of($_) . ";\n" }
  grep { level_of($_) <= 3 } @functions;

# literals only: an operator or function of the caller's would be its own
$calls =~ s/sha256\('a'\)/'\\xca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb'/g;

$node->safe_psql('postgres', 'CREATE DATABASE evil TEMPLATE good');
$node->safe_psql('evil', "ALTER DATABASE evil SET timezone = 'UTC'");
my ($good, $good_errors) = run($node, 'good', $calls);
my ($evil, $evil_errors) = run($node, 'evil', "$snare $calls", user => 'hostile');

is($good_errors, '', 'in good company all calls work');
is($evil_errors, '', 'with a hostile search_path all calls work');
is_deeply(
	[ split /\n/, plain($evil) ],
	[ split /\n/, plain($good) ],
	'with a hostile search_path all calls answer the same');
is(plain(join "\n", sort split /\n/, rows_of($node, 'evil', $_)),
	plain(join "\n", sort split /\n/, rows_of($node, 'good', $_)),
	"with a hostile search_path $_ is the same")
  foreach tables($node, 'good');

# the trap does work
($stdout, $stderr) = run($node, 'evil',
	q{SET search_path = evil, pg_catalog; SELECT 1 = 1; SELECT count(*) FROM pg_class},
	user => 'hostile');
like($stderr, qr/evil operator/, 'the trap is set');
cmp_ok($stdout, '>', 666, 'for aggregates, too');

# ----- a schema that somebody else made -----

$node->safe_psql('foreign_schema', 'CREATE SCHEMA pictrepo AUTHORIZATION hostile');
($stdout, $stderr) = run($node, 'foreign_schema', 'CREATE EXTENSION pictrepo');
like($stderr, qr/42501: schema "pictrepo" belongs to /,
	"no extension in another role's schema");
$node->safe_psql('foreign_schema', 'DROP SCHEMA pictrepo; GRANT ALL ON DATABASE foreign_schema TO hostile');
($stdout, $stderr) = run($node, 'foreign_schema', 'CREATE EXTENSION pictrepo', user => 'hostile');
like($stderr, qr/42501/, 'not trusted: only a superuser creates it');

# ----- tokens -----

# The client's own statement is the client's to log.
$node->append_conf(
	'postgresql.conf', q{
log_min_messages = debug1
log_error_verbosity = verbose
log_min_error_statement = panic
});
$node->reload;
my $log_start = -s $node->logfile;
my $token = '5ecc0000-aaaa-4bbb-8ccc-dddddddddddd';
my $upload = qq{{"Success": {"alias": "alias", "token": "$token"}}};

# A token is in every place that can hold one. A reader looks at everything.
my $cleanup = qq{{"Alias": {"alias": "alias.png", "token": "$token"}}};
$node->safe_psql('good', qq{
	SELECT pictrepo.create_alias('told.png', '$token', 'hash');
	SELECT pictrepo.push('removals', '$cleanup', retry => 1);
	SELECT pictrepo.push('removals', '$cleanup', retry => 0);
	SELECT pictrepo.complete_job('removals', '$WORKER', id, 'failure', 'no such file: $cleanup')
		FROM pictrepo.pop('removals', '$WORKER', 2);
	SELECT pictrepo.push('removals', '$cleanup');
	SELECT pictrepo.schedule_job('clean', 'removals', '$cleanup', every => '1 day');
	SELECT pictrepo.complete_upload(pictrepo.create_upload(), '$upload')});
my @looks = (
	(map { call_of($_) } grep { level_of($_) == 1 } @functions, @of_worker),
	(map { "SELECT t::text FROM pictrepo.$_ t" } @views, grep { /samples$/ } tables($node, 'good')));
my @seen = try_calls($node, 'good', 'a_reader', @looks);
unlike($seen[$_], qr/5ecc0000|dddddddddddd|secret|^error/, "a reader sees no token by $looks[$_]") foreach 0 .. $#looks;

# Who may take a job sees what is in it.
my $cleanup_jobs = q{
	SELECT count(*), count(*) FILTER (WHERE job #>> '{Alias,token}' ~ '^5ecc'), count(*) FILTER (WHERE error ~ '5ecc'),
		count(*) FILTER (WHERE state IN ('ready', 'scheduled')), min(retry)
	FROM pictrepo.jobs WHERE queue = 'removals'};
is((try_calls($node, 'good', 'a_reader', $cleanup_jobs))[0], '2|0|0|2|0', 'a reader sees jobs without their content');
is((try_calls($node, 'good', $_, $cleanup_jobs))[0], '2|2|1|2|0', "$_ sees it") foreach qw(a_writer an_admin);
is((try_calls($node, 'good', 'nobody', $cleanup_jobs))[0], 'error 42501', 'a role without a level sees no job');
is((try_calls($node, 'good', 'a_reader', 'SELECT job FROM pictrepo.dead_jobs'))[0], 'error 42501', 'a reader sees no dead job');
is($node->safe_psql('good', "SELECT count(*) FROM pictrepo.dead_jobs WHERE job::text ~ '5ecc' AND error ~ '5ecc'"),
	'1', 'which has a token, too');

# an alias whose hash is being removed, or that is being created, at the time
my $holder = $node->background_psql('good', on_error_stop => 0);
$holder->query_safe(qq{
	BEGIN;
	SELECT pictrepo.create_hash('going', 'going.png');
	SELECT pictrepo.create_hash('staying', 'staying.png');
	COMMIT;
	BEGIN;
	SELECT pictrepo.cleanup_hash('going');
	SELECT pictrepo.create_alias('in the way', 'another', 'staying')});

my @bad = (
	qq{create_alias(NULL, '$token', 'hash')},
	qq{create_alias('', '$token', 'hash')},
	qq{create_alias(repeat('a', 300), '$token', 'hash')},
	qq{create_alias('alias', '$token', NULL)},
	qq{create_alias('alias', '$token', '')},
	qq{create_alias('alias', '$token', 'unknown')},
	qq{create_alias('alias', '$token' || repeat('x', 300), 'hash')},
	qq{create_alias('alias.png', '$token', 'unknown')},
	qq{create_alias('alias', '$token', 'going')},
	qq{create_alias('in the way', '$token', 'staying')},
	qq{check_delete_token(NULL, '$token')},
	qq{check_delete_token('', '$token')},
	qq{check_delete_token(repeat('a', 300), '$token')},
	qq{check_delete_token('alias.png', '$token' || repeat('x', 300))},
	qq{complete_upload(NULL, '$upload')},
	qq{complete_upload('$UPLOAD', jsonb_set('$upload', '{Success,alias}', '1'))},
	qq{complete_upload('$UPLOAD', jsonb_set('$upload', '{Success,token}', '["$token"]'))},
	qq{complete_upload('$UPLOAD', jsonb_set('$upload', '{Success,token}', to_jsonb('$token' || repeat('x', 300))))},
	qq{complete_upload('$UPLOAD', '$upload' #- '{Success,alias}')},
	qq{complete_upload('$UPLOAD', '$upload' || '{"Failure": {}}')},
	qq{complete_upload('$UPLOAD', '{"Success": "$token"}')},
	qq{complete_upload('$UPLOAD', '{"Success": "$token"}' || '{"Failure": "$token"}')},
	qq{complete_upload('$UPLOAD', '$upload' || jsonb_build_object('deep', (repeat('[', 100000) || '"$token"' || repeat(']', 100000))::jsonb))},
	qq{complete_upload('$UPLOAD', '$upload' || jsonb_build_object('long', repeat('$token', 100000)))},
);

# and these are answers
my @fine = (
	qq{create_alias('with token', '$token', 'hash')},
	qq{create_alias('with token', '$token', 'hash')},
	qq{check_delete_token('with token', '$token')},
	qq{check_delete_token('alias.png', '$token')},
	qq{complete_upload('$UPLOAD', '$upload')},
	qq{cleanup_alias('with token')});

foreach my $call (@bad, @fine)
{
	($stdout, $stderr) = run($node, 'good', qq{
		SET client_min_messages = debug1;
		SET lock_timeout = '20ms';
		SELECT pictrepo.$call});
	my $shown = $call =~ s/\Q$token\E/TOKEN/gr;

	unlike($stderr, qr/5ecc0000|dddddddddddd/, "no token in the message of $shown");
	if (grep { $_ eq $call } @bad)
	{
		like($stderr, qr/ERROR:  (?!XX)/, "$shown is an error");
	}
	else
	{
		is($stderr, '', "$shown is none");
	}
}
$holder->quit;

my $log = slurp_file($node->logfile, $log_start);
like($log, qr/ERROR:  23503/, 'errors are logged');
unlike($log, qr/5ecc0000|dddddddddddd/, 'no token in the log');

$node->stop;
done_testing();

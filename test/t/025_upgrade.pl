# An upgraded database is like a fresh one, and so is a restored one: equal
# catalogs, the same rows, all functions work.  Until ALTER EXTENSION UPDATE a
# new library serves the old catalog.
#
# test/upgrade/ has the install script of every version that was released.  So
# that all of this is tested from the first one on, there is a made-up version
# before the present one as well.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Catalog;
use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $project = "$FindBin::RealBin/../..";
my $made_up = '0.0.0';

# ----- an installation of our own, with other versions in it -----

my $installation = "$PostgreSQL::Test::Utils::tmp_check/installation";
system_or_bail('cp', '-RP', "$project/build/server", $installation);
my ($bindir, $extensions) = map {
	my ($directory) = run_command([ 'pg_config', "--$_" ]);
	$directory =~ s,^.*/build/server/,$installation/,r;
} qw(bindir sharedir);
$extensions .= '/extension';
$ENV{PATH} = "$bindir:$ENV{PATH}";

my ($version) = slurp_file("$extensions/pictrepo.control") =~ /^default_version = '(.*)'$/m;
my $script = slurp_file("$extensions/pictrepo--$version.sql");

sub install_script
{
	my ($name, $text) = @_;
	my $file = "$extensions/pictrepo--$name.sql";

	unlink $file;
	append_to_file($file, $text);
	return;
}

# The statements of the install script that begin so.
sub statements
{
	my ($beginning) = @_;
	my @found = $script =~ /^(\Q$beginning\E.*?;)$/gms;

	die "the install script has no $beginning" if !@found;
	return @found;
}

# What the present version has made, and what takes it away again.
my @upgrade = (
	statements('CREATE FUNCTION pictrepo.next_run('),
	statements('COMMENT ON FUNCTION pictrepo.next_run('),
	'REVOKE ALL ON FUNCTION pictrepo.next_run(text, timestamptz) FROM PUBLIC;',
	statements('CREATE INDEX aliases_created_index'),
	statements('COMMENT ON INDEX pictrepo.aliases_created_index'),
	'ALTER TABLE pictrepo.variants ADD COLUMN id uuid;',
	statements('COMMENT ON COLUMN pictrepo.variants.id '),
	'ALTER FUNCTION pictrepo.size() STABLE;',
	statements('COMMENT ON FUNCTION pictrepo.size('),
	'ALTER TABLE pictrepo.uploads ALTER COLUMN created_at SET DEFAULT now();',
	q{SELECT pg_catalog.pg_extension_config_dump('pictrepo.blocked', '');},
);
my $downgrade = q{
DROP FUNCTION pictrepo.next_run(text, timestamptz);
DROP INDEX pictrepo.aliases_created_index;
ALTER TABLE pictrepo.variants DROP COLUMN id;
ALTER FUNCTION pictrepo.size() VOLATILE;
COMMENT ON FUNCTION pictrepo.size() IS 'something else';
ALTER TABLE pictrepo.uploads ALTER COLUMN created_at DROP DEFAULT;
UPDATE pg_catalog.pg_extension SET
	extcondition = extcondition[:array_position(extconfig, 'pictrepo.blocked'::regclass::oid) - 1]
		|| extcondition[array_position(extconfig, 'pictrepo.blocked'::regclass::oid) + 1:],
	extconfig = array_remove(extconfig, 'pictrepo.blocked'::regclass::oid)
	WHERE extname = 'pictrepo';
};

install_script($made_up, $script . $downgrade);
install_script("$made_up--$version", join "\n", @upgrade);

# Each without one of its statements, and without what follows from it.
sub without
{
	my ($n) = @_;
	my $last = $n;

	if ($upgrade[$n] =~ /^CREATE|ADD COLUMN/)
	{
		$last++ while $last < $#upgrade && $upgrade[ $last + 1 ] =~ /^(COMMENT|REVOKE)/;
	}
	return @upgrade[ grep { $_ < $n || $_ > $last } 0 .. $#upgrade ];
}

my @faulty = map { "0.0.0-without-" . $_ } 0 .. $#upgrade;
foreach my $n (0 .. $#upgrade)
{
	install_script($faulty[$n], $script . $downgrade);
	install_script("$faulty[$n]--$version", join "\n", without($n));
}

my @released = map { m,pictrepo--(.*)\.sql$, } sort glob("$project/test/upgrade/pictrepo--*.sql");
foreach my $released (@released)
{
	my $text = slurp_file("$project/test/upgrade/pictrepo--$released.sql");

	if ($released eq $version)
	{
		is($script, $text, "the install script of $version is as it was released");
	}
	else
	{
		install_script($released, $text);
	}
}
foreach my $upgrade (glob("$project/src/upgrade/pictrepo--*--*.sql"))
{
	my ($from, $to) = $upgrade =~ m,/pictrepo--(.*)--(.*)\.sql$,;

	ok((grep { $_ eq $from } @released), "the install script of $from, which can be upgraded, is in test/upgrade");
}

# ----- fresh, restored -----

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pictrepo'
max_worker_processes = 30
pictrepo.reap_interval = 100ms
log_statement = none
});
$node->start;

sub value
{
	my ($database, $query) = @_;

	return $node->safe_psql($database, $query);
}

sub create
{
	my ($database, $create) = @_;

	value('postgres', "CREATE DATABASE $database");
	value($database, $create);
	return;
}

# The lines that only one of them has.
sub differences
{
	my ($old, $new) = @_;
	my %old = map { $_ => 1 } @$old;
	my %new = map { $_ => 1 } @$new;

	return ((map { "- $_" } grep { !$new{$_} } @$old), (map { "+ $_" } grep { !$old{$_} } @$new));
}

create('fresh', 'CREATE EXTENSION pictrepo');
my @fresh = catalog_of($node, 'fresh');
my %kinds;
$kinds{s/ of .*//r}++ foreach @fresh;
note join ', ', map { "$kinds{$_} $_" } sort keys %kinds;
cmp_ok($kinds{$_} // 0, '>', 10, "the catalog has each $_")
  foreach qw(object comment function column constraint index trigger privilege config type);

sub is_like_fresh
{
	my ($database, $name) = @_;

	is(join("\n", differences(\@fresh, [ catalog_of($node, $database) ])), '', "$name: the catalog is that of a fresh one");
	return;
}

my $dumps = 0;

# Dumped, and restored as a script and as an archive.
sub is_like_fresh_when_restored
{
	my ($database, $name) = @_;
	my %rows = map { $_ => rows_of($node, $database, $_) } tables($node, $database);

	foreach my $format (qw(plain custom))
	{
		my $file = "$PostgreSQL::Test::Utils::tmp_check/dump." . $dumps++;
		my $copy = "${database}_$format";

		value('postgres', "CREATE DATABASE $copy");
		$node->command_ok([ 'pg_dump', "--format=$format", '-f', $file, $node->connstr($database) ],
			"$name: $format dump");
		$node->command_ok(
			$format eq 'plain'
			? [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, $node->connstr($copy) ]
			: [ 'pg_restore', '--exit-on-error', '-d', $node->connstr($copy), $file ],
			"$name: restored");
		is_like_fresh($copy, "$name, $format");
		is(rows_of($node, $copy, $_), $rows{$_}, "$name, $format: rows of $_") foreach sort keys %rows;
		value('postgres', "DROP DATABASE $copy");
	}
	return;
}

is_like_fresh_when_restored('fresh', 'fresh');

# ----- what the comparison sees -----

# Each of these is a difference.
foreach my $change (
	'COMMENT ON TABLE pictrepo.hashes IS NULL',
	'COMMENT ON COLUMN pictrepo.hashes.hash IS NULL',
	'COMMENT ON TRIGGER hash_changed ON pictrepo.hashes IS NULL',
	'COMMENT ON EXTENSION pictrepo IS NULL',
	'COMMENT ON SCHEMA pictrepo IS NULL',
	'COMMENT ON CONSTRAINT hashes_pkey ON pictrepo.hashes IS $$key$$',
	'GRANT EXECUTE ON FUNCTION pictrepo.size() TO PUBLIC',
	'GRANT SELECT (hash) ON pictrepo.hashes TO pg_monitor',
	'GRANT SELECT ON pictrepo.hashes TO pg_monitor',
	'GRANT USAGE ON SCHEMA pictrepo TO pg_monitor',
	'GRANT USAGE ON TYPE pictrepo.job_status TO PUBLIC',
	'ALTER DEFAULT PRIVILEGES IN SCHEMA pictrepo GRANT SELECT ON TABLES TO pg_monitor',
	'ALTER FUNCTION pictrepo.size() OWNER TO pg_monitor',
	'ALTER FUNCTION pictrepo.size() VOLATILE',
	'ALTER FUNCTION pictrepo.size() PARALLEL UNSAFE',
	'ALTER FUNCTION pictrepo.size() SECURITY DEFINER',
	'ALTER FUNCTION pictrepo.size() SET search_path = public',
	'ALTER FUNCTION pictrepo.size() COST 7',
	'ALTER FUNCTION pictrepo.hashes() ROWS 7',
	'CREATE OR REPLACE FUNCTION pictrepo.queue_length(queue text = \'a\') RETURNS bigint LANGUAGE C STABLE PARALLEL SAFE AS \'$libdir/pictrepo\', \'pictrepo_queue_length\'',
	'ALTER TABLE pictrepo.hashes ADD COLUMN more int',
	'ALTER TABLE pictrepo.hashes ALTER COLUMN identifier SET STORAGE PLAIN',
	'ALTER TABLE pictrepo.hashes ALTER COLUMN identifier SET STATISTICS 7',
	'ALTER TABLE pictrepo.hashes ALTER COLUMN identifier SET COMPRESSION pglz',
	'ALTER TABLE pictrepo.hashes ALTER COLUMN identifier SET DEFAULT 7',
	'ALTER TABLE pictrepo.hashes ALTER COLUMN identifier DROP NOT NULL',
	'ALTER TABLE pictrepo.hashes ALTER COLUMN blurhash TYPE text COLLATE "POSIX"',
	'ALTER TABLE pictrepo.hashes SET (fillfactor = 70)',
	'ALTER TABLE pictrepo.job_queue SET (autovacuum_vacuum_scale_factor = 0.7)',
	'ALTER TABLE pictrepo.settings SET UNLOGGED',
	'ALTER TABLE pictrepo.hashes OWNER TO pg_monitor',
	'ALTER TABLE pictrepo.hashes ENABLE ROW LEVEL SECURITY',
	'ALTER TABLE pictrepo.hashes REPLICA IDENTITY FULL',
	'ALTER TABLE pictrepo.hashes ENABLE TRIGGER hash_changed',
	'ALTER TABLE pictrepo.aliases DISABLE TRIGGER ALL',
	'ALTER TABLE pictrepo.aliases ADD CHECK (alias <> $$x$$) NOT VALID',
	'ALTER TABLE pictrepo.aliases ALTER CONSTRAINT aliases_hash_fkey DEFERRABLE',
	'DROP INDEX pictrepo.job_queue_ready_index',
	'ALTER INDEX pictrepo.job_queue_ready_index SET (fillfactor = 70)',
	'CLUSTER pictrepo.hashes USING hashes_pkey',
	'CREATE SEQUENCE pictrepo.s',
	'CREATE STATISTICS pictrepo.s ON hash, identifier FROM pictrepo.hashes',
	'CREATE OR REPLACE VIEW pictrepo.waiting AS SELECT * FROM pictrepo.waiting_sessions() WHERE true',
	'ALTER VIEW pictrepo.maintenance SET (security_barrier)',
	'CREATE RULE r AS ON DELETE TO pictrepo.hashes DO NOTHING',
	'CREATE POLICY p ON pictrepo.hashes',
	'ALTER TYPE pictrepo.job_status OWNER TO pg_monitor',
	'ALTER TYPE pictrepo.hash_page ADD ATTRIBUTE more int',
	'ALTER TYPE pictrepo.job_status RENAME VALUE \'new\' TO \'old\'',
	'ALTER EXTENSION pictrepo DROP VIEW pictrepo.maintenance',
	'UPDATE pg_extension SET extconfig = NULL, extcondition = NULL',
	'UPDATE pg_extension SET extcondition[1] = $$WHERE false$$',
	'DELETE FROM pg_init_privs',
	'CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.e()',
  )
{
	my ($catalog, $error) = run($node, 'fresh', "BEGIN; $change; " . catalog_query() . '; ROLLBACK;');

	is($error, '', "done: $change");
	isnt(join("\n", differences(\@fresh, [ split /\n/, $catalog ])), '', "seen: $change");
}

# ----- upgraded -----

sub columns_of
{
	my ($database, $table) = @_;

	return value($database, qq{SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = 'pictrepo.$table'::regclass AND attnum > 0 AND NOT attisdropped});
}

sub values_of
{
	my ($database, $table, $columns) = @_;

	return value($database, "SELECT ROW($columns)::text FROM pictrepo.$table ORDER BY 1");
}

# The progress of transfers is in other columns since; the next transfer begins anew.
my %forgets_transfers = ('0.1.0' => 1);

# Of the old version, used, upgraded: with all rows, like a fresh one.
sub is_like_fresh_when_upgraded
{
	my ($old) = @_;
	my $database = 'from_' . $old =~ tr/./_/r;

	value('postgres', "CREATE DATABASE $database");
	fill($node, $database, $old);
	value($database, q{UPDATE pictrepo.schedules SET next_run = '3001-01-01'});
	my %columns = map { $_ => columns_of($database, $_) } tables($node, $database);
	delete @columns{qw(transfers transfer_errors)} if $forgets_transfers{$old};
	my %rows = map { $_ => values_of($database, $_, $columns{$_}) } keys %columns;

	my ($out, $said) = run($node, $database, 'ALTER EXTENSION pictrepo UPDATE;');
	is($said, '', "$old: the upgrade has nothing to say");
	is_like_fresh($database, $old);
	is(values_of($database, $_, $columns{$_}), $rows{$_}, "$old: rows of $_") foreach sort keys %rows;
	is_like_fresh_when_restored($database, $old);
	return;
}

foreach my $old ($made_up, grep { $_ ne $version } @released)
{
	is_like_fresh_when_upgraded($old);
}

foreach my $n (0 .. $#upgrade)
{
	create("faulty_$n", "CREATE EXTENSION pictrepo VERSION '$faulty[$n]'; ALTER EXTENSION pictrepo UPDATE");
	isnt(join("\n", differences(\@fresh, [ catalog_of($node, "faulty_$n") ])), '',
		"seen: an upgrade without " . substr($upgrade[$n], 0, 60) =~ s/\n.*//sr);
	value('postgres', "DROP DATABASE faulty_$n");
}

# ----- a new library, an old catalog -----

sub status
{
	my ($database, $item) = @_;

	return value($database, "SELECT value, advice FROM pictrepo.status() WHERE item = '$item'");
}

sub wait_for
{
	my ($database, $query, $what) = @_;

	ok($node->poll_query_until($database, $query), $what) or diag $query;
	return;
}

my $worker_runs = q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE backend_type = 'pictrepo worker' AND datname = current_database()};

# Calls of a release whose arguments have changed since
my %calls_of_release = (
	'0.1.0' => {
		heartbeat => qq{'q', '$WORKER', '$RUNNING'},
		complete_job => qq{'q', '$WORKER', '$RUNNING', 'failure', 'why'},
		complete_many => qq{'q', '$WORKER', '{$RUNNING}'},
		complete_and_pop => qq{'q', '$WORKER', '$RUNNING'},
		finish_ingest =>
		  qq{'q', '$WORKER', '$RUNNING', NULL, 'new', 'new.png', '{}', 'new.png', 'secret', '2001-01-03'},
	});

# What does not work with the tables and functions of a release
my %needs_upgrade = (
	'0.1.0' => join "\n", (map { "$_: error 42883" } qw(accessed_alias accessed_variant complete_and_pop)),
	'complete_job: error 42703', 'create_upload: error 42883', 'export: error 42703', 'health_check: error 42P01',
	map { "$_: error 42883" } qw(pop run_maintenance run_schedules serve_url serve_variant));

sub call_of_release
{
	my ($release, $function) = @_;
	my $arguments = $calls_of_release{$release}{ $function->{name} };

	return defined $arguments ? "SELECT * FROM pictrepo.$function->{name}($arguments)" : call_of($function);
}

# Without the worker, pops do what it would do.
sub pops_without_worker
{
	my ($old, $database) = @_;
	my $waiter = Session->new($node, $database);

	$waiter->send(q{SELECT job FROM pictrepo.pop('another', wait => '1h')});
	wait_for($database, q{SELECT waiting = 1 FROM pictrepo.queue_counters() WHERE queue = 'another'}, "$old: somebody waits");
	value($database, q{SELECT pictrepo.push('another', '"first"')});
	is($waiter->answer, '"first"', "$old: a push wakes who waits");
	value($database, q{UPDATE pictrepo.job_queue SET heartbeat = '2001-01-01' WHERE queue = 'another'});
	is(value($database, q{SET pictrepo.heartbeat_timeout = '1ms'; SELECT job FROM pictrepo.pop('another')}),
		'"first"', "$old: a pop takes jobs from silent workers");
	$waiter->leave;
	return;
}

sub serves
{
	my ($old) = @_;
	my $database = 'serves_' . $old =~ tr/./_/r;

	value('postgres', "CREATE DATABASE $database");
	fill($node, $database, $old);
	my @functions = grep { $_->{name} !~ /^(start_worker)$/ } public_functions($node, $database);
	cmp_ok(scalar @functions, '>', 100, "$old: there are functions");
	my @answers = try_calls($node, $database, undef, map { call_of_release($old, $_) } @functions);
	my @failed = grep { $answers[$_] =~ /^error (?!23503|P0002)/ } 0 .. $#functions;
	is(join("\n", map { "$functions[$_]->{name}: $answers[$_]" } @failed), $needs_upgrade{$old} // '',
		"$old: all of them work, but for what needs new tables or functions");
	is(status($database, 'library'), "$version|", "$old: the library is newer");
	is(status($database, 'schema'), "$old|ALTER EXTENSION pictrepo UPDATE", "$old: and says so");

	# no worker: its duties are done by who needs them, but for the schedules
	wait_for($database, $worker_runs =~ s/= 1/= 0/r, "$old: the worker is not there");
	is(status($database, 'worker'), 'none|starts when the library and the schema have the same version', "$old: which status() says");
	my $listener = Session->new($node, $database);
	$listener->ask('LISTEN queue_status_channel');
	value($database, q{SELECT pictrepo.push('new', '"first"')});
	$listener->ask('SELECT');
	is($listener->notifications, 1, "$old: a push tells the channel");
	pops_without_worker($old, $database) if !$needs_upgrade{$old};
	value($database, q{SELECT pictrepo.schedule_job('often', 'scheduled', '1', every => '1 s')});

	value($database, 'ALTER EXTENSION pictrepo UPDATE');
	wait_for($database, $worker_runs, "$old: after the update there is a worker");
	wait_for($database, q{SELECT count(*) = 1 FROM pictrepo.job_queue WHERE queue = 'scheduled'},
		"$old: which takes up its work");
	like(status($database, 'worker'), qr/^since .*\|$/, "$old: which status() says");
	is(status($database, 'schema'), "$version|", "$old: and all is of one version");
	$listener->leave;
	is_deeply(
		[ grep { /^error (?!23503|P0002)/ } try_calls($node, $database, undef,
			map { call_of($_) } grep { $_->{name} ne 'start_worker' } public_functions($node, $database)) ],
		[], "$old: all functions work after the update");
	return;
}

# ----- privileges -----

# What the role may do, and what a dump of the database grants it
sub granted_to
{
	my ($database, $role) = @_;
	my ($dump, undef) = run_command([ 'pg_dump', '--schema-only', $node->connstr($database) ]);

	return join "\n", value($database, qq{SELECT oid::regprocedure::text FROM pg_proc
		WHERE pronamespace = 'pictrepo'::regnamespace AND has_function_privilege('$role', oid, 'EXECUTE')
		UNION ALL SELECT oid::regclass::text FROM pg_class
		WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('r', 'v') AND has_table_privilege('$role', oid, 'SELECT')
		ORDER BY 1}), map { s/\b\Q$role\E\b/role/r } grep { /^GRANT .* TO $role;/ } split /\n/, $dump;
}

sub keeps_levels
{
	my ($old) = @_;
	my $database = 'levels_' . $old =~ tr/./_/r;

	create($database, "CREATE EXTENSION pictrepo VERSION '$old'");
	foreach my $level (qw(reader writer admin))
	{
		value($database, "CREATE ROLE old_$level; SELECT pictrepo.grant_access('old_$level', '$level')");
	}
	value($database, 'ALTER EXTENSION pictrepo UPDATE');
	foreach my $level (qw(reader writer admin))
	{
		value($database, "CREATE ROLE new_$level; SELECT pictrepo.grant_access('new_$level', '$level')");
		is(granted_to($database, "old_$level"), granted_to($database, "new_$level"),
			"$old: a role with level $level has it after the update, and in a dump");
		value($database, "DROP OWNED BY old_$level, new_$level; DROP ROLE old_$level, new_$level");
	}
	return;
}

keeps_levels($_) foreach grep { $_ ne $version } @released;

serves($_) foreach $made_up, grep { $_ ne $version } @released;

# ----- an old library, a new catalog -----

# The new files were installed and used before the server was started again.
install_script("$version--999", 'SELECT');
my $control = slurp_file("$extensions/pictrepo.control") =~ s/^default_version = .*$/default_version = '999'/mr;
unlink "$extensions/pictrepo.control";
append_to_file("$extensions/pictrepo.control", $control);
value('fresh', q{ALTER EXTENSION pictrepo UPDATE TO '999'});
wait_for('fresh', $worker_runs =~ s/= 1/= 0/r, 'newer: the worker goes');
is(status('fresh', 'worker'), 'none|starts when the library and the schema have the same version', 'newer: which status() says');
is(status('fresh', 'schema'), '999|restart the server: the library in memory is not the installed version',
	'newer: and what to do');
is(value('fresh', q{SELECT pictrepo.push('q', '1') IS NOT NULL}), 't', 'newer: functions work');

unlike(slurp_file($node->logfile), qr/PANIC|XX000|TRAP/, 'nothing odd in the log');
$node->stop;
done_testing();

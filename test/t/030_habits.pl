# What a newcomer meets: settings that say what they are, no chatter in normal
# use, progress that others see, and a word from status() where preload is missing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_min_messages = notice\nclient_min_messages = notice\n");
$node->start;

sub value
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# ----- a tour -----

# Every function, and what only a procedure can do, outside of a transaction.
sub say_nothing
{
	my ($mode) = @_;
	my $start = -s $node->logfile;

	fill($node, 'postgres');
	my $calls = join '', map { 'BEGIN; ' . call_of($_) . "; ROLLBACK;\n" } public_functions($node, 'postgres');
	$calls .= call_of({ name => 'pop_wait' }) =~ s/SELECT \* FROM/CALL/r . ";\n";
	# the tables are made, filled again, and read
	$calls .= "CALL pictrepo.$_('back');\n" foreach qw(export_pictrs export_pictrs import_pictrs);
	my ($out, $err) = run($node, 'postgres', "$calls\nDROP EXTENSION pictrepo;");
	is($err, '', "$mode: CREATE EXTENSION, every function and DROP EXTENSION have nothing to say to the client");
	unlike(substr(slurp_file($node->logfile), $start), qr/ (NOTICE|WARNING|ERROR|FATAL|PANIC): /, "$mode: nor to the server log");
	value('SET client_min_messages = warning; DROP SCHEMA back CASCADE');
	return;
}

# ----- without preload -----

sub upkeep
{
	return value(q{SELECT value, advice FROM pictrepo.status() WHERE item = 'upkeep'});
}

value('CREATE EXTENSION pictrepo');
like(value(q{SELECT advice FROM pictrepo.status() WHERE item = 'preload'}),
	qr/set shared_preload_libraries = 'pictrepo' and restart the server: then workers wake at once/,
	'without preload: status() says what to set and what it brings');
is(upkeep(), 'by sessions that call run_maintenance|', 'without preload: no advice where nothing was asked for');

value(q{SELECT pictrepo.schedule_job('hourly', 'q', '1', every => '1 hour')});
like(upkeep(), qr/no worker runs for schedules: set shared_preload_libraries, call start_worker\(\)/,
	'without preload: a schedule that nobody runs');
$node->append_conf('postgresql.conf', "pictrepo.variant_retention = '30d'\npictrepo.sample_interval = '1min'\n");
$node->restart;
like(upkeep(), qr/for schedules, pictrepo\.sample_interval, pictrepo\.variant_retention: set shared_preload_libraries/,
	'without preload: settings that nobody heeds');
value('SELECT pictrepo.start_worker()');
ok( $node->poll_query_until('postgres',
		q{SELECT value = 'by the worker' AND advice IS NULL FROM pictrepo.status() WHERE item = 'upkeep'}),
	'without preload: start_worker() is enough');
value('DROP EXTENSION pictrepo');

# a configuration from a server that had preload
$node->append_conf('postgresql.conf',
	join '', map { "pictrepo.$_ = 500\n" } qw(max_running_jobs max_waiters max_queues));
$node->restart;
say_nothing('without preload');
value('CREATE EXTENSION pictrepo');
like(value(q{SELECT advice FROM pictrepo.status() WHERE item = 'preload'}),
	qr/these settings have no effect: pictrepo\.max_queues, pictrepo\.max_running_jobs, pictrepo\.max_waiters$/,
	'without preload: sizes of what is not there');
is( value(q{
		SELECT pictrepo.size();
		SELECT string_agg(setting, ' '), count(*) FILTER (WHERE extra_desc LIKE '%starts with pictrepo in shared_preload_libraries.')
		FROM pg_settings WHERE name ~ '^pictrepo\.max_(running_jobs|waiters|queues)$'}),
	"0\n500 500 500|3",
	'without preload: and the settings say so themselves');
value('DROP EXTENSION pictrepo');

# ----- how far it is -----

value(q{
	CREATE EXTENSION pictrepo;
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$ BEGIN
		PERFORM pg_advisory_xact_lock_shared(1);
		RETURN coalesce(NEW, OLD);
	END $$});

# What others see of a statement that waits at a row for a lock, and at its end for another one.
sub progress_of
{
	my ($statement, $event) = @_;
	my ($holder, $session) = map { Session->new($node) } 1 .. 2;
	my ($pid, @seen) = ($session->pid);

	value("CREATE TRIGGER hold BEFORE $event EXECUTE FUNCTION hold()");
	$holder->ask("SELECT pg_advisory_lock($_)") foreach 1, 2;
	$session->ask('SET compute_query_id = on');
	$session->send("$statement, pg_advisory_xact_lock_shared(2)");
	foreach my $lock (1, 2)
	{
		$node->poll_query_until('postgres', qq{SELECT EXISTS (SELECT FROM pg_locks
			WHERE pid = $pid AND locktype = 'advisory' AND objid = $lock AND NOT granted)})
		  or die "it does not wait for lock $lock";
		push @seen, value(qq{SELECT coalesce(query_id, 0) <> 0, substring(query FOR 16), substring(query FROM ' -- .*')
			FROM pg_stat_activity WHERE pid = $pid});
		$holder->ask("SELECT pg_advisory_unlock($lock)");
	}
	$session->answer;
	value('DROP TRIGGER hold ON ' . $event =~ s/.* ON (\S+).*/$1/r);
	$_->leave foreach $holder, $session;
	return join ' ', @seen;
}

my $start = 't|SELECT pictrepo.';
my $lines = join ', ', map { qq{'{"setting": {"key": "$_", "value": "00ff"}}'} } 'a' .. 'z';
foreach my $more ('', ", 'no line'")
{
	value('TRUNCATE pictrepo.settings');
	is( progress_of(
			"SELECT pictrepo.import_lines(ARRAY[$lines$more])",
			q{INSERT ON pictrepo.settings FOR EACH ROW WHEN (NEW.key = 'k')}),
		"$start| -- lines: 10 of " . ($more ? 27 : 26) . " $start|",
		'import_lines says at which line it is, be it a long statement');
}
value(q{
	SELECT pictrepo.create_hash('hash', 'a.png');
	SELECT pictrepo.create_alias(alias, 't', 'hash'), pictrepo.relate_url('https://example.org/' || alias, alias),
		pictrepo.set_accessed_alias(alias, '2001-01-01') FROM unnest('{a,b,c,d}'::text[]) AS alias});
is( progress_of(
		q{SELECT pictrepo.expire_proxies('2002-01-01')},
		q{DELETE ON pictrepo.aliases FOR EACH ROW WHEN (OLD.alias = 'd')}),
	"$start| -- proxies: 3 of 4 $start|",
	'expire_proxies says at which alias it is');
value(q{SELECT pictrepo.create_upload(); UPDATE pictrepo.uploads SET created_at = '2001-01-01'});
is( progress_of('SELECT pictrepo.run_maintenance()', 'DELETE ON pictrepo.uploads FOR EACH ROW'),
	"$start| -- duty uploads: 5 of 12 $start|",
	'run_maintenance says at which duty it is');
value('DROP EXTENSION pictrepo; DROP FUNCTION hold()');

# ----- settings, and a tour of all functions, with preload -----

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pictrepo'\n");
$node->restart;

is( value(q{
		SELECT name FROM pg_settings WHERE name ~ '^pictrepo\.' AND unit IS NULL
		AND name ~ '_(interval|timeout|retention|ttl|resolution|size)$'}),
	'',
	'a setting that is a time or a size has a unit');
is( value(q{
		SELECT name FROM pg_settings WHERE name ~ '^pictrepo\.' AND vartype = 'integer'
		AND NOT (boot_val::bigint BETWEEN min_val::bigint AND max_val::bigint AND min_val::bigint >= 0)}),
	'',
	'a setting takes no number below 0');
is( value(q{
		SELECT count(*) > 20, count(*) FILTER (WHERE short_desc = '' OR extra_desc IS NULL
			OR min_val = '0' AND name !~ 'node_id' AND extra_desc !~ '\y0\y')
		FROM pg_settings WHERE name ~ '^pictrepo\.'}),
	't|0', 'a setting says what it is and, where it may be, what 0 means');
my ($out, $err) = run($node, 'postgres', 'SET pictrepo.no_such_thing = 1;');
like($err, qr/42602.*"pictrepo" is a reserved prefix/s, 'a setting that is not there is refused');

say_nothing('with preload');

$node->stop;
done_testing();

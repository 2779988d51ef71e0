# Every call that writes decides on what is committed now, whatever the snapshot of its
# transaction shows, or raises 40001.  Calls that only read keep the snapshot.
#
# A transaction takes its snapshot.  Then another session commits a change, and the
# transaction calls.  READ COMMITTED shows what is right: the answer, and the rows that
# the call leaves behind.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Pictrepo;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $OTHER_WORKER = '22222222-2222-2222-2222-222222222222';
my $HELD = "push('q', '1', upload => '$UPLOAD'); UPDATE job_queue SET id = '$RUNNING'; SELECT FROM pop('q', '$WORKER')";
my $DIED = "INSERT INTO dead_jobs (id, queue, job, priority, queue_time, died_at, attempt) VALUES ('$DEAD', 'q', '1', 0, now(), now(), 1)";
my $CLAIMED = "claim_variant_processing_rights('h', 'v', '$WORKER')";
my $IMAGE = q{'{"image": {"hash": "6e", "identifier": "n.png", "aliases": [{"alias": "n", "delete_token": "t"}], "variants": []}}'};

# Why a call raises 40001 where READ COMMITTED has an answer: the server checks foreign
# keys with the transaction's snapshot.
my $NEW_PARENT = 'the snapshot does not show the parent';
my $OLD_PARENT = 'the snapshot shows a parent that is gone';
my $NEW_CHILD = 'the snapshot does not show a row that goes with its parent';

# At first, there are hash 'h' with file 'h.png' and alias 'a' with token 't'.  Each row
# has the change, the call, the right answer, and the reason if 40001 stands in for it.
my @calls = (
	# hashes
	["create_hash('n', 'n.png')", "create_hash('n', 'm.png')", 'f'],
	["cleanup_hash('h')", "create_hash('h', 'm.png')", 't'],
	["create_hash('n', 'n.png')", "create_hash_with_timestamp('n', 'm.png', '2001-01-01')", 'f'],
	["create_hash('n', 'n.png')", "update_identifier('n', 'm.png')", 't'],
	["relate_blurhash('h', 'b')", "update_identifier('h', 'm.png')", 't'],
	["cleanup_hash('h')", "update_identifier('h', 'm.png')", 'f'],
	["create_hash('n', 'n.png')", "relate_blurhash('n', 'b')", 't'],
	["create_hash('n', 'n.png')", "relate_motion_identifier('n', 'n.mp4')", 't'],
	["create_hash('n', 'n.png')", "cleanup_hash('n')", 't'],
	["update_identifier('h', 'm.png')", "cleanup_hash('h')", 't'],
	["create_alias('b', 't', 'h')", "cleanup_hash('h')", 't', $NEW_CHILD],

	# variants
	["relate_variant_identifier('h', 'v', 'v.png')", "relate_variant_identifier('h', 'v', 'w.png')", 'f'],
	["create_hash('n', 'n.png')", "relate_variant_identifier('n', 'v', 'w.png')", 't', $NEW_PARENT],
	["relate_variant_identifier('h', 'v', 'v.png')", "remove_variant('h', 'v')", 't'],
	["relate_variant_identifier('h', 'v', 'v.png')", $CLAIMED, 'exists'],
	["claim_variant_processing_rights('h', 'v', '$OTHER_WORKER')", $CLAIMED, 'busy'],
	["create_hash('n', 'n.png')", "claim_variant_processing_rights('n', 'v')", 'claimed', $NEW_PARENT],
	[$CLAIMED, "variant_heartbeat('h', 'v', '$WORKER')", 't'],
	[$CLAIMED, "notify_variant('h', 'v', '$WORKER')", 't'],
	["relate_variant_identifier('h', 'v', 'v.png')", "variant_waiter('h', 'v', '0')", 'v.png'],

	# aliases
	["create_alias('b', 't', 'h')", "create_alias('b', 'u', 'h')", 'f'],
	["create_hash('n', 'n.png')", "create_alias('b', 't', 'n')", 't', $NEW_PARENT],
	["cleanup_alias('a')", "create_alias('a', 'u', 'h')", 't'],
	["create_alias('b', 't', 'h')", "cleanup_alias('b')", 't'],
	["set_accessed_alias('a', '2001-01-01')", "cleanup_alias('a')", 't'],
	["cleanup_alias('a')", "cleanup_alias('a')", 'f'],

	# settings, details, store migrations
	["set('k', '1')", "set('k', '2')", ''],
	["set('k', '1')", "remove('k')", 't'],
	["relate_details('h.png', '{}')", q{relate_details('h.png', '{"width": 1}')}, 'f'],
	["relate_details('h.png', '{}')", "cleanup_details('h.png')", 't'],
	["mark_migrated('a', 'b')", "mark_migrated('a', 'c')", 'f'],
	["mark_migrated('a', 'b')", "clear()", '1'],

	# proxies and access times
	["relate_url('u', 'a')", "relate_url('u', 'a')", 'f'],
	["create_alias('b', 't', 'h')", "relate_url('u', 'b')", 't', $NEW_PARENT],
	["relate_url('u', 'a')", "remove_relation('a')", '1'],
	["create_alias('b', 't', 'h')", "accessed_alias('b')", 't'],
	["relate_url('u', 'a')", "set_accessed_alias('a', '2001-01-01')", 't'],
	["set_accessed_alias('a', '2001-01-01')", "remove_alias_access('a')", 't'],
	["relate_variant_identifier('h', 'v', 'v.png')", "accessed_variant('h', 'v')", 't'],
	["relate_variant_identifier('h', 'v', 'v.png')", "set_accessed_variant('h', 'v', '2001-01-01')", 't'],
	["relate_variant_identifier('h', 'v', 'v.png')", "remove_variant_access('h', 'v')", 't'],

	# uploads
	["INSERT INTO uploads (id, created_at) VALUES ('$UPLOAD', '2001-01-01')", 'create_upload() IS NOT NULL', 't'],
	["INSERT INTO uploads (id) VALUES ('$UPLOAD')", qq{complete_upload('$UPLOAD', '"done"')}, 't'],
	["INSERT INTO uploads (id) VALUES ('$UPLOAD')", "claim('$UPLOAD')", 't'],
	[qq{INSERT INTO uploads (id, result) VALUES ('$UPLOAD', '"done"')}, "wait('$UPLOAD', '0')", '"done"'],

	# the queue
	["push('q', '1', unique_key => 'k')", "push('q', '2', unique_key => 'k') IS NULL", 't'],
	["configure_queue('q', retries => 9)", "push('q', '1') IS NULL", 'f'],
	["push('q', '1', unique_key => 'k')", "push_many('q', '{2}', '{k}')", '{NULL}'],
	["push('q', '1')", "job FROM pop('q', '$WORKER')", '1'],
	["push('q', '1'); SELECT pause_queue('q')", "job FROM pop('q', '$WORKER')", ''],
	[$HELD, "heartbeat('q', '$WORKER', '$RUNNING')", 't'],
	[$HELD, "complete_job('q', '$WORKER', '$RUNNING')", 'completed'],
	[$HELD, "complete_job('q', '$WORKER', '$RUNNING', 'failure')", 'retrying'],
	[$HELD, "complete_job('q', '$WORKER', '$RUNNING', 'aborted')", 'dead'],
	["$HELD; SELECT heartbeat('q', '$WORKER', '$RUNNING'), complete_job('q', '$WORKER', '$RUNNING')", "complete_job('q', '$WORKER', '$RUNNING')", 'lost'],
	[$HELD, "complete_many('q', '$WORKER', '{$RUNNING,$READY}')", '{completed,lost}'],
	[$HELD, "complete_many('q', '$WORKER', '{$RUNNING,$READY}', 'failure')", '{retrying,lost}'],
	["$HELD; SELECT push('q', '2')", "outcome, job FROM complete_and_pop('q', '$WORKER', '$RUNNING')", 'completed|2'],
	["configure_queue('q', retries => 9)", "configure_queue('q', max_running => 1)", ''],
	["pause_queue('q')", "pause_queue('q')", 'f'],
	["pause_queue('q')", "resume_queue('q')", 't'],
	[$DIED, "requeue_dead('$DEAD')", 't'],
	[$DIED, "requeue_dead('q', '%')", '1'],
	[$DIED, "delete_dead('q', '%')", '1'],
	[$HELD, "cancel_job('$RUNNING')", 'cancelled'],
	["push('q', '1', unique_key => 'k')", "cancel_jobs('q', 'k')", '1'],
	["push('q', '1')", "cancel_jobs('q')", '1'],
	["push('q', '1'); UPDATE job_queue SET id = '$READY'", "update_job('$READY', priority => 1)", 't'],
	[$HELD, "release_job('q', '$WORKER', '$RUNNING')", 't'],
	["push('q', '1')", "drop_queue('q')", 'in_use'],
	["pause_queue('q')", "drop_queue('q')", 'dropped'],
	["schedule_job('s', 'q', '1', cron => '\@yearly')", "schedule_job('s', 'q', '2', cron => '\@yearly') IS NULL", 'f'],
	["schedule_job('s', 'q', '1', cron => '\@yearly')", "unschedule_job('s')", 't'],
	["INSERT INTO schedules (name, queue, job, every, next_run) VALUES ('s', 'q', '1', '1 day', '2001-01-01')", 'run_schedules()', '1'],

	# operations
	["ingest('n', 'n.png', '{}', 'n', 't')", "outcome FROM ingest('n', 'm.png', '{}', 'm', 't')", 'duplicate', $NEW_PARENT],
	["create_alias('b', 't', 'h')", "outcome FROM ingest('n', 'n.png', '{}', 'b', 't')", 'alias_exists'],
	["delete_alias('a', 't')", "outcome FROM ingest('h', 'h.png', '{}', 'a', 't')", 'created', $OLD_PARENT],
	["block_hash('n')", "outcome FROM ingest('n', 'n.png', '{}', 'n', 't')", 'blocked'],
	[$HELD, "outcome FROM finish_ingest('q', '$WORKER', '$RUNNING', '$UPLOAD', 'n', 'n.png', '{}', 'n', 't')", 'created'],
	[$CLAIMED, "finish_variant('h', 'v', '$WORKER', 'v.png', '{}')", 'stored'],
	["create_hash('n', 'n.png'); SELECT claim_variant_processing_rights('n', 'v', '$WORKER')", "finish_variant('n', 'v', '$WORKER', 'v.png', '{}')", 'stored', $NEW_PARENT],
	["relate_variant_identifier('h', 'v', 'v.png')", "finish_variant('h', 'v', '$WORKER', 'w.png', '{}')", 'exists'],
	["create_alias('b', 't', 'h')", "delete_alias('b', 't')", 'deleted'],
	["create_alias('b', 't', 'h')", "delete_alias('a', 't')", 'deleted'],
	["ingest('n', 'n.png', '{}', 'n', 't')", "delete_alias('n', 't')", 'deleted'],
	["delete_alias('a', 't')", "delete_alias('a', 't')", 'missing'],
	["ingest('h', 'm.png', '{}', 'b', 't')", "delete_alias('a', 't')", 'deleted'],
	["relate_url('u', 'a')", "delete_alias('a', 't')", 'deleted', $NEW_CHILD],
	["create_alias('b', 't', 'h')", "array_agg(p) FROM purge('a') p", '{a,b}'],
	["ingest('n', 'n.png', '{}', 'n', 't')", "array_agg(p) FROM purge('n', block => true) p", '{n}'],
	["block_hash('n')", "block_hash('n')", 'f'],
	["block_hash('n')", "unblock_hash('n')", 't'],
	["relate_variant_identifier('h', 'v', 'v.png'); SELECT set_accessed_variant('h', 'v', '2001-01-01')", "expire_variants('2002-01-01')", '1'],
	["relate_url('u', 'a'); SELECT set_accessed_alias('a', '2001-01-01')", "expire_proxies('2002-01-01')", '1', $NEW_CHILD],
	["create_hash('n', 'n.png')", "migrate_identifier('n.png', 'm.png')", 't'],
	["create_hash('n', 'n.png')", "forget_missing('n.png')", 't'],
	["import($IMAGE)", "import($IMAGE)", 'exists'],
	["create_hash('n', 'n.png')", "import($IMAGE)", 'merged', $NEW_PARENT],
	["set('k', '1')", q{import('{"setting": {"key": "k", "value": "32"}}')}, 'conflict'],
	["set('k', '1')", q{outcome FROM import_lines(ARRAY['{"setting": {"key": "k", "value": "31"}}'])}, 'exists'],

	# upkeep
	['pre_restore()', "pre_restore('2 days') > now() + interval '1 day'", 't'],
	['pre_restore()', 'post_restore()', 't'],
	['health_check()', 'left(health_check(), 2)', 'ok'],
	["INSERT INTO uploads (id, created_at) VALUES ('$UPLOAD', '2001-01-01')", "run_maintenance('uploads')", '1'],
	["INSERT INTO variant_claims (hash, variant, worker, heartbeat) VALUES ('h', 'v', '$WORKER', '2001-01-01')", "run_maintenance('claims')", '1'],
	['CREATE VIEW extra AS SELECT 1', "grant_access('pg_monitor', 'reader'), has_table_privilege('pg_monitor', 'extra', 'SELECT')", '|t'],
);

# Functions that are volatile and do not write, or have no transaction to call them in.
my %left_out = (
	pop_wait => 'commits before it looks again',
	import_pictrs => 'commits each batch',
	export_pictrs => 'commits each batch',
	serve => 'reads; only the note of the access is written',
	serve_url => 'reads; only the note of the access is written',
	serve_variant => 'reads; only the note of the access is written',
	start_worker => 'concerns no row',
	lock_row => 'locks a row that the caller has found',
	recount => 'changes no row; what it answers is what the transaction sees',
);

# Each row has the change, the call, and its answer by the snapshot.
my @reads = (
	["update_identifier('h', 'm.png')", "identifier('h')", 'h.png'],
	["create_hash('n', 'n.png')", 'size()', '1'],
	["create_alias('b', 't', 'h')", "array_agg(a) FROM aliases_for_hash('h') a", '{a}'],
	["delete_alias('a', 't')", "check_delete_token('a', 't')", 't'],
	["delete_alias('a', 't')", "identifier FROM serve('a', touch => true)", 'h.png'],
	["relate_url('u', 'a')", "count(*) FROM serve_url('u')", '0'],
	["relate_variant_identifier('h', 'v', 'v.png')", "identifier FROM serve_variant('a', 'v')", ''],
	["push('q', '1')", "queue_length('q')", '0'],
	["create_hash('n', 'n.png')", 'cardinality(hashes) FROM hash_page()', '1'],
	["set('k', '1')", "count(*) FROM export() line WHERE line LIKE '%setting%'", '0'],
);

# All rows.  Of a time, only whether it is long ago; no ids, which are new in each run.
sub query_of_rows
{
	my ($session) = @_;

	return $session->ask(q{
		SELECT string_agg(format('SELECT %L, jsonb_build_object(%s)::text FROM %s', relname, columns, oid),
			' UNION ALL ' ORDER BY relname) || ' ORDER BY 1, 2'
		FROM (SELECT c.oid::regclass, relname, string_agg(format(
				CASE atttypid WHEN 'timestamptz'::regtype THEN '%L, %I < ''2002-01-01''' ELSE '%L, %I' END,
				attname, attname), ', ') AS columns
			FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND attname <> 'id'
			WHERE relnamespace = 'pictrepo'::regnamespace AND relkind = 'r' GROUP BY c.oid, relname) tables});
}

sub begin_anew
{
	my ($session) = @_;

	$session->ask(q{
		DROP VIEW IF EXISTS extra;
		DELETE FROM hashes; DELETE FROM details; DELETE FROM settings; DELETE FROM store_migrations;
		DELETE FROM uploads; DELETE FROM job_queue; DELETE FROM dead_jobs; DELETE FROM queues;
		DELETE FROM schedules; DELETE FROM blocked; DELETE FROM restore_hold;
		SELECT FROM create_hash('h', 'h.png'); SELECT FROM create_alias('a', 't', 'h')});
	return;
}

# The health check stores the time.
sub committed
{
	my ($session, $query) = @_;

	return $session->ask("DELETE FROM settings WHERE key = 'health-value'; $query");
}

# Returns the answer, the rows that the change left, and those that the call left.
sub call_after
{
	my ($old, $other, $rows, $level, $change, $call) = @_;

	begin_anew($other);
	$old->ask("BEGIN ISOLATION LEVEL $level; SELECT FROM samples");
	my $changed = $other->ask($change =~ /^\w+\(/ ? "SELECT FROM $change" : $change);
	die "$change\n$changed" if $changed =~ /^(?:ERROR|FATAL)/m;
	my $before = committed($other, $rows);
	my $answer = $old->ask("SELECT $call");
	$old->ask('COMMIT');
	return ($answer, $before, committed($other, $rows));
}

sub try_all
{
	my ($node, $mode) = @_;
	my ($old, $other) = map { Session->new($node) } 1 .. 2;
	my $rows = query_of_rows($other);

	$_->ask("SET search_path = pictrepo; SET lock_timeout = '20s'") foreach $old, $other;
	foreach my $row (@calls)
	{
		my ($change, $call, $right, $why) = @$row;
		my $name = "$mode: $change, then $call";
		my ($answer, undef, $expected) = call_after($old, $other, $rows, 'READ COMMITTED', $change, $call);

		is($answer, $right, $name);
		foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
		{
			my ($here, $before, $after) = call_after($old, $other, $rows, $level, $change, $call);

			is($here, defined $why ? 'ERROR:  40001' : $right, "$name: $level" . (defined $why ? ": $why" : ''));
			is($after, defined $why ? $before : $expected, "$name: $level: the rows");
		}
	}
	foreach my $row (@reads)
	{
		my ($change, $call, $snapshot) = @$row;

		foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
		{
			my ($answer) = call_after($old, $other, $rows, $level, $change, $call);

			is($answer, $snapshot, "$mode: $change, then $call: $level");
		}
	}
	$_->leave foreach $old, $other;
	return;
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', join "\n", 'fsync = off', 'log_min_error_statement = panic',
	# the worker does nothing of its own
	map { "pictrepo.${_}_interval = '1 d'" } qw(reap schedule upload claim dead_job sweep variant proxy));
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pictrepo');

# ----- no call is forgotten -----

my %volatile = map { $_->{name} => 1 } grep { $_->{volatility} eq 'v' } public_routines($node, 'postgres');
my %tried = map { $_ => 1 } map { $_->[1] =~ /(\w+)\(/g } @calls;
is(join(' ', grep { !$tried{$_} && !exists $left_out{$_} } sort keys %volatile), '', 'every call that writes is here');
is(join(' ', grep { !$volatile{$_} || $tried{$_} } sort keys %left_out), '', 'and what is left out is not');

try_all($node, 'plain');
$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'pictrepo'});
$node->restart;
# what the worker does when it starts is done
ok($node->poll_query_until('postgres', q{SELECT bool_and(runs > 0 OR duty = 'samples') FROM pictrepo.maintenance}),
	'the worker runs');
try_all($node, 'preload');
$node->stop;
done_testing();


=pod

=head1 NAME

Pictrepo - what the TAP tests share: a repo with something in every table, and
a call of every function

=cut

package Pictrepo;

use strict;
use warnings;
use Exporter 'import';

our @EXPORT = qw(
  $WORKER $RUNNING $READY $DEAD $UPLOAD
  fill public_functions public_routines call_of run try_calls tables rows_of is_writer seconds
  kill_and_recover private_kb
);

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# Ids that fill() gives out.
our $WORKER = '11111111-1111-1111-1111-111111111111';
our $RUNNING = '01900000-0000-7000-8000-000000000001';
our $READY = '01900000-0000-7000-8000-000000000002';
our $DEAD = '01900000-0000-7000-8000-000000000003';
our $UPLOAD = '01900000-0000-7000-8000-000000000004';

# Plausible arguments for every function, upon what fill() made.  Where a
# writer would have nothing to write, they name something else.
my %arguments = (
	make_hash => q{sha256('a'), 1, 'png'},
	hash_sha256 => q{pictrepo.make_hash(sha256('a'), 1, 'png')},
	hash_size => q{pictrepo.make_hash(sha256('a'), 1, 'png')},
	hash_format => q{pictrepo.make_hash(sha256('a'), 1, 'png')},
	hash_to_slug => q{'hash'},
	hash_from_slug => q{pictrepo.hash_to_slug('hash')},
	url_digest => q{'https://example.org/'},
	session_worker => q{},
	id_node => qq{'$READY'},
	id_time => qq{'$READY'},

	size => q{},
	hashes => q{},
	bound => q{'hash'},
	hashes_ordered => q{'2001-01-01', 'hash', 5},
	hash_page => q{NULL, 1},
	hash_page_by_date => q{'2001-01-02'},
	create_hash => q{'new', 'new.png'},
	create_hash_with_timestamp => q{'older', 'older.png', '2000-01-01'},
	update_identifier => q{'hash', 'moved.png'},
	identifier => q{'hash'},
	relate_blurhash => q{'hash', 'LKO2?U%2Tw=w'},
	blurhash => q{'hash'},
	relate_motion_identifier => q{'hash', 'motion.mp4'},
	motion_identifier => q{'hash'},
	cleanup_hash => q{'other'},

	relate_variant_identifier => q{'hash', 'large', 'large.png'},
	variant_identifier => q{'hash', 'thumb'},
	variants => q{'hash'},
	remove_variant => q{'hash', 'small'},
	claim_variant_processing_rights => qq{'hash', 'huge', '$WORKER'},
	variant_heartbeat => qq{'hash', 'icon', '$WORKER'},
	notify_variant => qq{'hash', 'icon', '$WORKER'},
	variant_waiter => q{'hash', 'thumb', '1 second'},

	create_alias => q{'new.png', 'token', 'hash'},
	delete_token => q{'alias.png'},
	check_delete_token => q{'alias.png', 'secret'},
	hash => q{'alias.png'},
	aliases_for_hash => q{'hash'},
	cleanup_alias => q{'unwanted.png'},

	set => q{'key', 'new value'},
	get => q{'key'},
	remove => q{'other key'},
	relate_details => q{'new.png', '{"width": 1}'},
	details => q{'hash.png'},
	cleanup_details => q{'other.png'},
	is_continuing_migration => q{},
	mark_migrated => q{'b', 'c'},
	is_migrated => q{'a'},
	clear => q{},

	relate_url => q{'https://example.org/new', 'alias.png'},
	related => q{'https://example.org/'},
	remove_relation => q{'proxied.png'},
	accessed_alias => q{'proxied.png'},
	set_accessed_alias => q{'alias.png', '2001-01-01'},
	alias_accessed_at => q{'proxied.png'},
	older_aliases => q{'2002-01-01'},
	remove_alias_access => q{'proxied.png'},
	accessed_variant => q{'hash', 'thumb'},
	set_accessed_variant => q{'hash', 'thumb', '2001-01-01'},
	variant_accessed_at => q{'hash', 'thumb'},
	older_variants => q{'2002-01-01'},
	remove_variant_access => q{'hash', 'thumb'},

	create_upload => q{},
	wait => qq{'$UPLOAD', '1 second'},
	complete_upload => qq{'$UPLOAD', '{"Success": {"alias": "a.png", "token": "b"}}'},
	claim => qq{'$UPLOAD'},

	push => q{'q', '"pushed"', unique_key => 'key', priority => 5},
	push_many => q{'q', '{1,2}'},
	pop => qq{'q', '$WORKER'},
	heartbeat => qq{'q', '$WORKER', '$RUNNING', 1},
	complete_job => qq{'q', '$WORKER', '$RUNNING', 'failure', 'why', 1},
	complete_many => qq{'q', '$WORKER', '{$RUNNING}', 'success', NULL, '{1}'},
	complete_and_pop => qq{'q', '$WORKER', '$RUNNING', 'success', NULL, 1},
	pop_wait => qq{'q', '$WORKER', '1 second', NULL, NULL, NULL, NULL},
	pulse => qq{'$RUNNING'},
	queue_counters => q{},
	counting => q{},
	queue_length => q{'q'},
	configure_queue => q{'q', retries => 3},
	pause_queue => q{'q'},
	resume_queue => q{'paused'},
	requeue_dead => qq{'$DEAD'},
	cancel_job => qq{'$READY'},
	cancel_jobs => q{'q'},
	update_job => qq{'$READY', priority => 8},
	release_job => qq{'q', '$WORKER', '$RUNNING'},
	delete_dead => q{'q', '%'},
	drop_queue => q{'paused'},

	start_worker => q{},
	recount => q{},
	pre_restore => q{'1 minute'},
	post_restore => q{},
	upkeep_held_by => q{},
	run_maintenance => q{},
	maintenance_status => q{},
	waiting_sessions => q{},
	schedule_job => q{'hourly', 'q', '"scheduled"', cron => '@hourly'},
	unschedule_job => q{'daily'},
	run_schedules => q{},
	next_run => q{'30 4 * * mon-fri', '2001-01-01'},

	ingest => q{'ingested', 'ingested.png', '{}', 'ingested.png', 'secret', '2001-01-03'},
	finish_ingest =>
	  qq{'q', '$WORKER', '$RUNNING', NULL, 'ingested', 'ingested.png', '{}', 'ingested.png', 'secret', '2001-01-03', 1},
	finish_variant => qq{'hash', 'icon', '$WORKER', 'icon.png', '{}'},
	serve => q{'alias.png'},
	serve_url => q{'https://example.org/'},
	serve_variant => q{'alias.png', 'thumb'},
	delete_alias => q{'unwanted.png', 'secret'},
	purge => q{'other.png'},
	block_hash => q{'unwanted'},
	unblock_hash => q{'blocked'},
	blocked_hashes => q{},
	expire_variants => q{'2002-01-01'},
	expire_proxies => q{'2002-01-01'},
	migrate_identifier => q{'hash.png', 'moved.png'},
	prune_page => q{NULL, 1},
	forget_missing => q{'hash.mp4'},
	page => q{pictrepo.hash_to_slug('hash'), 1},
	page_by_date => q{'2001-01-02'},
	aliases_created => q{'2001-01-01', 'infinity'},

	export => q{},
	import => q{'{"setting": {"key": "imported", "value": "00ff"}}'},
	import_lines => q{ARRAY['{"setting": {"key": "imported", "value": "00ff"}}']},

	health_check => q{},
	status => q{},
	server_state => q{},
	identifier_from_alias => q{'alias.png'},
	aliases_from_alias => q{'alias.png'},
	import_pictrs => q{'pictrs'},
	export_pictrs => q{'pictrs'},
	grant_access => q{'pg_monitor', 'reader'},
	lock_row => q{'pictrepo.hashes'::regclass, '(0,1)', true},
);

=pod

=head1 METHODS

=over

=item fill($node, $database, $version)

Creates the extension, of the present version if none is given, and puts rows with known keys and times into every table.

=cut

sub fill
{
	my ($node, $database, $version) = @_;
	my $chosen = defined $version ? "VERSION '$version'" : '';

	$node->safe_psql(
		$database, qq{
		CREATE EXTENSION pictrepo $chosen;
		SELECT pictrepo.create_hash_with_timestamp('hash', 'hash.png', '2001-01-01');
		SELECT pictrepo.create_hash_with_timestamp('other', 'other.png', '2001-01-02');
		SELECT pictrepo.relate_blurhash('hash', 'LEHV6nWB2yk8');
		SELECT pictrepo.relate_motion_identifier('hash', 'hash.mp4');
		SELECT pictrepo.create_alias(alias, 'secret', 'hash')
			FROM unnest('{alias.png,proxied.png,unwanted.png}'::text[]) AS alias;
		SELECT pictrepo.create_alias('other.png', 'secret', 'other');
		SELECT pictrepo.relate_url('https://example.org/', 'proxied.png');
		SELECT pictrepo.set_accessed_alias('proxied.png', '2001-01-01');
		SELECT pictrepo.relate_variant_identifier('hash', variant, variant || '.png'),
			pictrepo.set_accessed_variant('hash', variant, '2001-01-01')
			FROM unnest('{thumb,small}'::text[]) AS variant;
		SELECT pictrepo.claim_variant_processing_rights('hash', 'icon', '$WORKER');
		SELECT pictrepo.relate_details('hash.png', '{"width": 640, "height": 480}');
		SELECT pictrepo.relate_details('other.png', '{}');
		SELECT pictrepo.set('key', '\\x00ff'), pictrepo.set('other key', '');
		SELECT pictrepo.mark_migrated('a', 'b');
		SELECT pictrepo.block_hash('blocked');
		INSERT INTO pictrepo.samples VALUES ('2001-01-01', 2, 1);
		INSERT INTO pictrepo.queue_samples VALUES ('2001-01-01', 'q', 1, 0, 1, 1);
		SELECT pictrepo.configure_queue('q', retries => 2, backoff => '1 hour', max_running => 10);
		SELECT pictrepo.pause_queue('paused');
		INSERT INTO pictrepo.schedules (name, queue, job, every, first_run, next_run)
			VALUES ('daily', 'q', '"daily"', '1 day', '2001-01-01', '2001-01-01');
		INSERT INTO pictrepo.uploads (id, created_at, result)
			VALUES ('$UPLOAD', now(), '{"Failure": {"message": "m", "code": "c"}}');
		INSERT INTO pictrepo.job_queue (id, queue, job, status, worker, heartbeat, attempt, run_at, queue_time)
			VALUES ('$RUNNING', 'q', '"running"', 'running', '$WORKER', now(), 1, '2001-01-01', '2001-01-01');
		INSERT INTO pictrepo.job_queue (id, queue, job, priority, run_at, queue_time, unique_key, upload)
			VALUES ('$READY', 'q', '"ready"', 7, '2001-01-01', '2001-01-01', 'taken', '$UPLOAD');
		INSERT INTO pictrepo.dead_jobs (id, queue, job, priority, queue_time, died_at, attempt, error)
			VALUES ('$DEAD', 'q', '"dead"', 1, '2001-01-01', '2001-01-01', 3, 'why');
		INSERT INTO pictrepo.transfers (direction, schema, relation, source_rows, rows_read, bad, reached, started, updated)
			VALUES ('import', 'pictrs', 'hashes', 2, 1, 1, '{key}', '2001-01-01', '2001-01-01');
		INSERT INTO pictrepo.transfer_errors (direction, schema, relation, place, key, message)
			VALUES ('import', 'pictrs', 'hashes', 1, 'key', 'hash: it is not base64');
	});
	return;
}

=pod

=item public_functions($node, $database)

Every function that is there to be called, as hashes with the keys name,
volatility, kind and signature.  Procedures, which cannot be called in a
transaction, are not among them; public_routines has both.

=cut

sub public_functions
{
	return grep { $_->{kind} ne 'p' } public_routines(@_);
}

sub public_routines
{
	my ($node, $database) = @_;
	my @functions;

	foreach my $line (
		split /\n/,
		$node->safe_psql(
			$database, q{
			SELECT proname, provolatile, prokind, oid::regprocedure FROM pg_proc
			WHERE pronamespace = 'pictrepo'::regnamespace AND prorettype <> 'trigger'::regtype
			ORDER BY proname}))
	{
		my %function;

		@function{qw(name volatility kind signature)} = split /\|/, $line;
		push @functions, \%function;
	}
	return @functions;
}

# The functions that wait are declared volatile to see what others commit, and
# serve because it notes the access where it is told to.
sub is_writer
{
	my ($function) = @_;

	return $function->{volatility} eq 'v'
	  && $function->{name} !~ /^(wait|variant_waiter|serve)$/;
}

=pod

=item call_of($function)

A statement that calls it, a function or procedure, with plausible arguments.

=cut

sub call_of
{
	my ($function) = @_;
	my $name = $function->{name};

	die "test/perl/Pictrepo.pm does not know how to call $function->{signature}\n"
	  if !exists $arguments{$name};
	return ($function->{kind} eq 'p' ? 'CALL' : 'SELECT * FROM') . " pictrepo.$name($arguments{$name})";
}

=pod

=item run($node, $database, $script, %options)

One psql session; returns what it printed, and its messages with their
SQLSTATEs.

=cut

sub run
{
	my ($node, $database, $script, %options) = @_;
	my ($stdout, $stderr);

	$node->psql(
		$database, "\\set VERBOSITY @{[$options{verbosity} // 'verbose']}\n$script",
		stdout => \$stdout,
		stderr => \$stderr,
		on_error_die => 0,
		on_error_stop => 0,
		timeout => $PostgreSQL::Test::Utils::timeout_default,
		extra_params => $options{user} ? [ '-U', $options{user} ] : []);
	return ($stdout, $stderr);
}

=pod

=item try_calls($node, $database, $user, @statements)

Runs each statement in a transaction that is rolled back; returns for each what
it answered, or "error" and its SQLSTATE.

=cut

sub try_calls
{
	my ($node, $database, $user, @statements) = @_;
	my @answers;
	my ($stdout, $stderr) = run($node, $database,
		join('',
			map { "BEGIN;\n$_\n;\n\\echo :SQLSTATE\nROLLBACK;\n\\echo ====\n" } @statements),
		user => $user);

	foreach my $part (split /^====$/m, $stdout . "\n", scalar @statements + 1)
	{
		last if @answers == @statements;
		my @lines = split /\n/, $part =~ s/\A\n//r;
		my $state = pop(@lines) // 'lost connection';

		push @answers,
		  $state eq '00000' ? join("\n", @lines) : "error $state";
	}
	is(scalar @answers, scalar @statements, 'every call was answered')
	  or diag $stderr;
	return @answers;
}

# Those with data of users.
sub tables
{
	my ($node, $database) = @_;

	return split /\n/, $node->safe_psql(
		$database, q{
		SELECT relname FROM pg_class
		WHERE relnamespace = 'pictrepo'::regnamespace AND relkind IN ('r', 'p')
		AND relname NOT IN ('row_counts', 'restore_hold')
		ORDER BY relname});
}

# All rows of a table, in an order of their own.
sub rows_of
{
	my ($node, $database, $table) = @_;

	return join "\n",
	  sort split /\n/,
	  $node->safe_psql($database, "SELECT t::text FROM pictrepo.$table t");
}

sub seconds
{
	return time;
}

# Kill a process of the server with -9, and wait until the server has recovered.
# Nothing is written to a psql here: one that is refused may be gone by then.
sub kill_and_recover
{
	my ($node, $pid) = @_;
	my $checkpointer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
	my $before = $node->safe_psql('postgres', $checkpointer);

	kill 'KILL', $pid;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my ($after, $refused) = ('', '');

		IPC::Run::run([ 'psql', '-XAtqc', $checkpointer, '-d', $node->connstr('postgres') ],
			'<', \undef, '>', \$after, '2>', \$refused);
		chomp $after;
		return if $after ne '' && $after ne $before;
		usleep(100_000);
	}
	die 'the server did not come back';
}

# What a process has for itself.
sub private_kb
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die "no RssAnon of $pid";
}

=pod

=back

=cut

1;

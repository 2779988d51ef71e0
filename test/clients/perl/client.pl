#!/usr/bin/perl
# pictrepo from Perl with DBD::Pg.
#
# work() is a worker to copy. The rest is the scenario that all clients run.
use strict;
use warnings;

use DBD::Pg qw(:pg_types :async);
use DBI;
use Digest::SHA qw(sha256);
use JSON::PP;
use Time::HiRes qw(sleep time);
use Time::Local qw(timegm);

my $json = JSON::PP->new->utf8(0)->canonical;

# ---------------------------------------------------------------------------
# The worker
# ---------------------------------------------------------------------------

# Hands the jobs of a queue to the handler until it is told to stop: SIGTERM
# lets it finish its job. A handler that dies lets its job fail. One whose
# connection is cut may see the same job again, from any worker.
sub work
{
	my ($queue, $handler, $beat) = @_;
	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };

	until ($stop)
	{
		my $lives = eval {
			my $db = DBI->connect("dbi:Pg:application_name=worker", undef, undef,
				{ RaiseError => 1, PrintError => 0 });
			until ($stop)
			{
				# A worker that is NULL is this session. pop_wait commits by itself,
				# so there is no transaction around it.
				my ($id, $job) = $db->selectrow_array(
					"CALL pictrepo.pop_wait(?, NULL, '10 s', NULL, NULL, NULL, NULL)", undef, $queue);
				do_job($db, [ $queue, $id ], $json->decode($job), $handler, $beat // 30) if $id;
			}
			1;
		};
		next if $lives;
		warn "connecting again: $@";
		sleep 1;
	}
}

sub do_job
{
	my ($db, $claim, $job, $handler, $beat) = @_;
	my ($result, $reason) = ('success', undef);

	# Perl has no threads to speak of, so an alarm sends the heartbeats, on the
	# worker's connection, which is idle. Perl takes a signal between two of its
	# operations: one that lasts longer than the heartbeat timeout loses the
	# job. Such work belongs in a process of its own.
	local $SIG{ALRM} = sub {
		eval { $db->selectrow_array("SELECT pictrepo.heartbeat(?, NULL, ?)", undef, @$claim) };
		alarm $beat;
	};
	alarm $beat;
	unless (eval { $handler->($job); 1 })
	{
		($result, $reason) = ('failure', "$@");
		chomp $reason;
	}
	alarm 0;

	my ($outcome) = $db->selectrow_array("SELECT pictrepo.complete_job(?, NULL, ?, ?, ?)",
		undef, @$claim, $result, $reason);
	# retrying, dead, or lost: another worker has it by now
	warn "job $claim->[1] is $outcome: ", $reason // '', "\n" if $outcome ne 'completed';
}

# ---------------------------------------------------------------------------
# The scenario
# ---------------------------------------------------------------------------

my $details = { width => 640, height => 480, format => { Image => 'png' } };

# Values of any depth are compared, and shown, as JSON.
sub check
{
	my ($step, $got, $wanted) = @_;
	($got, $wanted) = map { $json->allow_nonref->encode($_) } $got, $wanted;
	print $got eq $wanted ? "ok - $step\n" : "not ok - $step: $got\n";
}

sub connection
{
	return DBI->connect("dbi:Pg:", undef, undef, { RaiseError => 1, PrintError => 0, AutoInactiveDestroy => 1 });
}

# Bytes must be said to be bytes: the driver takes any string for text.
sub bytes { return \$_[0] }

sub query
{
	my ($db, $sql, @args) = @_;
	my $query = $db->prepare($sql);
	for my $index (0 .. $#args)
	{
		my $arg = $args[$index];
		if (ref $arg eq 'SCALAR')
		{
			$query->bind_param($index + 1, $$arg, { pg_type => PG_BYTEA });
		}
		else
		{
			$query->bind_param($index + 1, $arg);
		}
	}
	$query->execute;
	return $query;
}

sub row
{
	return query(@_)->fetchrow_hashref;
}

sub value
{
	return query(@_)->fetchrow_arrayref->[0];
}

sub make_hash
{
	my ($db, $content) = @_;
	return value($db, "SELECT pictrepo.make_hash(?, ?, 'png')", bytes(sha256($content)), length $content);
}

sub ingest
{
	my ($db, $hash, $identifier, $alias, $created_at) = @_;
	return value($db, "SELECT outcome FROM pictrepo.ingest(?, ?, ?, ?, ?, to_timestamp(?))",
		bytes($hash), $identifier, $json->encode($details), $alias, 'token', $created_at);
}

sub pictures
{
	my ($db, $hash) = @_;
	check('ingest: created', ingest($db, $hash, 'cat.png', 'cat-1.png'), 'created');
	check('ingest: duplicate', ingest($db, $hash, 'again.png', 'cat-2.png'), 'duplicate');
	my $served = row($db, "SELECT hash, identifier, details, fallback FROM pictrepo.serve(?)", 'cat-2.png');
	$served->{details} = $json->decode($served->{details});
	check('serve: the file and its details', $served,
		{ hash => $hash, identifier => 'cat.png', details => $details, fallback => 0 });

	my $every_byte = join '', map { chr } 0 .. 255;
	query($db, "SELECT pictrepo.set(?, ?)", 'bytes', bytes($every_byte));
	check('set, get: any bytes', value($db, "SELECT pictrepo.get(?)", 'bytes'), $every_byte);

	# Perl's times are seconds since 1970
	my $noon = timegm(0, 0, 12, 1, 0, 2020);
	query($db, "SELECT pictrepo.set_accessed_alias(?, to_timestamp(?))", 'cat-1.png', $noon);
	check('set_accessed_alias, alias_accessed_at: the same time',
		0 + value($db, "SELECT extract(epoch FROM pictrepo.alias_accessed_at(?))", 'cat-1.png'), $noon);
}

sub pages
{
	my ($db, $newest) = @_;
	my @wanted = $newest;
	for my $number (0 .. 4)
	{
		my $hash = make_hash($db, "page $number");
		ingest($db, $hash, "page-$number.png", "page-$number.png", timegm(0, $number, 12, 1, 0, 2020));
		splice @wanted, 1, 0, $hash;
	}

	# the driver makes a list of an array, but leaves the bytes in it in hex
	my $page_at = sub {
		my $page = row($db, "SELECT prev, next, hashes FROM pictrepo.hash_page(?, ?)", $_[0], 2);
		$page->{hashes} = [ map { pack 'H*', substr $_, 2 } @{ $page->{hashes} } ];
		return $page;
	};
	my $page = $page_at->(undef);
	my $first = $page->{hashes};
	my @got = @$first;
	while (defined $page->{next})
	{
		$page = $page_at->($page->{next});
		push @got, @{ $page->{hashes} };
	}
	check('hash_page: all hashes by its slugs, newest first', \@got, \@wanted);
	$page = $page_at->($page->{prev}) while defined $page->{prev};
	check('hash_page: prev leads back', $page->{hashes}, $first);
}

sub jobs
{
	my ($db) = @_;
	my $worker = value($db, "SELECT gen_random_uuid()");
	my $push = sub {
		my ($job, $queue) = @_;
		return value($db, "SELECT pictrepo.push(?, ?)", $queue // 'jobs', $json->encode($job));
	};
	my $complete = sub { value($db, "SELECT pictrepo.complete_job(?, ?, ?)", 'jobs', $worker, $_[0]) };

	my $pushed = $push->({ number => 1 });
	my $next = row($db,
		"SELECT id, job, attempt, extract(epoch FROM queue_time) AS since FROM pictrepo.pop(?, ?)",
		'jobs', $worker);
	check('push, pop: the job, its attempt and its time',
		[ $next->{id}, $json->decode($next->{job}), 0 + $next->{attempt}, abs(time - $next->{since}) < 60 ],
		[ $pushed, { number => 1 }, 1, 1 == 1 ]);
	$complete->($next->{id});

	my $other = connection();
	my $waiting = $other->prepare("SELECT id, job FROM pictrepo.pop(?, ?, wait => ?)", { pg_async => PG_ASYNC });
	$waiting->execute('jobs', $worker, '10 s');
	sleep 0.5;
	$push->({ number => 2 });
	$other->pg_result;
	$next = $waiting->fetchrow_hashref;
	$waiting->finish;
	check('pop with wait: what another connection pushes meanwhile',
		$json->decode($next->{job}), { number => 2 });

	check('heartbeat: held',
		value($db, "SELECT pictrepo.heartbeat(?, ?, ?)", 'jobs', $worker, $next->{id}), 1);
	$push->({ number => 3 });
	$next = row($db, "SELECT outcome, id, job FROM pictrepo.complete_and_pop(?, ?, ?)",
		'jobs', $worker, $next->{id});
	check('complete_and_pop: completed, and the next job',
		[ $next->{outcome}, $json->decode($next->{job}) ], [ 'completed', { number => 3 } ]);
	check('complete_job: completed', $complete->($next->{id}), 'completed');
	check('complete_job: lost the second time', $complete->($next->{id}), 'lost');

	my $ids = value($db, "SELECT pictrepo.push_many(?, ?, ?)", 'jobs',
		[ map { $json->encode({ number => $_ }) } 4 .. 6 ], [ 'a', undef, 'a' ]);
	check('push_many: ids, and NULL where the key is held', [ map { defined } @$ids ], [ 1 == 1, 1 == 1, 1 == 0 ]);
	my $popped = $db->selectcol_arrayref("SELECT id FROM pictrepo.pop(?, ?, ?)", undef, 'jobs', $worker, 10);
	check('complete_many: completed, and lost',
		value($db, "SELECT pictrepo.complete_many(?, ?, ?)", 'jobs', $worker, [ @$popped, $worker ]),
		[ 'completed', 'completed', 'lost' ]);

	my $pop_wait = sub {
		row($db, "CALL pictrepo.pop_wait(?, ?, ?, NULL, NULL, NULL, NULL)", 'jobs', $worker, $_[0]);
	};
	check('pop_wait: NULLs when the time is up',
		$pop_wait->('50 ms'), { map { $_ => undef } qw(id job attempt queue_time) });
	$push->({ number => 7 });
	check('pop_wait: a job', $json->decode($pop_wait->('10 s')->{job}), { number => 7 });

	$other->do("LISTEN queue_status_channel");
	$push->({ number => 8 }, 'heard');
	check('LISTEN: the push is heard with its queue', hear($other, 'heard'), 'heard');
	$other->disconnect;
}

# The driver does not wait for notifications; pg_socket is there to select() on.
sub hear
{
	my ($db, $queue) = @_;
	my $deadline = time + 10;
	while (time < $deadline)
	{
		while (my $notify = $db->pg_notifies)
		{
			my (undef, $heard) = split / /, $notify->[2];
			return $heard if $heard eq $queue;
		}
		vec(my $readable = '', $db->{pg_socket}, 1) = 1;
		select $readable, undef, undef, 1;
	}
	return undef;
}

sub handle
{
	my ($job) = @_;
	die "$job->{fail}\n" if $job->{fail};
	# an alarm cuts a sleep short
	my $until = time + $job->{nap};
	sleep $until - time while time < $until;
	kill TERM => $$ if $job->{last};
	value(connection(), "SELECT pictrepo.push(?, ?)", 'done', $json->encode($job));
}

sub worker_loop
{
	my ($db) = @_;
	my $push = sub {
		my ($job, $retry, $upload) = @_;
		value($db, "SELECT pictrepo.push(?, ?, retry => ?, upload => ?)", 'work', $json->encode($job), $retry, $upload);
	};
	my $done = sub { $json->decode(value($db, "SELECT job FROM pictrepo.pop(?, wait => ?)", 'done', '20 s')) };

	my $child = fork // die "fork: $!";
	if ($child == 0)
	{
		work('work', \&handle, 1);
		exit;
	}

	my ($long, $last) = ({ nap => 4, last => 0 }, { nap => 0, last => 1 });
	$push->($long);
	check('work: a job longer than the heartbeat timeout', $done->(), $long);

	my $upload = value($db, "SELECT pictrepo.create_upload()");
	$push->({ fail => 'the picture is broken' }, 0, $upload);
	check('work: the upload of a job that fails hears why',
		$json->decode(value($db, "SELECT pictrepo.wait(?, ?)", $upload, '20 s')),
		{ Failure => { message => 'the picture is broken', code => 'job-failed' } });

	$db->do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		  . " WHERE datname = current_database() AND application_name = 'worker'");
	$push->($last);
	check('work: connects again', $done->(), $last);
	waitpid $child, 0;
	check('work: ends when told, each job done once',
		[ map { 0 + value($db, "SELECT pictrepo.queue_length(?)", $_) } 'work', 'done' ], [ 0, 2 ]);
}

sub variants
{
	my ($db, $hash) = @_;
	my ($ours, $theirs) = map { value($db, "SELECT gen_random_uuid()") } 1 .. 2;
	my $claim = sub {
		value($db, "SELECT pictrepo.claim_variant_processing_rights(?, ?, ?)", bytes($hash), 'thumbnail', $_[0]);
	};
	check('claim_variant_processing_rights: claimed, busy for another',
		[ $claim->($ours), $claim->($theirs) ], [ 'claimed', 'busy' ]);
	check('finish_variant: stored',
		value($db, "SELECT pictrepo.finish_variant(?, ?, ?, ?, ?)",
			bytes($hash), 'thumbnail', $ours, 'cat-128.webp', $json->encode({ width => 128 })), 'stored');
	check('variant_waiter: its file',
		value($db, "SELECT pictrepo.variant_waiter(?, ?, ?)", bytes($hash), 'thumbnail', '10 s'), 'cat-128.webp');
	my $served = row($db, "SELECT identifier, details, original_identifier FROM pictrepo.serve_variant(?, ?)",
		'cat-1.png', 'thumbnail');
	$served->{details} = $json->decode($served->{details});
	check('serve_variant: its file', $served,
		{ identifier => 'cat-128.webp', details => { width => 128 }, original_identifier => 'cat.png' });
}

sub upload_and_delete
{
	my ($db) = @_;
	my $worker = value($db, "SELECT gen_random_uuid()");
	my $upload = value($db, "SELECT pictrepo.create_upload()");
	value($db, "SELECT pictrepo.push(?, ?, upload => ?)",
		'process', $json->encode({ Ingest => { identifier => 'dog.png' } }), $upload);
	my $job = value($db, "SELECT id FROM pictrepo.pop(?, ?)", 'process', $worker);
	row($db, "SELECT * FROM pictrepo.finish_ingest(?, ?, ?, ?, ?, ?, ?, ?, ?)",
		'process', $worker, $job, $upload,
		bytes(make_hash($db, 'dog')), 'dog.png', $json->encode($details), 'dog.png', 'token');
	check('wait: what finish_ingest left',
		$json->decode(value($db, "SELECT pictrepo.wait(?, ?)", $upload, '10 s')),
		{ Success => { alias => 'dog.png', token => 'token' } });
	check('claim: once', [ map { value($db, "SELECT pictrepo.claim(?)", $upload) } 1 .. 2 ], [ 1, 0 ]);

	my $delete = sub { value($db, "SELECT pictrepo.delete_alias(?, ?)", 'dog.png', $_[0]) };
	check('delete_alias: forbidden with another token', $delete->('wrong'), 'forbidden');
	check('delete_alias: deleted', $delete->('token'), 'deleted');
	my $jobs = $db->selectcol_arrayref("SELECT job FROM pictrepo.pop(?, max_jobs => ?)", undef, 'cleanup', 10);
	check('cleanup: the files that nothing needs any more',
		[ map { $json->decode($_)->{Identifier}{identifier} } @$jobs ], [ 'again.png', 'dog.png' ]);
}

sub errors
{
	my ($db, $hash) = @_;
	my $fails = sub {
		my ($step, @call) = @_;
		my $got = eval { value($db, @call) };
		check($step, $db->err ? $db->state : $got, $step =~ /^(\w+)/);
	};
	my $create_alias = "SELECT pictrepo.create_alias(?, ?, ?)";
	$fails->('22004: a hash that is NULL', $create_alias, 'new.png', 'token', undef);
	$fails->('22023: a bad slug', "SELECT pictrepo.hash_page(?)", 'no slug');
	$fails->('22001: an alias that is too long', $create_alias, 'a' x 300, 'token', bytes($hash));
	$fails->('23503: an alias of an unknown hash',
		$create_alias, 'new.png', 'token', bytes(make_hash($db, 'unknown')));
	$fails->('22P02: malformed JSON', "SELECT pictrepo.push(?, ?)", 'jobs', '{');
	$fails->('42501: what takes an admin', "SELECT pictrepo.pause_queue(?)", 'jobs');
	check('after errors: the connection goes on',
		value($db, "SELECT pictrepo.identifier(?)", bytes($hash)), 'cat.png');
}

$| = 1;
my $db = connection();
my $hash = make_hash($db, 'cat');
pictures($db, $hash);
pages($db, $hash);
jobs($db);
worker_loop($db);
variants($db, $hash);
upload_and_delete($db);
errors($db, $hash);
$db->disconnect;

#!/usr/bin/perl
# pictrepo from Perl with DBD::Pg: the scenario that all clients run. A worker is
# in worker.pl.
use strict;
use warnings;

use DBD::Pg qw(:pg_types :async);
use DBI;
use Digest::SHA qw(sha256);
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use Time::HiRes qw(sleep time);
use Time::Local qw(timegm);

my $json = JSON::PP->new->utf8(0)->canonical;

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
	my $complete = sub { value($db, "SELECT pictrepo.complete_job(?, ?, ?, attempt => ?)", 'jobs', $worker, $_[0], 1) };

	my $pushed = $push->({ number => 1 });
	my $next = row($db,
		"SELECT id, job, attempt, extract(epoch FROM queue_time) AS since FROM pictrepo.pop(?, ?)",
		'jobs', $worker);
	check('push, pop: the job, its attempt and its time',
		[ $next->{id}, $json->decode($next->{job}), 0 + $next->{attempt}, abs(time - $next->{since}) < 60 ],
		[ $pushed, { number => 1 }, 1, 1 == 1 ]);
	$complete->($next->{id});

	$next = waits("SELECT id, job FROM pictrepo.pop(?, ?, wait => ?)", [ 'jobs', $worker, '10 s' ],
		sub { $push->({ number => 2 }) });
	check('pop with wait: what another connection pushes meanwhile',
		$json->decode($next->{job}), { number => 2 });

	check('heartbeat: held',
		value($db, "SELECT pictrepo.heartbeat(?, ?, ?, ?)", 'jobs', $worker, $next->{id}, 1), 1);
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
		row($db, "CALL pictrepo.pop_wait(?, ?, ?)", 'jobs', $worker, $_[0]);
	};
	check('pop_wait: NULLs when the time is up',
		$pop_wait->('50 ms'), { map { $_ => undef } qw(id job attempt queue_time) });
	$push->({ number => 7 });
	check('pop_wait: a job', $json->decode($pop_wait->('10 s')->{job}), { number => 7 });

	my $listener = listener('queue_status_channel');
	$push->({ number => 8 }, 'heard');
	check('LISTEN: the push is heard with its queue', hears($listener, ' heard'), 1);
}

# Another connection makes a call, and this one does something meanwhile: the row that it waited for.
sub waits
{
	my ($sql, $args, $meanwhile) = @_;
	my $other = connection();
	my $waiting = $other->prepare($sql, { pg_async => PG_ASYNC });
	$waiting->bind_param($_ + 1, ref $args->[$_] ? (${ $args->[$_] }, { pg_type => PG_BYTEA }) : $args->[$_])
		for 0 .. $#$args;
	$waiting->execute;
	sleep 0.5;
	$meanwhile->();
	$other->pg_result;
	my $row = $waiting->fetchrow_hashref;
	$waiting->finish;
	$other->disconnect;
	return $row;
}

sub listener
{
	my ($channel) = @_;
	my $db = connection();
	$db->do("LISTEN $channel");
	return $db;
}

# The driver does not wait for notifications; pg_socket is there to select() on.
sub hears
{
	my ($db, $ending) = @_;
	my $deadline = time + 10;
	while (time < $deadline)
	{
		while (my $notify = $db->pg_notifies)
		{
			return 1 if $notify->[2] =~ /\Q$ending\E\z/;
		}
		vec(my $readable = '', $db->{pg_socket}, 1) = 1;
		select $readable, undef, undef, 1;
	}
	return 0;
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
	my $listener = listener('keyed_notification_channel');
	my $finish = sub {
		value($db, "SELECT pictrepo.finish_variant(?, ?, ?, ?, ?)",
			bytes($hash), 'thumbnail', $ours, 'cat-128.webp', $json->encode({ width => 128 }));
	};
	check('finish_variant, variant_waiter: what one connection waits for while the other stores it',
		waits("SELECT pictrepo.variant_waiter(?, ?, ?)", [ bytes($hash), 'thumbnail', '10 s' ], $finish),
		{ variant_waiter => 'cat-128.webp' });
	check('LISTEN: the variant is heard with its hash', hears($listener, encode_base64($hash, '') . 'thumbnail'), 1);
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
	my $listener = listener('upload_completion_channel');
	my $finish = sub {
		row($db, "SELECT * FROM pictrepo.finish_ingest(?, ?, ?, ?, ?, ?, ?, ?, ?)",
			'process', $worker, $job, $upload,
			bytes(make_hash($db, 'dog')), 'dog.png', $json->encode($details), 'dog.png', 'token');
	};
	check('finish_ingest, wait: what one connection waits for while the other brings it',
		$json->decode(waits("SELECT pictrepo.wait(?, ?)", [ $upload, '10 s' ], $finish)->{wait}),
		{ Success => { alias => 'dog.png', token => 'token' } });
	check('LISTEN: the upload is heard', hears($listener, $upload), 1);
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

	$db->do("SET default_transaction_read_only = on");
	$fails->('25006: a write while transactions are read-only', "SELECT pictrepo.push(?, ?)", 'jobs', '1');
	$db->do("SET default_transaction_read_only = off");
	my $upload = value($db, "SELECT pictrepo.create_upload()");
	value($db, "SELECT pictrepo.claim(?)", $upload);
	$fails->('P0002: an upload that was claimed', "SELECT pictrepo.wait(?, ?)", $upload, '10 s');
	$db->do("BEGIN");
	$fails->('2D000: pop_wait in a transaction', "CALL pictrepo.pop_wait(?)", 'empty');
	$db->do("ROLLBACK");
	$db->do("SET statement_timeout = '100ms'");
	$fails->('57014: a pop that waits for longer than statement_timeout',
		"SELECT pictrepo.pop(?, wait => ?)", 'empty', '10 s');
	$db->do("SET statement_timeout = 0");
	$db->do("BEGIN ISOLATION LEVEL REPEATABLE READ");
	value($db, "SELECT pictrepo.get(?)", 'bytes');
	value(connection(), "SELECT pictrepo.create_hash('later', 'later.png')");
	$fails->('40001: an alias of a hash that is newer than the snapshot', "SELECT pictrepo.create_alias('later.png', 'token', 'later')");
	$db->do("ROLLBACK");
	check('after errors: the connection goes on',
		value($db, "SELECT pictrepo.identifier(?)", bytes($hash)), 'cat.png');
}

$| = 1;
my $db = connection();
my $hash = make_hash($db, 'cat');
pictures($db, $hash);
pages($db, $hash);
jobs($db);
variants($db, $hash);
upload_and_delete($db);
errors($db, $hash);
$db->disconnect;

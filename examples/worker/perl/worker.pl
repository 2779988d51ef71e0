#!/usr/bin/perl
# A worker of pictrepo: does the jobs of a queue until SIGTERM.
#
#     perl worker.pl QUEUE
use strict;
use warnings;

use DBD::Pg;
use DBI;
use JSON::PP;

# Seconds between heartbeats, a quarter of pictrepo.heartbeat_timeout.
my $beat = $ENV{HEARTBEAT_SECONDS} // 30;

my $wait = "CALL pictrepo.pop_wait(?, ?, '10 s')";
my $end_and_next = "SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop(?, ?, ?, ?, ?, ?)";
my $end = "SELECT NULL, NULL, NULL, pictrepo.complete_job(?, ?, ?, ?, ?, ?)";

# Does one job: your work goes here. If it dies the job fails, and is tried again.
sub handle
{
	my ($job) = @_;
	die "no job takes less than no time\n" if $job->{seconds} < 0;
	# A heartbeat cuts a sleep short.
	my $until = time + $job->{seconds};
	sleep $until - time while time < $until;
}

my ($queue) = @ARGV;
my ($db, $worker);
my $stop = 0;
$SIG{TERM} = $SIG{INT} = sub { $stop = 1 };
$ENV{PGAPPNAME} = "imagehost worker: $queue";

until ($stop)
{
	next if eval { work(); 1 };
	warn "connecting again: $@";
	sleep 1;
}

sub work
{
	# No transaction, because pop_wait commits by itself, and no prepared statements,
	# because a transaction pooler may know none.
	$db = DBI->connect('dbi:Pg:', undef, undef,
		{ AutoCommit => 1, RaiseError => 1, PrintError => 0, pg_server_prepare => 0 });
	$worker //= $db->selectrow_array('SELECT gen_random_uuid()');
	my ($id, $job, $attempt);
	while ($id || !$stop)
	{
		($id, $job, $attempt) =
			$id ? do_job($id, $job, $attempt) : $db->selectrow_array($wait, undef, $queue, $worker);
	}
}

# Does a job and ends it; the next one comes along, unless the worker is to stop.
sub do_job
{
	my ($id, $job, $attempt) = @_;
	my ($result, $reason) = ('success', undef);
	my $lost = 0;

	# An alarm sends the heartbeats, on the worker's connection, which is idle. When
	# another worker has the job it dies, out of the work. Perl takes a signal between
	# two of its operations: one that lasts longer than the heartbeat timeout loses
	# the job, and belongs in a process of its own.
	local $SIG{ALRM} = sub {
		$lost = !is_held($id, $attempt);
		die "lost\n" if $lost;
		alarm $beat;
	};
	alarm $beat;
	unless (eval { handle(JSON::PP->new->decode($job)); alarm 0; 1 })
	{
		alarm 0;
		($result, $reason) = ('failure', $@);
		chomp $reason;
	}
	if ($lost)
	{
		warn "job $id is lost\n";
		return;
	}
	my ($next, $its_job, $its_attempt, $outcome) =
		$db->selectrow_array($stop ? $end : $end_and_next, undef, $queue, $worker, $id, $result, $reason, $attempt);
	warn "job $id is $outcome: ", $reason // '', "\n" if $outcome ne 'completed';
	return ($next, $its_job, $its_attempt);
}

sub is_held
{
	my ($id, $attempt) = @_;
	local $@;
	return eval {
		$db->selectrow_array('SELECT pictrepo.heartbeat(?, ?, ?, ?)', undef, $queue, $worker, $id, $attempt);
	};
}

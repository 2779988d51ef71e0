
=pod

=head1 NAME

Clock - servers whose wall clock a test can set, while the monotonic clock goes on

=cut

package Clock;

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

# What a server calls to read the wall clock, plus an offset in us from a file.
my $SHIM = <<'END';
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset;

__attribute__((constructor)) static void
begin(void)
{
	int			file = open(getenv("CLOCK_OFFSET"), O_RDONLY);

	offset = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (offset == MAP_FAILED)
		abort();
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	long long	ns;

	if (syscall(SYS_clock_gettime, clock, now) != 0)
		return -1;
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
	{
		ns = now->tv_sec * 1000000000LL + now->tv_nsec + *offset * 1000;
		now->tv_sec = ns / 1000000000;
		now->tv_nsec = ns % 1000000000;
	}
	return 0;
}

int
gettimeofday(struct timeval *now, void *zone)
{
	struct timespec precise;

	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}
END

=pod

=head1 METHODS

=over

=item Clock->new

undef where no C compiler can build the shim.

=cut

sub new
{
	my ($class) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir();
	my $self = bless {
		offset => "$directory/offset", shim => "$directory/clock.so", step => 0
	}, $class;

	return if $^O ne 'linux';
	append_to_file("$directory/clock.c", $SHIM);
	system_log('cc', '-shared', '-fPIC', '-O2', '-o', $self->{shim}, "$directory/clock.c") == 0 or return;
	append_to_file($self->{offset}, pack 'q', 0);
	return $self;
}

=pod

=item $clock->start($node)

Every process of the server has this clock.

=cut

sub start
{
	my ($self, $node) = @_;
	local $ENV{LD_PRELOAD} = $self->{shim};
	local $ENV{CLOCK_OFFSET} = $self->{offset};

	$node->start;
	return;
}

=pod

=item $clock->step($seconds)

Sets it forward, or back.

=cut

sub step
{
	my ($self, $seconds) = @_;

	$self->{step} += $seconds;
	open my $file, '+<:raw', $self->{offset} or die "$self->{offset}: $!";
	syswrite $file, pack('q', $self->{step} * 1e6) or die "$self->{offset}: $!";
	close $file;
	return;
}

=pod

=item Clock::passed()

Seconds since some time, by a clock that is never set.

=cut

sub passed
{
	return clock_gettime(CLOCK_MONOTONIC);
}

=pod

=item Clock::stop($node), Clock::continue($node)

All processes of the server stand still, as when a machine sleeps, and go on.

=cut

sub _signal
{
	my ($node, $signal) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my @children = grep { _parent($_) == $postmaster } map { m{(\d+)$} } glob '/proc/[0-9]*';

	kill $signal, $postmaster, @children;
	return;
}

sub _parent
{
	my ($pid) = @_;

	open my $file, '<', "/proc/$pid/stat" or return 0;
	return (<$file> // '') =~ /^.*\) \S (\d+)/ ? $1 : 0;
}

sub stop
{
	return _signal($_[0], 'STOP');
}

sub continue
{
	return _signal($_[0], 'CONT');
}

=pod

=back

=cut

1;

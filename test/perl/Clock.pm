
=pod

=head1 NAME

Clock - servers whose wall clock a test can set, while the monotonic clock goes on

=cut

package Clock;

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $SHIM = "$FindBin::RealBin/../lib/clock_shim.c";

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
	system_log('cc', '-shared', '-fPIC', '-O2', '-o', $self->{shim}, $SHIM) == 0 or return;
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

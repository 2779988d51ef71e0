=pod

=head1 NAME

Load - pgbench in the background, with weighted scripts

=cut

package Load;

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;

my $scripts = 0;

=pod

=head1 METHODS

=over

=item Load->start($node, $clients, \@duration, script => weight, ...)

@duration are pgbench's options for how long it runs.

=cut

sub start
{
	my ($class, $node, $clients, $duration, %weights) = @_;
	my @command = ('pgbench', '--no-vacuum', '-c', $clients, '-j', 2, @$duration);
	my $self = bless { stdout => '', stderr => '' }, $class;

	while (my ($script, $weight) = each %weights)
	{
		# Tests of one run share the directory.
		my $file = "$PostgreSQL::Test::Utils::tmp_check/load$$-$scripts.sql";

		$scripts++;
		append_to_file($file, $script);
		push @command, '-f', "$file\@$weight";
	}
	$self->{handle} = IPC::Run::start([ @command, $node->connstr('postgres') ],
		'<', \undef, '>', \$self->{stdout}, '2>', \$self->{stderr},
		IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
	return $self;
}

=pod

=item $load->finish

Wait for its end; what pgbench says of errors, empty without one.

=back

=cut

sub finish
{
	my ($self) = @_;

	return $self->{handle}->finish ? '' : $self->{stderr};
}

1;

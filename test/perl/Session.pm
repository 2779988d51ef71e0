
=pod

=head1 NAME

Session - a psql that stays, so that a test can have several at once, some of
which wait

=cut

package Session;

use strict;
use warnings;

use PostgreSQL::Test::Utils;

=pod

=head1 METHODS

=over

=item Session->new($node, $database)

Errors show as their SQLSTATEs.

=cut

sub new
{
	my ($class, $node, $database) = @_;
	my $self = bless { stdin => '', stdout => '', stderr => '' }, $class;

	$self->{psql} = IPC::Run::start(
		[
			'psql', '-X', '-A', '-t', '-q',
			'-v', 'VERBOSITY=sqlstate', '-d', $node->connstr($database // 'postgres')
		],
		'<', \$self->{stdin}, '>', \$self->{stdout}, '2>', \$self->{stderr},
		IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
	$self->{pid} = $self->ask('SELECT pg_backend_pid()');
	return $self;
}

# Its backend's.
sub pid
{
	return $_[0]->{pid};
}

=pod

=item $session->send($statements)

Sends them, and does not wait for what they answer.

=cut

sub send
{
	my ($self, $statements) = @_;

	$self->{stdout} = '';
	$self->{stderr} = '';
	$self->{stdin} .= "$statements;\n\\echo ====\n";
	$self->{psql}->pump_nb while $self->{stdin} ne '';
	return;
}

=pod

=item $session->answered

Has all been answered that was sent?

=cut

sub answered
{
	my ($self) = @_;

	$self->{psql}->pump_nb;
	return $self->{stdout} =~ /^====$/m;
}

=pod

=item $session->answer

Waits for the answer: what was printed, or the errors.

=cut

sub answer
{
	my ($self) = @_;

	$self->{psql}->pump until $self->{stdout} =~ /^====$/m;
	$self->{psql}->pump_nb;
	my $answer = $self->{stdout} =~ s/\n?====\n\z//r;
	return join "\n", grep { $_ ne '' } $answer, split /\n/, $self->{stderr};
}

=pod

=item $session->ask($statements)

Sends and waits.

=cut

sub ask
{
	my ($self, $statements) = @_;

	$self->send($statements);
	return $self->answer;
}

=pod

=item $session->notifications

How many came with the last answer.

=cut

sub notifications
{
	my ($self) = @_;

	return scalar(() = $self->{stdout} =~ /^Asynchronous notification /mg);
}

=pod

=item $session->leave, $session->vanish

Ends the session; vanish kills the client, whatever it does.

=cut

sub leave
{
	my ($self) = @_;

	$self->{stdin} .= "\\q\n";
	eval { $self->{psql}->finish; 1 } or eval { $self->{psql}->kill_kill };
	delete $self->{psql};
	return;
}

sub vanish
{
	my ($self) = @_;

	eval { $self->{psql}->signal('KILL') };
	eval { $self->{psql}->finish };
	delete $self->{psql};
	return;
}

sub DESTROY
{
	my ($self) = @_;

	local $?;
	$self->vanish if $self->{psql};
	return;
}

=pod

=back

=cut

1;

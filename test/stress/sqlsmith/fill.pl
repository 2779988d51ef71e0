# A repo with something in every table, a role that may do all in it and little
# else - it is what the extension is that is looked for, not what the server is -
# and for each function a view that calls it with good arguments: sqlsmith's own are
# of the right type and nothing more, and it calls no function that gives rows.
# The argument says where to connect.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../perl";

use Pictrepo;

# These change the catalogs, or wait.
my $APART = qr/^(grant_access|start_worker|wait|variant_waiter)$/;

package Psql
{
	sub safe_psql
	{
		my (undef, undef, $sql) = @_;
		my ($output, $status) = ('');

		IPC::Run::run([ qw(psql -XAtq -v ON_ERROR_STOP=1 -d), $ARGV[0] ], '<', \$sql, '>', \$output) or die "psql failed\n";
		return $output;
	}
}

my $psql = bless {}, 'Psql';

# A view has no column of type void.
sub view_of
{
	my ($function) = @_;
	my $call = call_of($function);
	my $void = $psql->safe_psql('postgres',
		qq{SELECT prorettype = 'void'::regtype FROM pg_proc WHERE oid = '$function->{signature}'::regprocedure});

	$call =~ s/\*/true AS done/ if $void =~ /t/;
	return "CREATE VIEW calls.$function->{name} AS $call";
}

fill($psql, 'postgres');
$psql->safe_psql('postgres', join ";\n",
	q{SELECT count(pictrepo.push_many('q', ARRAY['1', '"x"', 'null', '[]', '{"a": {}}']::jsonb[]))
		FROM generate_series(1, 20)},
	q{CREATE ROLE smith LOGIN},
	q{SELECT pictrepo.grant_access('smith', 'admin')},
	q{GRANT ALL ON ALL TABLES IN SCHEMA pictrepo TO smith},
	q{CREATE SCHEMA calls},
	(map { view_of($_) } grep { $_->{name} !~ $APART } public_functions($psql, 'postgres')),
	q{GRANT USAGE ON SCHEMA calls TO smith},
	q{GRANT SELECT ON ALL TABLES IN SCHEMA calls TO smith});

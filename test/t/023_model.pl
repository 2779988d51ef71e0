# A short form of `make model`: random calls of the repo's functions must answer,
# and leave in the tables, what a small model in another language says.

use strict;
use warnings;

use FindBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $model = "$FindBin::RealBin/../stress/model";

sub compare
{
	my ($node, $name, @options) = @_;
	my $database = 'model_' . $name =~ s/\W+/_/gr;
	my $output = '';

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION pictrepo');

	local %ENV = (%ENV,
		PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $database,
		PYTHONDONTWRITEBYTECODE => 1);
	my $agreed = IPC::Run::run([ '/usr/bin/python3', "$model/check.py", @options ],
		'<', \undef, '>', \$output, '2>&1');
	ok($agreed, "model and server agree: $name");
	$agreed ? note $output : diag $output;
	return;
}

foreach my $mode ([ plain => '' ], [ preload => q{shared_preload_libraries = 'pictrepo'} ])
{
	my ($name, $settings) = @$mode;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', slurp_file("$model/server.conf") . "$settings\n");
	$node->start;
	compare($node, "$name, the same calls each time", '--seed', 7, '--steps', 400);
	compare($node, "$name, new calls each time", '--steps', 10000, '--seconds', 3);
	$node->stop;
}

done_testing();

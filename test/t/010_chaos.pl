# A short form of `make chaos`: clients push, take and end jobs while their
# server is killed again and again, and what they know must be what it has.

use strict;
use warnings;

use FindBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $chaos = "$FindBin::RealBin/../stress/chaos";

# The program starts and kills the server itself, and stops it in the end.
sub chaos
{
	my ($name, $seconds, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my ($output, @command) = ('');

	$node->init;
	$node->append_conf('postgresql.conf', slurp_file("$chaos/server.conf"));
	$node->append_conf('postgresql.conf', $_) foreach @settings;

	local %ENV = (%ENV,
		PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres',
		PYTHONDONTWRITEBYTECODE => 1);
	my $balanced = IPC::Run::run(
		[
			'/usr/bin/python3', "$chaos/chaos.py", '--seconds', $seconds,
			$node->data_dir, $node->logfile
		],
		'<', \undef, '>', \$output, '2>&1');
	ok($balanced, "the books balance: $name");
	$balanced ? note $output : diag $output;
	return;
}

chaos('plain', 12);
chaos('preload', 15, q{shared_preload_libraries = 'pictrepo'});

done_testing();

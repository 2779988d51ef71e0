# A short form of `make soak`: everything at once in three databases of one
# server, with nobody killed.  What is left fits together, and nobody hangs.
#
# PICTREPO_SOAK_SECONDS: how long it lasts; from 60 on no process grows either.

use strict;
use warnings;

use FindBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $soak = "$FindBin::RealBin/../stress/soak";
my $node = PostgreSQL::Test::Cluster->new('soak');
my $out = PostgreSQL::Test::Utils::tempdir;
my $output = '';

$node->init;
$node->append_conf('postgresql.conf', slurp_file("$soak/server.conf"));
$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'pictrepo'});

local %ENV = (%ENV,
	PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres',
	PYTHONDONTWRITEBYTECODE => 1);
# The program starts the server itself, and stops it in the end.
my $fits = IPC::Run::run(
	[
		'/usr/bin/python3', "$soak/soak.py", '--seconds', $ENV{PICTREPO_SOAK_SECONDS} // 10,
		$node->data_dir, $node->logfile, $out
	],
	'<', \undef, '>', \$output, '2>&1');
ok($fits, 'all fits together');
$fits ? note $output : diag $output;
ok(-s "$out/$_", "$_ is written") foreach qw(memory.csv memory.svg sizes.svg latency.svg);

done_testing();

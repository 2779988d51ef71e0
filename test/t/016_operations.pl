# Many clients do all that an image host does, at random and to the same few
# things, while they and their server are killed.  In the end the repo fits
# together, no file is lost or forgotten, what was acknowledged is so, and no
# two calls have locked each other out.
#
# PICTREPO_OPERATIONS_SECONDS: how long each of two runs lasts; PICTREPO_SEED: other
# clients and another killer.

use strict;
use warnings;

use FindBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{PICTREPO_OPERATIONS_SECONDS} // 15;
my $seed = $ENV{PICTREPO_SEED} // 1;
my $operations = "$FindBin::RealBin/../stress/operations";

# The program kills the server itself, and stops it in the end.
sub operations
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $output = '';

	$node->init;
	$node->append_conf('postgresql.conf', slurp_file("$operations/server.conf"));
	$node->append_conf('postgresql.conf', $_) foreach @settings;

	local %ENV = (%ENV,
		PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres',
		PYTHONDONTWRITEBYTECODE => 1);
	my $fits = IPC::Run::run(
		[
			'/usr/bin/python3', "$operations/operations.py",
			'--seconds', $seconds, '--seed', $seed, $node->data_dir, $node->logfile
		],
		'<', \undef, '>', \$output, '2>&1');
	ok($fits, "all fits together: $name");
	$fits ? note $output : diag $output;
	return;
}

operations('plain');
operations('preload', q{shared_preload_libraries = 'pictrepo'});

done_testing();

# The engine's threads take no signal that is meant for the backend.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use POSIX qw(:signal_h);
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('main');
need_default_model($node);
my $model = DEFAULT_MODEL;
my @signals = (
	SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGCHLD, SIGPIPE, SIGURG);

my $s = session($node);
$s->ask('SET instemb.cache_size = 0; SET instemb.max_threads = 4');
foreach my $threads (2, 4, 2)
{
	$s->ask("SET instemb.threads = $threads");
	$s->ask("SELECT instemb(repeat('a light tent ', 60), 'what is it?', '$model')");
	my @workers = grep { $_ != $s->{pid} } threads($s->{pid});

	cmp_ok(scalar(@workers), '>=', 1, "$threads threads: there are workers");
	my @open = grep { !signals_blocked($s->{pid}, $_, @signals) } @workers;
	is("@open", '', "$threads threads: every worker blocks all signals");
	ok(!signals_blocked($s->{pid}, $s->{pid}, SIGUSR1),
		"$threads threads: the backend's own thread does not");
}

# A storm of signals while a team of threads works: all reach the main thread.
my $text = "repeat('A light and waterproof tent. ', 100)";
my $sql = "SELECT md5(instemb($text, 'What is it?', '$model')::text)";
my $expected = $s->ask($sql);
$s->begin($sql);
foreach (1 .. 20)
{
	kill 'USR1', $s->{pid};
	kill 'HUP', $s->{pid};
	sleep 0.01;
}
my ($actual, $err) = $s->end;
is($err, '', 'signals in mid-pass raise nothing');
is($actual, $expected, 'and the vector is the same');

# LISTEN and NOTIFY work by signals too.
$s->ask('LISTEN tents');
$node->safe_psql('postgres', "NOTIFY tents, 'hello'");
like($s->ask('SELECT 1'), qr/hello/, 'notifications still arrive');
$s->quit;

done_testing();

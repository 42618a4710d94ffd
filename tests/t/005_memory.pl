# instemb.max_model_memory is checked before anything is allocated.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
need_default_model($node);
my $model = DEFAULT_MODEL;
my $text = LONG_TEXT;

# Peak memory of a process in kB.
sub peak
{
	my ($pid) = @_;
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;

	return $kb;
}

# The file alone is over the limit.
my $s = session($node);
$s->ask('SET instemb.max_model_memory = 50');
my $before = peak($s->{pid});
my $err = $s->fails("SELECT instemb('a tent', 'what is it?', '$model')");
like($err, qr/ERROR:.*memory/, 'a model over the limit is refused');
like($err, qr/max_model_memory/, 'the message names the parameter');
cmp_ok(peak($s->{pid}) - $before, '<', 20_000, 'before its pages are touched');
like($s->ask("SELECT instemb('a tent', 'what is it?', 'tiny')"), qr/^\{/,
	'a smaller one works in the same session');

# The file fits, the scratch of a long text does not.
my $mb = $node->safe_psql('postgres',
	"SELECT file_bytes / 1048576 + 15 FROM instemb_models() WHERE name = '$model'");
$s->ask("SET instemb.max_model_memory = $mb");
my $short = $s->ask("SELECT instemb('a tent', 'what is it?', '$model')");
like($short, qr/^\{/, 'a short text fits');
$before = peak($s->{pid});
$err = $s->fails("SELECT instemb($text, 'what is it?', '$model')");
like($err, qr/ERROR:.*memory/, 'a long one does not');
like($err, qr/\d+.*\d+/s, 'and both numbers are told');
cmp_ok(peak($s->{pid}) - $before, '<', 10_000, 'before anything is allocated');
$s->ask('SET instemb.cache_size = 0');
is($s->ask("SELECT instemb('a tent', 'what is it?', '$model')"), $short,
	'the session goes on with the same bits');

# Scratch of a long text is given back.
$s->ask('RESET instemb.max_model_memory');
$s->ask("SELECT instemb(repeat('A light tent. ', 300), 'what is it?', '$model')");
my ($resident) = slurp_file("/proc/$s->{pid}/smaps_rollup") =~ /^Private_Dirty:\s+(\d+) kB/m;
diag("private memory after a text of 1,200 tokens: $resident kB");
cmp_ok($resident, '<', 80_000, 'a long text does not leave the session fat');

# Only a superuser may lift the limit.
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
my ($rc, $out, $stderr) = $node->psql('postgres', "LOAD 'instemb'; SET ROLE nobody; "
	  . 'SET instemb.max_model_memory = 0');
like($stderr, qr/permission denied to set parameter "instemb.max_model_memory"/,
	'the limit is not for everyone to lift');

$s->quit;
done_testing();

# Sessions share one copy of the weights; a restart changes no bit; installations
# at the same time do not disturb each other.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "restart_after_crash = on\n");
need_default_model($node);
my $model = DEFAULT_MODEL;
my $embed = "SELECT instemb('a light tent', 'what is it?', '$model')";

# Sums of the kB fields of one file's mappings in a process.
sub file_memory
{
	my ($pid, $file) = @_;
	my %sum;
	my $inside = 0;

	foreach my $line (split /\n/, maps($pid))
	{
		if ($line =~ /^[0-9a-f]+-[0-9a-f]+ (....)/)
		{
			$inside = index($line, "/$file") >= 0;
			$sum{writable} = 1 if $inside && $1 =~ /w/;
		}
		elsif ($inside && $line =~ /^(\w+):\s+(\d+) kB/)
		{
			$sum{$1} += $2;
		}
	}
	return \%sum;
}

my @sessions = map { session($node) } 1 .. 4;
my $vector = $sessions[0]->ask($embed);
foreach my $s (@sessions[ 1 .. $#sessions ])
{
	is($s->ask($embed), $vector, 'another session gives the same bits');
}
my $memory = file_memory($sessions[0]{pid}, "$model.gguf");
diag(sprintf 'the model in each of 4 sessions: Rss %d kB, Pss %d kB, private dirty %d kB',
	$memory->{Rss}, $memory->{Pss}, $memory->{Private_Dirty});
cmp_ok($memory->{Rss}, '>', 20_000, 'the model is mapped');
cmp_ok($memory->{Pss}, '<', $memory->{Rss} / 3, 'and shared: Pss is a fraction of Rss');
is($memory->{Private_Dirty}, 0, 'no page of it is private');
ok(!$memory->{writable}, 'nor could be: the mapping is read-only');

# instemb_unload() gives the address space back.
$sessions[0]->ask("SELECT instemb_unload('$model')");
unlike(maps($sessions[0]{pid}), qr{/\Q$model\E\.gguf}, 'an unloaded model is no longer mapped');
is($sessions[0]->ask($embed), $vector, 'and is opened again when needed');
$_->quit foreach @sessions;

$node->restart;
is($node->safe_psql('postgres', $embed), $vector, 'the same bits after a restart');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $embed), $vector, 'and after a crash');

# Concurrent installations: one wins, or with replace all do; the file is whole.
foreach my $replace ('false', 'true')
{
	my @racers = map { session($node) } 1 .. 6;
	my $name = "race_$replace";
	my $failed = 0;

	$_->begin("SELECT instemb_install('$name', 'tiny', 'tiny-adapter', $replace)") foreach @racers;
	foreach my $s (@racers)
	{
		my (undef, $err) = $s->end;

		next unless $err =~ /ERROR/;
		$failed++;
		like($err, qr/ERROR:.*\b$name\b.*exists/, 'who loses the race is told so');
	}
	is($failed, $replace eq 'true' ? 0 : 5,
		"of 6 installations with replace => $replace $failed fail");
	like($racers[0]->ask("SELECT instemb_model_info('$name', verify => true)"),
		qr/sha256/, 'what is there is whole');
	$_->quit foreach @racers;
}
my @left = grep { !m{/(tiny|tiny-adapter|race_false|race_true)\.gguf$} }
  glob($node->data_dir . '/instemb/* ' . $node->data_dir . '/instemb/.[!.]*');
is("@left", '', 'and nothing is left over');

# A backend that is killed in mid-installation leaves at most a temporary file,
# which no listing shows and no name reaches.
my $s = session($node);
$s->begin("SELECT instemb_install('killed', '$model', NULL)");
kill 'KILL', $s->{pid};
$node->poll_query_until('postgres', 'SELECT true');
my $info = "SELECT instemb_model_info('killed', verify => true)";
ok(!-e $node->data_dir . '/instemb/killed.gguf'
	  || $node->safe_psql('postgres', $info) =~ /sha256/,
	'a killed installation leaves no broken model');
is($node->safe_psql('postgres',
		"SELECT count(*) FROM instemb_models() WHERE name !~ '^[a-z0-9][a-z0-9_.-]*\$'"),
	'0', 'and nothing with another kind of name is listed');

done_testing();

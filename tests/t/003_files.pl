# Model files that are truncated, damaged, unreadable, replaced.  Whatever they
# hold, the session gets an error and goes on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $dir = $node->data_dir . '/instemb';
my $good = slurp_file("$dir/tiny.gguf");
my $s = session($node);
$s->ask("SELECT instemb_install('packed', 'tiny')");
my $packed = slurp_file("$dir/packed.gguf");

sub write_model
{
	my ($name, $bytes) = @_;
	my $temp = "$dir/.new-$name";

	open(my $file, '>:raw', $temp) or die "cannot create $temp: $!";
	print $file $bytes;
	close $file;
	rename $temp, "$dir/$name.gguf" or die "cannot rename $temp: $!";
	return;
}

sub vector
{
	my ($model) = @_;

	return "SELECT instemb('a tent', 'what is it?', '$model')";
}

my $reference = $s->ask(vector('tiny'));

# Truncated, at every part of the file: header, metadata, directory, data.
my @lengths = (0, 1, 4, 7, 8, 16, 23, 24, 25, 100, 1000,
	map { int(length($good) * $_ / 20) } 1 .. 19);
my $bad = 0;
foreach my $length (@lengths, length($good) - 1)
{
	write_model('short', substr($good, 0, $length));
	my $err = $s->fails(vector('short'));

	if ($err !~ /ERROR:.*"short"/s)
	{
		$bad++;
		diag("truncated to $length bytes: $err");
	}
}
is($bad, 0, scalar(@lengths) + 1 . ' truncated files are refused');
is($s->ask(vector('tiny')), $reference, 'the session goes on');

# Damaged bytes in header and directory: an error or a vector, never a crash.
# Of a packed file the vocabulary's tables, too.
my $seed = $ENV{TEST_SEED} // 20261121;
diag("TEST_SEED=$seed");
srand($seed);
my %outcome = (error => 0, vector => 0);
foreach my $round (1 .. 300)
{
	my $damaged = $round % 2 ? $good : $packed;

	foreach (1 .. 1 + int(rand(4)))
	{
		substr($damaged, int(rand(rand() < 0.7 ? 12000 : length($damaged))), 1) =
		  chr(int(rand(256)));
	}
	write_model('damaged', $damaged);
	my ($out, $err) = $s->try(vector('damaged'));

	if ($err =~ /ERROR:/) { $outcome{error}++ }
	elsif ($out =~ /^\{/ && $out !~ /NaN|Infinity/) { $outcome{vector}++ }
	else { fail("round $round: \"$out\" \"$err\"") }
}
is($outcome{error} + $outcome{vector}, 300,
	"300 damaged files: $outcome{error} errors, $outcome{vector} vectors");
cmp_ok($outcome{error}, '>', 0, 'some of them are errors');
is($s->ask(vector('tiny')), $reference, 'the session goes on');

# instemb_model_info(verify) finds damage in a tensor that opening does not read.
# The checksum is recorded when a model is installed.
$s->ask("SELECT instemb_install('checked', 'tiny', 'tiny-adapter')");
my $checked = slurp_file("$dir/checked.gguf");
substr($checked, -100, 1) = chr(255 - ord(substr($checked, -100, 1)));
write_model('checked', $checked);
like($s->fails("SELECT instemb_model_info('checked', verify => true)"),
	qr/ERROR:.*check/, 'verification finds a damaged tensor');

# A packed file of another version, and a packed one that is truncated.
my $other_version = $packed;
$other_version =~ s/(instemb\.packed\.version.{4})\x01/$1\x02/s or die 'no version found';
write_model('version', $other_version);
like($s->fails(vector('version')), qr/ERROR:.*another version.*HINT:.*instemb_install/s,
	'a packed file of another version is refused with a hint');
write_model('version', substr($packed, 0, int(length($packed) / 2)));
like($s->fails(vector('version')), qr/ERROR:.*"version"/s, 'half a packed file is refused');

# Not a file, not readable.
mkdir "$dir/folder.gguf";
like($s->fails(vector('folder')), qr/ERROR:.*folder/, 'a directory is no model');
write_model('secret', $good);
chmod 0000, "$dir/secret.gguf";
like($s->fails(vector('secret')), qr/ERROR:.*(secret).*Permission denied/,
	'an unreadable file is named with the reason');

# The listing shows them all and fails at none.
my $listing = $s->ask('SELECT string_agg(name || CASE WHEN error IS NULL THEN \'\' ELSE \'!\' END, '
	  . "' ' ORDER BY name COLLATE \"C\") FROM instemb_models() WHERE name <> '"
	  . DEFAULT_MODEL . "'");
like($listing, qr/\bsecret!/, 'instemb_models() lists an unreadable file with its error');
like($listing, qr/\bshort!/, 'and a truncated one');
like($listing, qr/\btiny\b(?!!)/, 'and a good one without');

# A file replaced by rename is noticed in mid-session, by all sessions.
write_model('swap', $good);
my $other = session($node);
my $before = $s->ask(vector('swap'));
is($before, $reference, 'a copy gives the same bits');
is($other->ask(vector('swap')), $before, 'in another session too');
$s->ask("SELECT instemb_install('merged', 'tiny', 'tiny-adapter')");
write_model('swap', slurp_file("$dir/merged.gguf"));
my $after = $s->ask(vector('swap'));
isnt($after, $before, 'a replaced file is noticed in mid-session');
is($other->ask(vector('swap')), $after, 'in another session too');
is($s->ask(vector('merged')), $after, 'and is what was put there');
unlike(maps($s->{pid}), qr{swap\.gguf \(deleted\)}, 'the old file is no longer mapped');
unlink "$dir/swap.gguf";
like($s->fails(vector('swap')), qr/ERROR:.*swap/, 'a removed file is an error');
$other->quit;

# No install leaves a file behind that it did not mean to.
like($s->fails("SELECT instemb_install('merged', 'tiny', 'tiny-adapter')"),
	qr/ERROR:.*merged/, 'a name that exists is refused');
like($s->fails("SELECT instemb_install('twice', 'merged', 'tiny-adapter')"),
	qr/ERROR:/, 'an adapter of another base is refused');
like($s->fails("SELECT instemb_install('half', 'short', 'tiny-adapter')"),
	qr/ERROR:/, 'a truncated base is refused');
$s->ask('SET statement_timeout = 1');
$s->fails("SELECT instemb_install('late', '" . DEFAULT_MODEL . "', NULL)");
$s->ask('RESET statement_timeout');
my @left = grep { !m{/(packed|version|tiny|tiny-adapter|short|damaged|checked|folder|secret|merged)\.gguf$} }
  glob("$dir/* $dir/.[!.]*");
is("@left", '', 'failed installations leave nothing behind');
is((stat $dir)[2] & 07777, 0700, 'the directory is private');
is((stat "$dir/merged.gguf")[2] & 07077, 0, 'and so are the files');

is($s->ask(vector('tiny')), $reference, 'the session goes on');
$s->quit;
done_testing();

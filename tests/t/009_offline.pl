# No session opens a socket, whatever it is asked.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $s = session($node);

# What the session has open and matches, sorted.
sub descriptors
{
	my ($pattern) = @_;

	return join ' ',
	  sort grep { defined && /$pattern/ } map { readlink } glob("/proc/$s->{pid}/fd/*");
}

sub sockets
{
	return descriptors(qr/^socket:/);
}

my $before = sockets();
isnt($before, '', 'the session has its own socket');
foreach my $sql ("instemb('a tent', 'what is it?', 'tiny')", 'instemb_models()',
	"instemb_model_info('tiny', verify => true)", "instemb_install('copy', 'tiny', 'tiny-adapter')",
	"instemb('a tent', 'what is it?', 'copy')", "instemb_tokens('a tent', 'tiny')")
{
	$s->ask("SELECT $sql");
	is(sockets(), $before, "$sql opens none");
	is(descriptors(qr/gguf/), '', 'and leaves no file open');
}
foreach my $name (
	'http://example.com/x', '../tiny', '/etc/passwd', 'tiny/../tiny', '.tiny', 'a..b', '')
{
	like($s->fails("SELECT instemb('a', 'b', '$name')"), qr/ERROR/, "\"$name\" is no model's name");
}
is(sockets(), $before, 'and is not looked for');
$s->quit;

done_testing();

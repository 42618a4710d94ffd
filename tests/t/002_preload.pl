# In the postmaster there is neither the engine nor a thread library, preloaded or
# not; sessions work either way.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $foreign = qr/libgomp|openblas|instemb_engine/;

sub postmaster_pid
{
	my ($node) = @_;

	return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
}

foreach my $preload (0, 1)
{
	my $name = $preload ? 'preloaded' : 'on demand';
	my $node = new_node("preload$preload",
		conf => $preload ? "shared_preload_libraries = 'instemb'\n" : '');
	my $postmaster = postmaster_pid($node);

	if ($preload)
	{
		like(maps($postmaster), qr{/instemb\.so}, "$name: the postmaster has instemb.so");
	}
	unlike(maps($postmaster), $foreign, "$name: the postmaster has no engine, no thread library");
	is(scalar(threads($postmaster)), 1, "$name: the postmaster has one thread");

	foreach my $threads (1, 2)
	{
		my $s = session($node);

		unlike(maps($s->{pid}), $foreign, "$name: nor has a session before it embeds");
		$s->ask("SET instemb.threads = $threads");
		like($s->ask("SELECT instemb('a tent', 'what is it?', 'tiny')"), qr/^\{/,
			"$name, $threads threads: a session embeds");
		like(maps($s->{pid}), qr/instemb_engine/, "$name: now it has the engine");
		$s->quit;
	}
	unlike(maps($postmaster), $foreign, "$name: the postmaster is as it was");
	is(scalar(threads($postmaster)), 1, "$name: and has one thread");
	$node->stop;
}

# Opening models when a session starts.
my $node = new_node('session',
	conf => "session_preload_libraries = 'instemb'\ninstemb.preload = 'tiny'\n");
my $s = session($node);
like(maps($s->{pid}), qr{/tiny\.gguf}, 'instemb.preload maps the model when the session starts');
$s->quit;
unlike(maps(postmaster_pid($node)), $foreign, 'and leaves the postmaster alone');

# A model that is not there must not lock everybody out.
$node->append_conf('postgresql.conf', "instemb.preload = 'tiny, nosuchmodel'\n");
$node->reload;
my ($rc, $out, $err) = $node->psql('postgres', "SELECT cardinality(instemb('a', 'b', 'tiny'))");
is($rc, 0, 'a missing model in instemb.preload does not refuse the connection');
is($out, '64', 'and the other one works');
like($err, qr/WARNING:.*nosuchmodel/, 'with a warning');

done_testing();

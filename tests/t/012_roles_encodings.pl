# Who may set what, before and after the library is there; databases that are not
# in UTF8.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN; CREATE ROLE admin LOGIN');
my $home = $node->safe_psql('postgres', "LOAD 'instemb'; SHOW instemb.model_dir");

# The library is not loaded yet: the setting is a placeholder, judged when it loads.
my $attempt = "SET instemb.model_dir = '/tmp'; SELECT cardinality(instemb('a', 'b', 'tiny')); "
  . "SET SESSION AUTHORIZATION DEFAULT; SHOW instemb.model_dir";
my ($rc, $out, $err) = $node->psql('postgres', $attempt, extra_params => [ '-U', 'shop' ]);
like($err, qr/permission denied to set parameter "instemb\.model_dir"/,
	'an early setting of an ordinary role is thrown away');
like($out, qr/^64$/m, 'and the model comes from where it should');
foreach my $parameter ('model_dir', 'data_model_dir', 'preload', 'max_threads', 'max_model_memory',
	'log_min_duration')
{
	(undef, undef, $err) = $node->psql('postgres',
		"SELECT instemb('a', 'b', 'tiny'); SET instemb.$parameter = '1'",
		extra_params => [ '-U', 'shop' ]);
	like($err, qr/permission denied to set parameter "instemb\.$parameter"/,
		"an ordinary role may not set instemb.$parameter");
}
foreach my $setting ('model = \'tiny\'', 'threads = 2', 'on_overflow = truncate', 'cache_size = 0',
	'similarity_threshold = 0.9')
{
	(undef, undef, $err) = $node->psql('postgres',
		"SELECT instemb('a', 'b', 'tiny'); SET instemb.$setting",
		extra_params => [ '-U', 'shop' ]);
	is($err, '', "but may set instemb.$setting");
}
(undef, $out, undef) = $node->psql('postgres',
	"SELECT instemb('a', 'b', 'tiny'); SHOW instemb.model_dir",
	extra_params => [ '-U', 'shop' ]);
unlike($out, qr/\Q$home\E/, 'nor does it see the directory');
$node->safe_psql('postgres', 'GRANT SET ON PARAMETER instemb.max_threads TO admin');
(undef, $out, $err) = $node->psql('postgres', "SELECT 1 FROM instemb('a', 'b', 'tiny'); "
	  . 'SET instemb.max_threads = 2; SHOW instemb.max_threads', extra_params => [ '-U', 'admin' ]);
like($out, qr/^2$/m, 'GRANT SET lets a role set a parameter');
foreach my $call ("instemb_install('x', 'tiny', 'tiny-adapter')", 'instemb_models()')
{
	(undef, undef, $err) =
	  $node->psql('postgres', "SELECT $call", extra_params => [ '-U', 'shop' ]);
	like($err, qr/permission denied for function/, "$call is not for everyone");
}
$node->safe_psql('postgres', 'GRANT pg_monitor TO admin');
($rc) = $node->psql('postgres', 'SELECT * FROM instemb_models()',
	extra_params => [ '-U', 'admin' ]);
is($rc, 0, 'pg_monitor may list the models');

# Databases in other encodings.
my $cafe = "U&'caf\\00e9 f\\00fcr drau\\00dfen'";
my $embed = "SELECT instemb($cafe, $cafe, 'tiny')";
my $tokens = "SELECT instemb_tokens($cafe, 'tiny')";
my $utf8 = $node->safe_psql('postgres', $embed);
foreach my $encoding ('LATIN1', 'WIN1252')
{
	$node->safe_psql('postgres',
		"CREATE DATABASE \"$encoding\" ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql($encoding, 'CREATE EXTENSION instemb');
	is($node->safe_psql($encoding, $embed), $utf8, "$encoding: the vector of the same characters");
	is($node->safe_psql($encoding, $tokens), $node->safe_psql('postgres', $tokens),
		"$encoding: the tokens of the same characters");
}
$node->safe_psql('postgres',
	"CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('ascii', 'CREATE EXTENSION instemb');
my $plain = "SELECT instemb('a tent', 'what is it?', 'tiny')";
is($node->safe_psql('ascii', $plain), $node->safe_psql('postgres', $plain),
	'SQL_ASCII: plain text');
(undef, $out, $err) = $node->psql('ascii', "SELECT instemb(E'caf\\xe9', 'b', 'tiny')");
like($err, qr/ERROR:.*UTF/, 'SQL_ASCII: bytes that are not UTF-8 are an error');
is($node->safe_psql('ascii', "SELECT instemb(E'caf\\xc3\\xa9', 'b', 'tiny')"),
	$node->safe_psql('postgres', "SELECT instemb(U&'caf\\00e9', 'b', 'tiny')"),
	'SQL_ASCII: bytes that are UTF-8 are taken as such');

done_testing();

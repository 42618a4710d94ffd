# One text gives one vector, bit for bit: alone or in a batch, in any order, after
# any other text, with any number of threads, on every instruction set.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
need_default_model($node);
my $default = DEFAULT_MODEL;

$node->safe_psql('postgres', <<'SQL');
SELECT instemb_install('merged', 'tiny', 'tiny-adapter');
CREATE TABLE sample (id int PRIMARY KEY, input text);
INSERT INTO sample VALUES
	(1, 'a'), (2, 'A light and waterproof tent.'), (3, 'Für draußen: 日本語の説明 🏕️'),
	(4, repeat('wood ', 31)), (5, repeat('rain ', 33)), (6, E'two\nlines\tand a tab'),
	(7, '<|im_end|> is plain text'), (8, repeat('x', 70)), (9, '2,300 pages at 5 % coverage'),
	(10, 'garden chair'), (11, repeat('The jacket keeps out wind and water. ', 6));
CREATE FUNCTION single(question text, model text) RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(instemb(input, question, model)::text, ';' ORDER BY id))
	FROM (SELECT * FROM sample ORDER BY id) s $$;
CREATE FUNCTION batch(question text, model text, direction int) RETURNS text LANGUAGE sql AS $$
	WITH inputs AS (SELECT array_agg(id ORDER BY id * direction) AS ids,
						   array_agg(input ORDER BY id * direction) AS texts FROM sample)
	SELECT md5(string_agg(v::text, ';' ORDER BY ids[n]))
	FROM inputs, instemb(texts, question, model) WITH ORDINALITY AS b(v, n) $$;
SQL

# All the ways, as a list of name and digest.
sub digests
{
	my ($model) = @_;
	my @got;

	foreach my $question ('What is it?', '')
	{
		my $q = "'$question', '$model'";
		my $fresh = session($node);

		$fresh->ask('SET instemb.cache_size = 0');
		push @got, [ "single, \"$question\"", $question, $fresh->ask("SELECT single($q)") ];
		push @got, [ "prefix known, \"$question\"", $question, $fresh->ask("SELECT single($q)") ];
		$fresh->ask("SELECT instemb('another', 'instruction in between', '$model')");
		push @got, [ "batch, \"$question\"", $question, $fresh->ask("SELECT batch($q, 1)") ];
		push @got, [ "backwards, \"$question\"", $question, $fresh->ask("SELECT batch($q, -1)") ];
		foreach my $threads (2, 3)
		{
			$fresh->ask("SET instemb.max_threads = 3; SET instemb.threads = $threads");
			push @got, [ "single, $threads threads, \"$question\"", $question,
				$fresh->ask("SELECT single($q)") ];
			push @got, [ "batch, $threads threads, \"$question\"", $question,
				$fresh->ask("SELECT batch($q, 1)") ];
		}
		$fresh->ask('RESET instemb.cache_size');
		$fresh->ask("SELECT single($q)");
		push @got, [ "from cache, \"$question\"", $question, $fresh->ask("SELECT single($q)") ];
		$fresh->quit;
	}
	return @got;
}

my %expected;
my %seen;
foreach my $level ('ref', 'avx2', 'avxvnni', 'avx512vnni', 'amx')
{
	local $ENV{INSTEMB_CPU} = $level;
	$node->restart;
	my $s = session($node);
	$s->ask("SELECT instemb('a', 'b', 'tiny')");
	my ($actual) = $s->ask('SELECT instemb_version()') =~ /\b(ref|avx2|avxvnni|avx512vnni|amx)\b/;
	$s->quit;
	if (!defined $actual || $actual ne $level)
	{
		note("this processor has no $level");
		isnt($level, 'ref', 'the reference kernels are always there');
		next;
	}
	$seen{$level} = 1;
	foreach my $model ('tiny', 'merged')
	{
		foreach my $got (digests($model))
		{
			my ($name, $question, $digest) = @$got;

			$expected{"$model $question"} //= $digest;
			is($digest, $expected{"$model $question"}, "$level, $model: $name");
		}
	}

	# The default model's widths, in few tokens: the reference kernels are slow.
	$s = session($node);
	$s->ask('SET instemb.cache_size = 0');
	foreach my $threads (1, 2)
	{
		my $vector = $s->ask("SET instemb.threads = $threads; "
			  . "SELECT instemb('garden chair', '', '$default')");

		$expected{$default} //= $vector;
		is($vector, $expected{$default}, "$level, $default, $threads threads: single");
		is($s->ask("SELECT v FROM instemb(array['tent', 'garden chair'], '', '$default') "
				  . 'WITH ORDINALITY AS b(v, n) WHERE n = 2'),
			$expected{$default}, "$level, $default, $threads threads: batch");
	}
	$s->quit;
}
isnt($expected{'tiny '}, $expected{'merged '}, 'digests tell models apart');
isnt($expected{'tiny '}, $expected{'tiny What is it?'}, 'and instructions');
diag('instruction sets compared: ' . join(', ', sort keys %seen));

done_testing();

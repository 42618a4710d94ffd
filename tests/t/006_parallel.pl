# Parallel workers give the same rows as one process.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "max_parallel_workers = 4\nmax_worker_processes = 8\n");
my $s = session($node);

$s->ask(<<'SQL');
CREATE TABLE product AS
SELECT i AS id, 'tent number ' || i || repeat(' waterproof', i % 7) AS name
FROM generate_series(1, 3000) i;
ANALYZE product;
ALTER TABLE product SET (parallel_workers = 2);
SET instemb.model = 'tiny';
SQL

my $query = "SELECT id, instemb(name, 'what is it?') AS v, "
  . "instemb(name, 'what is it?', 'tiny') AS w FROM product";
my $digest = "SELECT md5(string_agg(id || v::text || w::text, ';' ORDER BY id)) FROM ($query) q";

$s->ask('SET max_parallel_workers_per_gather = 0');
unlike($s->ask("EXPLAIN $query"), qr/Gather/, 'one process');
my $serial = $s->ask($digest);

$s->ask('SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0');
foreach my $threads (1, 2)
{
	$s->ask("SET instemb.threads = $threads");
	my $plan = $s->ask("EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) $query");
	like($plan, qr/Workers Launched: 2/, "$threads threads: two workers");
	like($plan, qr/Parallel Seq Scan.*\n\s+Output:.*instemb/, "$threads threads: they embed");
	$s->ask("CREATE TABLE result$threads AS $query");
	is($s->ask('SELECT md5(string_agg(id || v::text || w::text, \';\' ORDER BY id)) '
			  . "FROM result$threads"), $serial, "$threads threads: the same rows");
}

# The operators too.
$s->ask("CREATE TABLE embedded AS SELECT id, v FROM result1; ANALYZE embedded; "
	  . 'ALTER TABLE embedded SET (parallel_workers = 2); SET min_parallel_table_scan_size = 0; '
	  . 'SET parallel_tuple_cost = 0');
my $first = '(SELECT v FROM embedded WHERE id = 1)';
my $nearest = "SELECT count(*), round(sum(v <~=> $first)::numeric, 9) FROM embedded "
  . "WHERE v =~= $first";
like($s->ask("EXPLAIN $nearest"), qr/Parallel Seq Scan on embedded/, 'distances in parallel');
my $parallel = $s->ask($nearest);
$s->ask('SET max_parallel_workers_per_gather = 0');
is($parallel, $s->ask($nearest), 'give the same sum');

# An error in a worker is an ordinary error.
$s->ask("INSERT INTO product SELECT i, '' FROM generate_series(3001, 3100) i; "
	  . 'SET max_parallel_workers_per_gather = 2');
like($s->fails($digest), qr/ERROR/, 'an empty text in a worker is an error');
is($s->ask('SELECT 1'), '1', 'and the session goes on');

$s->quit;
done_testing();

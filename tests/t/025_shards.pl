# Shards by postgres_fdw: rows are routed to two servers, each of which embeds its
# own; the nearest of all are found by a query that both servers work on at a time.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @shards = map { new_node("shard$_", conf => "instemb.log_min_duration = 0\n") } 1, 2;
my $node = new_node('coordinator', conf => "instemb.log_min_duration = 0\n");
my ($have) = $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'");
plan skip_all => 'postgres_fdw is not installed' unless $have;

$_->safe_psql('postgres', <<'SQL') foreach @shards;
CREATE TABLE product (id int PRIMARY KEY, name text, kind real[]);
SELECT instemb_enable('product', 'kind', '{name}', 'What is it?', 'tiny');
SQL
$node->safe_psql('postgres', 'CREATE EXTENSION postgres_fdw; CREATE TABLE product '
	  . '(id int, name text, kind real[]) PARTITION BY HASH (id)');
foreach my $i (0, 1)
{
	my ($host, $port) = ($shards[$i]->host, $shards[$i]->port);
	$node->safe_psql('postgres', <<SQL);
CREATE SERVER shard$i FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port',
	dbname 'postgres', extensions 'instemb', async_capable 'true', batch_size '64');
CREATE USER MAPPING FOR CURRENT_USER SERVER shard$i;
CREATE FOREIGN TABLE product$i PARTITION OF product
	FOR VALUES WITH (MODULUS 2, REMAINDER $i) SERVER shard$i OPTIONS (table_name 'product');
SQL
}

# Rows are routed; each shard embeds its own, in batches.
$node->safe_psql('postgres',
	"INSERT INTO product (id, name) SELECT i, 'tent number ' || i FROM generate_series(1, 300) i");
my $wrong =
  "SELECT count(*) FROM product WHERE kind IS DISTINCT FROM instemb(name, 'What is it?', 'tiny')";
foreach my $shard (@shards)
{
	my ($rows, $calls) = (
		$shard->safe_psql('postgres', 'SELECT count(*) FROM product'),
		scalar(() = slurp_file($shard->logfile) =~ /embedding took/g));
	cmp_ok($rows, '>', 100, $shard->name . ' has its share of the rows');
	cmp_ok($calls, '<', $rows / 20, 'and has embedded them in batches');
	is($shard->safe_psql('postgres', $wrong), 0, 'each by its text');
}
unlike(slurp_file($node->logfile), qr/embedding took/, 'the coordinator computed nothing');
$node->safe_psql('postgres', "UPDATE product SET name = 'garden chair' WHERE id IN (10, 11, 12)");
is($_->safe_psql('postgres', $wrong), 0, 'an update through the coordinator embeds, too')
  foreach @shards;

# Top-k by the query that instemb_shard_query() writes.
my $query =
  $node->safe_psql('postgres', "SELECT instemb_shard_query('product', '{id,name}', 'kind', 5)");
my $vector = "instemb('a garden chair', 'What is it?', 'tiny')";
my $found = $node->safe_psql('postgres',
	"PREPARE nearest(real[]) AS $query; EXECUTE nearest($vector)");
my $exact = join("\n",
	(sort { (split /\|/, $a)[2] <=> (split /\|/, $b)[2] }
	  map { split /\n/ } map { $_->safe_psql('postgres',
			"SELECT id, name, kind <~=> $vector AS d FROM product ORDER BY d LIMIT 5") } @shards)[0 .. 4]);
is($found, $exact, 'the nearest rows of all shards are found');
my $plan = $node->safe_psql('postgres',
	"PREPARE nearest(real[]) AS $query; EXPLAIN (VERBOSE, COSTS OFF) EXECUTE nearest($vector)");
is(scalar(() = $plan =~ /Async Foreign Scan/g), 2, 'both shards work at a time');
is(scalar(() = $plan =~ /Remote SQL: SELECT [^\n]* ORDER BY [^\n]*<~=>[^\n]* LIMIT 5/g),
	2, 'and each sends its nearest rows alone');

# The same models are on each server.
is( $shards[0]->safe_psql('postgres', "SELECT instemb_provenance('', 'tiny') ->> 'sha256'"),
	$shards[1]->safe_psql('postgres', "SELECT instemb_provenance('', 'tiny') ->> 'sha256'"),
	'models can be compared by hash');

done_testing();

# Restoring a dump computes no embedding again: rows come with theirs, and the
# trigger is made after them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main',
	conf => "instemb.log_min_duration = 0\nsession_preload_libraries = 'instemb'\n");
my $basedir = $node->basedir;

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE product (
	id int PRIMARY KEY, name text, description text, embedding real[]
);
CREATE TRIGGER product_embedding BEFORE INSERT OR UPDATE ON product FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger(
		'embedding', 'What is it?', 'tiny', 'name', 'description');
INSERT INTO product SELECT i, 'tent ' || i, CASE WHEN i % 2 = 0 THEN 'for ' || i || ' persons' END
FROM generate_series(1, 50) i;
INSERT INTO product VALUES (51, NULL, ' ');
SQL
my $digest = 'SELECT count(embedding), md5(string_agg(embedding::text, $$;$$ ORDER BY id)) '
  . 'FROM product';
my $expected = $node->safe_psql('postgres', $digest);
like($expected, qr/^50\|/, 'every row with text has its embedding');

# Lines that instemb.log_min_duration wrote.
sub computations
{
	my ($from) = @_;
	my $log = substr(slurp_file($node->logfile), $from);

	return scalar(() = $log =~ /embedding took/g);
}

cmp_ok(computations(0), '>=', 50, 'each computation was logged');

$node->run_log([ 'pg_dump', '-Fc', '-f', "$basedir/dump", $node->connstr('postgres') ]);
$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $from = -s $node->logfile;
$node->command_ok(
	[ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('restored'), "$basedir/dump" ],
	'a dump is restored');
is(computations($from), 0, 'and nothing is computed');
is($node->safe_psql('restored', $digest), $expected, 'the embeddings are the same');

# The trigger has come along and works; it computes only what changed.
$from = -s $node->logfile;
$node->safe_psql('restored', 'UPDATE product SET id = id + 1000 WHERE id <= 10');
is(computations($from), 0, 'an update of another column computes nothing');
$node->safe_psql('restored', "UPDATE product SET name = name || '!' WHERE id = 20");
is(computations($from), 1, 'an update of a source text computes one');

# The extension's own objects are not dumped, only the extension.
$node->run_log([ 'pg_dump', '-s', '-f', "$basedir/schema", $node->connstr('restored') ]);
my $schema = slurp_file("$basedir/schema");
unlike($schema, qr/CREATE (FUNCTION|OPERATOR)/, 'the dump holds no function of the extension');
like($schema, qr/EXECUTE FUNCTION public\.instemb_update_trigger\('embedding', 'What is it\?'/,
	'but the trigger');

# What the manual warns of: a generated column is computed again by a restore,
# and an index on the expression by every REINDEX.
$node->safe_psql('postgres', <<'SQL');
CREATE DATABASE warned;
\c warned
CREATE EXTENSION instemb;
SET instemb.cache_size = 0;
CREATE TABLE generated (name text,
	e real[] GENERATED ALWAYS AS (instemb(name, 'What is it?', 'tiny')) STORED);
INSERT INTO generated SELECT 'tent ' || i FROM generate_series(1, 20) i;
CREATE TABLE indexed (name text);
INSERT INTO indexed SELECT 'tent ' || i FROM generate_series(1, 20) i;
CREATE INDEX expression ON indexed (instemb_similarity(
	instemb(name, 'What is it?', 'tiny'), instemb('a tent', 'What is it?', 'tiny')));
SQL
$node->run_log(
	[ 'pg_dump', '-Fc', '-t', 'generated', '-f', "$basedir/generated", $node->connstr('warned') ]);
$node->safe_psql('restored', 'DROP TABLE IF EXISTS generated');
$from = -s $node->logfile;
$node->run_log([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$basedir/generated" ]);
cmp_ok(computations($from), '>=', 20, 'restoring a generated column computes every row again');
$from = -s $node->logfile;
$node->safe_psql('warned', 'SET instemb.cache_size = 0; REINDEX INDEX expression');
cmp_ok(computations($from), '>=', 20, 'and so does a REINDEX of an expression');

done_testing();

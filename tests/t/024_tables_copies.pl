# Copies of a database: a dump restores the registrations and computes nothing; a
# standby answers and has no worker until it is promoted; a logical subscriber has
# the embeddings without computing them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "instemb.log_min_duration = 0\nshared_preload_libraries = 'instemb'\n";
my $node = new_node('main', conf => $conf, init => [ allows_streaming => 'logical' ]);
my $basedir = $node->basedir;
my $drained =
  "SELECT NOT EXISTS (SELECT FROM instemb_queue WHERE next_at IS NULL OR next_at < 'infinity')";

sub computations
{
	my ($of, $from) = @_;
	my $log = substr(slurp_file($of->logfile), $from);

	return scalar(() = $log =~ /embedding took/g);
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE by_statement (id int PRIMARY KEY, t text, e real[], how jsonb);
CREATE TABLE by_queue (id int PRIMARY KEY, t text, e real[]);
CREATE TABLE by_row (t text, e real[]);
CREATE TABLE by_parts (k int PRIMARY KEY, t text, e real[]) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF by_parts FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF by_parts FOR VALUES IN (2);
SELECT instemb_enable('by_statement', 'e', '{t}', $$What's "it"?$$, 'tiny', provenance => 'how');
SELECT instemb_enable('by_queue', 'e', '{t}', 'q', 'tiny', 'queue');
SELECT instemb_enable('by_row', 'e', '{t}', 'q', 'tiny', 'row');
SELECT instemb_enable('by_parts', 'e', '{t}', 'q', 'tiny', 'queue');
INSERT INTO by_statement SELECT i, 'thing ' || i FROM generate_series(1, 100) i;
INSERT INTO by_queue SELECT i, 'thing ' || i FROM generate_series(1, 100) i;
INSERT INTO by_row SELECT 'thing ' || i FROM generate_series(1, 10) i;
INSERT INTO by_parts VALUES (1, 'one'), (2, 'two');
SQL
ok($node->poll_query_until('postgres', $drained), 'the queue is empty');

# Dump and restore, with one row that waits.
$node->safe_psql('postgres', <<'SQL');
BEGIN;
INSERT INTO by_queue VALUES (200, repeat('too long ', 3000));
COMMIT;
SQL
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM instemb_failed');
$node->run_log([ 'pg_dump', '-Fc', '-f', "$basedir/dump", $node->connstr('postgres') ]);
$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $from = -s $node->logfile;
$node->command_ok(
	[ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('restored'), "$basedir/dump" ],
	'a dump is restored');
is(computations($node, $from), 0, 'and nothing is computed');
my $registrations = "SELECT string_agg(r::text, ';' ORDER BY r::text) FROM instemb_registration r";
my $expected = $node->safe_psql('postgres', $registrations);
is(scalar(() = $expected =~ /,e,/g), 6, 'six tables and partitions are registered');
is($node->safe_psql('restored', $registrations), $expected, 'and after the restore, too');
my $digest = "SELECT md5(string_agg(e::text, ';' ORDER BY id)) FROM by_queue";
is($node->safe_psql('restored', $digest), $node->safe_psql('postgres', $digest),
	'the embeddings are the same');
is($node->safe_psql('restored', "SELECT instemb_enqueue('by_queue', 'e')"),
	1, 'rows that waited can be put into the queue again');
$node->safe_psql('restored', <<'SQL');
INSERT INTO by_queue VALUES (101, 'new');
INSERT INTO by_statement VALUES (101, 'new');
SQL
ok( $node->poll_query_until('restored', 'SELECT e IS NOT NULL FROM by_queue WHERE id = 101'),
	'the restored triggers work');

# Who may not see the queue can dump a database all the same.
$node->safe_psql('postgres',
	'CREATE ROLE dumper LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO dumper');
$node->command_ok(
	[ 'pg_dump', '-U', 'dumper', '-f', "$basedir/dumped", $node->connstr('postgres') ],
	'a role that may read the tables can dump them');

# A publication of all tables must not keep the worker from its queue.
$node->safe_psql('postgres', <<'SQL');
CREATE PUBLICATION everything FOR ALL TABLES;
INSERT INTO by_queue VALUES (102, 'published');
CREATE TABLE filled (id int PRIMARY KEY, t text, e real[]);
INSERT INTO filled VALUES (1, repeat('too long ', 3000)), (2, 'lamp');
SQL
my $fill = "CALL instemb_backfill('filled', 'e', sources => '{t}', instruction => 'q', "
  . "model => 'tiny')";
is($node->safe_psql('postgres', $fill), '1|1|0',
	'a publication of all tables allows a backfill');
is($node->safe_psql('postgres', $fill), '0|1|0', 'and another one');
ok( $node->poll_query_until('postgres', 'SELECT e IS NOT NULL FROM by_queue WHERE id = 102'),
	'and the worker');
$node->safe_psql('postgres', 'DROP PUBLICATION everything; DROP TABLE filled');

# A physical standby.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
# rows in the queue, which the primary's worker may not take
my $holder = session($node);
$holder->ask('BEGIN; LOCK TABLE by_queue IN SHARE ROW EXCLUSIVE MODE');
$holder->ask("INSERT INTO by_queue VALUES (300, 'after the backup')");
$holder->ask("UPDATE instemb_queue SET next_at = now() + interval '1 hour' WHERE error IS NULL");
$holder->ask('COMMIT');
$node->wait_for_catchup($standby);
my $nearest = 'SELECT id FROM by_queue '
  . "ORDER BY e <~=> (SELECT instemb('thing 7', 'q', 'tiny')), id LIMIT 3";
is($standby->safe_psql('postgres', $nearest), $node->safe_psql('postgres', $nearest),
	'a standby finds the same rows');
is( $standby->safe_psql('postgres', "SELECT waiting FROM instemb_status "
		  . "WHERE relation = 'by_queue'::regclass"),
	1,
	'and shows what waits');
is( $standby->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'instemb'"),
	0,
	'it has no worker');
$node->stop('immediate');
$from = -s $standby->logfile;
$standby->promote;
$standby->safe_psql('postgres', "UPDATE instemb_queue SET next_at = NULL WHERE error IS NULL; "
	  . 'SELECT instemb_wake()');
ok( $standby->poll_query_until('postgres', 'SELECT e IS NOT NULL FROM by_queue WHERE id = 300'),
	'promoted, it goes on with the queue');
cmp_ok(computations($standby, $from), '>=', 1, 'by computing');

# A logical subscriber.
my $subscriber = new_node('subscriber', conf => $conf);
$subscriber->safe_psql('postgres', <<'SQL');
CREATE TABLE by_statement (id int PRIMARY KEY, t text, e real[], how jsonb);
CREATE TABLE by_queue (id int PRIMARY KEY, t text, e real[]);
SELECT instemb_enable('by_statement', 'e', '{t}', 'q', 'tiny', provenance => 'how');
SELECT instemb_enable('by_queue', 'e', '{t}', 'q', 'tiny', 'queue');
SQL
$standby->safe_psql('postgres', 'CREATE PUBLICATION things FOR TABLE by_statement, by_queue');
$from = -s $subscriber->logfile;
$subscriber->safe_psql('postgres', 'CREATE SUBSCRIPTION things CONNECTION $$'
	  . $standby->connstr('postgres') . '$$ PUBLICATION things');
$subscriber->wait_for_subscription_sync($standby, 'things');
$standby->safe_psql('postgres', "INSERT INTO by_queue VALUES (400, 'lamp'); "
	  . "INSERT INTO by_statement VALUES (400, 'lamp'); "
	  . "UPDATE by_queue SET t = 'sofa' WHERE id = 1");
$standby->poll_query_until('postgres', $drained);
$standby->wait_for_catchup('things');
is($subscriber->safe_psql('postgres', $digest), $standby->safe_psql('postgres', $digest),
	'a subscriber has the embeddings of the queue');
$digest =~ s/by_queue/by_statement/;
is($subscriber->safe_psql('postgres', $digest), $standby->safe_psql('postgres', $digest),
	'and of statements');
is(computations($subscriber, $from), 0, 'and has computed none');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM instemb_queue'), 0,
	'nor put any into its queue');
$holder->{psql}{run}->kill_kill;

done_testing();

# The background worker's life: it starts by the commit that needs it, sleeps and
# ends by itself, obeys SIGTERM, SIGHUP and shutdown, and starts with the server.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "instemb.log_min_duration = 0\nmax_worker_processes = 4\n");
my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'instemb worker'";
my $drained =
  "SELECT NOT EXISTS (SELECT FROM instemb_queue WHERE next_at IS NULL OR next_at < 'infinity')";

# Without shared_preload_libraries.
is($node->safe_psql('postgres', $workers), 0, 'there is no worker at first');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE note (id int PRIMARY KEY, t text, e real[]);
SELECT instemb_enable('note', 'e', '{t}', 'q', 'tiny', 'queue');
INSERT INTO note SELECT i, 'note ' || i FROM generate_series(1, 200) i;
SQL
ok($node->poll_query_until('postgres', $drained), 'a commit starts one, which empties the queue');
my $missing = "SELECT count(*) FROM note WHERE e IS DISTINCT FROM instemb(t, 'q', 'tiny')";
is($node->safe_psql('postgres', $missing), 0, 'every row has its embedding');
ok($node->poll_query_until('postgres', "SELECT ($workers) = 0"), 'an idle worker ends');
$node->safe_psql('postgres', "INSERT INTO note VALUES (201, 'late')");
ok($node->poll_query_until('postgres', $drained), 'another commit starts another');

# One worker only, however many sessions start one.
my @sessions = map { session($node) } 1 .. 6;
foreach my $i (0 .. 5)
{
	$sessions[$i]->begin("INSERT INTO note SELECT g, 'many ' || g FROM generate_series("
		  . (1000 + 100 * $i) . ', ' . (1099 + 100 * $i) . ') g');
}
$_->end foreach @sessions;
ok($node->poll_query_until('postgres', "SELECT ($workers) <= 1"), 'six sessions have one worker');
ok($node->poll_query_until('postgres', $drained), 'and it sees to the rows of all');
is($node->safe_psql('postgres', $missing), 0, 'every row has its embedding');

# A row that somebody has locked does not hold up the others, nor is it waited for.
my $locker = $sessions[0];
$locker->ask('BEGIN; SELECT id FROM note WHERE id = 1 FOR UPDATE');
$node->safe_psql('postgres', <<'SQL');
INSERT INTO instemb_queue (relation, target, replace, key) VALUES ('note'::regclass, 3, true, '{1}');
UPDATE note SET t = t || '!' WHERE id BETWEEN 2 AND 50;
SQL
ok( $node->poll_query_until('postgres',
		"SELECT array_agg(key::text) = ARRAY['{1}'] FROM instemb_queue"),
	'a locked row waits');
is($node->safe_psql('postgres', $missing), 0, 'rows beside it are embedded');
$locker->ask('COMMIT');
ok($node->poll_query_until('postgres', $drained), 'until it is free');

# SIGHUP.
$node->append_conf('postgresql.conf', 'instemb.queue_attempts = 1');
$node->reload;
$node->safe_psql('postgres', "INSERT INTO note VALUES (5000, repeat('too long ', 3000))");
ok( $node->poll_query_until('postgres',
		"SELECT attempts = 1 AND next_at IS NULL FROM instemb_failed"),
	'the worker has read the configuration again');
$node->safe_psql('postgres', 'DELETE FROM note WHERE id = 5000; SELECT instemb_retry()');
$node->append_conf('postgresql.conf', 'instemb.queue_attempts = 5');
$node->reload;

# pg_terminate_backend, in the middle of its work; the postmaster starts it again.
$node->safe_psql('postgres', "UPDATE note SET t = t || '?'");
$node->safe_psql('postgres',
	"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'instemb worker'");
ok($node->poll_query_until('postgres', $drained), 'a worker that was terminated starts again');
is($node->safe_psql('postgres', $missing), 0, 'every row has its embedding');

# No free slot: the write succeeds, with a warning, and the next one gets its worker.
ok($node->poll_query_until('postgres', "SELECT ($workers) = 0"), 'the worker ends');
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
my (undef, undef, $err) = $node->psql('postgres', "INSERT INTO note VALUES (6000, 'no slot')");
like($err, qr/WARNING:  could not start the worker.*\n.*max_worker_processes/,
	'without a slot for a worker a write succeeds with a warning');
is($node->safe_psql('postgres', 'SELECT waiting FROM instemb_status'), 1, 'and its row waits');

# shared_preload_libraries: the worker goes on where the server stopped.
$node->append_conf('postgresql.conf',
	"max_worker_processes = 4\nshared_preload_libraries = 'instemb'");
$node->restart;
ok($node->poll_query_until('postgres', $drained), 'with preloading the server starts the worker');
is($node->safe_psql('postgres', $missing), 0, 'every row has its embedding');

# Databases can be dropped; one without the extension has no worker.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION instemb');
$node->safe_psql('other', <<'SQL');
CREATE TABLE note (id int PRIMARY KEY, t text, e real[]);
SELECT instemb_enable('note', 'e', '{t}', 'q', 'tiny', 'queue');
INSERT INTO note VALUES (1, 'note'), (2, repeat('too long ', 3000));
SQL
ok( $node->poll_query_until('other', "SELECT attempts = 1 FROM instemb_failed"),
	'another database has a worker of its own');
$node->safe_psql('postgres', 'DROP DATABASE other WITH (FORCE)');
ok( $node->poll_query_until('postgres', "SELECT ($workers) = 0"),
	'the worker of a database that was dropped does not come back');
$node->safe_psql('postgres', "UPDATE note SET t = t || '.' WHERE id = 1");
ok($node->poll_query_until('postgres', $drained), 'the worker works');
$node->safe_psql('postgres', 'DROP EXTENSION instemb CASCADE');
ok( $node->poll_query_until('postgres', "SELECT ($workers) = 0"),
	'it ends when the extension has gone');
$_->quit foreach @sessions[ 1 .. 5 ];
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal/, 'and nothing crashed');

done_testing();

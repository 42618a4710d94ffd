# Workers beside each other, and beside writers: what one has locked the other
# leaves alone, and what changes meanwhile is not overwritten.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

# no slot for the background worker: two sessions do its work
my $node = new_node('main', conf => "max_worker_processes = 0\nclient_min_messages = error\n");
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE note (id int PRIMARY KEY, t text, e real[]);
SELECT instemb_enable('note', 'e', '{t}', 'q', 'tiny', 'queue');
INSERT INTO note SELECT i, 'note ' || i FROM generate_series(1, 30) i;
SQL
my $batch = "SELECT instemb_work_batch('note'::regclass, 3::int2, 10, 'public')";
my $wrong = "SELECT count(*) FROM note WHERE e IS DISTINCT FROM instemb(t, 'q', 'tiny')";
my $a = session($node);
my $b = session($node);
my $user = session($node);

# two batches at the same time
$a->ask('BEGIN');
is($a->ask($batch), 't', 'a worker has a batch');
$b->ask('BEGIN');
is($b->ask($batch), 't', 'another one has the next');
is($user->ask($batch), 't', 'a third the last');
is($user->ask($batch), 'f', 'and then there is nothing left');
is($user->ask('SELECT count(e) FROM note'), 10, 'only what is committed can be seen');
$a->ask('COMMIT');
$b->ask('ROLLBACK');
is($user->ask('SELECT count(e) FROM note'), 20, 'a batch that was rolled back is as it was');
is($user->ask('SELECT count(*) FROM instemb_queue'), 10, 'and its rows are in the queue');
is($a->ask($batch), 't', 'for another one');
is($user->ask($wrong), 0, 'each row has its embedding');

# a writer holds a row: the worker does not wait, and leaves it for later
$user->ask("UPDATE note SET t = t || ' x' WHERE id BETWEEN 1 AND 5");
$user->ask("BEGIN; UPDATE note SET t = 'changed' WHERE id = 3");
$a->ask($batch);
is($a->ask('SELECT string_agg(id::text, \' \') FROM note WHERE e IS NULL'), 3,
	'rows beside a locked one are embedded');
is($a->ask('SELECT waiting FROM instemb_status'), 1, 'the locked one waits');
$user->ask('COMMIT');
$a->ask('UPDATE instemb_queue SET next_at = NULL');
$a->ask($batch);
is($a->ask($wrong), 0, 'and is embedded as it is now');
is($a->ask('SELECT count(*) FROM instemb_queue'), 0, 'both its entries are gone');

# a worker has written, a writer comes before it commits
$user->ask("UPDATE note SET t = t || ' y' WHERE id = 7");
$a->ask('BEGIN');
$a->ask($batch);
$user->begin("UPDATE note SET t = t || ' z' WHERE id = 7");
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_stat_activity '
	  . "WHERE wait_event_type = 'Lock'");
$a->ask('COMMIT');
my (undef, $err) = $user->end;
is($err, '', 'the writer goes on as soon as the worker has committed');
is($a->ask('SELECT e IS NULL FROM note WHERE id = 7'), 't', 'the stale embedding is taken away');
$a->ask($batch);
is($a->ask($wrong), 0, 'and the new text embedded');

# backfill skips what is locked
$node->safe_psql('postgres', "SELECT instemb_disable('note', 'e'); UPDATE note SET e = NULL");
$user->ask('BEGIN; SELECT id FROM note WHERE id = 9 FOR UPDATE');
my $call = "CALL instemb_backfill('note', 'e', sources => '{t}', "
  . "instruction => 'q', model => 'tiny')";
is($a->ask($call), '29|0|1', 'backfill skips a locked row, and says so');
$user->ask('COMMIT');
is($a->ask($call), '1|0|0', 'another run embeds it');
is($a->ask($wrong), 0, 'each row has its embedding');

# two backfills at the same time
foreach my $round (1 .. 5)
{
	(my $in_ones = $call) =~ s/, sources/, batch => 1, sources/;
	$a->ask('UPDATE note SET e = NULL');
	$a->begin($in_ones);
	$b->ask($in_ones);
	(undef, $err) = $a->end;
	is($err, '', "two backfills at a time, round $round");
	is($a->ask($wrong), 0, 'fill each row');
}

# disabling while a worker is at work waits for it, without a deadlock
$a->ask("SELECT instemb_enable('note', 'e', '{t}', 'q', 'tiny', 'queue')");
$user->ask("UPDATE note SET t = t || '.' WHERE id < 5");
$b->ask('BEGIN');
$b->ask($batch);
$user->begin("SELECT instemb_disable('note', 'e')");
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_stat_activity '
	  . "WHERE wait_event_type = 'Lock'");
$b->ask('COMMIT');
(undef, $err) = $user->end;
is($err, '', 'instemb_disable() waits for a batch');
is($a->ask($wrong), 0, 'which is finished');
is($a->ask('SELECT count(*) FROM instemb_queue'), 0, 'and the queue is empty');
$_->quit foreach ($a, $b, $user);

done_testing();

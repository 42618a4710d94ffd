# Nothing is lost, and nothing embedded twice with another result, when the worker
# or the whole server is killed at random moments of queue and backfill.  Short
# here; KILLS=20 and more by "make soak".  SEED=n repeats a run.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $kills = $ENV{KILLS} || 4;
my $seed = $ENV{SEED} || time;
note "SEED=$seed KILLS=$kills";
srand($seed);

my $node = new_node('main',
	conf => "shared_preload_libraries = 'instemb'\nrestart_after_crash = on\n");
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE product (id int PRIMARY KEY, name text, e real[]);
CREATE TABLE old (id int PRIMARY KEY, name text, e real[]);
SELECT instemb_enable('product', 'e', '{name}', 'What is it?', 'tiny', 'queue');
SQL

# psql that goes on through a crash of the server
sub query
{
	my ($sql) = @_;

	foreach (1 .. 600)
	{
		my ($rc, $out) = $node->psql('postgres', $sql, on_error_die => 0);
		return $out if $rc == 0;
		sleep 0.1;
	}
	die "no answer to $sql";
}

sub worker_pid
{
	foreach (1 .. 300)
	{
		my $pid = query("SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'instemb worker'"
			  . ' AND datname = current_database()');
		return $pid if $pid;
		sleep 0.05;
	}
	return;
}

sub drain
{
	return $node->poll_query_until('postgres',
		"SELECT NOT EXISTS (SELECT FROM instemb_queue WHERE next_at IS NULL OR next_at < 'infinity')");
}

my $wrong = 'SELECT count(*) FROM product '
  . "WHERE e IS DISTINCT FROM instemb(name, 'What is it?', 'tiny')";
my $id = 0;

# Rows come in transactions; what was committed is known by its ids.
my $written = 0;
foreach my $kill (1 .. $kills)
{
	my ($first, $last) = ($id + 1, $id + 1000);
	$id = $last;
	query("INSERT INTO product SELECT i, 'thing number ' || i FROM generate_series($first, $last) i "
		  . 'ON CONFLICT DO NOTHING');
	query("UPDATE product SET name = name || '.' WHERE id % 7 = $kill % 7");
	$written = $last;
	my $pid = worker_pid();
	sleep rand(0.5);
	my $whole = $kill % 2 == 0;
	if ($whole)
	{
		# the postmaster and everything with it
		$node->stop('immediate');
		$node->start;
	}
	elsif (defined $pid)
	{
		kill 'KILL', $pid;
	}
	is(query('SELECT count(*) FROM product'), $written, "kill $kill: every row is there");
	ok(query("SELECT s.waiting + s.retrying = (SELECT count(DISTINCT key) FROM instemb_queue) "
			  . "FROM instemb_status AS s WHERE relation = 'product'::regclass") eq 't',
		"kill $kill: the counts are exact");
	is( query('SELECT count(*) FROM product AS p WHERE e IS NULL AND NOT EXISTS '
			  . '(SELECT FROM instemb_queue WHERE key[1]::int = p.id)'),
		0,
		"kill $kill: what has no embedding is in the queue");
	is( query("SELECT count(*) FROM product WHERE e <> instemb(name, 'What is it?', 'tiny')"),
		0,
		"kill $kill: no embedding is another text's");
}
note("$kills kills of worker or server: $written rows written, all there; SEED=$seed");
ok(drain(), 'the queue is emptied in the end, by a worker that nobody woke');
is(query($wrong), 0, 'every row has its embedding');
is(query('SELECT count(*) FROM instemb_failed'), 0, 'no row has failed');

# The same for a backfill.
query("INSERT INTO old SELECT i, 'old thing ' || i FROM generate_series(1, 3000) i");
my $call = "CALL instemb_backfill('old', 'e', sources => '{name}', "
  . "instruction => 'q', model => 'tiny')";
my $killed = 0;
foreach my $kill (1 .. $kills)
{
	my $before = query('SELECT count(e) FROM old');
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->query_until(qr/^begun$/m, "\\echo begun\n$call;\n");
	sleep 0.1 + rand(0.4);
	if ($kill % 2 == 0)
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		kill 'KILL', $pid;
	}
	eval { $session->quit };
	$killed++;
	is( query("SELECT count(*) FROM old WHERE e <> instemb(name, 'q', 'tiny')"),
		0,
		"kill $kill of a backfill: no embedding is another text's");
	is( query("SELECT count(e) - $before FROM old"),
		query("SELECT coalesce(sum(done), 0) FROM instemb_progress WHERE pid = $pid"),
		"kill $kill of a backfill: progress counts exactly what was committed");
}
note("$killed kills of a backfill");
my $result = query($call);
is(query('SELECT count(*) FROM old WHERE e IS NULL'), 0, 'the last backfill completes the rest');
is( query("SELECT count(*) FROM old WHERE e IS DISTINCT FROM instemb(name, 'q', 'tiny')"),
	0,
	'and every row has its embedding');
like($result, qr/^\d+\|0\|0$/, 'nothing failed, nothing was skipped');

done_testing();

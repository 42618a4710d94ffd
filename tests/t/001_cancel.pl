# A cancel, a timeout or a termination takes effect in the middle of a pass.
# The promise is 50 ms; the limit here leaves room for a loaded machine.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use constant LIMIT_MS => 500;

my $node = new_node('main');
need_default_model($node);
my $model = DEFAULT_MODEL;
my $text = LONG_TEXT;
my $pass = "SELECT cardinality(instemb($text, 'What is it?', '$model'))";
my $batch = "SELECT count(*) FROM instemb(array_fill('A tent for four persons.'::text, "
  . "array[2000]), 'What is it?', '$model')";

# Milliseconds from a signal to the end of a session's statement, seen by the server.
sub latency
{
	my ($pid, $action) = @_;

	return $node->safe_psql('postgres', <<"SQL") + 0;
CREATE OR REPLACE FUNCTION pg_temp.latency(victim int) RETURNS float8 LANGUAGE plpgsql AS \$\$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	PERFORM $action(victim);
	LOOP
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN NOT EXISTS
			(SELECT FROM pg_stat_activity WHERE pid = victim AND state = 'active');
		PERFORM pg_sleep(0.001);
	END LOOP;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1000;
END \$\$;
SELECT pg_temp.latency($pid);
SQL
}

foreach my $threads (1, 2)
{
	my $s = session($node);

	$s->ask("SET instemb.threads = $threads; SET instemb.cache_size = 0");
	$s->ask("SELECT 1 FROM instemb('warm', 'up', '$model') v WHERE v IS NULL");
	foreach my $case ([ 'one long text', $pass ], [ 'a batch', $batch ])
	{
		my ($name, $sql) = @$case;
		my @ms;

		foreach my $delay (0.1, 0.3, 0.5)
		{
			$s->begin($sql);
			sleep $delay;
			push @ms, latency($s->{pid}, 'pg_cancel_backend');
			my (undef, $err) = $s->end;
			like($err, qr/canceling statement due to user request/,
				"$name, $threads threads: canceled after $delay s");
		}
		cmp_ok((sort { $b <=> $a } @ms)[0], '<', LIMIT_MS, "$name, $threads threads: at once");
		diag(sprintf "cancel of %s, %d threads: %s ms",
			$name, $threads, join(', ', map { sprintf '%.0f', $_ } @ms));
	}
	like($s->ask("SELECT instemb('still', 'alive', '$model')"), qr/^\{/,
		"$threads threads: the session goes on working");
	$s->quit;
}

# statement_timeout, and the pass would have taken longer
my $s = session($node);
$s->ask("SELECT instemb('warm', 'up', '$model')");
foreach my $timeout (100, 300)
{
	my $began = time;
	my $err = $s->fails("SET statement_timeout = $timeout; $pass");
	my $late = (time - $began) * 1000 - $timeout;

	like($err, qr/canceling statement due to statement timeout/, "statement_timeout = $timeout");
	cmp_ok($late, '<', LIMIT_MS, "statement_timeout = $timeout takes effect at once");
	diag(sprintf 'statement_timeout of %d ms: %.0f ms late, psql included', $timeout, $late);
}

# A benign interrupt must not end the pass: the same vector comes out.
$s->ask('SET statement_timeout = 0; SET instemb.cache_size = 0');
my $medium = "SELECT md5(instemb(repeat('A light tent. ', 150), 'What is it?', '$model')::text)";
my $expected = $s->ask($medium);
$s->begin($medium);
foreach (1 .. 5)
{
	$node->reload;
	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($s->{pid})");
	sleep 0.02;
}
my ($actual, $err) = $s->end;
is($err, '', 'reload and memory dump in mid-pass raise nothing');
is($actual, $expected, 'and leave the result alone');

# pg_terminate_backend
$s->begin($pass);
sleep 0.3;
cmp_ok(latency($s->{pid}, 'pg_terminate_backend'), '<', LIMIT_MS, 'pg_terminate_backend at once');
is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the server is up');

done_testing();

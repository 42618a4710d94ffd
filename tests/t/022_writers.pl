# Eight writers insert, update and delete rows while the worker embeds them: no
# deadlock, no error, and in the end every embedding is that of its row's text.
# WRITE_SECONDS=300 and more by "make soak".

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{WRITE_SECONDS} || 5;
my $seed = $ENV{SEED} || time;
note "SEED=$seed WRITE_SECONDS=$seconds";

my $node = new_node('main', conf => "deadlock_timeout = 100ms\nmax_connections = 30\n");
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE product (id bigint PRIMARY KEY, name text, note text, changes int DEFAULT 0, e real[]);
CREATE SEQUENCE next_id;
SELECT instemb_enable('product', 'e', '{name,note}', 'What is it?', 'tiny', 'queue');
INSERT INTO product (id, name)
SELECT nextval('next_id'), 'first ' || i FROM generate_series(1, 200) i;
SQL

my $script = $node->basedir . '/writer.sql';
append_to_file($script, <<'SQL');
\set id random(1, 4000)
\set other random(1, 4000)
\set kind random(1, 100)
\if :kind <= 30
INSERT INTO product (id, name) SELECT nextval('next_id'), 'thing ' || :other || ' ' || i
FROM generate_series(1, 1 + :other % 5) i;
\elif :kind <= 60
UPDATE product SET name = 'renamed ' || :other WHERE id = :id;
\elif :kind <= 70
UPDATE product SET note = CASE WHEN :other % 3 = 0 THEN NULL ELSE 'note ' || :other END
WHERE id BETWEEN :id AND :id + 3;
\elif :kind <= 80
UPDATE product SET changes = changes + 1 WHERE id = :id;
\elif :kind <= 85
UPDATE product SET name = NULL, note = ' ' WHERE id = :id;
\elif :kind <= 90
UPDATE product SET id = nextval('next_id') WHERE id = :id;
\else
DELETE FROM product WHERE id = :id;
\endif
\sleep 5 ms
SQL
my ($out, $err);
my $ok = IPC::Run::run(
	[
		'pgbench', '-n', '-c', '8', '-j', '2', '-T', $seconds, '-f', $script,
		'--random-seed', $seed, '-h', $node->host, '-p', $node->port, 'postgres'
	],
	'>', \$out, '2>', \$err);
ok($ok, 'eight writers at work') or diag($err);
my ($transactions) = $out =~ /transactions actually processed: (\d+)/;
unlike($err, qr/ERROR|FATAL|aborted/, 'none of them has an error');
my $waiting = $node->safe_psql('postgres', 'SELECT waiting FROM instemb_status');

# a failed poll prints what is left
my $drained =
  "SELECT NOT EXISTS (SELECT FROM instemb_queue WHERE next_at IS NULL OR next_at < 'infinity')";
foreach (1 .. 20)
{
	last if $node->safe_psql('postgres', $drained) eq 't';
	$node->poll_query_until('postgres', $drained);
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM instemb_queue'), 0, 'the backlog drains');
is( $node->safe_psql('postgres', 'SELECT count(*) FROM product WHERE e IS DISTINCT FROM '
		  . "instemb(instemb_source(name, note), 'What is it?', 'tiny')"),
	0,
	'every embedding is that of its text');
my $log = slurp_file($node->logfile);
unlike($log, qr/deadlock|ERROR|PANIC|terminated by signal/, 'no deadlock, no error in the log');
note("$transactions transactions of 8 writers in $seconds s, backlog at their end $waiting, "
	  . $node->safe_psql('postgres', 'SELECT count(e) FROM product') . ' embeddings right');

done_testing();

# instemb_train(): cancel, resume, progress from another session, the worker,
# shutdown and kill.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# Cancel: 500 ms are promised; the limit here leaves room for a loaded machine.
use constant LIMIT_MS => 3000;
use constant STEPS => 100_000;	# more than anybody waits for

my $node = new_node('main', conf => 'restart_after_crash = on');
my $dir = $node->data_dir . '/instemb';

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE triple (id int PRIMARY KEY, instruction text, input text, output text);
INSERT INTO triple
SELECT i, CASE WHEN i % 2 = 0 THEN 'What colour is it?' ELSE 'What is it?' END,
	   format('%s %s number %s', colour, thing, i), CASE WHEN i % 2 = 0 THEN colour ELSE thing END
FROM generate_series(1, 60) AS i
CROSS JOIN LATERAL (SELECT (array['red', 'green', 'blue'])[i % 3 + 1] AS colour,
						   (array['tent', 'chair', 'lamp', 'shoe'])[i % 4 + 1] AS thing) AS t;
SQL

# A call of instemb_train() or instemb_train_start() with the tiny model
sub call
{
	my ($function, $name, $steps, $more) = @_;

	return "SELECT $function('$name', 'tiny', "
	  . "'SELECT instruction, input, output FROM triple ORDER BY id', steps => $steps, "
	  . "batch => 8, rank => 2, lookahead => 2, seed => 3, memory => '256MB'" . ($more // '') . ')';
}

sub progress
{
	my ($name, $columns) = @_;

	return $node->safe_psql('postgres',
		"SELECT $columns FROM instemb_train_progress WHERE model = '$name'");
}

# Until a training is in that state and has done so many steps
sub wait_for
{
	my ($name, $state, $steps) = @_;

	return $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM instemb_train_progress "
		  . "WHERE model = '$name' AND state = '$state' AND step >= $steps");
}

sub hash
{
	my ($file) = @_;

	return $node->safe_psql('postgres',
		"SELECT encode(sha256(pg_read_binary_file('$dir/$file')), 'hex')");
}

# Progress is seen while the trainer's transaction is open; a cancel leaves a
# checkpoint; what goes on from it gets to where an undisturbed training gets.
my $s = session($node);
$s->begin(call('instemb_train', 'long', STEPS));
ok(wait_for('long', 'training', 3), 'another session sees the steps');
is(progress('long', "pid = $s->{pid}, steps, rows, loss > 0, remaining > '0'"),
	't|' . STEPS . '|60|t|t', 'and what there is to know');
my ($first, $began) = (progress('long', 'step'), time);
sleep 0.5;
my $rate = (progress('long', 'step') - $first) / (time - $began);
my ($out, $err) = $node->psql('postgres', call('instemb_train', 'long', 1), stderr => \my $stderr);
like($stderr, qr/model "long" is being trained by another session/, 'one training of a name');
$began = time;
$node->safe_psql('postgres', "SELECT pg_cancel_backend($s->{pid})");
(undef, $err) = $s->end;
my $ms = (time - $began) * 1000;
like($err, qr/canceling statement due to user request/, 'a training can be canceled');
cmp_ok($ms, '<', LIMIT_MS, 'at once');
diag(sprintf 'cancel of a training, psql included: %.0f ms', $ms);
like(progress('long', 'state, message'), qr/^canceled\|canceling statement/, 'and says so');
ok(-f "$dir/long.checkpoint", 'a checkpoint is there');
ok(!-f "$dir/long.gguf" && !-f "$dir/long-adapter.gguf", 'a model is not');
like($s->fails(call('instemb_train', 'long', STEPS)), qr/was left unfinished/,
	'a new training does not overwrite the checkpoint');
like($s->fails(call('instemb_train', 'long', STEPS, ", resume => true, learning_rate => 0.5")),
	qr/ERROR/, 'other settings cannot resume it');

# The same in short, stopped after some steps and resumed, or not: as many
# steps as this machine does in four seconds, so that it is met underway.
my $steps = 20 + int(4 * $rate);
$s->ask(call('instemb_train', 'straight', $steps));
$s->begin(call('instemb_train', 'stopped', $steps));
ok(wait_for('stopped', 'training', 1), 'a training is underway');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($s->{pid})");
$s->end;
cmp_ok(progress('stopped', 'step'), '<', $steps, 'stopped in between');
$s->ask(call('instemb_train', 'stopped', $steps, ', resume => true'));
is(hash('stopped-adapter.gguf'), hash('straight-adapter.gguf'),
	'resumed, it comes to the same bits');
ok(!-f "$dir/stopped.checkpoint", 'no checkpoint is left');

# statement_timeout and a rollback
like($s->fails("SET statement_timeout = 500; " . call('instemb_train', 'timed', STEPS)),
	qr/canceling statement due to statement timeout/, 'statement_timeout');
$s->ask('SET statement_timeout = 0');
$s->quit;

# The worker goes on when its client is gone, as the role that started it.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE trainer LOGIN;
CREATE ROLE granted NOLOGIN;
GRANT granted TO trainer;
GRANT EXECUTE ON FUNCTION instemb_train_start TO granted;
CREATE SCHEMA own AUTHORIZATION granted;
CREATE VIEW own.triple AS SELECT instruction, input, output, id FROM public.triple;
ALTER VIEW own.triple OWNER TO postgres;
GRANT SELECT ON own.triple TO granted;
SQL
my $start = call('instemb_train_start', 'worker', 30);
my $pid = $node->safe_psql('postgres', "SET ROLE granted; SET search_path = own, public; $start",
	extra_params => [ '-U', 'trainer' ]);
like($pid, qr/^\d+$/, 'a worker is started by a role that may not log in');
ok(wait_for('worker', 'done', 30), 'it ends its work without its client');
is(progress('worker', "pid = $pid, role"), 't|granted', 'as that role');
is($node->safe_psql('postgres', "SELECT instemb_model_info('worker', true) ->> 'pooling'"), 'daap',
	'the model is there');
is($node->safe_psql('postgres', 'SELECT model FROM instemb_train_progress',
		extra_params => [ '-U', 'trainer' ]), 'worker', 'a role sees its own trainings');

# what it may not read, and what it cannot do
$start = call('instemb_train_start', 'refused', 30);
$node->safe_psql('postgres', "SET ROLE granted; $start", extra_params => [ '-U', 'trainer' ]);
ok(wait_for('refused', 'failed', 0), 'the query has the rights of the role');
like(progress('refused', 'message'), qr/permission denied for table triple/, 'and no others');
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION own.climb() RETURNS text LANGUAGE plpgsql AS
$$ BEGIN SET ROLE trainer; RETURN 'a'; END $$;
CREATE TABLE own.sink (a text);
GRANT INSERT ON own.sink TO granted;
CREATE FUNCTION own.late() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'fired by %', current_user; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON own.sink DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION own.late();
CREATE FUNCTION own.leave() RETURNS text LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO own.sink VALUES ('a'); RETURN 'a'; END $$;
SQL
$node->safe_psql('postgres', "SET ROLE granted; SELECT instemb_train_start('climber', 'tiny', "
	  . "'SELECT own.climb(), input, output FROM own.triple')", extra_params => [ '-U', 'trainer' ]);
ok(wait_for('climber', 'failed', 0), 'a function of the query cannot change the role');
like(progress('climber', 'message'), qr/cannot set parameter "role"/, 'by its own');
$node->safe_psql('postgres', "SET ROLE granted; SELECT instemb_train_start('leaver', 'tiny', "
	  . "'SELECT own.leave(), input, output FROM own.triple')", extra_params => [ '-U', 'trainer' ]);
ok(wait_for('leaver', 'failed', 0), 'nor leave a trigger behind');
like(progress('leaver', 'message'), qr/cannot fire deferred trigger/, 'for the session to fire');

# It holds no snapshot while it trains, and can be canceled.
$pid = $node->safe_psql('postgres', call('instemb_train_start', 'background', STEPS));
ok(wait_for('background', 'training', 3), 'a worker trains');
is($node->safe_psql('postgres', "SELECT backend_type, xact_start IS NULL, backend_xmin IS NULL "
		  . "FROM pg_stat_activity WHERE pid = $pid"),
	'instemb train|t|t', 'outside a transaction');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
ok(wait_for('background', 'canceled', 3), 'it can be canceled');

# A shutdown stops it with a checkpoint; a crash loses it, but nothing else.
my $step = progress('background', 'step');
$node->safe_psql('postgres', call('instemb_train_start', 'background', STEPS, ', resume => true'));
ok(wait_for('background', 'training', $step + 2), 'a worker resumes');
unlink "$dir/background.checkpoint";
$node->stop('fast');
ok(-f "$dir/background.checkpoint", 'a shutdown leaves a checkpoint');
$node->start;
is(progress('background', 'state, message'), 'canceled|terminated', 'and is told');
$pid = $node->safe_psql('postgres',
	call('instemb_train_start', 'background', STEPS, ', resume => true'));
ok(wait_for('background', 'training', 5), 'it goes on after a restart');
my $model = hash('worker.gguf');
kill 'KILL', $pid;
ok(wait_for('background', 'lost', 5), 'a worker killed is lost, after the crash restart');
ok(-f "$dir/background.checkpoint" && !-f "$dir/background.gguf", 'its checkpoint is not');
is(hash('worker.gguf'), $model, 'models are as they were');
$node->safe_psql('postgres', call('instemb_train', 'background', 2, ', replace => true'));
is(progress('background', 'state, step'), 'done|2', 'a new training takes the place of the old');
$node->stop;

done_testing();

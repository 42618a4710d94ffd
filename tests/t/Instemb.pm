# Helpers of the TAP tests: nodes that have the tiny models, sessions that may
# fail and go on, and a look into /proc.
package Instemb;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  new_node add_models model_path need_default_model DEFAULT_MODEL LONG_TEXT
  session maps threads signals_blocked
);

use constant DEFAULT_MODEL => 'smollm2-135m-instemb';

# Some 4,000 tokens, as SQL: seconds of work for the default model.
use constant LONG_TEXT => "repeat('A light and waterproof tent for four persons. ', 400)";

# A file of tests/golden.
sub model_path
{
	my ($file) = @_;

	return "$ENV{INSTEMB_FIXTURES}/$file";
}

# Put the tiny models into a node's data_model_dir.
sub add_models
{
	my ($node) = @_;
	my $dir = $node->data_dir . '/instemb';

	mkdir $dir, 0700;
	foreach my $file ('tiny.gguf', 'tiny-adapter.gguf')
	{
		PostgreSQL::Test::Utils::system_or_bail('cp', model_path($file), "$dir/$file");
		chmod 0600, "$dir/$file";
	}
	return $dir;
}

# A started node with the extension in database postgres.  Pairs: conf => lines
# of postgresql.conf, init => [arguments of init()].
sub new_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--no-locale' ], @{ $options{init} || [] });
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	add_models($node);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION instemb');
	return $node;
}

# For tests that need a model of real size.
sub need_default_model
{
	my ($node) = @_;
	my $dir = $node->safe_psql('postgres', 'LOAD \'instemb\'; SHOW instemb.model_dir');

	-f "$dir/" . DEFAULT_MODEL . '.gguf'
	  or BAIL_OUT("the default model is not in $dir: run 'make model'");
	return;
}

# Text of a file in /proc, which may have gone.
sub proc
{
	my ($path) = @_;

	open(my $file, '<', "/proc/$path") or return '';
	local $/;
	my $text = <$file>;
	close $file;
	return $text // '';
}

sub maps
{
	my ($pid) = @_;
	my $text = proc("$pid/smaps");

	die "cannot read /proc/$pid/smaps" if $text eq '';
	return $text;
}

# Thread ids of a process.
sub threads
{
	my ($pid) = @_;

	return map { m{/(\d+)$} } glob("/proc/$pid/task/*");
}

# Is every one of these signals blocked in a thread?
sub signals_blocked
{
	my ($pid, $tid, @signals) = @_;
	my ($mask) = proc("$pid/task/$tid/status") =~ /^SigBlk:\s*([0-9a-f]+)/m
	  or die "cannot read the signal mask of $pid/$tid";

	$mask = hex($mask);
	foreach my $signal (@signals)
	{
		return 0 unless $mask & (1 << ($signal - 1));
	}
	return 1;
}

# A psql that stays connected.
sub session
{
	my ($node, $db, %options) = @_;
	my $self = bless {
		psql => $node->background_psql($db // 'postgres', on_error_stop => 0, %options)
	}, 'Instemb';

	$self->{pid} = $self->ask('SELECT pg_backend_pid()');
	return $self;
}

# The answer; anything on stderr is fatal.
sub ask
{
	my ($self, $sql) = @_;
	my ($out, $err) = $self->try($sql);

	die "\"$sql\" failed: $err" if $err =~ /ERROR|FATAL/;
	return $out;
}

# (answer, stderr)
sub try
{
	my ($self, $sql) = @_;

	$self->{psql}{stderr} = '';
	my $out = $self->{psql}->query($sql);
	my $err = $self->{psql}{stderr};
	$self->{psql}{stderr} = '';
	return ($out, $err);
}

# What an erroneous statement says.
sub fails
{
	my ($self, $sql) = @_;
	my (undef, $err) = $self->try($sql);

	return $err;
}

# Send a statement, do not wait for its end.
sub begin
{
	my ($self, $sql) = @_;

	$self->{psql}{stderr} = '';
	$self->{psql}->query_until(qr/^begun$/m, "\\echo begun\n$sql;\n");
	return;
}

# Wait for that end: (answer, stderr)
sub end
{
	my ($self) = @_;
	my $out = $self->{psql}->query('SELECT');
	my $err = $self->{psql}{stderr};

	$self->{psql}{stderr} = '';
	return ($out, $err);
}

sub quit
{
	my ($self) = @_;

	return $self->{psql}->quit;
}

1;

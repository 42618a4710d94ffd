# A hot standby answers instemb(), with the primary's bits; a base backup takes
# data_model_dir along.  A logical subscriber gets the embeddings with the rows.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Instemb;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', init => [ allows_streaming => 'logical' ],
	conf => "instemb.log_min_duration = 0\nsession_preload_libraries = 'instemb'\n");
$primary->safe_psql('postgres', <<'SQL');
SELECT instemb_install('merged', 'tiny', 'tiny-adapter');
CREATE TABLE product (id int, name text, embedding real[]);
CREATE TRIGGER product_embedding BEFORE INSERT OR UPDATE ON product FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('embedding', 'What is it?', 'merged', 'name');
INSERT INTO product SELECT i, 'tent ' || i FROM generate_series(1, 20) i;
SQL
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', "INSERT INTO product VALUES (21, 'garden chair')");
$primary->wait_for_catchup($standby);

is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'the standby is one');
my $nearest = "SELECT id FROM product ORDER BY embedding <~=> "
  . "(SELECT instemb('garden chair', 'What is it?', 'merged')) LIMIT 3";
my $found = $primary->safe_psql('postgres', $nearest);
like($found, qr/^21\n/, 'the primary finds the row');
is($standby->safe_psql('postgres', $nearest), $found, 'and so does the standby');
my $embed = "SELECT instemb('a tent', 'what?', 'merged')";
is($standby->safe_psql('postgres', $embed), $primary->safe_psql('postgres', $embed),
	'with the same bits');
like($standby->safe_psql('postgres', 'SELECT string_agg(name, \' \') FROM instemb_models()'),
	qr/\bmerged\b/, 'the listing works on a standby');

# A model that was installed after the backup is not in the WAL.
$primary->safe_psql('postgres', "SELECT instemb_install('later', 'tiny', 'tiny-adapter')");
$primary->wait_for_catchup($standby);
my ($rc, undef, $err) = $standby->psql('postgres', "SELECT instemb('a', 'b', 'later')");
like($err, qr/ERROR:.*later/, 'a model installed later is not on the standby');
($rc, undef, $err) = $standby->psql('postgres', "SELECT instemb_train_start('x', 'tiny', 'SELECT 1')");
like($err, qr/ERROR:  recovery is in progress/, 'a standby starts no worker to train');

# Logical replication: the subscriber's trigger does not fire.
my $subscriber = new_node('subscriber',
	conf => "instemb.log_min_duration = 0\nsession_preload_libraries = 'instemb'\n");
$subscriber->safe_psql('postgres', <<'SQL');
CREATE TABLE product (id int, name text, embedding real[]);
CREATE TRIGGER product_embedding BEFORE INSERT OR UPDATE ON product FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('embedding', 'What is it?', 'tiny', 'name');
SQL
$primary->safe_psql('postgres', 'CREATE PUBLICATION products FOR TABLE product');
$subscriber->safe_psql('postgres', 'CREATE SUBSCRIPTION products CONNECTION $$'
	  . $primary->connstr('postgres') . '$$ PUBLICATION products');
$subscriber->wait_for_subscription_sync($primary, 'products');
$primary->safe_psql('postgres', "INSERT INTO product VALUES (22, 'desk lamp')");
$primary->wait_for_catchup('products');
my $rows = 'SELECT md5(string_agg(id || embedding::text, \';\' ORDER BY id)) FROM product';
is($subscriber->safe_psql('postgres', $rows), $primary->safe_psql('postgres', $rows),
	'a logical subscriber has the embeddings');
unlike(slurp_file($subscriber->logfile), qr/embedding took/, 'and has computed none');
like(slurp_file($primary->logfile), qr/embedding took/, 'as the publisher did');

done_testing();

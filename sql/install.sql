--
-- instemb_install(name, base, adapter, replace)
--
SELECT instemb_install('merged', 'tiny', 'tiny-adapter') AS sha256 \gset
SELECT :'sha256' = encode(sha256(get_file('merged.gguf')), 'hex') AS hash;
SELECT i ->> 'pooling' AS pooling, i ->> 'lookahead_count' AS lookahead_count,
	   i ->> 'base_sha256' = encode(sha256(get_file('tiny.gguf')), 'hex') AS base,
	   i ->> 'adapter_sha256' = encode(sha256(get_file('tiny-adapter.gguf')), 'hex') AS adapter
FROM instemb_model_info('merged', true) AS i;
SELECT model, d < 0.002 AS near, d > 0.1 AS far
FROM reference
CROSS JOIN LATERAL (SELECT instemb(input, instruction, 'merged') <~=> e AS d) AS distance
WHERE input = 'A tent for two' AND instruction <> '' ORDER BY model;

-- only the server can read and write it, nothing else is left
SELECT (pg_stat_file(current_setting('instemb.data_model_dir') || '/merged.gguf')).size = length(get_file('merged.gguf')) AS size;
SELECT shell('test "$(stat -c %a merged.gguf)" = 600');
SELECT shell('test -z "$(ls -A | grep tmp)"');

-- a name that exists is refused, unless it is to be replaced
SELECT instemb_install('merged', 'tiny', 'tiny-adapter');
SELECT instemb_install('tiny', 'tiny', 'tiny-adapter');
SELECT instemb_install('merged', 'tiny', 'tiny-adapter', replace => true) = :'sha256' AS same;

-- a base alone is packed, too; what is packed is copied, and takes no adapter
SELECT instemb_install('merged', 'tiny', replace => true) IS NOT NULL AS installed;
SELECT i ->> 'quantization' AS quantization,
	   i ->> 'base_sha256' = encode(sha256(get_file('tiny.gguf')), 'hex') AS base,
	   i -> 'adapter_sha256' AS adapter
FROM instemb_model_info('merged', true) AS i;
SELECT instemb('A tent', 'q', 'merged') <~=> instemb('A tent', 'q', 'tiny') < 0.002 AS near;
SELECT instemb_tokens('A tent, 2 m', 'merged') = instemb_tokens('A tent, 2 m', 'tiny') AS same;
SELECT instemb_install('kept', 'merged') = encode(sha256(get_file('merged.gguf')), 'hex') AS copy;
SELECT instemb('A tent', 'q', 'merged') = instemb('A tent', 'q', 'kept') AS same;
SELECT outcome($$SELECT instemb_install('new', 'kept', 'tiny-adapter')$$);
SELECT shell('rm kept.gguf');

-- an installation is not part of the transaction
BEGIN;
SELECT instemb_install('kept', 'tiny') IS NOT NULL AS installed;
ROLLBACK;
SELECT instemb_dims('kept');

-- leftovers of a crash are removed by the next one
SELECT shell('touch pgsql_tmp.instemb.1234');
SELECT instemb_install('kept', 'tiny', NULL, true) IS NOT NULL AS installed;
SELECT shell('test ! -e pgsql_tmp.instemb.1234');

-- names, and files that are not there
SELECT instemb_install('default', 'tiny');
SELECT instemb_install('../up', 'tiny');
SELECT instemb_install('new', '../tiny');
SELECT instemb_install('new', 'tiny', 'a/b');
SELECT instemb_install('new', 'nonesuch');
SELECT instemb_install('new', 'tiny', 'nonesuch');
SELECT instemb_install(NULL, 'tiny');
SELECT instemb_install('new', NULL);
SELECT instemb_install('new', 'tiny', NULL, NULL);

-- a damaged body is found before the file gets its name: the checksum of a
-- merged model, and a scale that is no number
SELECT instemb_install('merged', 'tiny', 'tiny-adapter', true) IS NOT NULL AS installed;
SELECT put_file('damaged.gguf', set_byte(get_file('merged.gguf'), length(get_file('merged.gguf')) - 100, 1 + get_byte(get_file('merged.gguf'), length(get_file('merged.gguf')) - 100) % 255));
SELECT instemb_dims('damaged') AS opens;
SELECT regexp_replace(outcome($$SELECT instemb_model_info('damaged', true)$$), '[0-9a-f]{64}', '...', 'g');
SELECT regexp_replace(outcome($$SELECT instemb_install('new', 'damaged')$$), '[0-9a-f]{64}', '...', 'g');

-- the directory is made when it is needed
SELECT set_config('instemb.model_dir', current_setting('instemb.data_model_dir'), false) IS NOT NULL;
SELECT set_config('instemb.data_model_dir', current_setting('instemb.data_model_dir') || '/made', false) IS NOT NULL;
SELECT count(*) FROM instemb_models() WHERE directory = current_setting('instemb.data_model_dir');
SELECT instemb_install('first', 'tiny') IS NOT NULL AS installed;
SELECT name, error FROM instemb_models() WHERE directory = current_setting('instemb.data_model_dir');
SELECT shell('test "$(stat -c %a .)" = 700');
-- a name of the other directory exists too
SELECT instemb_install('tiny', 'tiny');
SELECT instemb_install('tiny', 'tiny', 'tiny-adapter', true) IS NOT NULL AS installed;
SELECT name, directory = current_setting('instemb.data_model_dir') AS data, error
FROM instemb_models() WHERE name = 'tiny' ORDER BY data;
SELECT set_config('instemb.data_model_dir', '/proc/nowhere', false) IS NOT NULL;
SELECT outcome($$SELECT instemb_install('new', 'tiny')$$);
RESET instemb.data_model_dir;
RESET instemb.model_dir;
SELECT shell('rm -r made merged.gguf kept.gguf damaged.gguf');

-- nothing was installed that failed
SELECT name FROM instemb_models() WHERE directory = current_setting('instemb.data_model_dir') ORDER BY name;

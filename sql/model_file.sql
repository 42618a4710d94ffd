--
-- Names, files, and the models a session has open
--
SELECT name, architecture, quantization, pooling, dims, n_layer, n_ctx, file_bytes > 0 AS file,
	   is_default, loaded, private_bytes > 0 AS private, error IS NOT NULL AS error
FROM instemb_models() WHERE directory = current_setting('instemb.data_model_dir') ORDER BY name;

SELECT instemb_load('tiny') = (SELECT file_bytes FROM instemb_models() WHERE name = 'tiny')
	AS mapped;
SELECT name, loaded, private_bytes > 0 AS private FROM instemb_models() WHERE name = 'tiny';
SELECT instemb_unload('tiny'), instemb_unload('tiny'), instemb_unload('nonesuch');
SELECT name, loaded, private_bytes FROM instemb_models() WHERE name = 'tiny';

SELECT jsonb_pretty(instemb_model_info('tiny') - 'file_bytes');
SELECT instemb_model_info('tiny', verify => true) ->> 'sha256'
	= encode(sha256(get_file('tiny.gguf')), 'hex') AS hash,
	   instemb_model_info('tiny', false) ? 'sha256' AS unverified,
	   instemb_model_info('tiny', true) - 'sha256' = instemb_model_info('tiny') AS same;

-- "default" is the model that the file of this name tells
SET instemb.model = 'default';
SELECT put_file('default', 'tiny');
SELECT instemb('a', 'b') = instemb('a', 'b', 'tiny') AS same, instemb_dims(),
	instemb_load('default') > 0 AS loaded;
SELECT name, is_default FROM instemb_models() WHERE is_default;
SELECT put_file('default', E'  \n');
SELECT outcome($$SELECT instemb('a', 'b')$$);
SELECT put_file('default', '../tiny');
SELECT outcome($$SELECT instemb('a', 'b')$$);
SELECT put_file('default', 'default');
SELECT outcome($$SELECT instemb('a', 'b')$$);
SELECT put_file('default', E'tiny\\000x');
SELECT outcome($$SELECT instemb('a', 'b')$$);
SELECT put_file('default', convert_to(repeat('tiny ', 1000), 'UTF8'));
SELECT outcome($$SELECT instemb('a', 'b')$$);
SELECT put_file('default', 'nonesuch');
SELECT instemb('a', 'b');
SELECT count(*) FROM instemb_models() WHERE is_default;
SELECT put_file('default', E'tiny \t\r\n\n');
SELECT instemb('a', 'b') = instemb('a', 'b', 'tiny') AS same;
SELECT instemb('a', 'b', 'default');
SELECT count(*) FROM instemb(array['a'], 'b', 'default');
SELECT shell('rm default');
SET instemb.model_dir = '/nonexistent';
SELECT instemb('a', 'b');
RESET instemb.model_dir;
SET instemb.model = 'tiny';

-- a file replaced by rename is noticed at the next call, also by the cache of embeddings
SELECT put_file('twin.gguf', get_file('tiny.gguf'));
SELECT instemb('a', 'b', 'twin') = instemb('a', 'b', 'tiny') AS same;
SELECT put_file('twin.gguf', patch(get_file('tiny.gguf'), 'instemb tiny test model', 0,
	'instemb TINY test model'));
SELECT instemb_model_info('twin') ->> 'general_name' AS general_name,
	instemb('a', 'b', 'twin') = instemb('a', 'b', 'tiny') AS same;
SELECT shell('rm twin.gguf');
SELECT instemb('a', 'b', 'twin');
SELECT instemb_unload('twin');

-- more models than a session keeps open
DO $$
BEGIN
	FOR i IN 1 .. 7 LOOP
		PERFORM put_file(format('m%s.gguf', i), get_file('tiny.gguf'));
	END LOOP;
END
$$;
SELECT bool_and(instemb('a', i::text, 'm' || i) = instemb('a', i::text, 'tiny'))
FROM generate_series(1, 7) AS i;
SELECT count(*) FROM instemb_models() WHERE loaded;
SELECT bool_and(instemb('a', i::text, 'm' || i) = instemb('a', i::text, 'tiny'))
FROM generate_series(7, 1, -1) AS i;
SELECT shell('rm m?.gguf');

-- the server's own directory comes first
SELECT shell('mkdir other && cp tiny.gguf other/ && cp tiny.gguf other/only.gguf');
SET instemb.cache_size = 0;
SELECT set_config('instemb.model_dir', current_setting('instemb.data_model_dir') || '/other', false)
	IS NOT NULL;
SELECT name, directory = current_setting('instemb.data_model_dir') AS data, architecture, error
FROM instemb_models() WHERE name IN ('only', 'tiny') ORDER BY name, data DESC;
SELECT instemb_dims('only');
RESET instemb.model_dir;
SELECT instemb_dims('only');
RESET instemb.cache_size;
SELECT shell('rm -r other');

-- files that are not for use are listed with the reason, and do no harm
SELECT shell('cp tiny.gguf Upper.gguf && cp tiny.gguf default.gguf && cp tiny.gguf .gguf && cp '
	'tiny.gguf tiny.gguf.old && ln -s nowhere link.gguf && mkdir dir.gguf');
SELECT name, file_bytes > 0 AS file, loaded,
	replace(error, current_setting('instemb.data_model_dir'), 'DIR') AS error
FROM instemb_models() WHERE error IS NOT NULL AND directory
	= current_setting('instemb.data_model_dir') ORDER BY name COLLATE "C";
SELECT outcome($$SELECT instemb_dims('dir')$$);
SELECT outcome($$SELECT instemb_dims('link')$$);
SELECT shell('rm -r Upper.gguf default.gguf .gguf tiny.gguf.old link.gguf dir.gguf');

-- only for those who watch the server
CREATE ROLE regress_instemb_user;
SET ROLE regress_instemb_user;
SELECT * FROM instemb_models();
SELECT instemb_install('mine', 'tiny');
SELECT instemb_load('tiny') > 0, instemb_dims('tiny'),
	instemb_model_info('tiny') ->> 'architecture', instemb_unload('tiny');
RESET ROLE;
GRANT pg_monitor TO regress_instemb_user;
SET ROLE regress_instemb_user;
SELECT name FROM instemb_models() WHERE name = 'tiny';
RESET ROLE;
DROP ROLE regress_instemb_user;

--
-- Whatever is wrong is an ERROR, after which the session goes on working.
--
CREATE TABLE good AS SELECT instemb('a tent', 'q', 'tiny') AS e;
CREATE FUNCTION works() RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM instemb_stats_reset();
	SET LOCAL instemb.cache_size = 0;
	RETURN e = instemb('a tent', 'q', 'tiny') FROM good;
END
$$;
SELECT works();

-- no such model
SELECT instemb('a', 'b', 'nonesuch');
SELECT works();
SELECT instemb('a', 'b', 'tiny.gguf');
SELECT works();

-- names that are no names
SELECT instemb('a', 'b', '');
SELECT instemb('a', 'b', 'dir/tiny');
SELECT instemb('a', 'b', '../tiny');
SELECT instemb('a', 'b', 'a..b');
SELECT instemb('a', 'b', '.tiny');
SELECT instemb('a', 'b', 'Tiny');
SELECT instemb('a', 'b', 'ti ny');
SELECT instemb('a', 'b', 'tïny');
SELECT instemb('a', 'b', repeat('x', 64));
SELECT instemb('a', 'b', repeat('x', 63));
SELECT instemb_load('/etc/passwd');
SELECT instemb_model_info('../../tiny');
SELECT instemb_unload('a/b');
SET instemb.model = '../tiny';
SET instemb.model = '';
SELECT works();

-- unreadable file
SELECT shell('cp tiny.gguf secret.gguf && chmod 0 secret.gguf');
SELECT outcome($$SELECT instemb_dims('secret')$$);
SELECT works();
SELECT shell('rm -f secret.gguf');

-- truncated at every part of the file; corrupt
SELECT put_file('empty.gguf', '');
SELECT outcome($$SELECT instemb_dims('empty')$$);
SELECT works();
DO $$
DECLARE
	content bytea := get_file('tiny.gguf');
	size int := length(content);
	state text;
	states text[];
BEGIN
	FOREACH size IN ARRAY array[1, 3, 4, 8, 23, 24, 100, 5000, size / 10, size / 2, size - 1] LOOP
		PERFORM put_file('short.gguf', substring(content FOR size));
		state := split_part(outcome($q$SELECT instemb_dims('short')$q$), ' ', 1);
		states := states || state;
	END LOOP;
	RAISE NOTICE '%', states;
END
$$;
SELECT works();
SELECT put_file('corrupt.gguf', patch(get_file('tiny.gguf'), 'GGUF', 0, 'FUGG'));
SELECT outcome($$SELECT instemb_dims('corrupt')$$);
SELECT works();
SELECT put_file('corrupt.gguf', patch(get_file('tiny.gguf'), 'GGUF', 4, '\x07000000'));
SELECT outcome($$SELECT instemb_dims('corrupt')$$);
SELECT works();
-- a count of tensors that no file of this size can hold
SELECT put_file('corrupt.gguf', patch(get_file('tiny.gguf'), 'GGUF', 8, '\xffffffffffffff7f'));
SELECT regexp_replace(outcome($$SELECT instemb_dims('corrupt')$$), '\d+ bytes are left',
	'... bytes are left');
SELECT works();
SELECT put_file('corrupt.gguf',
	patch(get_file('tiny.gguf'), 'blk.0.attn_q.weight', 0, 'blk.0.attn_x.weight'));
SELECT outcome($$SELECT instemb_dims('corrupt')$$);
SELECT works();

-- unknown architecture, unsupported type
SELECT put_file('corrupt.gguf', patch(get_file('tiny.gguf'), 'llama', 0, 'lhama'));
SELECT outcome($$SELECT instemb_dims('corrupt')$$);
SELECT works();
SELECT put_file('corrupt.gguf',
	patch(get_file('tiny.gguf'), 'blk.0.attn_q.weight', 19 + 4 + 16, '\x0c000000'));
SELECT outcome($$SELECT instemb_dims('corrupt')$$);
SELECT works();
SELECT put_file('corrupt.gguf', patch(get_file('tiny.gguf'), 'smollm', 0, 'smellm'));
SELECT outcome($$SELECT instemb_dims('corrupt')$$);
SELECT works();
SELECT shell('rm -f empty.gguf short.gguf corrupt.gguf');

-- an adapter is no model, and belongs to one base
SELECT outcome($$SELECT instemb_dims('tiny-adapter')$$);
SELECT works();
SELECT put_file('other-base.gguf',
	patch(get_file('tiny.gguf'), 'instemb tiny test model', 0, 'instemb TINY test model'));
SELECT regexp_replace(outcome($$SELECT instemb_install('wrong', 'other-base', 'tiny-adapter')$$),
	'[0-9a-f]{64}', '...', 'g');
SELECT works();
SELECT outcome($$SELECT instemb_install('wrong', 'tiny', 'other-base')$$);
SELECT works();
SELECT shell('rm other-base.gguf && ls | grep -q wrong && exit 1; true');

-- vectors
SELECT (SELECT e FROM good) <~=> '{1,2,3}';
SELECT works();
SELECT (SELECT e FROM good) <~=> array_fill(NULL::real, array[64]);
SELECT works();
SELECT (SELECT e FROM good) <~=> array_fill(0::real, array[64]) AS zero_vector;
SELECT works();

-- empty text
SELECT instemb('', 'q');
SELECT works();

-- text, instruction over the context
SELECT instemb(repeat('long ', 600), 'q');
SELECT works();
SELECT instemb('a', repeat('long ', 600));
SELECT works();

-- memory: the file, then its scratch space
SET instemb.max_model_memory = '1MB';
SELECT works();
SELECT instemb(repeat('a ', 450), 'q') IS NOT NULL AS fits;
SELECT shell('cp tiny.gguf large.gguf && truncate -s 3M large.gguf');
SELECT instemb('a', 'q', 'large');
SELECT works();
RESET instemb.max_model_memory;
SELECT instemb('a', 'q', 'large') IS NOT NULL AS fits;
SET instemb.max_model_memory = '2MB';
SELECT instemb('a', 'other', 'large');
SELECT works();
-- a file that leaves 24 kB for the rest
SET instemb.max_model_memory = '1MB';
SELECT shell('cp tiny.gguf close.gguf && truncate -s 1000K close.gguf');
SELECT instemb_dims('close');
SELECT regexp_replace(outcome($$SELECT instemb(repeat('a ', 400), 'q', 'close')$$), '\d+ kB',
	'... kB', 'g');
SELECT works();
RESET instemb.max_model_memory;
SELECT shell('rm large.gguf close.gguf');

-- stopped: by a timeout, by a handler of errors, and in a subtransaction
SET statement_timeout = '100ms';
SELECT count(*) FROM instemb(ARRAY(SELECT repeat('slow ', 100) || i
	FROM generate_series(1, 5000) AS i),
                             'q');
RESET statement_timeout;
SELECT works();
DO $$
BEGIN
	SET LOCAL statement_timeout = 0;
	PERFORM instemb('a', 'b', 'nonesuch');
EXCEPTION WHEN undefined_object THEN
	RAISE NOTICE 'caught: %', SQLERRM;
	RAISE NOTICE 'works: %', works();
END
$$;
BEGIN;
SAVEPOINT s;
SELECT instemb('', 'q');
ROLLBACK TO s;
SELECT works();
COMMIT;

-- parameters of the administrator
CREATE ROLE regress_instemb_user;
GRANT EXECUTE ON FUNCTION works() TO regress_instemb_user;
GRANT SELECT ON good TO regress_instemb_user;
SET ROLE regress_instemb_user;
SET instemb.model_dir = '/etc';
SET instemb.data_model_dir = '/etc';
SET instemb.max_model_memory = 0;
SET instemb.max_threads = 64;
SET instemb.log_min_duration = 0;
SET instemb.preload = 'tiny';
\set VERBOSITY sqlstate
SHOW instemb.model_dir;
\set VERBOSITY default
SELECT works();
RESET ROLE;
DROP OWNED BY regress_instemb_user;
DROP ROLE regress_instemb_user;
SET instemb.model_dir = 'relative';
SELECT set_config('instemb.model_dir', '/' || repeat('x', 1000), false);
DROP FUNCTION works();
DROP TABLE good;

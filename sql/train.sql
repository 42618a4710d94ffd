--
-- instemb_train(), on the tiny model
--
CREATE TABLE triple (id int PRIMARY KEY, instruction text, input text, output text);
INSERT INTO triple
SELECT i, CASE WHEN i % 2 = 0 THEN 'What colour is it?' ELSE 'What is it?' END,
	   format('%s %s number %s', colour, thing, i), CASE WHEN i % 2 = 0 THEN colour ELSE thing END
FROM generate_series(1, 48) AS i
CROSS JOIN LATERAL (SELECT (array['red', 'green', 'blue'])[i % 3 + 1] AS colour,
						   (array['tent', 'chair', 'lamp', 'shoe'])[i % 4 + 1] AS thing) AS t;
\set query 'SELECT instruction, input, output FROM triple ORDER BY id'
-- a model of nothing but the rows and the settings
SELECT instemb_train('trained', 'tiny', :'query', steps => 4, batch => 8, rank => 2, lookahead => 2,
	learning_rate => 0.01, seed => 7, memory => '256MB') AS sha256 \gset
SELECT :'sha256' = encode(sha256(get_file('trained.gguf')), 'hex') AS hash;
SELECT i ->> 'pooling' AS pooling, i ->> 'lookahead_count' AS lookahead_count,
	   i ->> 'base_sha256' = encode(sha256(get_file('tiny.gguf')), 'hex') AS base,
	   i ->> 'adapter_sha256' = encode(sha256(get_file('trained-adapter.gguf')), 'hex') AS adapter
FROM instemb_model_info('trained', true) AS i;
SELECT model, pid = pg_backend_pid() AS pid, role = current_user::regrole AS role, state, step,
	   steps, rows,
	   loss > 0 AS loss, (losses ->> 'answer')::float8 > 0 AS answer,
	   rows_per_second > 0 AS rows_per_second,
	   tokens_per_second > 0 AS tokens_per_second, remaining, started <= updated AS times, message
FROM instemb_train_progress;
SELECT shell('test "$(ls -A | grep train | sort | tr "\n" " ")" = "trained-adapter.gguf '
	'trained.gguf trained.train "');
SELECT instemb_train('again', 'tiny', :'query', steps => 4, batch => 8, rank => 2, lookahead => 2,
	learning_rate => 0.01, seed => 7, memory => '256MB') IS NOT NULL AS trained;
SELECT get_file('again-adapter.gguf') = get_file('trained-adapter.gguf') AS same_bits;
SELECT instemb('red tent', 'What is it?', 'again') = instemb('red tent', 'What is it?', 'trained')
	AS same;
SELECT instemb('red tent', 'What is it?', 'tiny') <~=> instemb('red tent', 'What is it?', 'trained')
	> 0.001 AS learnt;
-- other settings, other adapters
SELECT instemb_train('again', 'tiny', :'query', steps => 2, batch => 8, rank => 2, lookahead => 0,
	replace => true) IS NOT NULL AS trained;
SELECT i ->> 'pooling' AS pooling, i ->> 'lookahead_count' AS lookahead_count
FROM instemb_model_info('again') AS i;
SELECT instemb_train('again', 'tiny', :'query', steps => 2, batch => 8, rank => 2, lookahead => 2,
	replace => true,
	losses => '{"answer": 1, "kl": 0.1}',
	options => '{"pooling": "lookahead", "dropout": 0, "adapter": "trained-adapter"}') IS NOT NULL
		AS trained;
SELECT (losses ->> 'answer')::float8 > 0 AS answer, (losses ->> 'kl')::float8 > 0 AS kl,
	   (losses ->> 'ce')::float8 AS ce, (losses ->> 'mse')::float8 AS mse
FROM instemb_train_progress WHERE model = 'again';
SELECT i ->> 'pooling' AS pooling FROM instemb_model_info('again') AS i;

-- question answering: a model of the InBedder kind
SELECT instemb_train('qa', 'tiny', :'query', steps => 20, batch => 16, rank => 4,
	learning_rate => 0.02, losses => '{"generation": 1}') IS NOT NULL AS trained;
SELECT (losses ->> 'generation')::float8 BETWEEN 0.001 AND 2 AS generation,
	   (losses ->> 'answer')::float8 AS answer, accuracy > 0.6 AS accuracy
FROM instemb_train_progress WHERE model = 'qa';
SELECT i ->> 'pooling' AS pooling, i ->> 'lookahead_count' AS lookahead_count
FROM instemb_model_info('qa') AS i;
SELECT instemb_answer('red tent number 90', 'What colour is it?', 'qa') IN ('red', 'green', 'blue')
	AS answered;
SELECT instemb('red tent number 90', 'What is it?', 'qa') <~=>
	instemb('red tent number 90', 'What colour is it?', 'qa') > 0.001 AS differ;
SELECT instemb_train('qa', 'tiny', :'query', steps => 2, batch => 8, rank => 2, lookahead => 0,
	replace => true, losses => '{"generation": 1}', options => '{"pooling": "generate_mean"}')
	IS NOT NULL AS trained;
SELECT i ->> 'pooling' AS pooling FROM instemb_model_info('qa') AS i;
-- with look-ahead vectors, if another loss trains them
SELECT instemb_train('qa', 'tiny', :'query', steps => 2, batch => 8, rank => 2, lookahead => 2,
	replace => true, losses => '{"generation": 1, "answer": 1}') IS NOT NULL AS trained;
SELECT i ->> 'pooling' AS pooling, i ->> 'lookahead_count' AS lookahead_count
FROM instemb_model_info('qa') AS i;
SELECT shell('rm qa*');

-- names
SELECT outcome($$SELECT instemb_train('trained', 'tiny', 'SELECT 1')$$);
SELECT outcome($$SELECT instemb_train('tiny', 'tiny', 'SELECT 1')$$);
SELECT outcome($$SELECT instemb_train('default', 'tiny', 'SELECT 1')$$);
SELECT outcome($$SELECT instemb_train('../up', 'tiny', 'SELECT 1')$$);
SELECT outcome(format('SELECT instemb_train(%L, %L, %L)', repeat('n', 56), 'tiny', 'SELECT 1'));
SELECT outcome($$SELECT instemb_train('new', 'nonesuch', 'SELECT 1')$$);
SELECT outcome($$SELECT instemb_train('new', 'trained', 'SELECT 1')$$);
SELECT outcome($$SELECT instemb_train(NULL, 'tiny', 'SELECT 1')$$);
SELECT outcome($$SELECT instemb_train('new', 'tiny', NULL)$$);

-- queries and rows
CREATE FUNCTION try(query text) RETURNS text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT instemb_train(%L, %L, %L, steps => 2, rank => 2)', 'new', 'tiny',
	query)) $$;
SELECT try('SELECT');
SELECT try('SELECT 1');
SELECT try('SELECT $$a$$, $$b$$');
SELECT try('SELECT $$a$$, 1, $$b$$');
SELECT try('INSERT INTO triple VALUES (0)');
SELECT try('DELETE FROM triple RETURNING instruction, input, output');
SELECT try('SELECT $$a$$, $$b$$, $$c$$; SELECT 1');
SELECT try('SELECT instruction, input, output FROM nonesuch');
SELECT try('SELECT instruction, input, output FROM triple WHERE false');
SELECT try('SELECT instruction, input, output FROM triple WHERE id = 1');
SELECT try('SELECT instruction, input, nullif(output, $$chair$$) FROM triple ORDER BY id');
SELECT try('SELECT nullif(instruction, $$What is it?$$), input, output FROM triple ORDER BY id');
SELECT try('SELECT instruction, CASE WHEN id = 30 THEN $$$$ ELSE input END, output FROM triple '
	'ORDER BY id');
SELECT try('SELECT instruction, input, CASE WHEN id = 31 THEN $$$$ ELSE output END FROM triple '
	'ORDER BY id');
SELECT try('SELECT instruction, CASE WHEN id = 30 THEN repeat(input, 1000) ELSE input END, output '
	'FROM triple ORDER BY id');
SELECT try('SELECT instruction, input, id / (id - 5) FROM triple ORDER BY id');
SELECT state, message FROM instemb_train_progress WHERE model = 'new';
SET instemb.on_overflow = truncate;
SELECT length(try('SELECT instruction, CASE WHEN id = 30 THEN repeat(input, 1000) ELSE input END, '
	'output FROM triple ORDER BY id'));
RESET instemb.on_overflow;
SELECT shell('rm new.gguf new-adapter.gguf');

-- a query that trains the model itself
SELECT try($$SELECT 'a', 'b', instemb_train('new', 'tiny', 'SELECT 1')$$);

-- settings
CREATE FUNCTION try_with(settings text) RETURNS text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT instemb_train(%L, %L, %L, %s)', 'new', 'tiny',
	'SELECT instruction, input, output FROM triple', settings)) $$;
SELECT try_with('steps => 0');
SELECT try_with('steps => -1');
SELECT try_with('batch => 1');
SELECT try_with('rank => 300');
SELECT try_with('lookahead => 65');
SELECT try_with('threads => 65') ~ '^22023 "threads" of 65 exceeds instemb.max_threads' AS refused;
SELECT try_with('memory => $$much$$');
SELECT try_with('memory => $$-1$$');
SELECT try_with('memory => $$100GB$$');
SELECT try_with('memory => $$64kB$$') ~ '^54000 ' AS too_little;
SELECT try_with('losses => $${"anser": 1}$$');
SELECT try_with('losses => $${"answer": "1"}$$');
SELECT try_with('losses => $$[]$$');
SELECT try_with('losses => $${}$$');
SELECT try_with('losses => $${"generation": 1}$$, lookahead => 2');
SELECT try_with('losses => $${"teacher": 1}$$, lookahead => 0, options => $${"contrast": "daap"}$$');
SELECT try_with('losses => $${"generation": 1}$$, options => $${"pooling": "daap"}$$');
SELECT try_with('options => $${"temperature": -1}$$');
SELECT try_with('options => $${"pooling": "cls"}$$');
SELECT try_with('options => $${"contrast": "first"}$$');
SELECT try_with('options => $${"max_row_tokens": 1.5}$$');
SELECT try_with('options => $${"adapter": "nonesuch"}$$');
SELECT try_with('options => $${"adapter": "trained-adapter"}$$, rank => 4');
SELECT try_with('resume => true');
SELECT try_with('replace => NULL');
SELECT shell('test "$(ls -A | grep -c "^new")" = 1');

-- roles: by GRANT only, and with the caller's rights
CREATE ROLE instemb_trainer;
CREATE ROLE instemb_nobody;
SET ROLE instemb_trainer;
SELECT instemb_train('new', 'tiny', 'SELECT 1');
SELECT instemb_train_start('new', 'tiny', 'SELECT 1');
RESET ROLE;
GRANT EXECUTE ON FUNCTION instemb_train TO instemb_trainer;
CREATE VIEW own AS SELECT instruction, input, output FROM triple;
GRANT SELECT ON own TO instemb_trainer;
SET ROLE instemb_trainer;
SELECT instemb_train('new', 'tiny', :'query');
SELECT instemb_train('new', 'tiny', 'SELECT * FROM own', steps => 1, batch => 4, rank => 1,
	lookahead => 1) IS NOT NULL AS trained;
SELECT model, state, role FROM instemb_train_progress;
SET ROLE instemb_nobody;
SELECT model FROM instemb_train_progress;
RESET ROLE;
SELECT model, state FROM instemb_train_progress ORDER BY 1;

REVOKE ALL ON FUNCTION instemb_train FROM instemb_trainer;
DROP VIEW own;
DROP TABLE triple;
DROP FUNCTION try, try_with;
DROP ROLE instemb_trainer, instemb_nobody;
SELECT shell('rm trained* again* new*');

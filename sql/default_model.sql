--
-- The default model: facts that no change of its file's format or of its
-- adapter alters.  Without it, default_model_1.out is what comes out.
--
SET instemb.model = 'default';
\pset tuples_only on
SELECT count(*) > 0 AS installed FROM instemb_models() WHERE is_default AND error IS NULL \gset
\if :installed
\else
	\echo the default model is not installed: its facts are not checked
	\quit
\endif
\pset tuples_only off
SELECT instemb_dims();
SELECT i ->> 'architecture' AS architecture, i ->> 'n_layer' AS n_layer, i ->> 'n_vocab' AS n_vocab,
	i ->> 'tokenizer' AS tokenizer
FROM instemb_model_info('default') AS i;
SELECT instemb_tokens('Hello, world! 1234'),
	instemb_token_count('The quick brown fox jumps over the lazy dog.');
SELECT instemb_token_count('<|im_end|>') > 1 AS control_tokens_are_plain;

SELECT cardinality(e), abs(instemb_inner_product(e, e) - 1) < 1e-6 AS unit
FROM instemb('A two-person tent, waterproof, 2.1 kg', 'Is this product suitable for outdoor use?')
	AS e;

-- the same bits in a batch, without the cache
SET instemb.cache_size = 0;
SELECT bool_and(b.e = instemb(t, 'What is it?'))
FROM unnest(array['A tent', 'A patio chair', 'Waterproof jacket with hood, size M'])
	WITH ORDINALITY AS v(t, i)
JOIN instemb(array['A tent', 'A patio chair', 'Waterproof jacket with hood, size M'], 'What is it?')
	WITH ORDINALITY AS b(e, i) USING (i);

-- near is near: a text's nearest is its paraphrase
SELECT t FROM unnest(array['The laptop has a 15 inch screen and 16 GB of memory',
						   'A garden chair made of teak wood',
						   'Red wine from the south of France']) AS t
ORDER BY instemb(t, '') <~=> instemb('Notebook computer, 15" display, 16 GB RAM', '') LIMIT 1;

-- over the context, both numbers are told
\set VERBOSITY terse
SELECT instemb(repeat('word ', 10000), 'q');

--
-- instemb(text, text [, text])
--
-- a plain real[] of the model's dimensions and unit length
SELECT pg_typeof(e), array_ndims(e), array_lower(e, 1), cardinality(e),
	   abs(instemb_inner_product(e, e) - 1) < 1e-6 AS unit
FROM instemb('A tent for two', 'Is it for outdoor use?') AS e;

-- it is that of the reference, and of no other text or instruction
SELECT a.instruction, a.input = b.input AND a.instruction = b.instruction AS same,
	   d < 0.002 AS near, d > 0.1 AS far
FROM reference AS a CROSS JOIN reference AS b
CROSS JOIN LATERAL (SELECT instemb(a.input, a.instruction, 'tiny') <~=> b.e AS d) AS distance
WHERE a.model = 'tiny' AND b.model = 'tiny'
ORDER BY a.instruction COLLATE "C", same DESC;

-- both arguments matter
SELECT instemb('a tent', 'q', 'tiny') = instemb('a tent', 'q', 'tiny') AS same,
	   instemb('a tent', 'q', 'tiny') = instemb('a chair', 'q', 'tiny') AS other_text,
	   instemb('a tent', 'q', 'tiny') = instemb('a tent', 'r', 'tiny') AS other_instruction,
	   instemb('a tent', 'q', 'tiny') = instemb('q', 'a tent', 'tiny') AS exchanged;

-- the two-argument form takes the model of instemb.model
SELECT instemb('a tent', 'q') = instemb('a tent', 'q', 'tiny') AS same;

-- NULL in, NULL out
SELECT instemb(NULL, 'q') IS NULL AND instemb('a', NULL) IS NULL AND
	   instemb(NULL, 'q', 'tiny') IS NULL AND instemb('a', 'q', NULL) IS NULL AS strict;

-- every kind of string
SELECT e1 = e2 AND e1 = e3 AND e1 = e4 AS same
FROM instemb('a tent'::text, 'q'::varchar) AS e1,
	 instemb('a tent'::varchar(10), 'q') AS e2,
	 instemb('a tent'::char(6), 'q'::name) AS e3,
	 instemb(input => 'a tent', instruction => 'q', model => 'tiny') AS e4;
PREPARE embed AS SELECT cardinality(instemb($1, $2));
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'embed';
EXECUTE embed('a tent', 'q');
DEALLOCATE embed;

-- the same bits whatever is reused and however many threads compute; the cache
-- of embeddings would hide a difference
SET instemb.cache_size = 0;
CREATE TEMP TABLE texts AS
SELECT i, repeat(chr(96 + i) || ' word ', i * 3) AS t FROM generate_series(1, 26) AS i;
CREATE TEMP TABLE vectors AS SELECT i, t, instemb(t, 'one') AS e FROM texts;
SELECT count(*) FROM vectors WHERE e = instemb(t, 'one');
SELECT count(*) FROM (SELECT * FROM vectors ORDER BY i DESC OFFSET 0) AS v
WHERE e = instemb(t, 'one') AND instemb(t, 'two') <> e;
SET instemb.max_threads = 4;
SET instemb.threads = 2;
SELECT count(*) FROM vectors WHERE e = instemb(t, 'one');
SET instemb.threads = 4;
SELECT count(*) FROM vectors WHERE e = instemb(t, 'one');
RESET instemb.threads;
SELECT instemb_unload('tiny');
SELECT count(*) FROM vectors WHERE e = instemb(t, 'one');
RESET instemb.cache_size;
RESET instemb.max_threads;

-- what a control token is spelled with is plain text inside a text: the text
-- cannot end its place in the template
SELECT cardinality(instemb_tokens('<|im_end|>', 'tiny')) > 5 AS plain,
	   instemb('x<|im_end|>', 'q') <> instemb('x', 'q') AS differs;

-- in a parallel plan
CREATE TABLE par (i int, t text);
INSERT INTO par SELECT i, t FROM texts;
ALTER TABLE par SET (parallel_workers = 2);
ANALYZE par;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT i, instemb(t, 'one') FROM par;
SELECT count(*) FROM (SELECT i, instemb(t, 'one') AS e FROM par OFFSET 0) AS p
JOIN vectors AS v USING (i) WHERE p.e = v.e;
RESET ALL;
DROP TABLE par;

-- in a generated column and an index, as an immutable function may
CREATE TEMP TABLE gen (t text, e real[] GENERATED ALWAYS AS (instemb(t, 'one', 'tiny')) STORED);
INSERT INTO gen SELECT t FROM texts;
SELECT count(*) FROM gen JOIN vectors USING (t) WHERE gen.e = vectors.e;
CREATE TEMP TABLE gen2 (t text, e real[] GENERATED ALWAYS AS (instemb(t, 'one')) STORED);

-- rows in order of nearness
SELECT i FROM vectors ORDER BY e <~=> (SELECT instemb(t, 'one') FROM texts WHERE i = 7) LIMIT 1;

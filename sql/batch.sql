--
-- instemb(text[], text [, text])
--
SET instemb.cache_size = 0;
CREATE TEMP TABLE texts AS
SELECT i, 'text number ' || i || repeat(' and more', i % 7) AS t FROM generate_series(1, 150) AS i;

-- a row for each element, in order, with the bits of the scalar form
SELECT count(*), count(*) FILTER (WHERE e = instemb(t, 'q'))
FROM instemb((SELECT array_agg(t ORDER BY i) FROM texts), 'q') WITH ORDINALITY AS b(e, i)
JOIN texts USING (i);

-- in another order
SELECT count(*) FILTER (WHERE e = instemb(t, 'q'))
FROM instemb((SELECT array_agg(t ORDER BY i DESC) FROM texts), 'q', 'tiny')
	WITH ORDINALITY AS b(e, i)
JOIN (SELECT 151 - i AS i, t FROM texts) AS t USING (i);

-- by several threads
SET instemb.max_threads = 2;
SET instemb.threads = 2;
SELECT count(*) FILTER (WHERE e = instemb(t, 'q', 'tiny'))
FROM instemb((SELECT array_agg(t ORDER BY i) FROM texts), 'q') WITH ORDINALITY AS b(e, i)
JOIN texts USING (i);
RESET instemb.threads;
RESET instemb.max_threads;

-- NULL for NULL, in place
SELECT i, e = instemb('a', 'q') AS a, e = instemb('b', 'q') AS b
FROM instemb(array[NULL, 'a', NULL, 'b', NULL], 'q') WITH ORDINALITY AS b(e, i);
SELECT count(*), count(e) FROM instemb(array_fill(NULL::text, array[100]), 'q') AS e;

-- no element, no row; NULL arguments, no row
SELECT count(*) FROM instemb('{}'::text[], 'q');
SELECT count(*) FROM instemb(NULL::text[], 'q');
SELECT count(*) FROM instemb(array['a'], NULL);
SELECT count(*) FROM instemb(array['a'], 'q', NULL);

-- any shape, in storage order
SELECT array_agg(b.e = s.e ORDER BY i)
FROM instemb('{{a,b},{c,d}}'::text[], 'q') WITH ORDINALITY AS b(e, i)
JOIN instemb('[5:8]={a,b,c,d}'::text[], 'q') WITH ORDINALITY AS s(e, i) USING (i);

-- in a target list, beside another set, and cut short
SELECT t, e = instemb(t, 'q') AS same
FROM (SELECT unnest(array['x', 'y', 'z']) AS t, instemb(array['x', 'y', 'z'], 'q') AS e) AS s;
SELECT instemb(array['x', 'y', 'z'], 'q') = instemb('x', 'q') AS first LIMIT 1;

-- lateral, with types that are not text[]
SELECT g, i, e = instemb(t[i], 'q') AS same
FROM (VALUES (1, array['x', 'y']::varchar[]), (2, '{}'), (3, array['z'])) AS a(g, t),
	 instemb(t, 'q') WITH ORDINALITY AS b(e, i);

-- in functions
CREATE FUNCTION pg_temp.f(text[]) RETURNS SETOF real[] LANGUAGE sql AS
	$$ SELECT instemb($1, 'q') $$;
SELECT count(*) FROM pg_temp.f(array['x', 'y']);
DO $$
DECLARE
	e real[];
	n int := 0;
BEGIN
	FOR e IN SELECT instemb(array['x', 'y', NULL], 'q') LOOP
		n := n + coalesce(cardinality(e), 0);
	END LOOP;
	RAISE NOTICE '% numbers', n;
END
$$;

-- a fault in one element is a fault of the call
SELECT count(*) FROM instemb(array['a', '', 'b'], 'q');
SELECT count(*) FROM instemb(array_append(array_fill('a'::text, array[100]), repeat('long ', 600)),
	'q');

-- where sets have no place
SELECT 1 WHERE instemb(array['a'], 'q') IS NOT NULL;
-- an untyped literal is a text
SELECT count(*) FROM instemb('{a,b}', 'q');

-- the whole array is one call of many texts
RESET instemb.cache_size;
SELECT instemb_stats_reset();
SELECT count(*) FROM instemb((SELECT array_agg(t) FROM texts), 'q');
SELECT count(*) FROM instemb((SELECT array_agg(t) FROM texts) || array['one more'], 'q');
SELECT model, calls, texts, cache_hits FROM instemb_stats();

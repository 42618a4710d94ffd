--
-- Recipes of the manual: exact search with a filter, full text and embeddings
-- together.  (For indexes see pgvector.sql.)
--
CREATE TABLE product (id int PRIMARY KEY, name text, price int, kind real[]);
SELECT instemb_enable('product', 'kind', '{name}', 'What is it?', 'tiny');
INSERT INTO product
SELECT i, (array['light tent', 'heavy tent', 'desk lamp', 'light chair', 'garden bench'])[i % 5 + 1]
	   || ' number ' || i, i FROM generate_series(1, 100) AS i;

-- the filter holds, and the nearest of what is left come in order
SELECT count(*), bool_and(price < 20), bool_and(d >= before) FROM (
	SELECT price, d, lag(d, 1, 0.0::float8) OVER (ORDER BY d) AS before FROM (
		SELECT price, kind <~=> (SELECT instemb('light tent number 10', 'What is it?', 'tiny')) AS d
		FROM product WHERE price < 20 ORDER BY d LIMIT 5) AS nearest) AS ordered;

CREATE FUNCTION hybrid(query text) RETURNS TABLE (id int, score numeric) LANGUAGE sql AS
$$
WITH query AS MATERIALIZED (
	SELECT websearch_to_tsquery('english', query) AS words,
	instemb(query, 'What is it?', 'tiny') AS e),
by_words AS (
	SELECT id, row_number() OVER (ORDER BY ts_rank(to_tsvector('english', name), words) DESC, id)
		AS rank
	FROM product, query WHERE to_tsvector('english', name) @@ words ORDER BY rank LIMIT 100),
by_meaning AS (
	SELECT id, row_number() OVER (ORDER BY distance, id) AS rank
	FROM (SELECT id, kind <~=> query.e AS distance FROM product, query
		  WHERE kind IS NOT NULL ORDER BY distance, id LIMIT 100) AS nearest)
SELECT id, coalesce(1.0 / (60 + w.rank), 0) + coalesce(1.0 / (60 + m.rank), 0) AS score
FROM by_words AS w FULL JOIN by_meaning AS m USING (id)
ORDER BY score DESC, id LIMIT 5
$$;
-- a row that both find, by its words and as the nearest, is the first
SELECT id, round(score, 5) AS score FROM hybrid('light tent number 10') LIMIT 1;
-- words that nothing has leave the ranks of meaning alone
SELECT count(*), max(score) = 1.0 / 61 AS by_meaning FROM hybrid('zebra');

-- the query for partitions
CREATE TABLE part (k int, "a b" text, e real[]) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2);
INSERT INTO part SELECT i % 2 + 1, 'row ' || i, array[cos(i), sin(i)]
FROM generate_series(1, 20) AS i;
SELECT instemb_shard_query('part', '{k,"a b"}', 'e', 3) AS query \gset
\echo :query
PREPARE nearest(real[]) AS :query;
EXECUTE nearest('{1,0}');
SELECT k, "a b" FROM part ORDER BY e <~=> '{1,0}' LIMIT 3;
SELECT instemb_shard_query('product', '{id}', 'kind', 3);

DROP TABLE product, part;
DROP FUNCTION hybrid;

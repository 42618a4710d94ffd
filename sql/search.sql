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

CREATE FUNCTION hybrid(search text) RETURNS TABLE (id int, score float8) LANGUAGE sql AS
$$
WITH query AS MATERIALIZED (
	SELECT replace(plainto_tsquery('english', search)::text, '&', '|')::tsquery AS words,
	instemb(search, 'What is it?', 'tiny') AS e),
by_words AS (
	SELECT id, ts_rank(to_tsvector('english', name), words, 1) AS score
	FROM product, query WHERE to_tsvector('english', name) @@ words
	ORDER BY score DESC LIMIT 100),
by_meaning AS (
	SELECT id FROM product, query WHERE kind IS NOT NULL ORDER BY kind <~=> query.e LIMIT 100)
SELECT id, coalesce(w.score / max(w.score) OVER (), 0)
	+ coalesce(1 - (kind <~=> query.e), 0) AS score
FROM by_words AS w FULL JOIN by_meaning AS m USING (id) JOIN product USING (id), query
ORDER BY score DESC, id LIMIT 5
$$;
-- a row that has all of the words and is the nearest, too, is the first
SELECT id, round(score::numeric, 4) AS score FROM hybrid('light tent number 10') LIMIT 1;
-- words that nothing has leave the order to the embeddings
SELECT count(*), bool_and(id = nearest) AS by_meaning FROM (
	SELECT row_number() OVER (ORDER BY score DESC, id) AS n, id FROM hybrid('zebra')) AS h
JOIN (
	SELECT row_number() OVER (ORDER BY kind <~=> e, id) AS n, id AS nearest
	FROM product, (SELECT instemb('zebra', 'What is it?', 'tiny') AS e) AS query) AS p USING (n);
-- a row without an embedding is found by its words
INSERT INTO product VALUES (101, 'zebra', 1);
UPDATE product SET kind = NULL WHERE id = 101;
SELECT id, score FROM hybrid('zebra') LIMIT 1;
DELETE FROM product WHERE id = 101;

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

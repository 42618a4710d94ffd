-- Normalised discounted cumulative gain at 10 against the human ratings: for each
-- query the products rated for it are put in order by each method; a product at
-- rank r adds grade / log2(r + 1); the sum over the first ten is divided by that
-- of the best possible order.  1 is perfect.

CREATE OR REPLACE TEMPORARY VIEW bm25 AS
WITH word AS (
	SELECT id, w[1] AS word, count(*) AS n
	FROM product, regexp_matches(lower(concat_ws(' ', name, description)), '[a-z0-9]+', 'g') AS w
	GROUP BY id, word
), product_length AS (
	SELECT id, sum(n) AS length, avg(sum(n)) OVER () AS mean_length FROM word GROUP BY id
), word_weight AS (
	SELECT word, ln(1 + (total - count(*) + 0.5) / (count(*) + 0.5)) AS weight
	FROM word, (SELECT count(*) AS total FROM product) AS products
	GROUP BY word, total
)
SELECT q.id AS query, word.id AS product,
	sum(weight * n * 2.2 / (n + 1.2 * (0.25 + 0.75 * length / mean_length))) AS score
FROM query q, regexp_matches(lower(q.text), '[a-z0-9]+', 'g') AS w
JOIN word ON word.word = w[1]
JOIN word_weight USING (word)
JOIN product_length ON product_length.id = word.id
GROUP BY q.id, word.id;

WITH scored AS (
	SELECT 'instemb' AS method, r.*, -(p.kind <~=> q.wanted) AS score
	FROM rating r JOIN product p ON p.id = r.product JOIN query q ON q.id = r.query
	UNION ALL
	SELECT 'BM25', r.*, coalesce(b.score, 0)
	FROM rating r LEFT JOIN bm25 b USING (query, product)
	UNION ALL
	SELECT 'random order', r.*, ('x' || left(md5(r.query || '/' || r.product), 8))::bit(32)::int
	FROM rating r
), ranked AS (
	SELECT method, query, grade,
		row_number() OVER (PARTITION BY method, query ORDER BY score DESC, product) AS rank,
		row_number() OVER (PARTITION BY method, query ORDER BY grade DESC) AS best_rank
	FROM scored
), per_query AS (
	SELECT method, query,
		sum(grade / log(2, rank + 1)) FILTER (WHERE rank <= 10) /
		sum(grade / log(2, best_rank + 1)) FILTER (WHERE best_rank <= 10) AS ndcg
	FROM ranked
	GROUP BY method, query
)
SELECT method, round(avg(ndcg), 3) AS "nDCG@10", count(*) AS queries
FROM per_query
GROUP BY method
ORDER BY avg(ndcg) DESC;

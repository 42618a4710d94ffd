-- Ranks documents by one model's embeddings, quality.model, and by these and full-text
-- search together, over the 100 best of either: the manual's recipe.

DELETE FROM result WHERE method LIKE 'instemb%';

INSERT INTO result
SELECT 'instemb', set, query, document, rank, -distance
FROM (
	SELECT q.set, q.id AS query, d.id AS document, qe.e <~=> de.e AS distance,
		row_number() OVER (PARTITION BY q.set, q.id ORDER BY qe.e <~=> de.e, d.id) AS rank
	FROM query q
	JOIN embedding qe ON qe.instruction = q.instruction AND qe.text = q.text
	JOIN document d ON d.set = q.set
	JOIN embedding de ON de.instruction = d.instruction AND de.text = d.text
	WHERE qe.model = current_setting('quality.model')::int
		AND de.model = current_setting('quality.model')::int
) r LEFT JOIN judgement j USING (set, query, document)
WHERE rank <= 100 OR j.grade IS NOT NULL;
ANALYZE result;

-- Both: the words' score as a share of the query's best, plus the cosine.  "rank" is the
-- better of the two lists', NULL for judged documents that are in neither.
INSERT INTO result
WITH both_lists AS (
	SELECT words.method, r.set, r.query, r.document,
		min(r.rank) FILTER (WHERE r.rank <= 100) AS rank,
		max(r.score) FILTER (WHERE r.rank <= 100 AND r.method = words.method) AS score
	FROM (VALUES ('BM25'), ('ts_rank')) AS words (method)
	JOIN result r ON r.method IN ('instemb', words.method)
	WHERE r.set IN (SELECT set FROM result WHERE method = 'instemb')
	GROUP BY words.method, r.set, r.query, r.document
)
SELECT 'instemb + ' || b.method, b.set, b.query, b.document, b.rank,
	coalesce(b.score / max(b.score) OVER (PARTITION BY b.method, b.set, b.query), 0)
		+ 1 - (qe.e <~=> de.e)
FROM both_lists b
JOIN query q ON q.set = b.set AND q.id = b.query
JOIN document d ON d.set = b.set AND d.id = b.document
JOIN embedding qe ON qe.instruction = q.instruction AND qe.text = q.text
JOIN embedding de ON de.instruction = d.instruction AND de.text = d.text
WHERE qe.model = current_setting('quality.model')::int
	AND de.model = current_setting('quality.model')::int;
ANALYZE result;

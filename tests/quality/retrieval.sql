-- Ranks documents by one model's embeddings, quality.model, and by reciprocal rank fusion
-- of that and full-text search: sum of 1 / (60 + rank) over the lists, 100 of each.

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

INSERT INTO result
SELECT 'instemb + ' || other.method, set, query, document, NULL,
	sum(CASE WHEN rank <= 100 THEN 1.0 / (60 + rank) ELSE 0 END)
FROM (VALUES ('BM25'), ('ts_rank')) AS other (method)
JOIN result r ON r.method IN ('instemb', other.method)
WHERE set IN (SELECT set FROM result WHERE method = 'instemb')
GROUP BY other.method, set, query, document;
ANALYZE result;

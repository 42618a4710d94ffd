-- nDCG@10 of what is in "result" and matches quality.method: over all documents, and over
-- the judged ones only.  Gain is the grade, discount the logarithm of rank + 1.  Queries
-- without a relevant document are left out.

WITH scored AS (
	SELECT scope, r.method, r.set, r.query, coalesce(j.grade, 0) AS grade,
		row_number() OVER (PARTITION BY scope, r.method, r.set, r.query
			ORDER BY r.score DESC, r.document) AS rank
	FROM result r
	LEFT JOIN judgement j USING (set, query, document)
	JOIN (VALUES ('all'), ('judged')) AS s (scope)
		ON scope = 'all' AND r.rank IS NOT NULL
		OR scope = 'judged' AND j.grade IS NOT NULL AND r.set IN (
			SELECT set FROM judgement GROUP BY set, query HAVING count(*) > 1)
	WHERE r.method LIKE current_setting('quality.method')
), best AS (
	SELECT set, query, sum(grade / ln(rank + 1::float8)) AS gain
	FROM (
		SELECT *, row_number() OVER (PARTITION BY set, query ORDER BY grade DESC) AS rank
		FROM judgement
	) j
	WHERE rank <= 10
	GROUP BY set, query
	HAVING max(grade) > 0
), each AS (
	SELECT scope, method, set, query,
		sum(s.grade / ln(s.rank + 1::float8)) FILTER (WHERE s.rank <= 10) / best.gain AS ndcg
	FROM scored s JOIN best USING (set, query)
	GROUP BY scope, method, set, query, best.gain
)
INSERT INTO figure
SELECT nullif(current_setting('quality.model'), '')::int, 'retrieval', set, method, 0,
	CASE scope WHEN 'all' THEN 'ndcg' ELSE 'ndcg_judged' END, avg(ndcg), count(*)
FROM each
GROUP BY scope, method, set;

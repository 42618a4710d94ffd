-- Full-text search over the retrieval sets, once for all models: BM25, and ts_rank(),
-- which is what PostgreSQL itself ranks by.

CREATE TEMP TABLE document_words ON COMMIT DROP AS
SELECT d.set, d.id AS document, to_tsvector('english', t.body) AS vector
FROM document d JOIN text t ON t.id = d.text;

CREATE TEMP TABLE lexeme ON COMMIT DROP AS
SELECT set, document, w.lexeme AS word, cardinality(w.positions) AS n,
	sum(cardinality(w.positions)) OVER (PARTITION BY set, document) AS length
FROM document_words, unnest(vector) AS w;

-- k1 = 1.2, b = 0.75
CREATE TEMP TABLE word_score ON COMMIT DROP AS
SELECT set, document, word,
	ln(1 + (total - found + 0.5::float8) / (found + 0.5::float8))
		* n * 2.2::float8 / (n + 0.3::float8 + 0.9::float8 * length::float8 / mean_length) AS score
FROM (
	SELECT l.*, count(*) OVER (PARTITION BY set, word) AS found FROM lexeme l
) l JOIN (
	SELECT set, count(*) AS total, avg(length)::float8 AS mean_length
	FROM (SELECT DISTINCT set, document, length FROM lexeme) d GROUP BY set
) s USING (set);
CREATE INDEX ON word_score (set, word);
ANALYZE word_score;

CREATE TEMP TABLE query_word ON COMMIT DROP AS
SELECT q.set, q.id AS query, w.word
FROM query q JOIN text t ON t.id = q.text
CROSS JOIN LATERAL unnest(tsvector_to_array(to_tsvector('english', t.body))) AS w (word);
ANALYZE query_word;

CREATE TEMP TABLE lexical ON COMMIT DROP AS
SELECT 'BM25' AS method, set, query, document, sum(score) AS score
FROM query_word JOIN word_score USING (set, word)
GROUP BY set, query, document;

INSERT INTO lexical
SELECT 'ts_rank', q.set, q.query, d.document, ts_rank(d.vector, q.words, 1)
FROM (
	SELECT set, query, string_agg(quote_literal(word), ' | ')::tsquery AS words
	FROM query_word GROUP BY set, query
) q
JOIN document_words d ON d.set = q.set AND d.vector @@ q.words;
ANALYZE lexical;

INSERT INTO result
SELECT method, set, query, document, rank, score
FROM (
	SELECT *, row_number() OVER (
		PARTITION BY method, set, query ORDER BY score DESC, document) AS rank
	FROM lexical
) r LEFT JOIN judgement j USING (set, query, document)
WHERE rank <= 100 OR j.grade IS NOT NULL;
ANALYZE result;

-- judged documents without a word of the query come last
INSERT INTO result
SELECT m.method, j.set, j.query, j.document, NULL, -1
FROM judgement j CROSS JOIN (VALUES ('BM25'), ('ts_rank')) AS m (method)
WHERE NOT EXISTS (
	SELECT FROM result r
	WHERE r.method = m.method AND r.set = j.set AND r.query = j.query
		AND r.document = j.document);

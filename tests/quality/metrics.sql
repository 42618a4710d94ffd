-- Figures of one model, quality.model, into the table "figure".  Everything that is a
-- matter of comparing pairs of embeddings; groups and neighbours are in groups.py.

CREATE OR REPLACE TEMP VIEW v AS
SELECT instruction, text, e FROM embedding
WHERE model = current_setting('quality.model')::int;

-- Average rank of equal values, for Spearman's coefficient and the area under the curve.
CREATE OR REPLACE TEMP VIEW similarity_ranked AS
SELECT set,
	rank() OVER (w ORDER BY s) + (count(*) OVER (PARTITION BY set, s) - 1) / 2.0 AS rank_s,
	rank() OVER (w ORDER BY score) + (count(*) OVER (PARTITION BY set, score) - 1) / 2.0
		AS rank_score
FROM (
	SELECT p.set, p.score, instemb_similarity(a.e, b.e) AS s
	FROM similarity p, plain, v a, v b
	WHERE a.text = p.text1 AND b.text = p.text2
		AND a.instruction = plain.id AND b.instruction = plain.id
) x
WINDOW w AS (PARTITION BY set);

-- the nearest candidate; the first of equal ones
INSERT INTO figure
SELECT current_setting('quality.model')::int, 'match', set, NULL, 0, 'accuracy',
	avg((nearest = answer)::int), count(*)
FROM (
	SELECT DISTINCT ON (m.set, m.id) m.set, m.answer, c.n AS nearest
	FROM answer_match m
	JOIN v q ON q.instruction = m.instruction AND q.text = m.text
	CROSS JOIN LATERAL unnest(m.candidates) WITH ORDINALITY c (text, n)
	CROSS JOIN plain
	JOIN v e ON e.instruction = plain.id AND e.text = c.text
	ORDER BY m.set, m.id, q.e <~=> e.e, c.n
) x
GROUP BY set;

INSERT INTO figure
SELECT current_setting('quality.model')::int, 'similarity', set, NULL, 0, 'spearman',
	corr(rank_s, rank_score), count(*)
FROM similarity_ranked
GROUP BY set;

-- Attribute questions: the answer whose own embedding is the nearest.
CREATE TEMP TABLE answered ON COMMIT DROP AS
SELECT a.set, a.aspect, a.instruction, a.text, a.answer, p.answer AS prototype,
	instemb_similarity(q.e, e.e) AS s
FROM attribute a
JOIN v q ON q.instruction = a.instruction AND q.text = a.text
JOIN prototype p ON p.set = a.set AND p.aspect = a.aspect
CROSS JOIN plain
JOIN v e ON e.instruction = plain.id AND e.text = p.text;

INSERT INTO figure
SELECT current_setting('quality.model')::int, 'attribute', set, aspect, 0, 'accuracy',
	avg((answer = prototype)::int), count(*)
FROM (
	SELECT DISTINCT ON (set, aspect, text, answer) * FROM answered
	ORDER BY set, aspect, text, answer, s DESC, prototype
) x
GROUP BY set, aspect;

INSERT INTO figure
SELECT current_setting('quality.model')::int, 'attribute', set, aspect, 0, 'auc',
	(sum(rank) FILTER (WHERE answer = 'yes') - n_yes * (n_yes + 1) / 2.0) / (n_yes * (n - n_yes)),
	n
FROM (
	SELECT *,
		rank() OVER (PARTITION BY set, aspect ORDER BY s)
			+ (count(*) OVER (PARTITION BY set, aspect, s) - 1) / 2.0 AS rank,
		count(*) OVER (PARTITION BY set, aspect) AS n,
		count(*) FILTER (WHERE answer = 'yes') OVER (PARTITION BY set, aspect) AS n_yes
	FROM (
		SELECT yes.set, yes.aspect, yes.answer, yes.s - no.s AS s
		FROM answered yes JOIN answered no USING (set, aspect, text, answer)
		WHERE yes.prototype = 'yes' AND no.prototype = 'no'
	) x
) y
GROUP BY set, aspect, n, n_yes
HAVING n_yes > 0 AND n_yes < n;

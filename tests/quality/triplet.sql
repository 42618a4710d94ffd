-- Triplet accuracy of one model, quality.model: under the original instructions, or where
-- quality.paraphrased is true under the paraphrases.

CREATE OR REPLACE TEMP VIEW v AS
SELECT instruction, text, e FROM embedding
WHERE model = current_setting('quality.model')::int;

INSERT INTO figure
SELECT current_setting('quality.model')::int, 'triplet', t.set, t.aspect, t.wording, 'accuracy',
	avg((a.e <~=> p.e < a.e <~=> n.e)::int), count(*)
FROM triplet t
JOIN v a ON a.instruction = t.instruction AND a.text = t.anchor
JOIN v p ON p.instruction = t.instruction AND p.text = t.positive
JOIN v n ON n.instruction = t.instruction AND n.text = t.negative
WHERE (t.wording > 0) = current_setting('quality.paraphrased')::bool
GROUP BY t.set, t.aspect, t.wording;

-- (instruction, text) pairs that a run needs.  Paraphrases only for models asked about
-- robustness, answers and prototypes without instruction.

CREATE OR REPLACE VIEW plain AS SELECT id FROM instruction WHERE body = '';

CREATE OR REPLACE VIEW prototype AS
SELECT a.set, a.aspect, a.answer, t.id AS text
FROM (SELECT DISTINCT set, aspect, answer FROM attribute) a
JOIN text t ON md5(t.body) = md5(a.answer);

CREATE OR REPLACE VIEW needed AS
SELECT DISTINCT kind, instruction, text FROM (
	SELECT CASE wording WHEN 0 THEN 'triplet' ELSE 'paraphrase' END AS kind, instruction,
		unnest(ARRAY[anchor, positive, negative]) AS text
	FROM triplet
	UNION ALL SELECT 'match', instruction, text FROM answer_match
	UNION ALL SELECT 'match', plain.id, unnest(candidates) FROM answer_match, plain
	UNION ALL SELECT 'similarity', plain.id, unnest(ARRAY[text1, text2]) FROM similarity, plain
	UNION ALL SELECT 'labelled', instruction, text FROM labelled
	UNION ALL SELECT 'attribute', instruction, text FROM attribute
	UNION ALL SELECT 'attribute', plain.id, text FROM prototype, plain
	UNION ALL SELECT 'retrieval', instruction, text FROM document
	UNION ALL SELECT 'retrieval', instruction, text FROM query
) n;

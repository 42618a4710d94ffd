-- Evaluation sets, embeddings and figures.  Texts and instructions are kept once;
-- embeddings stay from run to run, so that an interrupted run goes on.

CREATE TABLE IF NOT EXISTS text
(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS text_hash ON text (md5(body));

CREATE TABLE IF NOT EXISTS instruction
(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL UNIQUE);

-- hash: of what makes the embeddings, the model file or the baseline's definition
CREATE TABLE IF NOT EXISTS model
(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, hash text NOT NULL UNIQUE);

CREATE TABLE IF NOT EXISTS embedding (
	model int REFERENCES model ON DELETE CASCADE,
	instruction int,
	text int,
	e real[] NOT NULL,
	PRIMARY KEY (model, instruction, text)
) WITH (toast_tuple_target = 8160);
ALTER TABLE embedding ALTER COLUMN e SET STORAGE EXTERNAL, ALTER COLUMN e SET STATISTICS 0;

-- What this run evaluates.  "wording" numbers the paraphrases of an instruction, 0 is
-- the original.
DROP TABLE IF EXISTS triplet, answer_match, similarity, labelled, attribute, document, query,
	judgement, result, figure CASCADE;

CREATE TABLE triplet
(set text, aspect text, wording int, instruction int, anchor int, positive int, negative int);

CREATE TABLE answer_match
(set text, id int, instruction int, text int, candidates int[], answer int);

CREATE TABLE similarity (set text, id int, text1 int, text2 int, score float8);

CREATE TABLE labelled
(set text, aspect text, instruction int, text int, label text);

CREATE TABLE attribute
(set text, aspect text, instruction int, text int, answer text);

CREATE TABLE document
(set text, id int, instruction int, text int, PRIMARY KEY (set, id));

CREATE TABLE query
(set text, id int, instruction int, text int, PRIMARY KEY (set, id));

CREATE TABLE judgement (set text, query int, document int, grade float8);

-- a method's best documents for each query, and every judged one (without a rank where the
-- method does not find it at all); a higher score is better
CREATE TABLE result (method text, set text, query int, document int, rank int, score float8);

-- "aspect" is the method for retrieval; "model" is NULL for what needs none
CREATE TABLE figure (
	model int, task text, set text, aspect text, wording int DEFAULT 0,
	metric text, value float8, n int
);

--
-- An HNSW index of pgvector over the cast, and that its cast does not meddle with
-- <~=>.  Skipped where pgvector 0.7 or later is missing: expected/pgvector_1.out.
--
SELECT count(*) = 0 AS absent FROM pg_available_extensions
WHERE name = 'vector' AND string_to_array(default_version, '.')::int[] >= '{0,7}' \gset
\if :absent
\echo pgvector 0.7 or later is not installed here: skipped
\quit
\endif
SET client_min_messages = warning;
CREATE EXTENSION vector;
RESET client_min_messages;

CREATE TABLE item (id int PRIMARY KEY, name text, embedding real[]);
CREATE TRIGGER item_embedding BEFORE INSERT OR UPDATE ON item FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('embedding', 'What is it?', 'tiny', 'name');
INSERT INTO item SELECT i, 'tent number ' || i FROM generate_series(1, 300) i;
CREATE INDEX item_hnsw ON item USING hnsw ((embedding::vector(64)) vector_cosine_ops);
ANALYZE item;

-- does a statement's plan scan this index?  (plans are printed differently by version)
CREATE FUNCTION scans(statement text, index text) RETURNS bool LANGUAGE plpgsql AS
$$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		IF line LIKE '%Index Scan using ' || index || ' on %' THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;

-- the query is embedded once, and the index is used
PREPARE nearest(text) AS
	SELECT id FROM item
	ORDER BY embedding::vector(64) <=> (SELECT instemb($1, 'What is it?', 'tiny'))::vector(64)
	LIMIT 5;
SET enable_seqscan = off;
SELECT scans($$ EXECUTE nearest('tent number 17') $$, 'item_hnsw');
CREATE TEMP TABLE by_index AS EXECUTE nearest('tent number 17');
RESET enable_seqscan;

-- exact search finds the same rows, by either operator
SET enable_indexscan = off;
SELECT count(*) >= 4 AS found FROM by_index JOIN
	(SELECT id FROM item ORDER BY embedding <~=> instemb('tent number 17', 'What is it?', 'tiny')
	 LIMIT 5) exact
	USING (id);
SELECT max(abs((embedding <~=> q) - (embedding::vector(64) <=> q::vector(64)))) < 1e-6 AS equal
FROM item, (SELECT instemb('a garden chair', 'Who made it?', 'tiny') AS q OFFSET 0) query;
RESET enable_indexscan;

-- vector <=> real[] stays an error: <=> on real[] would silently lose the index
SELECT '[1,2]'::vector <=> '{1,2}'::real[];
-- vector <~=> real[] works by the implicit cast
SELECT round(('[1,0]'::vector <~=> '{1,1}'::real[])::numeric, 4);

-- halfvec indexes wider vectors
CREATE INDEX item_half ON item USING hnsw ((embedding::halfvec(64)) halfvec_cosine_ops);
SET enable_seqscan = off;
SELECT scans($$ SELECT id FROM item
	ORDER BY embedding::halfvec(64) <=> instemb('a tent', 'What is it?', 'tiny')::halfvec(64)
	LIMIT 5 $$, 'item_half');
RESET enable_seqscan;

DROP TABLE item;
DROP FUNCTION scans(text, text);
DROP EXTENSION vector;

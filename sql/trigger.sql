--
-- instemb_update_trigger(target, instruction, model, source, ...)
--
CREATE TABLE product (
	id int PRIMARY KEY,
	gone text,
	title text,
	body varchar(200),
	kind char(12),
	price numeric,
	e real[]
);
ALTER TABLE product DROP COLUMN gone;
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON product FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('e', 'What is it?', 'tiny', 'title', 'body', 'kind');

-- the texts that are neither NULL nor blank, joined by a newline; char(n) without padding
INSERT INTO product (id, title, body, kind) VALUES
	(1, 'Tent', 'for two', 'outdoor'),
	(2, 'Tent', NULL, NULL),
	(3, NULL, 'for two', NULL),
	(4, '', E' \t\n', 'outdoor'),
	(5, NULL, NULL, NULL),
	(6, '', ' ', ' '),
	(7, ' Tent ', NULL, NULL);
SELECT id, e IS NULL AS none, e = instemb(t, 'What is it?', 'tiny') AS right
FROM product JOIN (VALUES (1, E'Tent\nfor two\noutdoor'), (2, 'Tent'), (3, 'for two'),
	(4, 'outdoor'),
						  (5, NULL), (6, NULL), (7, ' Tent ')) AS v(id, t) USING (id)
ORDER BY id;

-- what is computed: texts counts the rows
CREATE FUNCTION texts() RETURNS TABLE (texts bigint, hits bigint) LANGUAGE sql AS
$$ SELECT coalesce(sum(texts), 0)::bigint, coalesce(sum(cache_hits), 0)::bigint
FROM instemb_stats() $$;
CREATE FUNCTION reset() RETURNS void LANGUAGE sql AS $$ SELECT instemb_stats_reset() $$;
SET instemb.cache_size = 0;

SELECT reset();
UPDATE product SET price = 10;
SELECT * FROM texts();
UPDATE product SET title = title, body = body WHERE e IS NOT NULL;
SELECT * FROM texts();
UPDATE product SET title = 'Tent', body = body || '' WHERE id = 1;
SELECT * FROM texts();
-- a move from one column to another that leaves the text as it is
UPDATE product SET title = NULL, body = title WHERE id = 2;
SELECT * FROM texts();
UPDATE product SET title = 'Chair' WHERE id IN (1, 2);
SELECT * FROM texts();
SELECT id, e = instemb(t, 'What is it?', 'tiny') AS right
FROM product JOIN (VALUES (1, E'Chair\nfor two\noutdoor'), (2, E'Chair\nTent')) AS v(id, t)
	USING (id)
ORDER BY id;
-- the text goes: so does the embedding
UPDATE product SET title = NULL, body = ' ', kind = NULL WHERE id = 1;
SELECT e IS NULL AS none FROM product WHERE id = 1;

-- an embedding that is missing is computed when a source is assigned, not otherwise
UPDATE product SET e = NULL WHERE id = 2;
SELECT e IS NULL AS none FROM product WHERE id = 2;
UPDATE product SET price = 11 WHERE id = 2;
SELECT e IS NULL AS none FROM product WHERE id = 2;
UPDATE product SET title = title WHERE e IS NULL;
SELECT id, e IS NULL AS none FROM product ORDER BY id;

-- what another trigger writes before counts
CREATE FUNCTION rename() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.title := 'Lamp ' || NEW.price; RETURN NEW; END $$;
CREATE TRIGGER a_rename BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION rename();
UPDATE product SET price = 12 WHERE id = 3;
SELECT title, e = instemb(E'Lamp 12\nfor two', 'What is it?', 'tiny') AS right FROM product
WHERE id = 3;
DROP TRIGGER a_rename ON product;

-- a value given is replaced at INSERT, and kept at an UPDATE of nothing else
INSERT INTO product (id, title, e) VALUES (8, 'Tent', '{1,2}');
SELECT cardinality(e) FROM product WHERE id = 8;
UPDATE product SET e = '{1,2}' WHERE id = 8;
SELECT e FROM product WHERE id = 8;

-- COPY, INSERT .. ON CONFLICT, MERGE
COPY product (id, title) FROM stdin;
20	Lamp
21	\N
\.
INSERT INTO product (id, title) VALUES (20, 'Desk') ON CONFLICT (id)
	DO UPDATE SET title = excluded.title;
MERGE INTO product AS p USING (VALUES (20, 'Desk lamp'), (22, 'Shelf')) AS v(id, t) ON p.id = v.id
	WHEN MATCHED THEN UPDATE SET title = t WHEN NOT MATCHED THEN INSERT (id, title)
		VALUES (v.id, t);
SELECT id, e = instemb(title, 'What is it?', 'tiny') AS right FROM product WHERE id >= 20
ORDER BY id;

-- model '' is that of instemb.model; it may be the default
SET instemb.model = 'default';
SELECT put_file('default', 'tiny');
CREATE TABLE by_default (t text, e real[]);
CREATE TRIGGER embed BEFORE INSERT ON by_default FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('e', '', '', 't');
CREATE TRIGGER named BEFORE UPDATE ON by_default FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('e', '', 'default', 't');
INSERT INTO by_default VALUES ('Lamp') RETURNING e = instemb('Lamp', '', 'tiny') AS right;
UPDATE by_default SET t = 'Desk' RETURNING e = instemb('Desk', '', 'tiny') AS right;
SELECT shell('rm default');
SET instemb.model = 'tiny';

-- partitions number their columns each in its own way
CREATE TABLE part (k int, title text, e real[]) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 (junk1 int, e real[], junk2 int, title text, k int);
ALTER TABLE part2 DROP COLUMN junk1, DROP COLUMN junk2;
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
CREATE TRIGGER embed BEFORE INSERT OR UPDATE OF title ON part FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('e', 'q', 'tiny', 'title');
INSERT INTO part VALUES (1, 'Tent'), (2, 'Lamp');
UPDATE part SET title = title || ' new';
UPDATE part SET e = NULL;
UPDATE part SET title = title;
SELECT tableoid::regclass, title, e = instemb(title, 'q', 'tiny') AS right FROM part ORDER BY k;
UPDATE part SET k = 2 WHERE k = 1;
SELECT tableoid::regclass, title, e = instemb(title, 'q', 'tiny') AS right FROM part ORDER BY title;

-- domains, and their constraints
CREATE DOMAIN label AS text CHECK (value <> 'bad');
CREATE DOMAIN code AS char(8);
CREATE DOMAIN emb64 AS real[] CHECK (cardinality(value) = 64);
CREATE DOMAIN emb3 AS real[] CHECK (cardinality(value) = 3);
CREATE TABLE dom (l label, c code, e emb64, f emb3);
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON dom FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('e', 'q', 'tiny', 'l', 'c');
INSERT INTO dom (l, c) VALUES ('Tent', 'T1')
	RETURNING e = instemb(E'Tent\nT1', 'q', 'tiny') AS right;
CREATE TRIGGER embed3 BEFORE INSERT ON dom FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('f', 'q', 'tiny', 'l');
INSERT INTO dom (l) VALUES ('Tent');

-- long texts are out of line; an UPDATE of another column does not fetch them
CREATE TABLE long (id int, t text, e real[]);
ALTER TABLE long ALTER t SET STORAGE EXTERNAL;
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON long FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('e', 'q', 'tiny', 't');
SET instemb.on_overflow = 'truncate';
INSERT INTO long SELECT i, repeat('word ', 1000) FROM generate_series(1, 3) AS i;
RESET instemb.on_overflow;
SELECT reset();
UPDATE long SET id = id + 1;
UPDATE long SET t = t;
SELECT * FROM texts();
SELECT count(*), count(e) FROM long;
UPDATE long SET t = t || 'more';

-- the checks of tsvector_update_trigger
SELECT instemb_update_trigger();
CREATE TABLE bad (t text, n int, e real[], d float8[], g text GENERATED ALWAYS AS (upper(t)) STORED,
				  ge real[] GENERATED ALWAYS AS (array[n]::real[]) STORED);
CREATE FUNCTION try(event text, arguments text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	hint text;
BEGIN
	DELETE FROM bad;
	IF event LIKE '%DELETE%' THEN
		INSERT INTO bad (t) VALUES ('x');
	END IF;
	EXECUTE format('CREATE TRIGGER embed %s EXECUTE FUNCTION instemb_update_trigger(%s)', event,
		arguments);
	IF event LIKE '%DELETE%' THEN
		DELETE FROM bad;
	ELSE
		INSERT INTO bad (t) VALUES ('x');
	END IF;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN format('%s %s %s', SQLSTATE, SQLERRM, hint);
END
$$;
SELECT try(event, arguments)
FROM (VALUES
	('AFTER INSERT ON bad FOR EACH ROW', $$'e', 'q', 'tiny', 't'$$),
	('BEFORE INSERT ON bad FOR EACH STATEMENT', $$'e', 'q', 'tiny', 't'$$),
	('BEFORE DELETE ON bad FOR EACH ROW', $$'e', 'q', 'tiny', 't'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', 'tiny'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'nonesuch', 'q', 'tiny', 't'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'d', 'q', 'tiny', 't'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'ctid', 'q', 'tiny', 't'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'ge', 'q', 'tiny', 't'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', 'tiny', 'nonesuch'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', 'tiny', 'T'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', 'tiny', 't', 'n'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', 'tiny', 'e'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', 'tiny', 'ctid'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', 'tiny', 'g'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', '../tiny', 't'$$),
	('BEFORE INSERT ON bad FOR EACH ROW', $$'e', 'q', 'nonesuch', 't'$$)) AS v(event, arguments);

DROP TABLE bad, long, dom, part, by_default, product;
DROP DOMAIN label, code, emb64, emb3;
DROP FUNCTION try, rename, texts, reset;

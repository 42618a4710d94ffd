--
-- instemb_enable(), instemb_disable() and the trigger for whole statements
--
CREATE TABLE product (
	gone text,
	id int PRIMARY KEY,
	title text,
	body varchar(200),
	kind char(12),
	both_of text GENERATED ALWAYS AS (upper(title) || coalesce(body, '')) STORED,
	e real[]
);
ALTER TABLE product DROP COLUMN gone;
SELECT instemb_enable('product', 'e', '{title,body,kind}', 'What is it?', 'tiny');
SELECT * FROM instemb_registration WHERE relation = 'product'::regclass;

-- rows whose embedding is not that of their text
CREATE VIEW wrong AS
SELECT id FROM product
WHERE e IS DISTINCT FROM instemb(instemb_source(title, body, kind), 'What is it?', 'tiny');
CREATE FUNCTION texts() RETURNS TABLE (calls bigint, texts bigint) LANGUAGE sql AS
$$ SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(texts), 0)::bigint FROM instemb_stats() $$;
CREATE FUNCTION reset() RETURNS void LANGUAGE sql AS $$ SELECT instemb_stats_reset() $$;
SET instemb.cache_size = 0;

SELECT reset();
INSERT INTO product (id, title, body, kind) VALUES
	(1, 'Tent', 'for two', 'outdoor'), (2, 'Tent', NULL, NULL), (3, NULL, 'for two', NULL),
	(4, '', E' \t\n', 'outdoor'), (5, NULL, NULL, NULL), (6, '', ' ', ' '),
	(7, ' Tent ', NULL, NULL);
SELECT * FROM texts();
SELECT * FROM wrong;
SELECT id FROM product WHERE e IS NULL ORDER BY id;

-- batches: 150 rows are three calls
SELECT reset();
INSERT INTO product (id, title) SELECT 100 + i, 'Chair ' || i FROM generate_series(1, 150) AS i;
SELECT * FROM texts();
SELECT reset();
COPY product (id, title) FROM stdin;
20	Lamp
21	\N
22	Desk
\.
SELECT * FROM texts();
SELECT * FROM wrong;

-- what an UPDATE computes: rows whose text is another one
SELECT reset();
UPDATE product SET id = id;
UPDATE product SET title = title, body = body WHERE e IS NOT NULL;
UPDATE product SET title = NULL, body = title WHERE id = 2;
SELECT * FROM texts();
UPDATE product SET title = 'Sofa' WHERE id IN (1, 2, 101);
SELECT * FROM texts();
SELECT * FROM wrong;
-- the key changes: computed again, since old and new cannot be told to be the same row
SELECT reset();
UPDATE product SET id = 5000 - id WHERE id IN (101, 102);
SELECT * FROM texts();
-- keys are exchanged
UPDATE product SET id = CASE id WHEN 1 THEN -2 ELSE -1 END, title = title || id WHERE id IN (1, 2);
SELECT * FROM wrong;
-- the text goes: so does the embedding
UPDATE product SET title = NULL, body = ' ', kind = NULL WHERE id = -1;
SELECT e IS NULL AS none FROM product WHERE id = -1;
-- one that is missing is computed when a source is assigned
UPDATE product SET e = NULL WHERE id IN (20, 22);
UPDATE product SET id = id WHERE id IN (20, 22);
SELECT count(e) FROM product WHERE id IN (20, 22);
UPDATE product SET title = title WHERE e IS NULL;
SELECT * FROM wrong;
-- a value given is replaced at INSERT, and kept at an UPDATE of nothing else
INSERT INTO product (id, title, e) VALUES (8, 'Tent', '{1,2}'), (9, NULL, '{1,2}');
SELECT * FROM wrong;
UPDATE product SET e = '{1,2}' WHERE id = 8;
SELECT e FROM product WHERE id = 8;
DELETE FROM product WHERE id = 8;

-- INSERT .. ON CONFLICT, MERGE, and a CTE that writes
INSERT INTO product (id, title) VALUES (20, 'Desk'), (23, 'Lamp')
	ON CONFLICT (id) DO UPDATE SET title = excluded.title;
MERGE INTO product AS p USING (VALUES (20, 'Desk lamp'), (24, 'Shelf')) AS v(id, t) ON p.id = v.id
	WHEN MATCHED THEN UPDATE SET title = t WHEN NOT MATCHED THEN INSERT (id, title)
		VALUES (v.id, t);
WITH added AS (INSERT INTO product (id, title) VALUES (25, 'Stool') RETURNING id)
UPDATE product SET body = 'new' WHERE id = (SELECT 24 FROM added);
SELECT * FROM wrong;

-- a statement that fails half-way leaves nothing
SELECT reset();
INSERT INTO product (id, title) VALUES (30, 'Good'), (31, repeat('too long ', 3000));
SELECT count(*) FROM product WHERE id IN (30, 31);

-- triggers that change rows meanwhile: before, and after for each row
CREATE FUNCTION upper_title() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.title := upper(NEW.title); RETURN NEW; END $$;
CREATE FUNCTION add_body() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
	UPDATE product SET body = 'added' WHERE id = NEW.id AND body IS NULL;
	DELETE FROM product WHERE id = NEW.id AND title = 'DELETE ME';
	RETURN NULL;
END
$$;
CREATE TRIGGER upper BEFORE INSERT OR UPDATE ON product FOR EACH ROW EXECUTE FUNCTION upper_title();
CREATE TRIGGER add_body AFTER INSERT ON product FOR EACH ROW EXECUTE FUNCTION add_body();
INSERT INTO product (id, title) VALUES (40, 'bed'), (41, 'delete me'), (42, 'bench');
SELECT id, title, body FROM product WHERE id >= 40 AND id < 50 ORDER BY id;
SELECT * FROM wrong;
DROP TRIGGER upper ON product;
DROP TRIGGER add_body ON product;

-- a trigger that changes the text each time has no end
CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.title := NEW.title || '!'; RETURN NEW; END $$;
CREATE TRIGGER grow BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION grow();
\set VERBOSITY terse
UPDATE product SET body = 'x' WHERE id = 40;
\set VERBOSITY default
DROP TRIGGER grow ON product;
UPDATE product SET body = 'x' WHERE id = 40;
SELECT * FROM wrong;

-- generated columns can be a source
SELECT instemb_enable('product', 'e', '{both_of}', 'What is it?', 'tiny');
INSERT INTO product (id, title, body) VALUES (50, 'Tent', 'for two');
UPDATE product SET title = 'Boat' WHERE id = 20;
SELECT id, e = instemb(both_of, 'What is it?', 'tiny') AS right FROM product WHERE id IN (20, 50);
SELECT instemb_disable('product', 'e'), instemb_disable('product', 'e');
INSERT INTO product (id, title) VALUES (60, 'Tent');
SELECT e IS NULL AS none FROM product WHERE id = 60;
SELECT count(*) FROM instemb_registration WHERE relation = 'product'::regclass;

-- partitions, each with its columns in another order, and directly; a moving row
CREATE TABLE part (k int, id text, title text, e real[], PRIMARY KEY (k, id)) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 (junk int, e real[], title text, id text NOT NULL, k int NOT NULL);
ALTER TABLE part2 DROP COLUMN junk;
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
SELECT instemb_enable('part', 'e', '{title}', 'q', 'tiny');
INSERT INTO part VALUES (1, 'a', 'Tent'), (2, 'b', 'Lamp');
INSERT INTO part2 (k, id, title) VALUES (2, 'c', 'Desk');
UPDATE part1 SET title = 'Chair';
UPDATE part SET title = title || ' new';
UPDATE part SET k = 2 WHERE k = 1;
SELECT tableoid::regclass, id, title, e = instemb(title, 'q', 'tiny') AS right FROM part
ORDER BY id;
SELECT relation, mode FROM instemb_registration WHERE relation::text LIKE 'part%' ORDER BY 1;

-- keys and names of all sorts
CREATE SCHEMA "Odd one";
CREATE TABLE "Odd one"."a ""table""" (
	"Key 1" numeric, "Key 2" timestamptz, "Text" text, "E mb" real[],
	PRIMARY KEY ("Key 2", "Key 1"));
SELECT instemb_enable('"Odd one"."a ""table"""', 'E mb', '{Text}', $$What's a \ "it"?$$, 'tiny');
INSERT INTO "Odd one"."a ""table""" VALUES
	(1.10, '2024-02-29 12:00:00.000001+00', 'Tent'), (1.1, '2024-02-29 12:00:00.000002+00', 'Lamp');
UPDATE "Odd one"."a ""table""" SET "Text" = "Text" || '.';
SELECT "Key 1", "E mb" = instemb("Text", $$What's a \ "it"?$$, 'tiny') AS right
FROM "Odd one"."a ""table""" ORDER BY "Key 2";
SELECT relation, target, mode, sources, instruction FROM instemb_registration
WHERE relation::text ~ 'Odd';

-- a role that may only insert; row security; an unsafe search_path
CREATE ROLE instemb_owner;
CREATE ROLE instemb_writer;
CREATE SCHEMA own AUTHORIZATION instemb_owner;
GRANT USAGE ON SCHEMA own TO instemb_writer;
SET ROLE instemb_owner;
CREATE TABLE own.note (id int PRIMARY KEY, writer name DEFAULT current_user, t text, e real[]);
GRANT INSERT ON own.note TO instemb_writer;
ALTER TABLE own.note ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON own.note USING (writer = current_user);
SELECT instemb_enable('own.note', 'e', '{t}', 'q', 'tiny');
RESET ROLE;
CREATE SCHEMA evil;
GRANT ALL ON SCHEMA evil TO instemb_writer;
SET ROLE instemb_writer;
CREATE FUNCTION evil.equal(text, text) RETURNS bool LANGUAGE plpgsql AS
$$ BEGIN RAISE 'called'; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
CREATE FUNCTION evil.instemb_source(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN RAISE 'called'; END $$;
SET search_path = evil, pg_catalog;
INSERT INTO own.note (id, t) VALUES (1, 'Tent'), (2, 'Lamp');
SELECT count(*) FROM own.note;
SET search_path = public;
\set VERBOSITY terse
SELECT instemb_enable('own.note', 'e', '{t}', 'other', 'tiny');
\set VERBOSITY default
RESET ROLE;
SELECT id, writer, e = instemb(t, 'q', 'tiny') AS right FROM own.note ORDER BY id;
DROP SCHEMA own, evil CASCADE;
DROP ROLE instemb_owner, instemb_writer;

-- row mode; a trigger that another one takes the place of
SELECT instemb_enable('product', 'e', '{title}', 'q', 'tiny', 'row');
SELECT tgname, tgtype, tgfoid::regproc FROM pg_trigger WHERE tgrelid = 'product'::regclass;
INSERT INTO product (id, title) VALUES (61, 'Tent')
	RETURNING e = instemb('Tent', 'q', 'tiny') AS right;
SELECT instemb_enable('product', 'e', '{title}', 'q', 'tiny');
SELECT tgname, tgtype, tgfoid::regproc FROM pg_trigger WHERE tgrelid = 'product'::regclass
ORDER BY 1;

-- provenance: what made an embedding; another model is refused, unless models may be mixed
SELECT instemb_install('other', 'tiny', 'tiny-adapter') IS NOT NULL AS installed;
CREATE TABLE made (id int PRIMARY KEY, t text, e real[], how jsonb);
CREATE VIEW made_how AS
SELECT id, how ->> 'model' AS model,
	   left(instemb_model_info(how ->> 'model', true) ->> 'sha256', 16) = how ->> 'sha256'
		AS sha256,
	   how ->> 'instruction' = md5('q') AS instruction,
	   (how ->> 'at')::timestamptz BETWEEN now() - interval '1 hour' AND now() AS at
FROM made ORDER BY id;
SELECT instemb_enable('made', 'e', '{t}', 'q', mode => mode, provenance => 'how')
FROM (VALUES ('row')) AS v(mode);
INSERT INTO made VALUES (1, 'Tent');
SET instemb.model = 'other';
\set VERBOSITY terse
INSERT INTO made VALUES (2, 'Tent');
SELECT instemb_enable('made', 'e', '{t}', 'q', 'tiny', provenance => 'how');
INSERT INTO made VALUES (2, 'Tent'), (3, NULL);
UPDATE made SET t = NULL WHERE id = 1;
SELECT put_file('tiny-copy.gguf', get_file('tiny.gguf'));
SELECT instemb_enable('made', 'e', '{t}', 'q', 'tiny-copy', provenance => 'how');
INSERT INTO made VALUES (4, 'Tent');
SELECT put_file('tiny-copy.gguf', get_file('other.gguf'));
INSERT INTO made VALUES (5, 'Tent');
SELECT instemb_enable('made', 'e', '{t}', 'q', '', provenance => 'how', mix_models => true);
INSERT INTO made VALUES (5, 'Tent');
SET instemb.model = 'tiny';
UPDATE made SET t = 'Lamp' WHERE id = 1;
\set VERBOSITY default
SELECT * FROM made_how;
SELECT target, mode, model, provenance, sha256 FROM instemb_registration
WHERE relation = 'made'::regclass;
SELECT shell('rm tiny-copy.gguf other.gguf');

-- what is refused
CREATE TABLE no_key (t text, e real[]);
CREATE TABLE parent (id int PRIMARY KEY, t text, e real[]);
CREATE TABLE child () INHERITS (parent);
CREATE TEMP TABLE passing (id int PRIMARY KEY, t text, e real[]);
CREATE VIEW seen AS SELECT * FROM product;
CREATE FUNCTION refusal(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN format('%s %s %s', SQLSTATE, SQLERRM, hint);
END
$$;
SELECT refusal(format('SELECT instemb_enable(%s)', a)) FROM (VALUES
	($$'no_key', 'e', '{t}', 'q', 'tiny'$$),
	($$'no_key', 'e', '{t}', 'q', 'tiny', 'row'$$),
	($$'parent', 'e', '{t}', 'q', 'tiny'$$),
	($$'seen', 'e', '{title}', 'q', 'tiny'$$),
	($$'passing', 'e', '{t}', 'q', 'tiny', 'queue'$$),
	($$'passing', 'e', '{t}', 'q', 'tiny'$$),
	($$'product', '"e"', '{title}', 'q', 'tiny'$$),
	($$'product', 'e', '{title}', 'q', 'nonesuch'$$),
	($$'product', 'nonesuch', '{title}', 'q', 'tiny'$$),
	($$'product', 'id', '{title}', 'q', 'tiny'$$),
	($$'product', 'e', '{nonesuch}', 'q', 'tiny'$$),
	($$'product', 'e', '{}', 'q', 'tiny'$$),
	($$'product', 'e', '{title,NULL}', 'q', 'tiny'$$),
	($$'product', 'e', '{both_of}', 'q', 'tiny', 'row'$$),
	($$'product', 'e', '{title}', 'q', 'tiny', 'often'$$),
	($$'product', 'e', '{title}', NULL, 'tiny'$$),
	($$'product', 'e', '{title}', 'q', 'tiny', provenance => 'title'$$),
	($$'product', 'e', '{title}', 'q', 'nonesuch', provenance => 'e'$$)) AS v(a);
SELECT refusal(s) FROM (VALUES
	('SELECT instemb_statement_trigger()'),
	($$CREATE TRIGGER bad BEFORE INSERT ON no_key FOR EACH ROW
	   EXECUTE FUNCTION instemb_statement_trigger('e', 'q', 'tiny', 't');
	   INSERT INTO no_key VALUES ('x')$$),
	($$CREATE TRIGGER bad AFTER DELETE ON no_key FOR EACH STATEMENT
	   EXECUTE FUNCTION instemb_statement_trigger('e', 'q', 'tiny', 't');
	   DELETE FROM no_key$$),
	($$CREATE TRIGGER bad AFTER INSERT ON no_key FOR EACH STATEMENT
	   EXECUTE FUNCTION instemb_statement_trigger('e', 'q', 'tiny', 't');
	   INSERT INTO no_key VALUES ('x')$$)) AS v(s);

DROP VIEW wrong, made_how, seen;
DROP TABLE product, made;
DROP TABLE part, no_key, child, parent;
DROP SCHEMA "Odd one" CASCADE;
DROP FUNCTION refusal, grow, add_body, upper_title, texts, reset;

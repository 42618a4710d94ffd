--
-- instemb_backfill(), instemb_progress, instemb_failed, instemb_stale()
--
CREATE TABLE product (id int PRIMARY KEY, title text, body text, e real[], how jsonb);
INSERT INTO product (id, title, body)
SELECT i, 'Chair ' || i, CASE WHEN i % 2 = 0 THEN 'of wood' END FROM generate_series(1, 150) AS i;
INSERT INTO product (id, title) VALUES (151, NULL), (152, ' ');
CREATE VIEW wrong AS
SELECT id FROM product
WHERE e IS DISTINCT FROM instemb(instemb_source(title, body), 'What is it?', 'tiny');

\set VERBOSITY terse
-- without a registration everything must be said
CALL instemb_backfill('product', 'e');
CALL instemb_backfill('product', 'e', sources => '{title,body}', instruction => 'What is it?',
					  model => 'tiny');
SELECT * FROM wrong;
SELECT relation, target, pid = pg_backend_pid() AS pid, state, total, done, failed, skipped,
	   rows_per_second > 0 AS rate, remaining
FROM instemb_progress;
-- there is nothing left to do
CALL instemb_backfill('product', 'e', sources => '{title,body}', instruction => 'What is it?',
					  model => 'tiny');

-- rows that fail do not stop the others: texts that are too long, and rows that a trigger refuses
SELECT instemb_enable('product', 'e', '{title,body}', 'What is it?', 'tiny');
ALTER TABLE product DISABLE TRIGGER USER;
UPDATE product SET e = NULL WHERE id <= 100;
UPDATE product SET title = repeat('too long ', 3000) WHERE id IN (7, 70);
ALTER TABLE product ENABLE TRIGGER USER;
CREATE SCHEMA helper;
CREATE FUNCTION call_helper() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.id IN (20, 90) THEN PERFORM refused(NEW.id); END IF; RETURN NEW; END $$;
CREATE FUNCTION helper.refused(id int) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN RAISE 'row % is sacred', id; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION call_helper();
-- triggers of the table run under the search_path of the caller
SET search_path = public, helper;
CALL instemb_backfill('product', 'e');
RESET search_path;
SELECT id FROM product WHERE e IS NULL ORDER BY id;
SELECT relation, target, key, attempts, error FROM instemb_failed ORDER BY key[1]::int;
SELECT relation, state, total, done, failed, skipped FROM instemb_progress;
DROP TRIGGER refuse ON product;
UPDATE product SET title = 'short' WHERE id IN (7, 70);
CALL instemb_backfill('product', 'e', batch => 1);
SELECT count(*) FROM instemb_failed;
SELECT * FROM wrong;

-- another instruction: stale rows, as provenance tells
SELECT instemb_enable('product', 'e', '{title,body}', 'What is it?', 'tiny', provenance => 'how');
SELECT count(*) FROM instemb_stale('product', 'e');
CALL instemb_backfill('product', 'e', 'stale');
SELECT count(*) FROM instemb_stale('product', 'e');
SELECT instemb_enable('product', 'e', '{title,body}', 'Who made it?', 'tiny', provenance => 'how');
UPDATE product SET title = title || ' 2' WHERE id < 100;
SELECT count(*), min(model), bool_and(instruction = md5('What is it?'))
FROM instemb_stale('product', 'e');
CALL instemb_backfill('product', 'e', 'stale');
SELECT count(*) FROM product
WHERE e IS DISTINCT FROM instemb(instemb_source(title, body), 'Who made it?', 'tiny');
SELECT count(*) FROM product WHERE (e IS NULL) <> (how IS NULL);

-- all rows; a run that broke off goes on
SELECT instemb_enable('product', 'e', '{title,body}', 'Where?', 'tiny');
CREATE FUNCTION cancel_at_100() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER stop BEFORE UPDATE ON product FOR EACH ROW WHEN (NEW.id = 100)
	EXECUTE FUNCTION cancel_at_100();
CALL instemb_backfill('product', 'e', 'all', batch => 40);
SELECT state, total, done, failed, skipped, remaining IS NOT NULL AS remaining
FROM instemb_progress;
SELECT count(*) FROM product WHERE e = instemb(instemb_source(title, body), 'Where?', 'tiny');
DROP TRIGGER stop ON product;
SELECT instemb_stats_reset();
CALL instemb_backfill('product', 'e', 'all', batch => 40);
SELECT sum(texts) FROM instemb_stats();
SELECT count(*) FROM product
WHERE e IS DISTINCT FROM instemb(instemb_source(title, body), 'Where?', 'tiny');

-- keys of several columns, names and types of all sorts, partitions
CREATE TABLE "Part" ("Key 1" timestamptz, "Key 2" text COLLATE "C", "Text" text, "E" real[],
					 PRIMARY KEY ("Key 1", "Key 2")) PARTITION BY RANGE ("Key 1");
CREATE TABLE part1 PARTITION OF "Part" FOR VALUES FROM ('2024-01-01') TO ('2024-03-01');
CREATE TABLE part2 PARTITION OF "Part" FOR VALUES FROM ('2024-03-01') TO ('2024-06-01');
INSERT INTO "Part"
SELECT timestamptz '2024-02-01' + i / 4 * interval '1 day', 'k {"\' || i % 4, 'Text ' || i
FROM generate_series(1, 200) AS i;
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'Asia/Kathmandu';
CALL instemb_backfill('"Part"', 'E', sources => '{Text}', instruction => 'q', model => 'tiny',
	batch => 10);
SELECT count(*) FROM "Part" WHERE "E" = instemb("Text", 'q', 'tiny');
RESET DateStyle;
RESET TimeZone;

-- what is refused
BEGIN;
CALL instemb_backfill('product', 'e');
ROLLBACK;
CALL instemb_backfill('product', 'e', 'some');
CALL instemb_backfill('product', 'e', 'stale');
UPDATE product SET e = NULL WHERE id <= 3;
CALL instemb_backfill('product', 'e', sources => '{title}', instruction => 'q',
	model => 'nonesuch');
CALL instemb_backfill('product', 'e');
CALL instemb_backfill('product', 'e', sources => '{nonesuch}', instruction => 'q');
CALL instemb_backfill('product', 'e', batch => 0);
CALL instemb_backfill('product', 'e', batch => NULL);
CALL instemb_backfill(NULL, 'e', sources => '{title}', instruction => 'q');
SELECT embedding = instemb('a', 'q', 'tiny') AS right, error
FROM instemb_embed_each(array['a', NULL, '', 'a'], 'q', 'tiny');

-- roles: own rows, own runs
CREATE ROLE instemb_owner;
CREATE ROLE instemb_other;
CREATE SCHEMA own AUTHORIZATION instemb_owner;
SET ROLE instemb_owner;
CREATE TABLE own.note (id int PRIMARY KEY, role name, t text, e real[]);
INSERT INTO own.note VALUES
	(1, 'instemb_owner', 'a'), (2, 'instemb_other', 'b'),
	(3, 'instemb_other', repeat('long ', 3000));
ALTER TABLE own.note ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON own.note USING (role = current_user);
GRANT USAGE ON SCHEMA own TO instemb_other;
GRANT SELECT ON own.note TO instemb_other;
RESET ROLE;
CALL instemb_backfill('product', 'e');
SET ROLE instemb_other;
CALL instemb_backfill('product', 'e', sources => '{title}', instruction => 'q', model => 'tiny');
CALL instemb_backfill('own.note', 'e', sources => '{t}', instruction => 'q', model => 'tiny');
SET ROLE instemb_owner;
GRANT UPDATE ON own.note TO instemb_other;
SET ROLE instemb_other;
CALL instemb_backfill('own.note', 'e', sources => '{t}', instruction => 'q', model => 'tiny');
SELECT relation, done, failed FROM instemb_progress;
SELECT relation, key FROM instemb_failed;
SET ROLE instemb_owner;
SELECT id, e IS NOT NULL AS made FROM own.note ORDER BY id;
SELECT relation FROM instemb_progress;
SELECT relation, key FROM instemb_failed;
RESET ROLE;
SELECT relation, role, done, failed FROM instemb_progress ORDER BY 1, 2;

DROP VIEW wrong;
DROP TABLE product, "Part";
DROP SCHEMA own, helper CASCADE;
DROP ROLE instemb_owner, instemb_other;
DROP FUNCTION call_helper, cancel_at_100;

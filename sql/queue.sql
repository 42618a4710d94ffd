--
-- Mode "queue": writers put rows into the queue, the worker embeds them
--
CREATE TABLE product (id int PRIMARY KEY, title text, body text, price int, e real[]);
INSERT INTO product (id, title) SELECT i, 'Chair ' || i FROM generate_series(1, 100) AS i;
INSERT INTO product (id) VALUES (101);
CREATE VIEW wrong AS
SELECT id FROM product
WHERE e IS DISTINCT FROM instemb(instemb_source(title, body), 'What is it?', 'tiny');
-- wait until the queue holds nothing but rows given up
CREATE FUNCTION drained() RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
	FOR i IN 1 .. 1200 LOOP
		IF NOT EXISTS (SELECT FROM instemb_queue WHERE next_at IS NULL OR next_at < 'infinity') THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
	RETURN false;
END
$$;

-- rows that are there already are put into the queue at once; the worker starts by itself
SELECT instemb_enable('product', 'e', '{title,body}', 'What is it?', 'tiny', 'queue');
SELECT drained();
SELECT * FROM wrong;
INSERT INTO product (id, title) SELECT i, 'Tent ' || i FROM generate_series(201, 400) AS i;
COPY product (id, title, body) FROM stdin;
500	Lamp	of steel
501	\N	\N
502	 	\N
\.
SELECT drained();
SELECT * FROM wrong;
SELECT * FROM instemb_status WHERE relation = 'product'::regclass;

-- with triggers of its own doing only: what writers do to the queue
SELECT instemb_disable('product', 'e');
SELECT instemb_enable('product', 'e', '{title,body}', 'What is it?', 'tiny', 'queue');
CREATE FUNCTION queued() RETURNS TABLE (target smallint, replace boolean, key text[])
LANGUAGE sql AS
$$ SELECT target, replace, key FROM instemb_queue WHERE relation = 'product'::regclass
ORDER BY key $$;
BEGIN;
INSERT INTO product (id, title, e) VALUES
	(600, 'Tent', NULL), (601, 'Tent', '{1}'), (602, NULL, NULL), (603, NULL, '{1}');
SELECT * FROM queued();
-- unrelated updates, and texts that stay the same
UPDATE product SET price = 1;
UPDATE product SET title = title WHERE e IS NOT NULL;
UPDATE product SET title = NULL, body = title WHERE id = 1;
SELECT count(*) FROM queued();
-- a stale embedding is taken away
UPDATE product SET title = 'Sofa' WHERE id IN (2, 3);
SELECT id, e IS NULL AS none FROM product WHERE id IN (2, 3);
-- the key changes
UPDATE product SET id = 604 WHERE id = 600;
UPDATE product SET id = 605 WHERE id = 4;
-- one that is missing
UPDATE product SET e = NULL WHERE id = 5;
UPDATE product SET title = title WHERE id = 5;
SELECT * FROM queued();
SELECT waiting, retrying, failed, error FROM instemb_status WHERE relation = 'product'::regclass;
DELETE FROM product WHERE id = 3;
COMMIT;
SELECT drained();
SELECT * FROM wrong;
-- what is rolled back
BEGIN;
INSERT INTO product (id, title) VALUES (700, 'gone');
ROLLBACK;
BEGIN;
SAVEPOINT s;
INSERT INTO product (id, title) VALUES (700, 'gone');
ROLLBACK TO s;
INSERT INTO product (id, title) VALUES (701, 'stays');
COMMIT;
SELECT drained();
SELECT * FROM wrong;

-- INSERT .. ON CONFLICT, MERGE
INSERT INTO product (id, title) VALUES (1, 'Desk'), (702, 'Lamp')
	ON CONFLICT (id) DO UPDATE SET title = excluded.title;
MERGE INTO product AS p USING (VALUES (2, 'Desk lamp'), (703, 'Shelf')) AS v(id, t) ON p.id = v.id
	WHEN MATCHED THEN UPDATE SET title = t WHEN NOT MATCHED THEN INSERT (id, title)
		VALUES (v.id, t);
SELECT drained();
SELECT * FROM wrong;

-- rows that fail: attempts, errors, giving up, and trying again
ALTER SYSTEM SET instemb.queue_attempts = 2;
SELECT pg_reload_conf();
INSERT INTO product (id, title) VALUES (800, repeat('too long ', 3000)), (801, 'Bed');
SELECT drained();
SELECT id FROM product WHERE e IS NULL AND title IS NOT NULL AND id >= 800 ORDER BY id;
SELECT target, key, attempts, error, next_at FROM instemb_failed ORDER BY key;
SELECT waiting, retrying, failed, error FROM instemb_status WHERE relation = 'product'::regclass;
SELECT instemb_retry();
SELECT drained();
SELECT attempts FROM instemb_failed;
-- mended: the old entry finds nothing to do
UPDATE product SET title = 'short' WHERE id = 800;
SELECT drained();
SELECT instemb_retry('product', 'e');
SELECT drained();
SELECT count(*) FROM instemb_failed;
SELECT * FROM wrong;
-- a trigger that refuses one row
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.id = 803 THEN RAISE 'row % is sacred', NEW.id; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO product (id, title) VALUES (802, 'Cup'), (803, 'Plate'), (804, 'Fork');
SELECT drained();
SELECT target, key, attempts, error, next_at FROM instemb_failed ORDER BY key;
DROP TRIGGER refuse ON product;
-- a source column that is no longer there: nothing of the table can be done
ALTER TABLE product RENAME body TO text;
SET session_replication_role = replica;
UPDATE product SET e = NULL WHERE id < 50;
RESET session_replication_role;
INSERT INTO instemb_queue (relation, target, replace, key)
	VALUES ('product'::regclass, 5, true, '{10}');
SELECT instemb_wake();
SELECT drained();
SELECT key, attempts, error, next_at FROM instemb_failed ORDER BY key;
ALTER TABLE product RENAME text TO body;
SELECT instemb_retry(target => 'e');
SELECT drained();
SELECT instemb_enqueue('product', 'e');
\set VERBOSITY terse
SELECT instemb_enqueue('product', 'title');
SELECT instemb_enqueue('product', 'e', 'mising');
\set VERBOSITY default
SELECT drained();
SELECT * FROM wrong;
ALTER SYSTEM RESET instemb.queue_attempts;
SELECT pg_reload_conf();

-- another instruction: all rows again, the old embeddings stay readable meanwhile
BEGIN;
SELECT instemb_enable('product', 'e', '{title,body}', 'Who made it?', 'tiny', 'queue');
SELECT count(*) AS taken_away FROM product
WHERE e IS NULL AND instemb_source(title, body) IS NOT NULL;
COMMIT;
SELECT drained();
SELECT count(*) FROM product
WHERE e IS DISTINCT FROM instemb(instemb_source(title, body), 'Who made it?', 'tiny');
-- the same by provenance
ALTER TABLE product ADD how jsonb;
SELECT instemb_enable('product', 'e', '{title,body}', 'What is it?', 'tiny', 'queue', 'how');
SELECT drained();
SELECT * FROM wrong;
SELECT count(*) FROM product WHERE (how IS NULL) <> (e IS NULL);
SELECT instemb_enable('product', 'e', '{title,body}', 'What is it?', 'tiny', 'queue', 'how');
SELECT count(*) FROM queued();
UPDATE product SET title = 'Boat' WHERE id = 10 RETURNING e IS NULL AND how IS NULL AS none;
SELECT drained();
SELECT e = instemb('Boat', 'What is it?', 'tiny') AS right, how ->> 'model' AS model
FROM product WHERE id = 10;

-- partitions, also new ones, written to directly; a row that moves
CREATE TABLE part (k int, id timestamptz, title text, e real[], PRIMARY KEY (k, id))
	PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 (junk int, e real[], title text, id timestamptz NOT NULL, k int NOT NULL);
ALTER TABLE part2 DROP COLUMN junk;
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
INSERT INTO part VALUES (1, '2024-01-01', 'there before');
SELECT instemb_enable('part', 'e', '{title}', 'q', 'tiny', 'queue');
CREATE TABLE part3 PARTITION OF part FOR VALUES IN (3);
SET DateStyle = 'SQL, DMY';
INSERT INTO part VALUES (1, '2024-01-02', 'Tent'), (2, '2024-02-03', 'Lamp'),
	(3, '2024-02-03', 'Bed');
INSERT INTO part2 (k, id, title) VALUES (2, '2024-02-04', 'Desk');
UPDATE part1 SET title = title || ' new';
UPDATE part SET k = 3 WHERE id = '2024-01-02';
RESET DateStyle;
SELECT drained();
SELECT tableoid::regclass, title, e = instemb(title, 'q', 'tiny') AS right FROM part ORDER BY k, id;
SELECT relation, target, mode, waiting FROM instemb_status WHERE relation::text LIKE 'part%'
ORDER BY 1;
\set VERBOSITY terse
SELECT instemb_disable('part1', 'e');
\set VERBOSITY default
SELECT instemb_disable('part', 'e');
SELECT count(*) FROM instemb_status WHERE relation::text LIKE 'part%';
DROP TABLE part;

-- roles: a writer needs no right to the queue; owners see what concerns their tables
CREATE ROLE instemb_owner;
CREATE ROLE instemb_writer;
CREATE SCHEMA own AUTHORIZATION instemb_owner;
GRANT USAGE ON SCHEMA own TO instemb_writer;
SET ROLE instemb_owner;
CREATE TABLE own.note (id int PRIMARY KEY, t text, e real[], writer name DEFAULT current_user);
GRANT INSERT ON own.note TO instemb_writer;
SELECT instemb_enable('own.note', 'e', '{t}', 'q', 'tiny', 'queue');
-- code of the owner must not get at the worker's rights
CREATE TABLE own.log (who name, super text);
CREATE FUNCTION own.spy() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
	BEGIN
		RESET ROLE;
		SET SESSION AUTHORIZATION DEFAULT;
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO own.log VALUES (current_user, SQLERRM);
	END;
	RETURN NEW;
END
$$;
CREATE TRIGGER spy BEFORE UPDATE ON own.note FOR EACH ROW EXECUTE FUNCTION own.spy();
SET ROLE instemb_writer;
BEGIN;
INSERT INTO own.note (id, t) VALUES (1, 'Tent');
SELECT count(*) FROM instemb_queue;
SELECT waiting FROM instemb_status WHERE relation::text LIKE '%note';
SET ROLE instemb_owner;
SELECT count(*) FROM instemb_queue;
SELECT waiting FROM instemb_status WHERE relation = 'own.note'::regclass;
SELECT waiting FROM instemb_status WHERE relation = 'product'::regclass;
\set VERBOSITY terse
SAVEPOINT s;
INSERT INTO instemb_queue (relation, target, replace, key)
	VALUES ('product'::regclass, 5, true, '{10}');
ROLLBACK TO s;
UPDATE instemb_queue SET relation = 'product'::regclass;
ROLLBACK TO s;
\set VERBOSITY default
COMMIT;
RESET ROLE;
SELECT drained();
SELECT id, e = instemb(t, 'q', 'tiny') AS right FROM own.note;
SELECT DISTINCT * FROM own.log;
-- row security holds for the owner, where it is forced
SET ROLE instemb_owner;
CREATE POLICY mine ON own.note USING (t <> 'secret') WITH CHECK (true);
ALTER TABLE own.note ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
INSERT INTO own.note (id, t) VALUES (2, 'secret'), (3, 'Lamp');
RESET ROLE;
SELECT drained();
SELECT id, e IS NOT NULL AS made FROM own.note ORDER BY id;
-- a table that goes, with rows in the queue
BEGIN;
INSERT INTO own.note (id, t) VALUES (4, 'Tent');
DROP SCHEMA own CASCADE;
COMMIT;
SELECT drained();
SELECT count(*) FROM instemb_queue;
DROP ROLE instemb_owner, instemb_writer;

-- the work, done by hand
BEGIN;
UPDATE product SET title = title || '!' WHERE id < 20;
UPDATE instemb_queue SET next_at = now() + interval '1 hour';
COMMIT;
UPDATE instemb_queue SET next_at = now();
CALL instemb_work();
-- (the worker may have taken a part of it, if it was slow to start)
SELECT drained();
SELECT * FROM wrong;
-- the worker waits for the hour to pass, and would keep the database from being dropped
SELECT instemb_wake();

DROP VIEW wrong;
DROP TABLE product;
DROP FUNCTION drained, queued, refuse;

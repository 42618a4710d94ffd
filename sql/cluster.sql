--
-- instemb_answer(), instemb_kmeans(), instemb_cluster()
--
-- the tiny model has nothing to say, but says it, the same each time
SELECT instemb_answer('A tent for two', 'Is it for outdoor use?', 'tiny', 4)
	   = instemb_answer('A tent for two', 'Is it for outdoor use?', max_tokens => 4) AS same;
SELECT length(instemb_answer('A tent', 'What?', 'tiny', 1))
	   < length(instemb_answer('A tent', 'What?', 'tiny', 9)) AS longer;
SELECT instemb_answer(NULL, 'What?') IS NULL AS none;
SELECT instemb_stats_reset();
SELECT instemb_answer('A tent', 'What?', 'tiny', 1) IS NOT NULL AS answered;
SELECT model, calls, texts FROM instemb_stats();
SELECT instemb_answer('', 'What?', 'tiny');
SELECT instemb_answer('A tent', 'What?', 'tiny', 0);
SELECT instemb_answer('A tent', 'What?', 'nonesuch');
SELECT instemb_answer(repeat('too long ', 3000), 'What?', 'tiny');
SET instemb.on_overflow = truncate;
SELECT instemb_answer(repeat('too long ', 3000), 'What?', 'tiny', 1) IS NOT NULL AS answered;
RESET instemb.on_overflow;

-- points near three axes; more of them than are fetched at a time
CREATE TABLE point (id int PRIMARY KEY, axis int, e real[]);
INSERT INTO point
SELECT i, i % 3, array_agg(((1 + i % 5) *
	CASE WHEN d = i % 3 THEN 1 ELSE 0.1 * sin(i * 7 + d * 3) END)::real ORDER BY d)
FROM generate_series(1, 900) AS i, generate_series(0, 3) AS d GROUP BY i;
CREATE FUNCTION groups(k int, seed int) RETURNS TABLE (id int, cluster int, distance float8)
LANGUAGE sql AS
$$
	SELECT key[1]::int, cluster, distance
	FROM instemb_kmeans('SELECT array[id::text], e FROM point ORDER BY id', k, seed)
$$;
SELECT count(*), count(DISTINCT cluster), min(distance) >= 0 AS positive,
	max(distance) < 0.1 AS near
FROM groups(3, 1) JOIN point USING (id) GROUP BY axis;
-- each group is nearer to its own centroid: the same seed gives the same groups
SELECT count(*) FROM (SELECT * FROM groups(5, 7) EXCEPT SELECT * FROM groups(5, 7)) AS differing;
SELECT count(DISTINCT cluster) FROM groups(1, 0);
-- zero vectors have no direction, NULL no place
INSERT INTO point VALUES (1000, 0, '{0,0,0,0}'), (1001, 0, NULL);
SELECT count(*), count(*) FILTER (WHERE id >= 1000) FROM groups(3, 1);

-- a column's groups, named by answers
DELETE FROM point WHERE id > 30;
ALTER TABLE point ADD t text;
SELECT instemb_enable('point', 'e', '{t}', 'Which?', 'tiny');
UPDATE point SET t = (array['tent', 'lamp', 'chair'])[axis + 1];
SELECT count(DISTINCT t), count(*), bool_and(label = regexp_replace(lower(btrim(
	(regexp_split_to_array(btrim(instemb_answer(t, 'Which?', 'tiny')), '[\n,]'))[1], ' .!"''')),
	'\m(\w+)( \1\M)+', '\1', 'g')) AS named
FROM instemb_cluster('point', 'e', 3) JOIN point ON key = array[id::text]
GROUP BY cluster ORDER BY cluster;
SELECT count(label) FROM instemb_cluster('point', 'e', 3, asked => 0);

-- what is refused
SELECT instemb_kmeans('SELECT 1', 2);
SELECT instemb_kmeans('DELETE FROM point', 2);
SELECT instemb_kmeans('SELECT array[id::text], e FROM point', 0);
SELECT instemb_kmeans('SELECT array[id::text], e FROM point', 31);
SELECT instemb_kmeans('SELECT array[id::text], e FROM point', 2, rounds => 0);
SELECT instemb_kmeans($$VALUES (array['a'], '{1}'::real[]), (array['b'], '{1,2}')$$, 1);
\set VERBOSITY terse
SELECT instemb_cluster('pg_class', 'e', 2);

DROP TABLE point;
DROP FUNCTION groups;

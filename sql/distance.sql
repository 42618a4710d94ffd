--
-- Functions and operators on vectors: no model is needed
--
SELECT a, b, instemb_inner_product(a, b) AS inner_product,
	   instemb_similarity(a, b) AS similarity, a <~=> b AS distance
FROM (VALUES ('{1,0}'::real[], '{1,0}'::real[]), ('{1,0}', '{2,0}'), ('{1,0}', '{0,3}'),
			 ('{1,0}', '{-5,0}'), ('{1,2,3}', '{4,5,6}'), ('{3}', '{-7}')) AS v(a, b);

-- nothing to measure an angle with
SELECT '{0,0}'::real[] <~=> '{1,0}' AS distance, instemb_similarity('{0,0}', '{1,0}') AS similarity,
	   instemb_inner_product('{0,0}', '{1,0}') AS inner_product,
	   '{0,0}'::real[] =~= '{0,0}' AS similar;

-- NaN sorts behind every number, NULL last
SELECT v, v <~=> '{1,0}' AS distance
FROM (VALUES (NULL::real[]), ('{0,0}'), ('{0,1}'), ('{1,0}'), ('{-1,0}')) AS t(v)
ORDER BY v <~=> '{1,0}';

-- the range holds for values at the ends of the type's
SELECT '{1e-30,1e-30}'::real[] <~=> '{1e30,1e30}' AS same,
	'{3e38,3e38}'::real[] <~=> '{3e38,3e38}' AS large,
	   '{1e-45}'::real[] <~=> '{-1e-45}' AS opposite;
SELECT bool_and(d BETWEEN 0 AND 2) FROM (
	SELECT array_agg(sin(i * j)::real ORDER BY j) AS v
	FROM generate_series(1, 100) AS i, generate_series(1, 33) AS j GROUP BY i) AS t(v),
	LATERAL (SELECT v <~=> v AS d) AS s;
SELECT '{NaN,1}'::real[] <~=> '{1,1}' AS nan, '{Infinity,1}'::real[] <~=> '{1,1}' AS infinite;

-- every length, against float8 sums
SELECT max(abs(instemb_inner_product(a, b) - exact)) < 1e-5 AS near
FROM (
	SELECT n, array_agg(cos(i)::real ORDER BY i) AS a, array_agg(sin(i * n)::real ORDER BY i) AS b,
		   sum(cos(i)::real::float8 * sin(i * n)::real::float8) AS exact
	FROM generate_series(1, 100) AS n, generate_series(1, n) AS i GROUP BY n) AS t;

-- symmetric, precedence, no spaces, schema
SELECT '{1,2}'::real[]<~=>'{2,1}' = '{2,1}'::real[] <~=> '{1,2}' AS symmetric,
	   '{1,2}'::real[] <~=> '{2,1}' < 0.5 AS compares,
	   '{1,2}'::real[] OPERATOR(public.<~=>) '{2,1}' < 0.5 AS qualified;

-- similar enough
SELECT '{1,0}'::real[] =~= '{1,1}' AS "0.7071";
SET instemb.similarity_threshold = 0.71;
SELECT '{1,0}'::real[] =~= '{1,1}' AS "0.7071";
SET instemb.similarity_threshold = 0;
SELECT '{1,0}'::real[] =~= '{0,1}' AS orthogonal, '{1,0}'::real[] =~= '{-1,0}' AS opposite;
SET instemb.similarity_threshold = 1;
SELECT '{1,0}'::real[] =~= '{2,0}' AS parallel;
SET instemb.similarity_threshold = 1.5;
SET instemb.similarity_threshold = -0.1;
RESET instemb.similarity_threshold;

-- what is no vector, or not of the same space
SELECT '{1,2,3}'::real[] <~=> '{1,2}';
SELECT '{1,2}'::real[] =~= '{1,2,3}';
SELECT '{1,NULL}'::real[] <~=> '{1,2}';
SELECT instemb_inner_product('{1,2}', '{1,NULL}');
SELECT '{}'::real[] <~=> '{}';
SELECT instemb_similarity('{{1,2},{3,4}}', '{1,2}');
SELECT '{1,2}'::real[] <~=> NULL IS NULL AS strict;
-- an array that has held a NULL, or starts elsewhere, is a vector like any other
SELECT array_replace('{1,NULL}'::real[], NULL, 2) <~=> '{1,2}' < 1e-7 AS replaced,
	   '[0:1]={1,2}'::real[] <~=> '{1,2}' < 1e-7 AS bounds;
-- double precision is not taken silently
SELECT '{1,2}'::float8[] <~=> '{1,2}'::float8[];

-- shorter
SELECT instemb_truncate('{3,4,12}', 2), instemb_truncate('{3,4,12}', 1),
	instemb_truncate('{0,3,4}', 3);
SELECT instemb_truncate('{3,4}', 0);
SELECT instemb_truncate('{3,4}', 3);
SELECT instemb_truncate('{3,4}', -1);
SELECT instemb_truncate('{0,0,1}', 2);
SELECT instemb_truncate('{Infinity,1}', 2);
SELECT instemb_truncate('{1,NULL}', 1);
SELECT cardinality(t), abs(instemb_inner_product(t, t) - 1) < 1e-6 AS unit
FROM instemb_truncate(instemb('a', 'b'), 16) AS t;

-- out of line and compressed values
CREATE TEMP TABLE stored (id int, e real[]);
INSERT INTO stored SELECT g, array_agg(sin(g * i)::real ORDER BY i) FROM generate_series(1, 5) AS g,
	generate_series(1, 2000) AS i GROUP BY g;
INSERT INTO stored SELECT 6, array_fill(1::real, array[5000]) UNION ALL SELECT 7, NULL;
SELECT id, round((e <~=> (SELECT e FROM stored WHERE id = 3))::numeric, 4) AS distance
FROM stored WHERE id < 6 OR e IS NULL ORDER BY e <~=> (SELECT e FROM stored WHERE id = 3) LIMIT 1;
SELECT e <~=> e < 1e-6 AS self FROM stored WHERE id = 6;
-- a pointer that comes again and again is followed once, and only for as long as it is the same
SELECT count(*) AS pairs,
	   count(*) FILTER (WHERE (a.e <~=> b.e)
		IS DISTINCT FROM ((a.e || '{}'::real[]) <~=> (b.e || '{}'::real[]))) AS different
FROM stored AS a, stored AS b WHERE a.id < 6 AND b.id < 6;
SELECT id FROM stored WHERE id < 6 ORDER BY e <~=> (SELECT e FROM stored WHERE id = 3);

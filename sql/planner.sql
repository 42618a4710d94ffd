--
-- What the planner knows of instemb(), and that it never runs a model that the
-- query does not need
--
CREATE FUNCTION plan_cost(query text, OUT cost float8, OUT rows float8) LANGUAGE plpgsql AS
$$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	cost := plan -> 0 -> 'Plan' ->> 'Total Cost';
	rows := plan -> 0 -> 'Plan' ->> 'Plan Rows';
END
$$;

-- cost grows with the length of the text and the number of texts
SELECT a.cost > 50 AS dear, b.cost > 10 * a.cost AS longer, c.cost > 2 * a.cost AS more
FROM plan_cost($$SELECT instemb('short', 'q')$$) AS a,
	 plan_cost($$SELECT instemb(repeat('long ', 1000), 'q')$$) AS b,
	 plan_cost($$SELECT instemb(array['short', 'short', 'short'], 'q')$$) AS c;
-- COST of the function scales it; a text of unknown length costs just that
SELECT round((a.cost / (100000 * current_setting('cpu_operator_cost')::float8))::numeric, 2)
	AS unknown_length
FROM plan_cost($$SELECT instemb(current_query(), 'q')$$) AS a;
-- and a column's statistics tell its length
CREATE TABLE docs AS
SELECT i AS id, 'abcd' AS short, repeat('word ', 100) AS long, array['x', 'y', 'z'] AS list,
	instemb('t' || i, 'q') AS e
FROM generate_series(1, 200) AS i;
ANALYZE docs;
SELECT b.cost / a.cost > 5 AS longer
FROM plan_cost('SELECT instemb(short, id::text) FROM docs') AS a,
	plan_cost('SELECT instemb(long, id::text) FROM docs') AS b;

-- rows of the array form
SELECT rows FROM plan_cost($$SELECT * FROM instemb(array['a', 'b', 'c', 'd', 'e'], 'q')$$);
SELECT rows FROM plan_cost($$SELECT * FROM instemb('{a,b,c,d,e,f,g}'::text[], 'q')$$);

-- cheap conditions first, and LIMIT before the target list
EXPLAIN (COSTS OFF) SELECT id FROM docs WHERE instemb(long, 'q') =~= e AND id = 3;
EXPLAIN (COSTS OFF) SELECT id, instemb(long, 'q') FROM docs ORDER BY id LIMIT 3;

-- planning runs no model: there is none of this name
SET instemb.model = 'nonesuch';
EXPLAIN (COSTS OFF) SELECT * FROM docs WHERE e =~= instemb('a', 'q');
EXPLAIN (COSTS OFF) SELECT * FROM docs WHERE e <~=> instemb('a', 'q') < 0.5;
EXPLAIN (COSTS OFF) SELECT id FROM docs ORDER BY e <~=> instemb('a', 'q') LIMIT 5;
SELECT rows
FROM plan_cost($$SELECT id FROM docs ORDER BY e <~=> (SELECT instemb('a', 'q')) LIMIT 5$$);
EXPLAIN (COSTS OFF) SELECT a.id FROM docs AS a JOIN docs AS b ON a.e =~= b.e;
EXPLAIN (COSTS OFF) SELECT * FROM instemb(array['a', 'b'], 'q');
-- but the immutable form with constants is one
EXPLAIN (COSTS OFF) SELECT instemb('a', 'q', 'nonesuch');
SET instemb.model = 'tiny';

-- one computation for a query, in each of the ways to write it
CREATE FUNCTION computed(query text) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
	n bigint;
BEGIN
	PERFORM instemb_stats_reset();
	EXECUTE query;
	SELECT sum(texts - cache_hits) INTO n FROM instemb_stats();
	RETURN n;
END
$$;
SELECT computed($$SELECT id FROM docs ORDER BY e <~=> instemb('one', 'q') LIMIT 5$$) AS bare,
	   computed($$SELECT id FROM docs ORDER BY e <~=> (SELECT instemb('two', 'q')) LIMIT 5$$)
		AS subselect,
	   computed($$SELECT id FROM docs ORDER BY e <~=> instemb('three', 'q', 'tiny') LIMIT 5$$)
		AS immutable;
SELECT id FROM docs ORDER BY e <~=> instemb('t77', 'q') LIMIT 1;

DROP FUNCTION plan_cost, computed;
DROP TABLE docs;

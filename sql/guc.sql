--
-- Parameters
--
-- over the context: an error, or a cut that is told once for a statement
LOAD 'instemb';
SHOW instemb.on_overflow;
SELECT instemb(repeat('long ', 600), 'q');
SET instemb.on_overflow = 'truncate';
SELECT cardinality(instemb(repeat('long ', 600), 'q'));
SELECT instemb(repeat('long ', 600), 'q') = instemb(repeat('long ', 700), 'q') AS same;
SELECT count(DISTINCT instemb(repeat('long ', 600 + i), 'q')) FROM generate_series(1, 10) AS i;
SELECT count(*) FROM instemb(array['a', repeat('long ', 600), 'b', repeat('longer ', 600)], 'q');
SELECT e = instemb('a', 'q') AS a, e = instemb('b', 'q') AS b
FROM instemb(array['a', repeat('long ', 600), 'b'], 'q') AS e;
-- what was computed from a cut text is an error again
SET instemb.on_overflow = 'error';
SELECT instemb(repeat('long ', 600), 'q');
SET instemb.on_overflow = 'silently';
-- an instruction is never cut
SET instemb.on_overflow = 'truncate';
SELECT instemb('a', repeat('long ', 600));
RESET instemb.on_overflow;

-- threads up to the limit set by the administrator
CREATE TEMP TABLE one_thread AS SELECT instemb('threads', 'many') AS e;
SET instemb.cache_size = 0;
SET instemb.threads = 64;
SELECT instemb('threads', 'many') = e AS same FROM one_thread;
RESET instemb.cache_size;
SET instemb.threads = 65;
SET instemb.threads = 0;
RESET instemb.threads;

-- the log, where the client may see it: what is quick is not told
SET client_min_messages = log;
SET instemb.log_min_duration = '1h';
SELECT instemb('a', 'b') IS NOT NULL AS quick;
RESET client_min_messages;
RESET instemb.log_min_duration;

-- models opened when the library is loaded: nothing stops a session
\c -
SET instemb.preload = 'tiny';
LOAD 'instemb';
SELECT name, loaded FROM instemb_models() WHERE name = 'tiny';
\c -
SET instemb.preload = 'nonesuch, tiny';
LOAD 'instemb';
SELECT name, loaded FROM instemb_models() WHERE name = 'tiny';
SET instemb.preload = 'a, ../b';
SET instemb.preload = 'a b';
SET instemb.preload = '';
\c -

-- a value set before the library is loaded is checked when it is
SET instemb.threads = 'many';
SET instemb.model = '../x';
SELECT instemb_dims('tiny');
SHOW instemb.threads;
SHOW instemb.model;
\c -
CREATE ROLE regress_instemb_user;
SET ROLE regress_instemb_user;
SET instemb.model_dir = '/etc';
SELECT instemb_dims('tiny');
RESET ROLE;
SELECT current_setting('instemb.model_dir') = '/etc' AS set;
DROP ROLE regress_instemb_user;

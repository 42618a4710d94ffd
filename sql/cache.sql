--
-- The session's cache of embeddings, and its counters
--
\c -
SELECT count(*) FROM instemb_stats();
CREATE FUNCTION counters() RETURNS TABLE (model text, calls bigint, texts bigint, hits bigint,
	tokens boolean, times boolean)
LANGUAGE sql AS
$$ SELECT model, calls, texts, cache_hits, tokens > 0, total_ms >= max_ms AND max_ms > 0
FROM instemb_stats() ORDER BY model $$;

-- the same call for every row is computed once
SELECT count(DISTINCT instemb('a tent', 'q')) FROM generate_series(1, 100);
SELECT * FROM counters();
SELECT tokens AS tokens FROM instemb_stats() \gset
SELECT instemb('a tent', 'q', 'tiny') IS NOT NULL;
SELECT tokens = :tokens AS not_computed, calls FROM instemb_stats();

-- the key is model, instruction and text, not their concatenation
SELECT instemb_stats_reset();
SELECT count(*) FROM counters();
SELECT put_file('other.gguf', get_file('tiny.gguf'));
SELECT instemb('ab', 'c') <> instemb('b', 'ca'), instemb('ab', 'c') = instemb('ab', 'c', 'other');
SELECT * FROM counters();
SELECT shell('rm other.gguf');

-- off
SET instemb.cache_size = 0;
SELECT instemb_stats_reset();
SELECT instemb('x', i::text) = instemb('x', i::text) FROM generate_series(1, 3) AS i;
SELECT * FROM counters();

-- as much as it may hold, the least recently used goes first
SET instemb.cache_size = '4kB';
SELECT instemb_stats_reset();
SELECT count(instemb('row ' || i, 'q')) FROM generate_series(1, 50) AS i;
SELECT count(instemb('row ' || i, 'q')) FROM generate_series(1, 50) AS i;
SELECT * FROM counters();
-- what is used in between stays
SELECT instemb_stats_reset();
SELECT count(instemb(t, 'q')) FROM generate_series(1, 50) AS i,
	LATERAL (VALUES ('keep'), ('once ' || i)) AS v(t);
SELECT * FROM counters();
-- larger than the whole cache
SET instemb.cache_size = '1kB';
SELECT instemb_stats_reset();
SELECT count(instemb(repeat('a ', 400), repeat('b ', 20))) FROM generate_series(1, 3);
SELECT * FROM counters();
RESET instemb.cache_size;

-- a text that was cut is told again, and is an error again where it may not be cut
SET instemb.on_overflow = 'truncate';
SELECT instemb_stats_reset();
SELECT instemb(repeat('a ', 600), 'q') IS NOT NULL;
SELECT instemb(repeat('a ', 600), 'q') IS NOT NULL;
SELECT * FROM counters();
RESET instemb.on_overflow;
SELECT instemb(repeat('a ', 600), 'q') IS NOT NULL;

-- memory stays within its bounds: cache, scratch
SELECT count(instemb('row ' || i, 'q')) FROM generate_series(1, 3000) AS i;
SELECT sum(total_bytes) BETWEEN 1 AND 2 * pg_size_bytes(current_setting('instemb.cache_size'))
	AS bounded
FROM pg_backend_memory_contexts WHERE name = 'instemb embeddings';
SELECT ident, total_bytes < 17 * 1024 * 1024 AS bounded FROM pg_backend_memory_contexts
WHERE name = 'instemb model';

-- a call that fails is not counted
SELECT instemb_stats_reset();
SELECT instemb('', 'q');
SELECT * FROM counters();
DROP FUNCTION counters();

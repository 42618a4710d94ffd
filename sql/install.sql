--
-- instemb_install(name, base, adapter, replace)
--
SELECT instemb_install('merged', 'tiny', 'tiny-adapter') AS sha256 \gset
SELECT :'sha256' = encode(sha256(get_file('merged.gguf')), 'hex') AS hash;
SELECT i ->> 'pooling' AS pooling, i ->> 'lookahead_count' AS lookahead_count,
	   i ->> 'base_sha256' = encode(sha256(get_file('tiny.gguf')), 'hex') AS base,
	   i ->> 'adapter_sha256' = encode(sha256(get_file('tiny-adapter.gguf')), 'hex') AS adapter
FROM instemb_model_info('merged', true) AS i;
SELECT model, d < 0.002 AS near, d > 0.1 AS far
FROM reference
CROSS JOIN LATERAL (SELECT instemb(input, instruction, 'merged') <~=> e AS d) AS distance
WHERE input = 'A tent for two' AND instruction <> '' ORDER BY model;

-- only the server can read and write it, nothing else is left
SELECT (pg_stat_file(current_setting('instemb.data_model_dir') || '/merged.gguf')).size
	= length(get_file('merged.gguf')) AS size;
SELECT shell('test "$(stat -c %a merged.gguf)" = 600');
SELECT shell('test -z "$(ls -A | grep tmp)"');

-- a name that exists is refused, unless it is to be replaced
SELECT instemb_install('merged', 'tiny', 'tiny-adapter');
SELECT instemb_install('tiny', 'tiny', 'tiny-adapter');
SELECT instemb_install('merged', 'tiny', 'tiny-adapter', replace => true) = :'sha256' AS same;

-- a base alone is packed, too; what is packed is copied, and takes no adapter
SELECT instemb_install('merged', 'tiny', replace => true) IS NOT NULL AS installed;
SELECT i ->> 'quantization' AS quantization,
	   i ->> 'base_sha256' = encode(sha256(get_file('tiny.gguf')), 'hex') AS base,
	   i -> 'adapter_sha256' AS adapter
FROM instemb_model_info('merged', true) AS i;
SELECT instemb('A tent', 'q', 'merged') <~=> instemb('A tent', 'q', 'tiny') < 0.002 AS near;
SELECT instemb_tokens('A tent, 2 m', 'merged') = instemb_tokens('A tent, 2 m', 'tiny') AS same;
SELECT instemb_install('kept', 'merged') = encode(sha256(get_file('merged.gguf')), 'hex') AS copy;
SELECT instemb('A tent', 'q', 'merged') = instemb('A tent', 'q', 'kept') AS same;
SELECT outcome($$SELECT instemb_install('new', 'kept', 'tiny-adapter')$$);
SELECT shell('rm kept.gguf');

-- an installation is not part of the transaction
BEGIN;
SELECT instemb_install('kept', 'tiny') IS NOT NULL AS installed;
ROLLBACK;
SELECT instemb_dims('kept');

-- leftovers of a crash are removed by the next one
SELECT shell('touch pgsql_tmp.instemb.1234');
SELECT instemb_install('kept', 'tiny', NULL, true) IS NOT NULL AS installed;
SELECT shell('test ! -e pgsql_tmp.instemb.1234');

-- names, and files that are not there
SELECT instemb_install('default', 'tiny');
SELECT instemb_install('../up', 'tiny');
SELECT instemb_install('new', '../tiny');
SELECT instemb_install('new', 'tiny', 'a/b');
SELECT instemb_install('new', 'nonesuch');
SELECT instemb_install('new', 'tiny', 'nonesuch');
SELECT instemb_install(NULL, 'tiny');
SELECT instemb_install('new', NULL);
SELECT instemb_install('new', 'tiny', NULL, NULL);

-- a damaged body is found before the file gets its name: the checksum of a
-- merged model, and a scale that is no number
SELECT instemb_install('merged', 'tiny', 'tiny-adapter', true) IS NOT NULL AS installed;
SELECT put_file('damaged.gguf',
	set_byte(get_file('merged.gguf'), length(get_file('merged.gguf')) - 100,
	1 + get_byte(get_file('merged.gguf'), length(get_file('merged.gguf')) - 100) % 255));
SELECT instemb_dims('damaged') AS opens;
SELECT regexp_replace(outcome($$SELECT instemb_model_info('damaged', true)$$), '[0-9a-f]{64}',
	'...', 'g');
SELECT regexp_replace(outcome($$SELECT instemb_install('new', 'damaged')$$), '[0-9a-f]{64}', '...',
	'g');

-- the directory is made when it is needed
SELECT set_config('instemb.model_dir', current_setting('instemb.data_model_dir'), false)
	IS NOT NULL;
SELECT set_config('instemb.data_model_dir', current_setting('instemb.data_model_dir') || '/made',
	false) IS NOT NULL;
SELECT count(*) FROM instemb_models() WHERE directory = current_setting('instemb.data_model_dir');
SELECT instemb_install('first', 'tiny') IS NOT NULL AS installed;
SELECT name, error FROM instemb_models()
WHERE directory = current_setting('instemb.data_model_dir');
SELECT shell('test "$(stat -c %a .)" = 700');
-- a name of the other directory exists too
SELECT instemb_install('tiny', 'tiny');
SELECT instemb_install('tiny', 'tiny', 'tiny-adapter', true) IS NOT NULL AS installed;
SELECT name, directory = current_setting('instemb.data_model_dir') AS data, error
FROM instemb_models() WHERE name = 'tiny' ORDER BY data;
SELECT set_config('instemb.data_model_dir', '/proc/nowhere', false) IS NOT NULL;
SELECT outcome($$SELECT instemb_install('new', 'tiny')$$);
RESET instemb.data_model_dir;
RESET instemb.model_dir;
SELECT shell('rm -r made merged.gguf kept.gguf damaged.gguf');

-- nothing was installed that failed
SELECT name FROM instemb_models() WHERE directory = current_setting('instemb.data_model_dir')
ORDER BY name;

-- instemb_define(): other templates and poolings without other weights
SELECT instemb_define('tiny-mean', 'tiny', '{"pooling": "mean"}') IS NOT NULL AS defined;
SELECT instemb_define('tiny-inbedder', 'tiny',
	'{"pooling": "generate", "prefix": "### Input:\n", "prefix_empty": "### Input:\n",
	  "suffix": "\n\n### Instruction:\n{instruction}\n\n### Response:",
	  "suffix_empty": "\n\n### Response:"}') IS NOT NULL AS defined;
SELECT instemb_define('tiny-inbedder-mean', 'tiny',
	'{"pooling": "generate_mean", "prefix": "### Input:\n", "prefix_empty": "### Input:\n",
	  "suffix": "\n\n### Instruction:\n{instruction}\n\n### Response:",
	  "suffix_empty": "\n\n### Response:"}') IS NOT NULL AS defined;
SELECT instemb_define('merged-last', 'tiny', '{"pooling": "last"}', 'tiny-adapter') IS NOT NULL
	AS defined;
SELECT i ->> 'name' AS name, i ->> 'pooling' AS pooling, i ->> 'lookahead_count' AS k,
	   i #>> '{template,prefix}' AS prefix, i #>> '{template,suffix}' AS suffix,
	   i #>> '{template,suffix_empty}' AS suffix_empty
FROM unnest('{tiny-mean,tiny-inbedder,tiny-inbedder-mean,merged-last}'::text[]) AS m
CROSS JOIN LATERAL instemb_model_info(m, true) AS i ORDER BY 1;
-- the same weights as the others'
SELECT instemb_install('packed', 'tiny') IS NOT NULL AS installed;
SELECT instemb_define('packed-last', 'tiny', '{"pooling": "last"}') IS NOT NULL AS defined;
SELECT instemb('A tent', 'q', 'packed-last') = instemb('A tent', 'q', 'packed') AS same,
	   instemb('A tent', 'q', 'tiny-mean') <~=> instemb('A tent', 'q', 'packed') > 0.01 AS other;
-- one text or many, in another order
SELECT array_agg(e) = array[instemb('A tent', 'What?', 'tiny-inbedder'),
	instemb('b', 'What?', 'tiny-inbedder')] AS same
FROM instemb(array['A tent', 'b'], 'What?', 'tiny-inbedder') AS e;
-- what tests/golden/llama.py computes for them in fp32, generating its own tokens
INSERT INTO reference VALUES
('tiny-inbedder', 'A tent for two', 'Is it for outdoor use?',
	'{0.081,-0.050,-0.011,-0.137,0.056,0.053,0.115,-0.044,0.054,-0.324,-0.139,0.142,0.241,0.009,'
	'-0.051,-0.221,0.033,-0.062,-0.172,-0.191,-0.038,0.136,-0.058,0.070,-0.267,-0.157,-0.190,0.119,'
	'0.136,0.125,-0.001,0.171,-0.220,0.009,-0.051,-0.036,-0.038,0.075,0.086,0.013,-0.083,-0.028,'
	'-0.068,0.022,-0.008,0.100,0.193,0.020,0.154,0.112,-0.152,-0.005,-0.002,-0.150,0.020,-0.016,'
	'-0.308,0.169,-0.008,0.012,0.090,0.127,-0.074,-0.151}'),
('tiny-inbedder-mean', 'A tent for two', 'Is it for outdoor use?',
	'{0.045,-0.041,-0.016,-0.101,0.060,-0.097,0.126,0.100,0.026,-0.339,-0.100,-0.039,0.108,-0.051,'
	'-0.108,-0.176,0.130,-0.107,-0.127,-0.074,-0.069,0.092,-0.135,0.170,-0.263,-0.105,-0.241,0.125,'
	'0.103,0.142,-0.022,0.103,-0.104,-0.065,-0.113,-0.022,-0.032,0.014,0.092,0.074,-0.063,0.030,'
	'-0.066,0.067,0.018,0.025,0.185,0.057,0.164,0.115,-0.197,-0.015,0.062,-0.130,-0.295,0.006,'
	'-0.299,0.155,-0.049,0.075,0.148,0.098,-0.014,-0.145}'),
('tiny-inbedder', 'A tent for two', '',
	'{-0.108,-0.012,-0.010,-0.023,0.286,-0.196,0.123,0.014,0.057,-0.295,-0.037,0.099,0.008,0.056,'
	'0.041,-0.148,0.140,-0.119,-0.084,0.012,0.016,0.134,-0.157,0.144,-0.186,0.045,-0.147,0.093,'
	'0.097,0.150,-0.038,0.128,-0.161,-0.031,0.005,-0.086,-0.074,-0.129,-0.162,0.008,0.056,0.012,'
	'-0.061,0.236,0.084,0.069,0.105,0.136,0.246,0.033,-0.162,0.034,-0.067,0.005,-0.312,-0.208,'
	'-0.113,-0.001,0.100,-0.078,0.195,-0.105,0.063,-0.022}'),
('tiny-inbedder-mean', 'A tent for two', '',
	'{-0.140,-0.036,-0.085,-0.079,0.281,-0.168,0.122,-0.008,-0.000,-0.292,-0.046,0.073,0.050,0.053,'
	'-0.016,-0.143,0.170,-0.091,-0.123,-0.009,0.028,0.092,-0.191,0.080,-0.198,-0.002,-0.131,0.148,'
	'0.109,0.127,-0.056,0.098,-0.127,-0.084,-0.009,-0.045,-0.071,-0.082,-0.171,-0.027,0.031,0.056,'
	'-0.052,0.206,0.091,0.053,0.114,0.117,0.275,0.054,-0.202,0.035,-0.107,-0.063,-0.330,-0.168,'
	'-0.115,0.045,0.131,-0.041,0.157,-0.116,0.025,-0.036}'),
('tiny-inbedder', 'naïve café — 東京 🏕️', 'Qu''est-ce?',
	'{-0.056,-0.206,0.019,0.152,0.138,-0.215,0.145,0.127,0.046,-0.161,0.037,0.086,0.062,-0.110,'
	'0.112,-0.047,0.073,0.051,0.006,-0.044,0.147,0.122,-0.086,0.068,-0.119,0.142,0.073,0.019,'
	'-0.145,0.111,0.022,0.238,-0.221,-0.137,0.014,-0.035,0.081,-0.285,0.068,-0.070,-0.018,-0.092,'
	'0.016,0.104,0.112,-0.013,0.273,0.039,0.256,-0.099,-0.044,0.153,-0.028,-0.099,-0.303,-0.006,'
	'-0.189,0.149,-0.110,-0.010,0.009,0.154,0.036,0.005}'),
('tiny-inbedder-mean', 'naïve café — 東京 🏕️', 'Qu''est-ce?',
	'{-0.013,-0.194,-0.089,0.094,0.202,-0.184,0.219,0.105,0.031,-0.217,-0.004,0.014,0.024,-0.073,'
	'-0.032,-0.106,0.153,0.001,-0.090,-0.189,0.099,0.058,-0.127,0.044,-0.118,0.220,0.037,0.085,'
	'-0.089,0.158,-0.017,0.223,-0.219,-0.080,-0.021,-0.063,0.055,-0.268,0.018,-0.081,-0.023,-0.011,'
	'0.010,0.078,0.080,0.049,0.272,0.100,0.255,-0.112,-0.061,0.132,-0.082,-0.152,-0.227,-0.006,'
	'-0.180,0.163,-0.003,0.007,0.093,0.045,0.015,0.058}');
SELECT model, max(instemb(input, instruction, model) <~=> e) < 0.002 AS near, count(*)
FROM reference WHERE model LIKE 'tiny-inbedder%' GROUP BY 1 ORDER BY 1;
SELECT instemb('A tent', 'What?', 'tiny-inbedder')
	<~=> instemb('A tent', 'What?', 'tiny-inbedder-mean') > 0.001 AS other;

SELECT outcome($$SELECT instemb_define('tiny-mean', 'tiny', '{"pooling": "mean"}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '{"pooling": "cls"}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '{"pooling": "daap"}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '{"pool": "mean"}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '{"pooling": 1}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '{"generate_count": "3"}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '{"generate_count": -1}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '{"prefix": "{instruction}"}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny',
	'{"suffix": "", "prefix": "", "prefix_empty": ""}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '[]')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', '{}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny-mean', '{"pooling": "last"}')$$);
SELECT outcome($$SELECT instemb_define('new', 'tiny', NULL)$$);
SELECT outcome($$SELECT instemb_define('default', 'tiny', '{"pooling": "last"}')$$);
SELECT shell('rm tiny-*mean.gguf tiny-inbedder.gguf merged-last.gguf packed*.gguf');
SELECT name FROM instemb_models() WHERE directory = current_setting('instemb.data_model_dir')
ORDER BY name;

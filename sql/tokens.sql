--
-- Tokens, dimensions
--
SELECT instemb_tokens('hello world', 'tiny'), instemb_token_count('hello world', 'tiny');
SELECT instemb_tokens('hello world') = instemb_tokens('hello world', 'tiny') AS same,
	   instemb_token_count('hello world'), instemb_dims(), instemb_dims('tiny');

-- a text without tokens has an empty array
SELECT instemb_tokens(''), instemb_token_count('');
SELECT instemb_tokens(NULL) IS NULL AND instemb_tokens('a', NULL) IS NULL AND
	   instemb_token_count(NULL) IS NULL AND instemb_dims(NULL) IS NULL AS strict;

-- counts agree with arrays
SELECT bool_and(cardinality(instemb_tokens(t)) = instemb_token_count(t)) AS agree
FROM (VALUES ('a'), ('The quick brown fox 1234567890'), (E'tabs\tand\n\n\nlines'), ('日本語'),
	('🏳️‍🌈'),
			 (repeat('x', 100000)), (repeat(' ', 1000)), (E'\u00ad\u200b')) AS v(t);

-- digits are tokens of their own in this tokenizer
SELECT instemb_token_count('1234567890');

-- control tokens spelled out are plain characters
SELECT instemb_tokens('<|im_start|>') = instemb_tokens('<|') || instemb_tokens('im') ||
	   instemb_tokens('_start') || instemb_tokens('|>') AS plain;

-- a text over the model's context still has a number of tokens
SELECT instemb_token_count(repeat('word ', 20000)) > 512 AS counted;

-- the immutable forms want a fixed model, and all want a model
SELECT instemb_tokens('a', 'default');
SELECT instemb_token_count('a', 'default');
SELECT instemb_dims('default');
SELECT instemb_tokens('a', 'nonesuch');

-- Three searches, each under two instructions: the same words ask for different
-- things.  The query is embedded once, in a sub-select; the products are already.

PREPARE by_kind(text) AS
SELECT left(name, 70) AS product,
	kind <~=> (SELECT instemb($1, 'What product is the customer looking for?')) AS distance
FROM product
ORDER BY distance
LIMIT 5;

PREPARE by_maker(text) AS
SELECT left(name, 70) AS product,
	maker <~=> (SELECT instemb($1, 'Which company makes this product?')) AS distance
FROM product
ORDER BY distance
LIMIT 5;

SET extra_float_digits = -11;
\pset footer off
\timing on
\echo
\echo 'Search "wireless headphones": what is it?'
EXECUTE by_kind('wireless headphones');
\echo
\echo 'Search "wireless headphones": who makes it?'
EXECUTE by_maker('wireless headphones');
\echo
\echo 'Search "Philips monitor": what is it?'
EXECUTE by_kind('Philips monitor');
\echo
\echo 'Search "Philips monitor": who makes it?'
EXECUTE by_maker('Philips monitor');
\echo
\echo 'Search "a mouse for playing games": what is it?'
EXECUTE by_kind('a mouse for playing games');
\echo
\echo 'Search "a mouse for playing games": who makes it?'
EXECUTE by_maker('a mouse for playing games');

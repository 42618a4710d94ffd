-- Inserts the products that are not there yet, in committed batches: a load that
-- was interrupted goes on where it stopped.  The triggers compute the embeddings.

-- embeddings of an earlier run are of no use if the model is another one now
SELECT count(*) > 0 AS outdated FROM (SELECT * FROM product ORDER BY id LIMIT 1) p
WHERE kind <> instemb(concat_ws(E'\n', name, description), 'What kind of product is this?') \gset
\if :outdated
	\echo '   The model has changed: computing all embeddings again.'
	TRUNCATE product, query, rating, icecat;
\endif

SELECT count(*) = 0 AS icecat_is_empty FROM icecat \gset
\if :icecat_is_empty
	\copy icecat FROM 'data/products.tsv'
	\copy query (id, text) FROM 'data/queries.tsv'
\endif

DO $$
DECLARE
	batch	constant int := 27;
	total	int := (SELECT count(*) FROM icecat);
	before	int := (SELECT count(*) FROM product);
	present	int := before;
	added	int;
	began	timestamptz := clock_timestamp();
	rate	float8;
BEGIN
	LOOP
		INSERT INTO product (id, name, description)
		SELECT id, name, description FROM icecat i
		WHERE NOT EXISTS (SELECT FROM product p WHERE p.id = i.id)
		ORDER BY id LIMIT batch;
		GET DIAGNOSTICS added = ROW_COUNT;
		COMMIT;
		present := present + added;
		EXIT WHEN added = 0;
		rate := (present - before) / extract(epoch FROM clock_timestamp() - began);
		RAISE NOTICE '%', format('%4s / %s rows, %s rows/s, %4s s left', present, total,
			to_char(rate, 'FM990.0'), ceil((total - present) / rate));
	END LOOP;
	RAISE NOTICE '% rows with 2 embeddings each, % of them computed now in % s',
		present, present - before,
		to_char(extract(epoch FROM clock_timestamp() - began), 'FM9990.0');
END
$$;

SELECT count(*) = 0 AS rating_is_empty FROM rating \gset
\if :rating_is_empty
	\copy rating FROM 'data/ratings.tsv'
\endif
ANALYZE product;

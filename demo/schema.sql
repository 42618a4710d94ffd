-- Products with two embeddings each, kept in step by triggers.  Run again and
-- again: what exists stays.

CREATE TABLE IF NOT EXISTS product (
	id			bigint PRIMARY KEY,
	name		text NOT NULL,
	description	text,
	kind		real[],			-- what kind of product this is
	maker		real[]			-- who makes it
);

CREATE OR REPLACE TRIGGER product_kind BEFORE INSERT OR UPDATE ON product FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger(
		'kind', 'What kind of product is this?', '', 'name', 'description');

CREATE OR REPLACE TRIGGER product_maker BEFORE INSERT OR UPDATE ON product FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger(
		'maker', 'Which company makes this product?', '', 'name', 'description');

-- What people searched for; the embedding answers what they wanted.
CREATE TABLE IF NOT EXISTS query (
	id			int PRIMARY KEY,
	text		text NOT NULL,
	wanted		real[]
);

CREATE OR REPLACE TRIGGER query_wanted BEFORE INSERT OR UPDATE ON query FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger(
		'wanted', 'What product is the customer looking for?', '', 'text');

-- Human judgements of a product for a query: 0 irrelevant ... 3 right.
CREATE TABLE IF NOT EXISTS rating (
	query		int REFERENCES query,
	product		bigint REFERENCES product,
	grade		int NOT NULL,
	PRIMARY KEY (query, product)
);

-- The rows as they come out of the files; the load copies them into the tables above.
CREATE TABLE IF NOT EXISTS icecat (id bigint PRIMARY KEY, name text, description text);

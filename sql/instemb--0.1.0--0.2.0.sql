/* instemb--0.1.0--0.2.0.sql */

\echo Use "ALTER EXTENSION instemb UPDATE TO '0.2.0'" to load this file. \quit

CREATE FUNCTION instemb_define(
	name text,
	base text,
	definition jsonb,
	adapter text DEFAULT NULL,
	replace boolean DEFAULT false
) RETURNS text
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;

COMMENT ON FUNCTION instemb_define(text, text, jsonb, text, boolean) IS
	'make a model of a base and an adapter with another template or pooling, and give its hash';

REVOKE ALL ON FUNCTION instemb_define(text, text, jsonb, text, boolean) FROM PUBLIC;

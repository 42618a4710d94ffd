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

-- ----------------------------------------------------------------- training

CREATE FUNCTION instemb_train(
	name text,
	base text,
	query text,
	steps integer DEFAULT NULL,
	batch integer DEFAULT NULL,
	rank integer DEFAULT NULL,
	lookahead integer DEFAULT NULL,
	learning_rate double precision DEFAULT NULL,
	losses jsonb DEFAULT NULL,
	seed bigint DEFAULT NULL,
	memory text DEFAULT NULL,
	threads integer DEFAULT NULL,
	resume boolean DEFAULT false,
	replace boolean DEFAULT false,
	options jsonb DEFAULT NULL
) RETURNS text
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;

COMMENT ON FUNCTION instemb_train(text, text, text, integer, integer, integer, integer,
	double precision, jsonb, bigint, text, integer, boolean, boolean, jsonb) IS
	'train an adapter of a base model on rows, install both as a model, and give its hash';

CREATE FUNCTION instemb_train_start(
	name text,
	base text,
	query text,
	steps integer DEFAULT NULL,
	batch integer DEFAULT NULL,
	rank integer DEFAULT NULL,
	lookahead integer DEFAULT NULL,
	learning_rate double precision DEFAULT NULL,
	losses jsonb DEFAULT NULL,
	seed bigint DEFAULT NULL,
	memory text DEFAULT NULL,
	threads integer DEFAULT NULL,
	resume boolean DEFAULT false,
	replace boolean DEFAULT false,
	options jsonb DEFAULT NULL
) RETURNS integer
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;

COMMENT ON FUNCTION instemb_train_start(text, text, text, integer, integer, integer, integer,
	double precision, jsonb, bigint, text, integer, boolean, boolean, jsonb) IS
	'instemb_train() in a background worker, whose process ID it gives';

REVOKE ALL ON FUNCTION instemb_train(text, text, text, integer, integer, integer, integer,
	double precision, jsonb, bigint, text, integer, boolean, boolean, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION instemb_train_start(text, text, text, integer, integer, integer, integer,
	double precision, jsonb, bigint, text, integer, boolean, boolean, jsonb) FROM PUBLIC;

CREATE FUNCTION instemb_train_status(
	OUT model text,
	OUT pid integer,
	OUT role regrole,
	OUT state text,
	OUT step integer,
	OUT steps integer,
	OUT rows bigint,
	OUT loss double precision,
	OUT losses jsonb,
	OUT accuracy double precision,
	OUT rows_per_second double precision,
	OUT tokens_per_second double precision,
	OUT remaining interval,
	OUT started timestamptz,
	OUT updated timestamptz,
	OUT message text
) RETURNS SETOF record
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 4;

COMMENT ON FUNCTION instemb_train_status() IS
	'implementation of view instemb_train_progress';

CREATE VIEW instemb_train_progress AS
	SELECT * FROM @extschema@.instemb_train_status();

COMMENT ON VIEW instemb_train_progress IS
	'trainings of roles that the current one is a member of: state, losses, speed, time left';

GRANT SELECT ON instemb_train_progress TO PUBLIC;

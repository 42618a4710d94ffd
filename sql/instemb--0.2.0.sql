-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION instemb" to load this file. \quit

-- ---------------------------------------------------------------- embedding
-- COST is the price of a text of some 80 tokens; the support function scales
-- it by the length of the text.

CREATE FUNCTION instemb_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION instemb_support(internal) IS
	'planner support: cost and rows of instemb()';

CREATE FUNCTION instemb(input text, instruction text) RETURNS real[]
	AS 'MODULE_PATHNAME', 'instemb_embed'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100000
	SUPPORT instemb_support;

COMMENT ON FUNCTION instemb(text, text) IS
	'embedding of a text under an instruction, by the model of instemb.model';

CREATE FUNCTION instemb(input text, instruction text, model text) RETURNS real[]
	AS 'MODULE_PATHNAME', 'instemb_embed'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100000
	SUPPORT instemb_support;

COMMENT ON FUNCTION instemb(text, text, text) IS
	'embedding of a text under an instruction, by the model named';

CREATE FUNCTION instemb(inputs text[], instruction text) RETURNS SETOF real[]
	AS 'MODULE_PATHNAME', 'instemb_embed_array'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100000 ROWS 32
	SUPPORT instemb_support;

COMMENT ON FUNCTION instemb(text[], text) IS
	'embeddings of texts under an instruction, in their order, by the model of instemb.model';

CREATE FUNCTION instemb(inputs text[], instruction text, model text) RETURNS SETOF real[]
	AS 'MODULE_PATHNAME', 'instemb_embed_array'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100000 ROWS 32
	SUPPORT instemb_support;

COMMENT ON FUNCTION instemb(text[], text, text) IS
	'embeddings of texts under an instruction, in their order, by the model named';

-- ----------------------------------------------------------------- distance

CREATE FUNCTION instemb_distance(real[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;

COMMENT ON FUNCTION instemb_distance(real[], real[]) IS
	'implementation of <~=> operator: cosine distance, 0 to 2, NaN for a zero vector';

CREATE FUNCTION instemb_similarity(real[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;

COMMENT ON FUNCTION instemb_similarity(real[], real[]) IS
	'cosine similarity, -1 to 1, NaN for a zero vector';

CREATE FUNCTION instemb_inner_product(real[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 5;

COMMENT ON FUNCTION instemb_inner_product(real[], real[]) IS
	'inner product of two vectors';

CREATE FUNCTION instemb_similar_op(real[], real[]) RETURNS boolean
	AS 'MODULE_PATHNAME'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 5;

COMMENT ON FUNCTION instemb_similar_op(real[], real[]) IS
	'implementation of =~= operator';

CREATE OPERATOR <~=> (
	LEFTARG = real[], RIGHTARG = real[], FUNCTION = instemb_distance,
	COMMUTATOR = <~=>
);

COMMENT ON OPERATOR <~=> (real[], real[]) IS
	'cosine distance';

-- contsel, not matchingsel: that one would evaluate instemb() while planning
CREATE OPERATOR =~= (
	LEFTARG = real[], RIGHTARG = real[], FUNCTION = instemb_similar_op,
	COMMUTATOR = =~=,
	RESTRICT = contsel, JOIN = contjoinsel
);

COMMENT ON OPERATOR =~= (real[], real[]) IS
	'cosine similarity is at least instemb.similarity_threshold';

-- ------------------------------------------------------------------ helpers

CREATE FUNCTION instemb_tokens(input text) RETURNS integer[]
	AS 'MODULE_PATHNAME'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;

COMMENT ON FUNCTION instemb_tokens(text) IS
	'tokens of a text, by the model of instemb.model';

CREATE FUNCTION instemb_tokens(input text, model text) RETURNS integer[]
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;

COMMENT ON FUNCTION instemb_tokens(text, text) IS
	'tokens of a text, by the model named';

CREATE FUNCTION instemb_token_count(input text) RETURNS integer
	AS 'MODULE_PATHNAME'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;

COMMENT ON FUNCTION instemb_token_count(text) IS
	'number of tokens of a text, by the model of instemb.model';

CREATE FUNCTION instemb_token_count(input text, model text) RETURNS integer
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;

COMMENT ON FUNCTION instemb_token_count(text, text) IS
	'number of tokens of a text, by the model named';

CREATE FUNCTION instemb_dims() RETURNS integer
	AS 'MODULE_PATHNAME'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;

COMMENT ON FUNCTION instemb_dims() IS
	'dimensions of an embedding by the model of instemb.model';

CREATE FUNCTION instemb_dims(model text) RETURNS integer
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;

COMMENT ON FUNCTION instemb_dims(text) IS
	'dimensions of an embedding by the model named';

CREATE FUNCTION instemb_truncate(embedding real[], dims integer) RETURNS real[]
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION instemb_truncate(real[], integer) IS
	'first dimensions of an embedding, scaled to unit length again';

-- ------------------------------------------------------------------- models

CREATE FUNCTION instemb_models(
	OUT name text,
	OUT directory text,
	OUT architecture text,
	OUT quantization text,
	OUT pooling text,
	OUT dims integer,
	OUT n_layer integer,
	OUT n_ctx integer,
	OUT file_bytes bigint,
	OUT is_default boolean,
	OUT loaded boolean,
	OUT private_bytes bigint,
	OUT error text
) RETURNS SETOF record
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100000 ROWS 10;

COMMENT ON FUNCTION instemb_models() IS
	'model files of both directories, with what is wrong with those that cannot be used';

REVOKE ALL ON FUNCTION instemb_models() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION instemb_models() TO pg_monitor;

CREATE FUNCTION instemb_model_info(model text, verify boolean DEFAULT false) RETURNS jsonb
	AS 'MODULE_PATHNAME'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION instemb_model_info(text, boolean) IS
	'what a model is; verify: read and check the whole file, and give its hash';

CREATE FUNCTION instemb_load(model text) RETURNS bigint
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1000;

COMMENT ON FUNCTION instemb_load(text) IS
	'open a model in this session, and give the bytes mapped';

CREATE FUNCTION instemb_unload(model text) RETURNS boolean
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

COMMENT ON FUNCTION instemb_unload(text) IS
	'close a model in this session; false if it was not open';

CREATE FUNCTION instemb_install(
	name text,
	base text,
	adapter text DEFAULT NULL,
	replace boolean DEFAULT false
) RETURNS text
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;

COMMENT ON FUNCTION instemb_install(text, text, text, boolean) IS
	'make a model of a base and an adapter in instemb.data_model_dir, and give its hash';

REVOKE ALL ON FUNCTION instemb_install(text, text, text, boolean) FROM PUBLIC;

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

-- --------------------------------------------------------------- statistics

CREATE FUNCTION instemb_stats(
	OUT model text,
	OUT calls bigint,
	OUT texts bigint,
	OUT tokens bigint,
	OUT cache_hits bigint,
	OUT total_ms double precision,
	OUT max_ms double precision
) RETURNS SETOF record
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 4;

COMMENT ON FUNCTION instemb_stats() IS
	'embeddings computed by this session, by model';

CREATE FUNCTION instemb_stats_reset() RETURNS void
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

COMMENT ON FUNCTION instemb_stats_reset() IS
	'set the counters of instemb_stats() to zero';

CREATE FUNCTION instemb_version() RETURNS text
	AS 'MODULE_PATHNAME'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION instemb_version() IS
	'version of the library, and the kernels that this machine uses';

-- ------------------------------------------------------------------ trigger

CREATE FUNCTION instemb_update_trigger() RETURNS trigger
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE PARALLEL SAFE COST 100000;

COMMENT ON FUNCTION instemb_update_trigger() IS
	'trigger: keep an embedding in step with its row (target, instruction, model, source, ...)';

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

-- ------------------------------------------------- keeping tables in step
-- A column is registered by the arguments of its triggers and nothing else: they
-- obey PostgreSQL's rules about who may make them, go with their table, and lie
-- in every dump.

CREATE FUNCTION instemb_source(VARIADIC columns text[]) RETURNS text
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION instemb_source(text[]) IS
	'text that a row''s embedding is computed from: columns neither NULL nor blank, by lines';

CREATE FUNCTION instemb_provenance(instruction text, model text DEFAULT '') RETURNS jsonb
	AS 'MODULE_PATHNAME'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION instemb_provenance(text, text) IS
	'model, hash of its file, hash of the instruction and time, of embeddings made now';

CREATE FUNCTION instemb_statement_trigger() RETURNS trigger
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE PARALLEL SAFE COST 100000;

COMMENT ON FUNCTION instemb_statement_trigger() IS
	'trigger: embed the rows of a statement in batches; made by instemb_enable()';

CREATE FUNCTION instemb_trigger_arguments(tgargs bytea) RETURNS text[]
	AS 'MODULE_PATHNAME'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION instemb_trigger_arguments(bytea) IS
	'arguments of a trigger, of pg_trigger.tgargs';

CREATE FUNCTION instemb_check_trigger(
	relation regclass, arguments text[], generated_ok boolean, need_key boolean
) RETURNS void
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION instemb_check_trigger(regclass, text[], boolean, boolean) IS
	'error unless a trigger with these arguments can work for a table';

CREATE VIEW instemb_registration AS
SELECT DISTINCT
	t.tgrelid::pg_catalog.regclass AS relation,
	a.args[1]::pg_catalog.name AS target,
	CASE p.proname
		WHEN 'instemb_update_trigger' THEN 'row'
		WHEN 'instemb_statement_trigger' THEN 'statement'
	END AS mode,
	ARRAY(SELECT s::pg_catalog.name FROM pg_catalog.unnest(a.args[4:]) WITH ORDINALITY AS u(s, i)
		  WHERE s !~ '^(provenance|sha256)=' ORDER BY i) AS sources,
	a.args[2] AS instruction,
	a.args[3] AS model,
	(SELECT pg_catalog.substr(s, 12)::pg_catalog.name FROM pg_catalog.unnest(a.args[4:]) AS s
	 WHERE s ~ '^provenance=') AS provenance,
	(SELECT pg_catalog.substr(s, 8) FROM pg_catalog.unnest(a.args[4:]) AS s
	 WHERE s ~ '^sha256=') AS sha256
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
CROSS JOIN LATERAL (SELECT @extschema@.instemb_trigger_arguments(t.tgargs) AS args) AS a
WHERE t.tgfoid IN ('@extschema@.instemb_update_trigger()'::pg_catalog.regprocedure,
				   '@extschema@.instemb_statement_trigger()'::pg_catalog.regprocedure)
	AND pg_catalog.cardinality(a.args) > 3;

COMMENT ON VIEW instemb_registration IS
	'embedding columns that triggers keep in step with their rows';

GRANT SELECT ON instemb_registration TO PUBLIC;

CREATE FUNCTION instemb_disable(relation regclass, target name) RETURNS boolean
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	found_one boolean := false;
	r record;
BEGIN
	FOR r IN
		SELECT t.tgrelid::regclass AS rel, t.tgname
		FROM pg_trigger AS t
		JOIN pg_proc AS p ON p.oid = t.tgfoid
		WHERE t.tgparentid = 0
			AND p.oid IN ('@extschema@.instemb_update_trigger()'::regprocedure,
						  '@extschema@.instemb_statement_trigger()'::regprocedure)
			AND (@extschema@.instemb_trigger_arguments(t.tgargs))[1] = instemb_disable.target
			AND (t.tgrelid = instemb_disable.relation
				 OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(instemb_disable.relation)))
		ORDER BY t.tgname
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', r.tgname, r.rel);
		found_one := true;
	END LOOP;
	RETURN found_one;
END
$$;

COMMENT ON FUNCTION instemb_disable(regclass, name) IS
	'drop the triggers that keep a column in step; the embeddings stay';

CREATE FUNCTION instemb_enable(
	relation regclass,
	target name,
	sources name[],
	instruction text,
	model text DEFAULT '',
	mode text DEFAULT 'statement',
	provenance name DEFAULT NULL,
	mix_models boolean DEFAULT false
) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	arguments text[] := array[target::text, instruction, model];
	list text;
	name_start text;
	part regclass;
BEGIN
	IF relation IS NULL OR target IS NULL OR sources IS NULL OR instruction IS NULL
			OR model IS NULL OR mode IS NULL OR mix_models IS NULL
			OR array_position(sources, NULL) IS NOT NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'only "provenance" may be null';
	END IF;
	IF mode NOT IN ('row', 'statement') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('unknown mode "%s"', mode),
			HINT = 'Modes are "row" and "statement".';
	END IF;
	IF provenance IS NOT NULL THEN
		arguments := arguments || ('provenance=' || provenance);
		IF NOT mix_models THEN
			arguments := arguments || ('sha256=' ||
				(@extschema@.instemb_provenance(instruction, model) ->> 'sha256'));
		END IF;
	END IF;
	arguments := arguments || sources::text[];
	PERFORM @extschema@.instemb_check_trigger(relation, arguments, mode = 'statement',
											  mode <> 'row');
	PERFORM @extschema@.instemb_disable(relation, target);
	list := (SELECT string_agg(quote_literal(a), ', ' ORDER BY i)
			 FROM unnest(arguments) WITH ORDINALITY AS u(a, i));
	-- BEFORE triggers fire by name: after those that may change a source column
	name_start := 'zz_instemb_' ||
		(SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = target);
	IF mode = 'row' THEN
		EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE ON %s FOR EACH ROW '
					   'EXECUTE FUNCTION @extschema@.instemb_update_trigger(%s)',
					   name_start, relation, list);
		RETURN;
	END IF;
	-- a statement that names a partition fires the triggers of that partition alone
	FOR part IN
		SELECT relid FROM pg_partition_tree(relation) UNION SELECT relation
	LOOP
		EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %s '
					   'REFERENCING NEW TABLE AS instemb_new FOR EACH STATEMENT '
					   'EXECUTE FUNCTION @extschema@.instemb_statement_trigger(%s)',
					   name_start || '_insert', part, list);
		EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON %s '
					   'REFERENCING OLD TABLE AS instemb_old NEW TABLE AS instemb_new '
					   'FOR EACH STATEMENT '
					   'EXECUTE FUNCTION @extschema@.instemb_statement_trigger(%s)',
					   name_start || '_update', part, list);
	END LOOP;
END
$$;

COMMENT ON FUNCTION instemb_enable(regclass, name, name[], text, text, text, name, boolean) IS
	'make the triggers that keep an embedding column in step with its rows';

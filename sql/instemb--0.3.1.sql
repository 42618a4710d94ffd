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

CREATE FUNCTION instemb_queue_trigger() RETURNS trigger
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE PARALLEL SAFE;

COMMENT ON FUNCTION instemb_queue_trigger() IS
	'trigger: put rows into the queue for the worker; made by instemb_enable()';

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
		WHEN 'instemb_queue_trigger' THEN 'queue'
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
				   '@extschema@.instemb_statement_trigger()'::pg_catalog.regprocedure,
				   '@extschema@.instemb_queue_trigger()'::pg_catalog.regprocedure)
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
	-- before the table is locked: the worker has rows of the queue locked when it wants the table
	DELETE FROM @extschema@.instemb_queue AS q
	USING pg_attribute AS a
	WHERE a.attrelid = q.relation AND a.attnum = q.target AND a.attname = instemb_disable.target
		AND (q.relation = instemb_disable.relation
			 OR q.relation IN (SELECT relid FROM pg_partition_tree(instemb_disable.relation)));
	FOR r IN
		SELECT t.tgrelid::regclass AS rel, t.tgname
		FROM pg_trigger AS t
		WHERE t.tgparentid = 0
			AND t.tgfoid IN ('@extschema@.instemb_update_trigger()'::regprocedure,
							 '@extschema@.instemb_statement_trigger()'::regprocedure,
							 '@extschema@.instemb_queue_trigger()'::regprocedure)
			AND (@extschema@.instemb_trigger_arguments(t.tgargs))[1] = instemb_disable.target
			AND (t.tgrelid = instemb_disable.relation
				 OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(instemb_disable.relation)))
		ORDER BY t.tgname
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', r.tgname, r.rel);
		found_one := true;
	END LOOP;
	IF NOT found_one AND EXISTS (
			SELECT FROM @extschema@.instemb_registration AS s
			WHERE s.relation = instemb_disable.relation AND s.target = instemb_disable.target) THEN
		RAISE wrong_object_type USING
			MESSAGE = format('triggers of partition "%s" are those of its partitioned table',
							 relation),
			HINT = 'Call instemb_disable() for that table.';
	END IF;
	RETURN found_one;
END
$$;

COMMENT ON FUNCTION instemb_disable(regclass, name) IS
	'drop the triggers that keep a column in step; the embeddings stay';

CREATE FUNCTION instemb_create_triggers(
	relation regclass, mode text, name_start text, arguments text[]
) RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	list text := (SELECT string_agg(quote_literal(a), ', ' ORDER BY i)
				  FROM unnest(arguments) WITH ORDINALITY AS u(a, i));
	partitioned boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = relation);
	part regclass;
BEGIN
	IF mode = 'row' THEN
		EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE ON %s FOR EACH ROW '
					   'EXECUTE FUNCTION @extschema@.instemb_update_trigger(%s)',
					   name_start, relation, list);
	ELSIF mode = 'queue' THEN
		EXECUTE format('CREATE TRIGGER %I BEFORE %s ON %s FOR EACH ROW '
					   'EXECUTE FUNCTION @extschema@.instemb_queue_trigger(%s)',
					   name_start || '_update',
					   CASE WHEN partitioned THEN 'INSERT OR UPDATE' ELSE 'UPDATE' END,
					   relation, list);
		IF NOT partitioned THEN
			EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %s '
						   'REFERENCING NEW TABLE AS instemb_new FOR EACH STATEMENT '
						   'EXECUTE FUNCTION @extschema@.instemb_queue_trigger(%s)',
						   name_start || '_insert', relation, list);
		END IF;
	ELSE
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
	END IF;
END
$$;

COMMENT ON FUNCTION instemb_create_triggers(regclass, text, text, text[]) IS
	'part of instemb_enable(): the triggers of a mode';

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
	old @extschema@.instemb_registration;
BEGIN
	IF relation IS NULL OR target IS NULL OR sources IS NULL OR instruction IS NULL
			OR model IS NULL OR mode IS NULL OR mix_models IS NULL
			OR array_position(sources, NULL) IS NOT NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'only "provenance" may be null';
	END IF;
	IF mode NOT IN ('row', 'statement', 'queue') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('unknown mode "%s"', mode),
			HINT = 'Modes are "row", "statement" and "queue".';
	ELSIF cardinality(sources) = 0 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = '"sources" must name at least one column';
	ELSIF mode = 'queue' AND (SELECT relpersistence = 't' FROM pg_class WHERE oid = relation) THEN
		RAISE wrong_object_type USING
			MESSAGE = format('table "%s" is temporary, the worker cannot see it', relation),
			HINT = 'Use mode "statement" or "row".';
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
	SELECT r.* INTO old FROM @extschema@.instemb_registration AS r
	WHERE r.relation = instemb_enable.relation AND r.target = instemb_enable.target;
	PERFORM @extschema@.instemb_disable(relation, target);
	-- BEFORE triggers fire by name: after those that may change a source column
	PERFORM @extschema@.instemb_create_triggers(
		relation, mode,
		'zz_instemb_' ||
			(SELECT attnum FROM pg_attribute WHERE attrelid = relation AND attname = target),
		arguments);
	IF mode = 'queue' THEN
		PERFORM @extschema@.instemb_enqueue(relation, target, CASE
			WHEN provenance IS NOT NULL THEN 'stale'
			WHEN (old.sources, old.instruction, old.model) <> (sources, instruction, model)
				THEN 'all'
			ELSE 'missing' END);
	END IF;
END
$$;

COMMENT ON FUNCTION instemb_enable(regclass, name, name[], text, text, text, name, boolean) IS
	'make the triggers that keep an embedding column in step with its rows';

-- ------------------------------------------------------------------ writing
-- What backfill and worker share.  Rows are found by their primary key, whose
-- values are kept as text.  Statements on the user's table run under the caller's
-- search_path, since they fire the user's triggers, and name everything by schema.

CREATE TYPE instemb_row AS (key text[], source text, embedding real[], error text);

COMMENT ON TYPE instemb_row IS
	'a row on its way to its embedding';

CREATE FUNCTION instemb_embed_each(
	inputs text[], instruction text, model text,
	OUT embedding real[], OUT error text
) RETURNS SETOF record
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 100000 ROWS 64;

COMMENT ON FUNCTION instemb_embed_each(text[], text, text) IS
	'embeddings of texts, in their order; a text that cannot be embedded has an error instead';

CREATE FUNCTION instemb_key(
	relation regclass,
	OUT columns text,
	OUT key text,
	OUT matches text,
	OUT follows text
)
	LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
	SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY k.i),
		   format('ARRAY[%s]', string_agg(format('t.%I::pg_catalog.text', a.attname), ', '
										  ORDER BY k.i)),
		   string_agg(format('t.%I OPERATOR(%I.=) (%s)', a.attname, n.nspname,
							 format('r.key[%s]::%s', k.i, format_type(a.atttypid, a.atttypmod))),
					  ' AND ' ORDER BY k.i),
		   format('ROW(%s) OPERATOR(%I.>) ROW(%s)',
				  string_agg(format('t.%I', a.attname), ', ' ORDER BY k.i),
				  min(n.nspname),
				  string_agg(format('($1)[%s]::%s', k.i, format_type(a.atttypid, a.atttypmod)),
							 ', ' ORDER BY k.i))
	INTO columns, key, matches, follows
	FROM pg_index AS x
	CROSS JOIN LATERAL unnest(x.indkey, x.indclass) WITH ORDINALITY AS k(attnum, opclass, i)
	JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
	JOIN pg_opclass AS c ON c.oid = k.opclass
	JOIN pg_amop AS o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype
		AND o.amoprighttype = c.opcintype AND o.amopstrategy = 3
	JOIN pg_operator AS p ON p.oid = o.amopopr
	JOIN pg_namespace AS n ON n.oid = p.oprnamespace
	WHERE x.indrelid = relation AND x.indisprimary;
	IF columns IS NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('table "%s" has no primary key', relation);
	END IF;
END
$$;

COMMENT ON FUNCTION instemb_key(regclass) IS
	'parts of statements that find rows of a table by its primary key';

CREATE FUNCTION instemb_source_expression(sources name[]) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp AS
$$
	SELECT format('@extschema@.instemb_source(%s)',
				  string_agg(format('t.%I::pg_catalog.text', s), ', ' ORDER BY i))
	FROM unnest(sources) WITH ORDINALITY AS u(s, i)
$$;

COMMENT ON FUNCTION instemb_source_expression(name[]) IS
	'the source text of row t, as an expression';

CREATE FUNCTION instemb_write(
	spec instemb_registration,
	keys text[],
	sources text[],
	path text,
	OUT done text[],
	OUT failed instemb_row[]
)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	own_path constant text := 'pg_catalog, pg_temp';
	relation regclass := spec.relation;
	matches text := (@extschema@.instemb_key(spec.relation)).matches;
	provenance jsonb;
	rows @extschema@.instemb_row[];
	locking text;
	writing text;
	one @extschema@.instemb_row;
BEGIN
	IF spec.provenance IS NOT NULL THEN
		provenance := @extschema@.instemb_provenance(spec.instruction, spec.model);
		IF provenance ->> 'sha256' <> spec.sha256 THEN
			RAISE object_not_in_prerequisite_state USING
				MESSAGE = format('model "%s" is not the one that this column is made by',
								 provenance ->> 'model'),
				HINT = 'Call instemb_enable() again to change the column''s model.';
		END IF;
	END IF;
	rows := ARRAY(
		SELECT ROW(k::text[], s, e.embedding, e.error)::@extschema@.instemb_row
		FROM ROWS FROM (unnest(keys), unnest(sources),
						@extschema@.instemb_embed_each(sources, spec.instruction, spec.model))
			AS e(k, s, embedding, error));
	failed := ARRAY(SELECT r FROM unnest(rows) AS r WHERE r.error IS NOT NULL);

	-- rows that nobody else has locked, and whose text is still the same
	locking := format(
		'SELECT pg_catalog.array_agg(l.key::pg_catalog.text) FROM '
		'(SELECT r.key FROM pg_catalog.unnest($1) AS r JOIN %s AS t ON %s '
		'WHERE r.error IS NULL AND '
		'coalesce(%s, '''') OPERATOR(pg_catalog.=) coalesce(r.source, '''') '
		'FOR NO KEY UPDATE OF t SKIP LOCKED) AS l',
		relation, matches, @extschema@.instemb_source_expression(spec.sources));
	writing := format(
		'UPDATE %s AS t SET %I = r.embedding%s FROM pg_catalog.unnest($1) AS r WHERE %s',
		relation, spec.target,
		CASE WHEN spec.provenance IS NOT NULL THEN
			format(', %I = CASE WHEN r.embedding IS NOT NULL THEN $2 END', spec.provenance)
		END, matches);
	EXECUTE locking INTO done USING rows;
	done := coalesce(done, '{}');
	rows := ARRAY(SELECT r FROM unnest(rows) AS r WHERE r.key::text = ANY (done));
	BEGIN
		PERFORM set_config('search_path', path, true);
		EXECUTE writing USING rows, provenance;
		PERFORM set_config('search_path', own_path, true);
		RETURN;
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END;

	-- some row cannot be written: find out which
	done := '{}';
	FOREACH one IN ARRAY rows LOOP
		BEGIN
			PERFORM set_config('search_path', path, true);
			EXECUTE writing USING array[one], provenance;
			PERFORM set_config('search_path', own_path, true);
			done := done || one.key::text;
		EXCEPTION WHEN OTHERS THEN
			one.error := SQLERRM;
			failed := failed || one;
		END;
	END LOOP;
END
$$;

COMMENT ON FUNCTION instemb_write(instemb_registration, text[], text[], text) IS
	'embed and write rows; those in neither result were locked, or have changed';

-- ----------------------------------------------------------------- backfill
-- A run belongs to a role, who sees it; errors are kept until the next run.

CREATE TABLE instemb_run (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	role regrole NOT NULL DEFAULT current_user::pg_catalog.regrole,
	pid integer NOT NULL DEFAULT pg_catalog.pg_backend_pid(),
	started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	finished boolean NOT NULL DEFAULT false,
	relation regclass NOT NULL,
	target name NOT NULL,
	spec jsonb NOT NULL,
	which text NOT NULL,
	total bigint NOT NULL,
	done bigint NOT NULL DEFAULT 0,
	failed bigint NOT NULL DEFAULT 0,
	skipped bigint NOT NULL DEFAULT 0,
	last_key text[]
);

COMMENT ON TABLE instemb_run IS
	'runs of instemb_backfill()';

COMMENT ON SEQUENCE instemb_run_id_seq IS
	'numbers of runs';

CREATE TABLE instemb_run_error (
	run bigint NOT NULL,
	role regrole NOT NULL DEFAULT current_user::pg_catalog.regrole,
	relation regclass NOT NULL,
	target name NOT NULL,
	key text[] NOT NULL,
	error text NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

COMMENT ON TABLE instemb_run_error IS
	'rows that instemb_backfill() could not embed';

ALTER TABLE instemb_run ENABLE ROW LEVEL SECURITY;
ALTER TABLE instemb_run_error ENABLE ROW LEVEL SECURITY;
ALTER TABLE instemb_run_error REPLICA IDENTITY FULL;
CREATE POLICY instemb_own ON instemb_run USING (pg_catalog.pg_has_role(role, 'USAGE'));
CREATE POLICY instemb_own ON instemb_run_error USING (pg_catalog.pg_has_role(role, 'USAGE'));
GRANT SELECT, INSERT, UPDATE, DELETE ON instemb_run, instemb_run_error TO PUBLIC;

CREATE FUNCTION instemb_run_is_active(run bigint) RETURNS boolean
	LANGUAGE sql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp AS
$$
	SELECT EXISTS (
		SELECT FROM pg_locks
		WHERE locktype = 'advisory' AND objsubid = 2
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND classid = '@extschema@.instemb_run'::regclass AND objid = run::integer::oid)
	OR EXISTS (
		-- between two of its batches
		SELECT FROM @extschema@.instemb_run AS r
		CROSS JOIN LATERAL pg_stat_get_activity(r.pid) AS s
		WHERE r.id = instemb_run_is_active.run AND NOT r.finished AND r.pid <> pg_backend_pid()
			AND s.backend_start <= r.updated_at AND s.state NOT LIKE 'idle%')
$$;

COMMENT ON FUNCTION instemb_run_is_active(bigint) IS
	'whether a session is at work on a run of instemb_backfill()';

CREATE FUNCTION instemb_condition(spec instemb_registration, which text) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	missing text := format('t.%I IS NULL AND %s IS NOT NULL', spec.target,
						   @extschema@.instemb_source_expression(spec.sources));
	made_by jsonb;
BEGIN
	IF which = 'missing' THEN
		RETURN missing;
	ELSIF which = 'all' THEN
		RETURN 'true';
	ELSIF which IS DISTINCT FROM 'stale' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('unknown rows "%s"', which),
			HINT = 'Rows are "missing", "stale" or "all".';
	ELSIF spec.provenance IS NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('column "%s" has no provenance', spec.target),
			HINT = 'Name a provenance column in instemb_enable(), or choose the rows "all".';
	END IF;
	made_by := @extschema@.instemb_provenance(spec.instruction, spec.model);
	RETURN format('(%1$s OR t.%2$I IS NOT NULL AND '
				  '(coalesce(t.%3$I OPERATOR(pg_catalog.->>) ''sha256'', '''') '
				  'OPERATOR(pg_catalog.<>) %4$L OR '
				  'coalesce(t.%3$I OPERATOR(pg_catalog.->>) ''instruction'', '''') '
				  'OPERATOR(pg_catalog.<>) %5$L))',
				  missing, spec.target, spec.provenance, made_by ->> 'sha256',
				  made_by ->> 'instruction');
END
$$;

COMMENT ON FUNCTION instemb_condition(instemb_registration, text) IS
	'which rows t of a table lack an embedding, or have one of another model or instruction';

CREATE FUNCTION instemb_spec(
	relation regclass,
	target name,
	sources name[] DEFAULT NULL,
	instruction text DEFAULT NULL,
	model text DEFAULT NULL,
	provenance name DEFAULT NULL
) RETURNS instemb_registration
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	spec @extschema@.instemb_registration;
BEGIN
	IF relation IS NULL OR target IS NULL THEN
		RAISE null_value_not_allowed USING
			MESSAGE = '"relation" and "target" must not be null';
	END IF;
	IF sources IS NOT NULL AND instruction IS NOT NULL THEN
		spec.relation := relation;
		spec.target := target;
		spec.sources := sources;
		spec.instruction := instruction;
		spec.model := coalesce(model, '');
		spec.provenance := provenance;
	ELSE
		SELECT r.* INTO spec FROM @extschema@.instemb_registration AS r
		WHERE r.relation = instemb_spec.relation AND r.target = instemb_spec.target;
		IF NOT FOUND OR coalesce(sources::text, instruction, model, provenance) IS NOT NULL THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('column "%s" of table "%s" is not registered', target, relation),
				HINT = 'Call instemb_enable(), or give both "sources" and "instruction".';
		END IF;
	END IF;
	PERFORM @extschema@.instemb_check_trigger(
		relation,
		array[target::text, spec.instruction, spec.model]
			|| CASE WHEN spec.provenance IS NOT NULL
				THEN array['provenance=' || spec.provenance] END
			|| spec.sources::text[],
		true, true);
	RETURN spec;
END
$$;

COMMENT ON FUNCTION instemb_spec(regclass, name, name[], text, text, name) IS
	'how a column is made: as it is registered, or as it is said';

CREATE FUNCTION instemb_run_begin(spec instemb_registration, which text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	run @extschema@.instemb_run;
	total bigint;
BEGIN
	-- what is left of tables that are gone
	DELETE FROM @extschema@.instemb_run AS r
	WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.relation);
	DELETE FROM @extschema@.instemb_run_error AS e
	WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = e.relation);
	WITH ended AS (
		DELETE FROM @extschema@.instemb_run AS r
		WHERE r.role = current_user::regrole AND r.relation = spec.relation
			AND r.target = spec.target AND NOT @extschema@.instemb_run_is_active(r.id)
		RETURNING r.*)
	SELECT e.* INTO run FROM ended AS e ORDER BY e.finished, e.updated_at DESC LIMIT 1;
	-- a run over all rows that broke off goes on behind its last batch
	IF which = 'all' AND run.which = 'all' AND NOT run.finished AND run.spec = to_jsonb(spec) THEN
		INSERT INTO @extschema@.instemb_run
			(started_at, relation, target, spec, which, total, done, failed, skipped, last_key)
		VALUES (run.started_at, run.relation, run.target, run.spec, which, run.total, run.done,
				run.failed, run.skipped, run.last_key)
		RETURNING * INTO run;
		RETURN run.id;
	END IF;
	DELETE FROM @extschema@.instemb_run_error AS e
	WHERE e.role = current_user::regrole AND e.relation = spec.relation AND e.target = spec.target;
	EXECUTE format('SELECT count(*) FROM %s AS t WHERE %s', spec.relation,
				   @extschema@.instemb_condition(spec, which)) INTO total;
	INSERT INTO @extschema@.instemb_run (relation, target, spec, which, total)
	VALUES (spec.relation, spec.target, to_jsonb(spec), which, total) RETURNING * INTO run;
	RETURN run.id;
END
$$;

COMMENT ON FUNCTION instemb_run_begin(instemb_registration, text) IS
	'part of instemb_backfill(): note a run, and count its rows';

CREATE FUNCTION instemb_run_step(run bigint, batch integer, path text) RETURNS boolean
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	state @extschema@.instemb_run;
	spec @extschema@.instemb_registration;
	k record;
	keys text[];
	texts text[];
	written record;
BEGIN
	PERFORM pg_advisory_xact_lock('@extschema@.instemb_run'::regclass::oid::integer, run::integer);
	SELECT * INTO STRICT state FROM @extschema@.instemb_run AS r WHERE r.id = run;
	spec := jsonb_populate_record(NULL::@extschema@.instemb_registration, state.spec);
	k := @extschema@.instemb_key(spec.relation);
	EXECUTE format(
		'SELECT array_agg(b.key::text), array_agg(b.source) FROM '
		'(SELECT %s AS key, %s AS source FROM %s AS t WHERE %s%s ORDER BY %s LIMIT %s) AS b',
		k.key, @extschema@.instemb_source_expression(spec.sources), spec.relation,
		@extschema@.instemb_condition(spec, state.which),
		CASE WHEN state.last_key IS NOT NULL THEN ' AND ' || k.follows END, k.columns, batch)
	INTO keys, texts USING state.last_key;
	IF keys IS NULL THEN
		UPDATE @extschema@.instemb_run AS r SET finished = true, updated_at = clock_timestamp()
		WHERE r.id = run;
		RETURN false;
	END IF;
	written := @extschema@.instemb_write(spec, keys, texts, path);
	INSERT INTO @extschema@.instemb_run_error (run, relation, target, key, error)
	SELECT run, spec.relation, spec.target, f.key, f.error FROM unnest(written.failed) AS f;
	UPDATE @extschema@.instemb_run AS r
	SET done = r.done + cardinality(written.done),
		failed = r.failed + cardinality(written.failed),
		skipped = r.skipped + cardinality(keys) - cardinality(written.done)
			- cardinality(written.failed),
		last_key = keys[cardinality(keys)]::text[],
		updated_at = clock_timestamp()
	WHERE r.id = run;
	RETURN true;
END
$$;

COMMENT ON FUNCTION instemb_run_step(bigint, integer, text) IS
	'part of instemb_backfill(): embed one batch; false if there is none left';

CREATE PROCEDURE instemb_backfill(
	relation regclass,
	target name,
	which text DEFAULT 'missing',
	batch integer DEFAULT 64,
	sources name[] DEFAULT NULL,
	instruction text DEFAULT NULL,
	model text DEFAULT NULL,
	provenance name DEFAULT NULL,
	INOUT done bigint DEFAULT NULL,
	INOUT failed bigint DEFAULT NULL,
	INOUT skipped bigint DEFAULT NULL
)
	LANGUAGE plpgsql AS
$$
-- it commits, so it can have no SET clause: every name and operator has its schema
DECLARE
	run bigint;
BEGIN
	IF coalesce(batch, 0) OPERATOR(pg_catalog.<) 1 THEN
		RAISE invalid_parameter_value USING
			MESSAGE = '"batch" must be at least 1';
	END IF;
	run := @extschema@.instemb_run_begin(
		@extschema@.instemb_spec(relation, target, sources, instruction, model, provenance), which);
	COMMIT;
	WHILE @extschema@.instemb_run_step(run, batch, pg_catalog.current_setting('search_path')) LOOP
		COMMIT;
	END LOOP;
	SELECT r.done, r.failed, r.skipped INTO done, failed, skipped
	FROM @extschema@.instemb_run AS r WHERE r.id OPERATOR(pg_catalog.=) run;
	COMMIT;
END
$$;

COMMENT ON PROCEDURE instemb_backfill(regclass, name, text, integer, name[], text, text, name,
									  bigint, bigint, bigint) IS
	'embed the rows of a table that lack an embedding, batch by batch, each committed';

CREATE VIEW instemb_progress WITH (security_barrier) AS
SELECT
	r.relation, r.target, r.role, r.pid,
	CASE WHEN r.finished THEN 'finished'
		WHEN @extschema@.instemb_run_is_active(r.id) THEN 'running' ELSE 'stopped' END AS state,
	r.total, r.done, r.failed, r.skipped,
	pg_catalog.round((r.done / nullif(s.seconds, 0))::numeric, 1) AS rows_per_second,
	CASE WHEN NOT r.finished AND r.done > 0 THEN
		pg_catalog.make_interval(secs => pg_catalog.round(
			greatest(r.total - r.done - r.failed - r.skipped, 0) * s.seconds / r.done))
	END AS remaining,
	r.started_at, r.updated_at
FROM @extschema@.instemb_run AS r
CROSS JOIN LATERAL
	(SELECT extract(epoch FROM r.updated_at - r.started_at)::float8 AS seconds) AS s
JOIN pg_catalog.pg_class AS c ON c.oid = r.relation
WHERE pg_catalog.pg_has_role(r.role, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

COMMENT ON VIEW instemb_progress IS
	'runs of instemb_backfill(), of the own roles or as a monitor';

GRANT SELECT ON instemb_progress TO PUBLIC;

CREATE FUNCTION instemb_stale(relation regclass, target name)
	RETURNS TABLE (key text[], model text, sha256 text, instruction text, at timestamptz)
	LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE ROWS 1000
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	spec @extschema@.instemb_registration := @extschema@.instemb_spec(relation, target);
BEGIN
	RETURN QUERY EXECUTE format(
		'SELECT %1$s, t.%2$I ->> ''model'', t.%2$I ->> ''sha256'', t.%2$I ->> ''instruction'', '
		'(t.%2$I ->> ''at'')::timestamptz FROM %3$s AS t WHERE %4$s AND t.%5$I IS NOT NULL',
		(@extschema@.instemb_key(relation)).key, spec.provenance, relation,
		@extschema@.instemb_condition(spec, 'stale'), target);
END
$$;

COMMENT ON FUNCTION instemb_stale(regclass, name) IS
	'rows whose embedding is of another model or instruction than the column''s';

-- -------------------------------------------------------------------- queue
-- Rows that wait for their embeddings.  Neither index nor constraint, since
-- writers wait while it is filled; a row may be in it more than once.  The key's
-- values are text.  Owners of tables see and change what concerns their tables.

CREATE TABLE instemb_queue (
	relation oid NOT NULL,
	target smallint NOT NULL,
	attempts smallint NOT NULL DEFAULT 0,
	replace boolean NOT NULL,
	key text[] NOT NULL,
	next_at timestamptz,
	error text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

COMMENT ON TABLE instemb_queue IS
	'rows that wait for their embeddings; next_at is infinity for those given up';

ALTER TABLE instemb_queue ENABLE ROW LEVEL SECURITY;
-- for publications of all tables, which otherwise forbid to delete from it
ALTER TABLE instemb_queue REPLICA IDENTITY FULL;
CREATE POLICY instemb_own ON instemb_queue USING (
	(SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE')
	 FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) relation));
GRANT SELECT, INSERT, UPDATE, DELETE ON instemb_queue TO PUBLIC;

CREATE FUNCTION instemb_wake() RETURNS void
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION instemb_wake() IS
	'wake the worker of this database at the end of the transaction, or start it';

CREATE FUNCTION instemb_work_claimed(
	spec instemb_registration, entries tid[], keys text[], replaces boolean[], path text
) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	source text := @extschema@.instemb_source_expression(spec.sources);
	wanted text[];
	texts text[];
	written record;
BEGIN
	-- rows that are there and lack their embedding, or have one to be replaced
	EXECUTE format(
		'SELECT array_agg(w.key::text), array_agg(w.source) FROM '
		'(SELECT DISTINCT ON (r.key) r.key, %1$s AS source '
		'FROM (SELECT u.key::text[] AS key, u.replace FROM unnest($1, $2) AS u(key, replace)) AS r '
		'JOIN %2$s AS t ON %3$s '
		'WHERE t.%4$I IS NULL AND %1$s IS NOT NULL OR t.%4$I IS NOT NULL AND r.replace) AS w',
		source, spec.relation, (@extschema@.instemb_key(spec.relation)).matches, spec.target)
	INTO wanted, texts USING keys, replaces;
	written := @extschema@.instemb_write(spec, wanted, texts, path);
	DELETE FROM @extschema@.instemb_queue AS q
	WHERE q.ctid = ANY (entries)
		AND (q.key::text = ANY (written.done) OR q.key::text <> ALL (coalesce(wanted, '{}')));
	UPDATE @extschema@.instemb_queue AS q
	SET attempts = q.attempts + 1,
		error = f.error,
		next_at = CASE WHEN q.attempts + 1 < current_setting('instemb.queue_attempts')::integer
			THEN clock_timestamp() + interval '1 second' * 4 ^ q.attempts ELSE 'infinity' END
	FROM unnest(written.failed) AS f
	WHERE q.ctid = ANY (entries) AND q.key = f.key;
	-- locked by someone, or changed meanwhile
	UPDATE @extschema@.instemb_queue AS q
	SET next_at = clock_timestamp() + interval '1 second'
	WHERE q.ctid = ANY (entries);
END
$$;

COMMENT ON FUNCTION instemb_work_claimed(instemb_registration, tid[], text[], boolean[], text) IS
	'part of the worker: embed rows of the queue that this transaction has locked';

CREATE FUNCTION instemb_work_batch(relation oid, target smallint, batch integer, path text)
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	spec @extschema@.instemb_registration;
	entries tid[];
	keys text[];
	replaces boolean[];
	message text;
BEGIN
	SELECT array_agg(c.entry), array_agg(c.key::text), array_agg(c.replace)
	INTO entries, keys, replaces
	FROM (SELECT q.ctid AS entry, q.key, q.replace
		  FROM @extschema@.instemb_queue AS q
		  WHERE q.relation = instemb_work_batch.relation AND q.target = instemb_work_batch.target
			  AND (q.next_at IS NULL OR q.next_at <= now())
		  LIMIT batch FOR UPDATE SKIP LOCKED) AS c;
	IF entries IS NULL THEN
		RETURN false;
	END IF;
	SELECT r.* INTO spec
	FROM @extschema@.instemb_registration AS r
	JOIN pg_attribute AS a ON a.attrelid = r.relation AND a.attname = r.target
	WHERE r.relation = instemb_work_batch.relation AND a.attnum = instemb_work_batch.target
		AND r.mode = 'queue';
	IF NOT FOUND THEN
		DELETE FROM @extschema@.instemb_queue AS q WHERE q.ctid = ANY (entries);
		RETURN true;
	END IF;
	BEGIN
		PERFORM @extschema@.instemb_work_claimed(spec, entries, keys, replaces, path);
	EXCEPTION WHEN OTHERS THEN
		-- nothing that concerns one row: the table or the column is not as it was
		message := SQLERRM;
		UPDATE @extschema@.instemb_queue AS q
		SET attempts = q.attempts + 1,
			error = message,
			next_at = CASE WHEN q.attempts + 1 < current_setting('instemb.queue_attempts')::integer
				THEN clock_timestamp() + interval '1 second' * 4 ^ q.attempts ELSE 'infinity' END
		WHERE q.ctid = ANY (entries);
	END;
	RETURN true;
END
$$;

COMMENT ON FUNCTION instemb_work_batch(oid, smallint, integer, text) IS
	'part of the worker: embed a batch of rows of one column; false if none is due';

CREATE PROCEDURE instemb_work()
	LANGUAGE plpgsql AS
$$
-- it commits, so it can have no SET clause: every name and operator has its schema
DECLARE
	next record;
	busy boolean := true;
BEGIN
	WHILE busy LOOP
		busy := false;
		FOR next IN
			SELECT DISTINCT q.relation, q.target FROM @extschema@.instemb_queue AS q
			WHERE q.next_at IS NULL OR q.next_at OPERATOR(pg_catalog.<=) pg_catalog.now()
		LOOP
			IF @extschema@.instemb_work_batch(next.relation, next.target, 64,
											  pg_catalog.current_setting('search_path')) THEN
				busy := true;
			END IF;
			COMMIT;
		END LOOP;
	END LOOP;
END
$$;

COMMENT ON PROCEDURE instemb_work() IS
	'do the worker''s work here and now, for tables of the own roles';

CREATE FUNCTION instemb_enqueue(relation regclass, target name, which text DEFAULT 'missing')
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	total bigint := 0;
	n bigint;
	spec @extschema@.instemb_registration;
	found_one boolean := false;
BEGIN
	FOR spec IN
		SELECT r.* FROM @extschema@.instemb_registration AS r
		WHERE r.target = instemb_enqueue.target AND r.mode = 'queue'
			AND (r.relation = instemb_enqueue.relation
				 OR r.relation IN (SELECT relid FROM pg_partition_tree(instemb_enqueue.relation)))
	LOOP
		found_one := true;
		-- rows of a partitioned table are those of its partitions
		CONTINUE WHEN (SELECT relkind = 'p' FROM pg_class WHERE oid = spec.relation);
		EXECUTE format(
			'INSERT INTO @extschema@.instemb_queue (relation, target, replace, key) '
			'SELECT %s, a.attnum, t.%I IS NOT NULL, %s FROM %s AS t, pg_attribute AS a '
			'WHERE %s AND a.attrelid = %s AND a.attname = %L',
			spec.relation::oid, spec.target, (@extschema@.instemb_key(spec.relation)).key,
			spec.relation, @extschema@.instemb_condition(spec, which), spec.relation::oid,
			spec.target);
		GET DIAGNOSTICS n = ROW_COUNT;
		total := total + n;
	END LOOP;
	IF NOT found_one THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('column "%s" of table "%s" is not in mode "queue"', target, relation),
			HINT = 'Call instemb_enable() with this mode, or instemb_backfill().';
	END IF;
	PERFORM @extschema@.instemb_wake();
	RETURN total;
END
$$;

COMMENT ON FUNCTION instemb_enqueue(regclass, name, text) IS
	'put rows of a table into the queue that are there already: missing, stale or all';

CREATE FUNCTION instemb_retry(relation regclass DEFAULT NULL, target name DEFAULT NULL)
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	n bigint;
BEGIN
	UPDATE @extschema@.instemb_queue AS q SET attempts = 0, next_at = NULL
	WHERE q.error IS NOT NULL
		AND (instemb_retry.relation IS NULL OR q.relation = instemb_retry.relation)
		AND (instemb_retry.target IS NULL OR instemb_retry.target =
			 (SELECT attname FROM pg_attribute WHERE attrelid = q.relation AND attnum = q.target));
	GET DIAGNOSTICS n = ROW_COUNT;
	PERFORM @extschema@.instemb_wake();
	RETURN n;
END
$$;

COMMENT ON FUNCTION instemb_retry(regclass, name) IS
	'try rows of the queue again at once that failed';

CREATE VIEW instemb_failed WITH (security_barrier) AS
SELECT
	q.relation::pg_catalog.regclass AS relation,
	a.attname AS target,
	q.key, q.attempts, q.error,
	nullif(q.next_at, 'infinity') AS next_at
FROM @extschema@.instemb_queue AS q
JOIN pg_catalog.pg_class AS c ON c.oid = q.relation
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = q.target
WHERE q.error IS NOT NULL AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
UNION ALL
SELECT e.relation, e.target, e.key, 1, e.error, NULL
FROM @extschema@.instemb_run_error AS e
JOIN pg_catalog.pg_class AS c ON c.oid = e.relation
WHERE pg_catalog.pg_has_role(e.role, 'USAGE');

COMMENT ON VIEW instemb_failed IS
	'rows that could not be embedded, by key; next_at is null where nobody will try again';

CREATE VIEW instemb_status WITH (security_barrier) AS
SELECT
	r.relation, r.target, r.mode, r.instruction, r.model,
	CASE WHEN s.shown THEN coalesce(n.waiting, 0) END AS waiting,
	CASE WHEN s.shown THEN coalesce(n.retrying, 0) END AS retrying,
	CASE WHEN s.shown THEN coalesce(n.failed, 0) END AS failed,
	CASE WHEN s.shown THEN n.error END AS error
FROM @extschema@.instemb_registration AS r
JOIN pg_catalog.pg_class AS c ON c.oid = r.relation
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = r.target
CROSS JOIN LATERAL (
	SELECT r.mode = 'queue' AND c.relkind = 'r' AND (pg_catalog.pg_has_role(c.relowner, 'USAGE')
		OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')) AS shown) AS s
LEFT JOIN (
	SELECT q.relation, q.target,
		pg_catalog.count(DISTINCT q.key) FILTER (WHERE q.error IS NULL) AS waiting,
		pg_catalog.count(DISTINCT q.key)
			FILTER (WHERE q.error IS NOT NULL AND q.next_at < 'infinity') AS retrying,
		pg_catalog.count(DISTINCT q.key) FILTER (WHERE q.next_at = 'infinity') AS failed,
		pg_catalog.min(q.error) AS error
	FROM @extschema@.instemb_queue AS q
	GROUP BY q.relation, q.target) AS n ON n.relation = c.oid AND n.target = a.attnum;

COMMENT ON VIEW instemb_status IS
	'columns, and how many of their rows wait in the queue; counts are null where there is none';

GRANT SELECT ON instemb_failed, instemb_status TO PUBLIC;

-- ------------------------------------------------------------------- shards

CREATE FUNCTION instemb_shard_query(relation regclass, columns name[], target name, k integer)
	RETURNS text
	LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	list text := (SELECT string_agg(quote_ident(c), ', ' ORDER BY i)
				  FROM unnest(columns) WITH ORDINALITY AS u(c, i));
	branches text;
BEGIN
	SELECT string_agg(format(
			   '(SELECT %s, %I OPERATOR(@extschema@.<~=>) $1 AS distance FROM %s '
			   'ORDER BY %I OPERATOR(@extschema@.<~=>) $1 LIMIT %s)',
			   list, target, p.relid, target, k), ' UNION ALL ' ORDER BY p.relid::text)
	INTO branches
	FROM pg_partition_tree(relation) AS p WHERE p.isleaf;
	IF branches IS NULL THEN
		RAISE wrong_object_type USING
			MESSAGE = format('table "%s" has no partitions', relation);
	END IF;
	-- materialized, or a Merge Append would take the place of an Append, which is asynchronous
	RETURN format('WITH nearest AS MATERIALIZED (%s) '
				  'SELECT %s, distance FROM nearest ORDER BY distance LIMIT %s', branches, list, k);
END
$$;

COMMENT ON FUNCTION instemb_shard_query(regclass, name[], name, integer) IS
	'a query for the k rows nearest to $1, partition by partition, so that shards work at a time';

-- ------------------------------------------------------- answers and groups

CREATE FUNCTION instemb_answer(
	input text, instruction text, model text DEFAULT '', max_tokens integer DEFAULT 16
) RETURNS text
	AS 'MODULE_PATHNAME'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000000;

COMMENT ON FUNCTION instemb_answer(text, text, text, integer) IS
	'what the model would answer to an instruction about a text';

CREATE FUNCTION instemb_kmeans(
	query text, k integer, seed integer DEFAULT 0, rounds integer DEFAULT 20,
	OUT key text[], OUT cluster integer, OUT distance double precision
) RETURNS SETOF record
	AS 'MODULE_PATHNAME'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000000 ROWS 1000;

COMMENT ON FUNCTION instemb_kmeans(text, integer, integer, integer) IS
	'groups of the embeddings that a query gives with their keys, by spherical k-means';

CREATE FUNCTION instemb_cluster(
	relation regclass, target name, k integer, seed integer DEFAULT 0, asked integer DEFAULT 5
) RETURNS TABLE (key text[], cluster integer, distance double precision, label text)
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 1000000 ROWS 1000
	SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	spec @extschema@.instemb_registration := @extschema@.instemb_spec(relation, target);
	key_of record := @extschema@.instemb_key(relation);
BEGIN
	RETURN QUERY EXECUTE format(
		'WITH grouped AS MATERIALIZED ('
		'SELECT g.key, g.cluster, g.distance, '
		'row_number() OVER (PARTITION BY g.cluster ORDER BY g.distance, g.key) AS place '
		'FROM @extschema@.instemb_kmeans(%L, $1, $2) AS g), '
		'answered AS (SELECT r.cluster, lower(btrim((regexp_split_to_array(btrim('
		'@extschema@.instemb_answer(%s, $4, $5)), ''[\n,]''))[1], '' .!"'')) AS answer '
		'FROM grouped AS r JOIN %s AS t ON %s WHERE r.place <= $3), '
		'labeled AS (SELECT a.cluster, mode() WITHIN GROUP (ORDER BY '
		'regexp_replace(a.answer, ''\m(\w+)( \1\M)+'', ''\1'', ''g'')) AS label '
		'FROM answered AS a GROUP BY a.cluster) '
		'SELECT g.key, g.cluster, g.distance, l.label '
		'FROM grouped AS g LEFT JOIN labeled AS l USING (cluster) ORDER BY g.cluster, g.place',
		format('SELECT %s, t.%I::real[] FROM %s AS t WHERE t.%I IS NOT NULL ORDER BY %s',
			   key_of.key, target, relation, target, key_of.columns),
		@extschema@.instemb_source_expression(spec.sources), relation, key_of.matches)
	USING k, seed, asked, spec.instruction, spec.model;
END
$$;

COMMENT ON FUNCTION instemb_cluster(regclass, name, integer, integer, integer) IS
	'groups of a column''s rows, each named by the commonest answer of the rows in its middle';

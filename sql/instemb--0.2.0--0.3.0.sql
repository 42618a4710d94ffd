/* instemb--0.2.0--0.3.0.sql */

\echo Use "ALTER EXTENSION instemb UPDATE TO '0.3.0'" to load this file. \quit

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

/* instemb--0.3.0--0.3.1.sql */

\echo Use "ALTER EXTENSION instemb UPDATE TO '0.3.1'" to load this file. \quit

-- A backfill is at work between two of its batches, too: another one of the same
-- column took its run away, and it ended in an error.
CREATE OR REPLACE FUNCTION instemb_run_is_active(run bigint) RETURNS boolean
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

-- Of two backfills of a column at a time two runs are left.
CREATE OR REPLACE FUNCTION instemb_run_begin(spec instemb_registration, which text) RETURNS bigint
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

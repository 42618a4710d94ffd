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

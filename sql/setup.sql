--
-- Model files for the tests, in a directory of their own on the server, which
-- may be another machine: they are written through large objects.
--
CREATE EXTENSION instemb;
SELECT current_database() AS db, current_setting('data_directory') || '/instemb_regress' AS dir \gset
ALTER DATABASE :"db" SET instemb.data_model_dir = :'dir';
ALTER DATABASE :"db" SET instemb.model = 'tiny';
\c -

-- run a command of the shell on the server, in the directory of models
CREATE FUNCTION shell(command text) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	EXECUTE format('COPY (SELECT 1) TO PROGRAM %L',
				   format('cat >/dev/null; cd "%s" && %s', current_setting('instemb.data_model_dir'), command));
END
$$;

-- write a file there, by rename, since models in use must not change in place
CREATE FUNCTION put_file(name text, content bytea) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
	path text := current_setting('instemb.data_model_dir') || '/incoming';
	object oid := lo_from_bytea(0, content);
BEGIN
	PERFORM lo_export(object, path), lo_unlink(object), shell(format('mv incoming "%s"', name));
END
$$;

CREATE FUNCTION get_file(name text) RETURNS bytea LANGUAGE sql AS
$$ SELECT pg_read_binary_file(current_setting('instemb.data_model_dir') || '/' || name) $$;

-- a file whose bytes behind the first occurrence of a mark are others
CREATE FUNCTION patch(content bytea, mark bytea, skip int, other bytea) RETURNS bytea LANGUAGE sql AS
$$ SELECT overlay(content PLACING other FROM position(mark IN content) + skip) $$;

-- first values of a vector, rounded
CREATE FUNCTION head(v real[], n int DEFAULT 4) RETURNS numeric[] LANGUAGE sql IMMUTABLE AS
$$ SELECT array_agg(round(x::numeric, 4) ORDER BY i) FROM unnest(v) WITH ORDINALITY AS u(x, i) WHERE i <= n $$;

-- what a statement does: its one value, or its error without the server's paths
CREATE FUNCTION outcome(statement text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	result text;
	detail text;
BEGIN
	EXECUTE statement INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN replace(format('%s %s %s', SQLSTATE, SQLERRM, detail),
				   current_setting('instemb.data_model_dir'), 'DIR');
END
$$;

\set mkdir 'rm -rf "' :dir '" && mkdir -m 700 "' :dir '"'
COPY (SELECT 1) TO PROGRAM :'mkdir';
\getenv srcdir PG_ABS_SRCDIR
\set file :srcdir '/tests/golden/tiny.gguf'
\lo_import :file
SELECT put_file('tiny.gguf', lo_get(:LASTOID)), lo_unlink(:LASTOID);
\set file :srcdir '/tests/golden/tiny-adapter.gguf'
\lo_import :file
SELECT put_file('tiny-adapter.gguf', lo_get(:LASTOID)), lo_unlink(:LASTOID);

SELECT cardinality(instemb('hello world', 'What is this?'));

--
-- Model files for the tests, in a directory of their own on the server, which
-- may be another machine: they are written through large objects.
--
CREATE EXTENSION instemb;
SELECT current_database() AS db,
	current_setting('data_directory') || '/instemb_regress' AS dir \gset
ALTER DATABASE :"db" SET instemb.data_model_dir = :'dir';
ALTER DATABASE :"db" SET instemb.model = 'tiny';
\c -

-- run a command of the shell on the server, in the directory of models
CREATE FUNCTION shell(command text) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	EXECUTE format('COPY (SELECT 1) TO PROGRAM %L',
				   format('cat >/dev/null; cd "%s" && %s',
					current_setting('instemb.data_model_dir'), command));
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
CREATE FUNCTION patch(content bytea, mark bytea, skip int, other bytea) RETURNS bytea
	LANGUAGE sql AS
$$ SELECT overlay(content PLACING other FROM position(mark IN content) + skip) $$;

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

-- what tests/golden/llama.py, which shares no code with the engine, computes in
-- fp32 for the tiny model and for the tiny model with its adapter
CREATE TABLE reference (model text, input text, instruction text, e real[]);
INSERT INTO reference VALUES
('tiny', 'A tent for two', 'Is it for outdoor use?',
	'{0.043,-0.142,0.012,0.106,0.074,0.233,0.160,-0.024,-0.025,0.176,-0.044,0.048,0.039,-0.037,'
	'0.216,0.295,0.089,0.198,0.167,-0.100,-0.170,-0.023,-0.014,0.026,0.092,0.101,-0.068,-0.084,'
	'0.022,-0.033,0.113,0.283,0.018,-0.102,-0.087,0.195,0.187,-0.096,0.028,0.067,0.068,-0.281,'
	'0.023,-0.105,-0.021,-0.105,-0.064,0.021,0.221,0.263,0.107,-0.113,0.049,0.115,0.098,-0.046,'
	'0.016,-0.057,0.021,-0.091,0.033,-0.221,-0.033,0.138}'),
('tiny', 'A tent for two', '',
	'{-0.133,0.203,-0.133,-0.093,0.196,0.119,0.155,0.052,0.061,-0.024,0.076,0.001,0.064,-0.016,'
	'0.156,0.106,0.126,0.135,-0.005,0.128,-0.098,-0.044,-0.134,0.098,-0.093,-0.145,-0.043,0.086,'
	'-0.021,-0.037,0.131,0.199,-0.117,-0.151,-0.050,0.184,0.177,-0.054,-0.117,-0.270,0.049,-0.057,'
	'0.021,0.032,0.054,0.272,-0.013,0.294,0.127,0.185,-0.065,-0.126,-0.048,0.082,-0.243,0.076,'
	'-0.033,0.062,0.060,-0.127,0.172,-0.139,-0.091,-0.087}'),
('tiny', 'naïve café — 東京 🏕️', 'Qu''est-ce?',
	'{-0.105,-0.101,-0.068,-0.022,0.147,0.284,0.066,-0.255,0.121,0.111,0.099,-0.069,0.046,0.109,'
	'0.206,0.337,-0.009,0.104,-0.125,-0.206,0.013,-0.078,-0.200,-0.037,-0.070,-0.036,0.004,-0.057,'
	'-0.068,0.003,0.052,0.182,-0.043,-0.054,-0.064,0.086,0.106,0.102,0.023,-0.159,-0.038,-0.301,'
	'-0.117,-0.037,0.060,-0.072,0.070,0.135,0.113,0.217,-0.016,0.035,-0.131,-0.067,-0.072,-0.159,'
	'-0.027,0.198,-0.064,0.013,0.189,-0.109,-0.039,0.121}'),
('merged', 'A tent for two', 'Is it for outdoor use?',
	'{-0.348,-0.000,0.132,0.029,-0.207,0.085,0.002,0.088,-0.199,0.034,-0.300,0.330,0.017,-0.049,'
	'-0.043,-0.013,0.030,0.063,-0.160,0.022,0.119,0.109,-0.028,0.202,0.092,0.069,0.094,-0.100,'
	'-0.097,0.039,-0.108,-0.225,0.026,-0.047,0.195,0.105,0.020,0.217,0.225,0.200,-0.190,0.043,'
	'-0.132,0.069,0.014,-0.018,-0.024,0.073,-0.067,0.027,0.009,-0.082,0.141,0.046,0.046,0.109,'
	'-0.073,-0.012,-0.082,0.140,-0.009,-0.113,0.031,-0.064}');

SELECT cardinality(instemb('hello world', 'What is this?'));

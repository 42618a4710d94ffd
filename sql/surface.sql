--
-- The objects of the extension, with their marks, as the catalogs show them.
--
SELECT extversion, extrelocatable FROM pg_extension WHERE extname = 'instemb';
SELECT superuser, trusted, relocatable, requires
FROM pg_available_extension_versions WHERE name = 'instemb' AND installed;

-- (newer versions list the row types and array types of members as members, too)
CREATE TEMP VIEW members AS
SELECT classid, objid FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'instemb')
	AND NOT (classid = 'pg_type'::regclass AND objid IN (
		SELECT t.oid FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
		WHERE t.typcategory = 'A' OR c.relkind <> 'c'));

SELECT pg_describe_object(classid, objid, 0) COLLATE "C" AS object FROM members ORDER BY 1;

-- every one of them lies in the extension's schema
SELECT count(*) FROM members CROSS JOIN LATERAL pg_identify_object(classid, objid, 0) AS o
WHERE o.schema <> 'public';

-- volatility, strictness, parallel safety, cost, rows
SELECT p.oid::regprocedure AS function,
	   pg_get_function_result(p.oid) AS result,
	   p.provolatile AS v, p.proisstrict AS strict, p.proparallel AS parallel,
	   p.procost AS cost, p.prorows AS rows, p.prosupport <> 0 AS support
FROM members AS m JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
ORDER BY p.oid::regprocedure::text COLLATE "C";

SELECT o.oid::regoperator AS operator, o.oprresult::regtype AS result, o.oprcode AS function,
	   o.oprcom::regoperator AS commutator, o.oprnegate::regoperator AS negator,
	   o.oprrest AS restrict, o.oprjoin AS join, o.oprcanhash OR o.oprcanmerge AS equality
FROM members AS m JOIN pg_operator AS o ON m.classid = 'pg_operator'::regclass AND m.objid = o.oid
ORDER BY 1;

-- every object has a comment
SELECT pg_describe_object(classid, objid, 0) FROM members
WHERE obj_description(objid, classid::regclass::name) IS NULL;

-- functions that not everyone may call
SELECT p.oid::regprocedure AS function,
	   has_function_privilege('pg_monitor', p.oid, 'EXECUTE') AS pg_monitor
FROM members AS m JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
WHERE NOT has_function_privilege('pg_read_all_stats', p.oid, 'EXECUTE')
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- no operator takes a symbol on real[] that pgvector has on its types
SELECT count(*) FROM pg_operator
WHERE oprname IN ('<->', '<=>', '<#>', '<+>') AND 'real[]'::regtype IN (oprleft, oprright);

-- parameters, which loading the library defines
SET instemb.nonesuch = 1;
SELECT instemb_version() LIKE 'instemb ' || extversion || ', % kernels' AS version
FROM pg_extension WHERE extname = 'instemb';
SELECT name, context, vartype, unit, min_val, max_val, enumvals,
	   CASE WHEN name !~ '_dir$|max_threads$' THEN boot_val END AS default
FROM pg_settings WHERE name LIKE 'instemb.%' ORDER BY name COLLATE "C";

SELECT (SELECT boot_val FROM pg_settings WHERE name = 'instemb.model_dir') ~ '^/.*/instemb$'
	AS model_dir,
	   (SELECT boot_val FROM pg_settings WHERE name = 'instemb.data_model_dir')
	   = current_setting('data_directory') || '/instemb' AS data_model_dir,
	   current_setting('instemb.max_threads')::int BETWEEN 1 AND 64 AS max_threads;

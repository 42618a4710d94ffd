--
-- An older version, upgraded, has the same objects as a fresh installation: for
-- every version there is a script of.  Objects are compared by what they say in
-- words, aspect by aspect; what differs is printed.  Runs where the extension is
-- not installed.
--
CREATE VIEW member AS
SELECT classid, objid, pg_describe_object(classid, objid, 0) AS object
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'instemb');

CREATE FUNCTION grants(acl aclitem[]) RETURNS text LANGUAGE sql AS
$$
	SELECT string_agg(concat_ws(' ', CASE grantee WHEN 0 THEN 'PUBLIC'
		ELSE grantee::regrole::text END,
								privilege_type, is_grantable::text), ', '
					  ORDER BY grantee, privilege_type)
	FROM aclexplode(acl)
$$;

CREATE VIEW described (object, aspect, value) AS
SELECT 'extension', aspect, value
FROM pg_extension
CROSS JOIN LATERAL (VALUES
	('version', extversion), ('schema', extnamespace::regnamespace::text),
	('dumped tables', extconfig::regclass[]::text), ('dumped rows', extcondition::text))
		AS a(aspect, value)
WHERE extname = 'instemb'
UNION ALL
SELECT object, 'comment', obj_description(objid, classid::regclass::name) FROM member
UNION ALL
SELECT object, 'schema', i.schema
FROM member CROSS JOIN LATERAL pg_identify_object(classid, objid, 0) AS i
UNION ALL
SELECT object, concat_ws(' ', 'initial grants', nullif(objsubid, 0)), grants(initprivs)
FROM member JOIN pg_init_privs AS p ON p.classoid = classid AND p.objoid = objid
-- signature, defaults, volatility, strictness, parallel, cost, rows, support, security, settings,
-- body
UNION ALL
SELECT object, 'definition', pg_get_functiondef(objid)
FROM member JOIN pg_proc AS p ON classid = 'pg_proc'::regclass AND objid = p.oid AND prokind <> 'a'
UNION ALL
SELECT object, 'aggregate', (to_jsonb(p) - 'oid' || to_jsonb(a) - 'aggfnoid')::text
FROM member JOIN pg_proc AS p ON classid = 'pg_proc'::regclass AND objid = p.oid
JOIN pg_aggregate AS a ON a.aggfnoid = p.oid
UNION ALL
SELECT object, 'grants', grants(coalesce(proacl, acldefault('f', proowner)))
FROM member JOIN pg_proc AS p ON classid = 'pg_proc'::regclass AND objid = p.oid
UNION ALL
SELECT object, aspect, value
FROM member JOIN pg_operator AS o ON classid = 'pg_operator'::regclass AND objid = o.oid
CROSS JOIN LATERAL (VALUES
	('result', oprresult::regtype::text), ('function', oprcode::regprocedure::text),
	('commutator', oprcom::regoperator::text), ('negator', oprnegate::regoperator::text),
	('restrict', oprrest::text), ('join', oprjoin::text),
	('equality', concat(oprcanmerge, oprcanhash))) AS a(aspect, value)
UNION ALL
SELECT object, aspect, value
FROM member JOIN pg_cast AS c ON classid = 'pg_cast'::regclass AND objid = c.oid
CROSS JOIN LATERAL (VALUES
	('function', castfunc::regprocedure::text), ('context', castcontext::text),
	('method', castmethod::text)) AS a(aspect, value)
UNION ALL
SELECT object, aspect, value
FROM member JOIN pg_type AS t ON classid = 'pg_type'::regclass AND objid = t.oid
CROSS JOIN LATERAL (VALUES
	('kind', t.typtype::text), ('base', format_type(typbasetype, typtypmod)),
	('labels', (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum
		WHERE enumtypid = t.oid)),
	('checks', (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), ', '
		ORDER BY conname)
				FROM pg_constraint WHERE contypid = t.oid)),
	('grants', grants(coalesce(typacl, acldefault('T', typowner))))) AS a(aspect, value)
UNION ALL
SELECT object, aspect, value
FROM member JOIN pg_class AS c ON classid = 'pg_class'::regclass AND objid = c.oid
CROSS JOIN LATERAL (VALUES
	('kind', concat_ws(' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity,
		reloptions)),
	('definition', pg_get_viewdef(c.oid)),
	('sequence', (SELECT (to_jsonb(s) - 'seqrelid')::text FROM pg_sequence AS s
		WHERE seqrelid = c.oid)),
	('grants', grants(coalesce(relacl,
		acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)))),
	('constraints', (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), E'\n'
		ORDER BY conname)
					 FROM pg_constraint WHERE conrelid = c.oid)),
	('indexes', (SELECT string_agg(pg_get_indexdef(indexrelid), E'\n'
		ORDER BY indexrelid::regclass::text)
				 FROM pg_index WHERE indrelid = c.oid)),
	('triggers', (SELECT string_agg(pg_get_triggerdef(oid), E'\n' ORDER BY tgname)
				  FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)),
	('policies', (SELECT string_agg(concat_ws(' ', polname, polcmd, polpermissive, polroles,
											  pg_get_expr(polqual, polrelid),
											  pg_get_expr(polwithcheck, polrelid)),
									E'\n' ORDER BY polname)
				  FROM pg_policy WHERE polrelid = c.oid))) AS a(aspect, value)
UNION ALL
SELECT object, 'column ' || row_number() OVER (PARTITION BY objid ORDER BY attnum),
	   concat_ws(' ', attname, format_type(atttypid, atttypmod),
		nullif(attcollation, 0)::regcollation,
				 CASE WHEN attnotnull THEN 'not null' END, pg_get_expr(adbin, adrelid),
				 attidentity, attgenerated, attstorage, attstattarget,
				 -- some servers number the columns of views
				 nullif(ARRAY(SELECT o FROM unnest(attoptions) AS o WHERE o !~ '^pg_attver='),
				 	'{}'),
				 grants(attacl),
				 col_description(attrelid, attnum))
FROM member JOIN pg_attribute ON classid = 'pg_class'::regclass AND objid = attrelid
	AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum;

CREATE FUNCTION compare_upgrades()
	RETURNS TABLE (version text, side text, object text, aspect text, value text)
LANGUAGE plpgsql AS
$$
DECLARE
	fresh text;
BEGIN
	SELECT default_version INTO fresh FROM pg_available_extensions WHERE name = 'instemb';
	CREATE EXTENSION instemb;
	CREATE TEMP TABLE expected AS SELECT * FROM described;
	CREATE TEMP TABLE version_member AS SELECT fresh AS version, m.object FROM member AS m;
	DROP EXTENSION instemb;
	FOR version IN
		SELECT v.version FROM pg_available_extension_versions AS v
		WHERE name = 'instemb' AND v.version <> fresh
	LOOP
		EXECUTE format('CREATE EXTENSION instemb VERSION %L', version);
		INSERT INTO version_member SELECT compare_upgrades.version, m.object FROM member AS m;
		ALTER EXTENSION instemb UPDATE;
		RETURN QUERY
			SELECT compare_upgrades.version, d.* FROM (
				(SELECT 'fresh', * FROM expected EXCEPT SELECT 'fresh', * FROM described)
				UNION ALL
				(SELECT 'upgraded', * FROM described EXCEPT SELECT 'upgraded', * FROM expected))
					AS d;
		DROP EXTENSION instemb;
	END LOOP;
END
$$;

SELECT * FROM compare_upgrades() ORDER BY version, object COLLATE "C", aspect COLLATE "C", side;

-- what was looked at
SELECT count(*) > 100 AS aspects, count(DISTINCT object) > 25 AS objects FROM expected;
SELECT count(DISTINCT version) - 1
	= (SELECT count(*) - 1 FROM pg_available_extension_versions WHERE name = 'instemb')
	AS all_versions,
	   count(DISTINCT version) > 1 AS upgrades
FROM version_member;

-- kinds of objects that are not compared
SELECT DISTINCT object FROM version_member
WHERE object !~ '^(function|procedure|operator|cast|type|view|table|sequence|materialized view) ';

DROP FUNCTION compare_upgrades, grants CASCADE;
DROP VIEW member CASCADE;
DROP TABLE expected, version_member;

--
-- What CREATE EXTENSION brings, who may use it, and that it goes again.
--
CREATE EXTENSION lfsync;

-- its functions: each has a comment; PUBLIC may execute only what starts nothing
CREATE ROLE regress_lfsync_public;
SELECT p.oid::regprocedure AS function,
	pg_catalog.obj_description(p.oid, 'pg_proc') IS NOT NULL AS has_comment,
	pg_catalog.has_function_privilege('regress_lfsync_public', p.oid, 'EXECUTE') AS public
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'lfsync')
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- its relations
SELECT c.relname, c.relkind, c.relrowsecurity AS row_security,
	pg_catalog.obj_description(c.oid, 'pg_class') IS NOT NULL AS has_comment,
	pg_catalog.has_table_privilege('regress_lfsync_public', c.oid, 'SELECT') AS public_reads,
	pg_catalog.has_table_privilege('regress_lfsync_public', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS public_writes
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'lfsync')
ORDER BY c.relname COLLATE "C";

-- history and jobs are data: they go into a dump
SELECT unnest(extconfig)::regclass AS dumped FROM pg_catalog.pg_extension WHERE extname = 'lfsync';

-- What calls take and give, and what views show, is a contract.
SELECT DISTINCT p.proname, pg_catalog.pg_get_function_arguments(p.oid) AS arguments
FROM pg_catalog.pg_proc p
WHERE p.proname LIKE 'lfsync\_%' AND p.proname !~ '_rows$'
ORDER BY 1, 2;
SELECT p.proname, pg_catalog.pg_get_function_result(p.oid) AS result
FROM pg_catalog.pg_proc p
WHERE p.proname LIKE 'lfsync\_%' AND p.proname !~ '_rows$'
ORDER BY 1, 2;
SELECT attrelid::regclass AS relation, attname, atttypid::regtype AS type
FROM pg_catalog.pg_attribute
WHERE attrelid IN ('lfsync_jobs'::regclass, 'lfsync_runs'::regclass, 'lfsync_progress'::regclass, 'lfsync_status'::regclass) AND attnum > 0
ORDER BY attrelid::regclass::text COLLATE "C", attnum;

-- settings
SELECT name, vartype, unit, context, boot_val, min_val, max_val
FROM pg_catalog.pg_settings WHERE name LIKE 'lfsync.%'
ORDER BY name COLLATE "C";
SHOW lfsync.file_mode;
SET lfsync.no_such_setting = 1;
SET lfsync.file_mode = '0440';
SET lfsync.log_runs = 'some';
-- only a superuser says where files go
SET ROLE regress_lfsync_public;
SET lfsync.export_directory = '/tmp';
SET lfsync.file_mode = '0666';
RESET ROLE;
SET lfsync.export_directory = 'relative';

-- an ordinary role may look, and do nothing
SET ROLE regress_lfsync_public;
SELECT count(*) FROM lfsync_runs;
SELECT count(*) FROM lfsync_progress;
SELECT count(*) FROM lfsync_jobs;
INSERT INTO lfsync_runs (owner, owner_oid, mode, source, file, status, started_at)
VALUES ('x', 1, 'full', 'x', 'x', 'running', now());
SELECT * FROM lfsync_export('pg_class', 'x.db');
SELECT * FROM lfsync_export_query('SELECT 1 AS x', 'x.db', 'x');
SELECT * FROM lfsync_export_tables('{pg_class}', 'x.db');
SELECT lfsync_cancel(1);
INSERT INTO lfsync_jobs (name, owner, owner_oid, query, file, mode, search_path, system_identifier)
VALUES ('x', 'x', 1, 'x', 'x', 'full', '', '');
SELECT * FROM lfsync_export('x');
SELECT * FROM lfsync_export();
SELECT lfsync_add_job('x', 'pg_class', 'x.db');
SELECT lfsync_add_query_job('x', 'SELECT 1 AS x', 'x.db', 'x');
SELECT lfsync_alter_job('x');
SELECT lfsync_drop_job('x');
SELECT lfsync_start_job('x');
SELECT lfsync_reset_job('x');
SELECT count(*) > 0 AS previewed FROM lfsync_preview('pg_class');
RESET ROLE;
DROP ROLE regress_lfsync_public;

-- it goes without a trace, and comes into any schema
DROP EXTENSION lfsync;
SELECT proname FROM pg_catalog.pg_proc WHERE proname LIKE 'lfsync\_%';
SELECT relname FROM pg_catalog.pg_class WHERE relname LIKE 'lfsync\_%';
CREATE SCHEMA "Copy ""it""";
CREATE EXTENSION lfsync SCHEMA "Copy ""it""";
SELECT run_id, rows_read FROM "Copy ""it""".lfsync_export_query('SELECT 1 AS x', 'install_schema.db', 'x');
SELECT run_id, status, source, rows_read FROM "Copy ""it""".lfsync_runs;
SELECT count(*) FROM "Copy ""it""".lfsync_progress;
DROP EXTENSION lfsync;
DROP SCHEMA "Copy ""it""";

CREATE EXTENSION lfsync;

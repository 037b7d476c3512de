--
-- Jobs: stored, checked, changed, run, dropped.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
DROP ROLE IF EXISTS regress_lfsync_app, regress_lfsync_member, regress_lfsync_other;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/jobs*
\set SHOW_CONTEXT never
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;
CREATE TABLE t (id int PRIMARY KEY, a text, b text);
INSERT INTO t SELECT i, 'a' || i, 'b' || i FROM generate_series(1, 100) i;
CREATE VIEW v AS SELECT id, a FROM t;
CREATE MATERIALIZED VIEW m AS SELECT id, a FROM t;
CREATE TABLE nokey (a text, n int NOT NULL);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE TABLE parts (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE mixed (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (10);
CREATE UNLOGGED TABLE mixed_2 PARTITION OF mixed FOR VALUES FROM (10) TO (20);
CREATE TABLE "Odd ""name""" ("Key ""col""" int PRIMARY KEY);
CREATE TABLE mother (id int PRIMARY KEY);
CREATE TABLE child () INHERITS (mother);

-- stored and run
SELECT lfsync_add_job('jobs one', 't', 'jobs_one.db', mode => 'full') > 0 AS id;
SELECT name, owner = current_user AS owner, owner_oid = current_user::regrole AS owner_oid, source, query, file, mode, table_name,
	key_columns, cursor_columns, filter, mapping, schedule, enabled, options, search_path,
	system_identifier = (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier, reset, created_at = updated_at AS new
FROM lfsync_jobs;
SELECT job, mode, rows_read, rows_inserted, tables FROM lfsync_export('jobs one');
SELECT job, mode, source, status, rows_read FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_one.db" "SELECT count(*), sum(id) FROM t; SELECT job, mode, source FROM _lfsync_state"
INSERT INTO t VALUES (101, 'a101', 'b101');
SELECT job, rows_read FROM lfsync_export('jobs one');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_one.db" "SELECT count(*) FROM t"
DELETE FROM t WHERE id = 101;
-- every argument
SELECT lfsync_add_job('jobs all', 't', 'jobs_all.db', 'full', 'renamed', '{a,id}', NULL, 'id > 90', NULL, '10 min', false,
	'{"indexes": false}') > 0 AS id;
SELECT source, file, mode, table_name, key_columns, cursor_columns, filter, schedule, enabled, options FROM lfsync_jobs WHERE name = 'jobs all';
SELECT rows_read FROM lfsync_export('jobs all');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_all.db" "SELECT count(*), min(id) FROM renamed; SELECT sql FROM sqlite_schema WHERE name = 'renamed'"
-- a query
SELECT lfsync_add_query_job('jobs query', 'SELECT a, count(*) AS n FROM t GROUP BY 1', 'jobs_query.db', 'counts', 'full', '{a}') > 0 AS id;
SELECT source, query, mode, table_name, key_columns FROM lfsync_jobs WHERE name = 'jobs query';
-- its names are looked up where they were written
SET search_path = pg_catalog;
SELECT rows_read FROM public.lfsync_export('jobs query');
SET search_path = regress_lfsync, public;
-- in the transaction that stores it
BEGIN;
SELECT lfsync_add_job('jobs now', 'nokey', 'jobs_now.db', 'full') > 0 AS id;
SELECT rows_read FROM lfsync_export('jobs now');
ROLLBACK;
SELECT rows_read FROM lfsync_export('jobs now');
\echo :SQLSTATE

-- names
SELECT lfsync_add_job('jobs one', 't', 'jobs_one.db');
\echo :SQLSTATE
SELECT lfsync_add_job('', 't', 'jobs_x.db');
\echo :SQLSTATE
SELECT lfsync_add_job(repeat('x', 256), 't', 'jobs_x.db', 'full');
\echo :SQLSTATE
SELECT lfsync_add_job(repeat('x', 255), 't', 'jobs_x.db', 'full') > 0 AS id;
SELECT lfsync_drop_job(repeat('x', 255));
SELECT lfsync_add_job('jobs ''; DROP TABLE t; --', 'nokey', 'jobs_x.db', 'full') > 0 AS id;
SELECT rows_read FROM lfsync_export('jobs ''; DROP TABLE t; --');
SELECT lfsync_drop_job('jobs ''; DROP TABLE t; --');
SELECT lfsync_add_job('jobs odd', '"Odd ""name"""', 'jobs_x.db', 'full', key_columns => '{"Key \"col\""}') > 0 AS id;
SELECT source, key_columns FROM lfsync_jobs WHERE name = 'jobs odd';
SELECT rows_read, tables FROM lfsync_export('jobs odd');
SELECT lfsync_drop_job('jobs odd');
-- NULL where a value is needed
SELECT lfsync_add_job(NULL, 't', 'jobs_x.db');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', NULL, 'jobs_x.db');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', NULL);
SELECT lfsync_add_query_job('jobs x', NULL, 'jobs_x.db', 'x');
SELECT lfsync_add_query_job('jobs x', 'SELECT 1 AS x', NULL, 'x');
SELECT lfsync_add_query_job('jobs x', 'SELECT 1 AS x', 'jobs_x.db', NULL);
SELECT lfsync_alter_job(NULL);
SELECT lfsync_drop_job(NULL);
SELECT lfsync_reset_job(NULL);
SELECT lfsync_start_job(NULL);
SELECT lfsync_export(NULL);
\echo :SQLSTATE
-- no such job, and what may have been meant
SELECT lfsync_export('jobs none');
\echo :SQLSTATE
SELECT lfsync_export('t');
\echo :SQLSTATE
SELECT lfsync_export('regress_lfsync.v');
SELECT lfsync_export('no_schema.t');
SELECT lfsync_export('a.b.c');
SELECT lfsync_export('"');
SELECT lfsync_export('');
SELECT lfsync_start_job('jobs none');
SELECT lfsync_alter_job('jobs none');
SELECT lfsync_drop_job('jobs none');
SELECT lfsync_reset_job('jobs none');

-- what a job may export
SELECT lfsync_add_job('jobs x', 'no_such_table', 'jobs_x.db');
SELECT lfsync_add_job('jobs x', 4294967295::oid::regclass, 'jobs_x.db');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't_pkey', 'jobs_x.db');
\echo :SQLSTATE
CREATE TEMP TABLE fleeting (id int PRIMARY KEY);
SELECT lfsync_add_job('jobs x', 'fleeting', 'jobs_x.db');
\echo :SQLSTATE
SELECT lfsync_add_query_job('jobs x', 'SELECT', 'jobs_x.db', 'x');
\echo :SQLSTATE
SELECT lfsync_add_query_job('jobs x', 'SELEC 1', 'jobs_x.db', 'x');
\echo :SQLSTATE
SELECT lfsync_add_query_job('jobs x', 'SELECT 1 AS a; SELECT 2 AS a', 'jobs_x.db', 'x');
\echo :SQLSTATE
SELECT lfsync_add_query_job('jobs x', 'DELETE FROM t RETURNING *', 'jobs_x.db', 'x');
\echo :SQLSTATE
SELECT lfsync_add_query_job('jobs x', 'SELECT nothing FROM t', 'jobs_x.db', 'x');
SELECT lfsync_add_query_job('jobs x', 'SELECT 1 AS a', 'jobs_x.db', 'sqlite_x');
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', table_name => '');
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', filter => 'nothing > 1');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', filter => 'id');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', filter => 'true) OR (true');
\echo :SQLSTATE
-- where it may go
SELECT lfsync_add_job('jobs x', 't', '../jobs_x.db');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db-journal');
-- options, schedule, mapping
\set VERBOSITY terse
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', options => '{"indices": true}');
\set VERBOSITY default
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', options => '{"uuid": 1}');
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', schedule => '0');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', schedule => '-1 day');
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', mapping => '{}');
\echo :SQLSTATE
-- columns
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', key_columns => '{nothing}');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', key_columns => '{id,id}');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', key_columns => '{NULL}');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', key_columns => '{ctid}');
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', cursor_columns => '{nothing}');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', cursor_columns => '{id,id}');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', 'full', cursor_columns => '{id}');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', 'merge', cursor_columns => '{id}');
SELECT lfsync_add_job('jobs x', 'nokey', 'jobs_x.db', cursor_columns => '{n}');

-- Modes.  Stored, looked at, and gone again.
CREATE FUNCTION stored(source regclass, mode text DEFAULT NULL, key text[] DEFAULT NULL, cursor text[] DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	chosen text;
	detail text;
	hint text;
BEGIN
	PERFORM lfsync_add_job('jobs m', source, 'jobs_m.db', mode, key_columns => key, cursor_columns => cursor);
	SELECT j.mode INTO chosen FROM lfsync_jobs j WHERE name = 'jobs m';
	PERFORM lfsync_drop_job('jobs m');
	RETURN chosen;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, NULLIF(detail, ''), hint);
END
$$;
\set VERBOSITY terse
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', 'fool');
\set VERBOSITY default
\echo :SQLSTATE
SELECT lfsync_add_job('jobs x', 't', 'jobs_x.db', 'verify');
\echo :SQLSTATE
-- chosen, and said
SELECT stored('t');
SELECT stored('v');
SELECT stored('v', key => '{id}');
SET client_min_messages = warning;
SELECT s, k, stored(s::regclass, key => k) FROM (VALUES
	('t', NULL::text[]), ('parts', NULL), ('m', NULL), ('nokey', NULL), ('unlogged', NULL), ('mixed', NULL), ('mother', NULL),
	('mother', '{id}')) v (s, k);
SELECT stored('t', cursor => '{id}'), stored('v', key => '{id}', cursor => '{id}');
SELECT lfsync_add_query_job('jobs m', 'SELECT 1 AS a', 'jobs_m.db', 'x') > 0 AS id,
	lfsync_add_query_job('jobs n', 'SELECT 1 AS a', 'jobs_m.db', 'x', key_columns => '{a}') > 0 AS id;
SELECT name, mode FROM lfsync_jobs WHERE name IN ('jobs m', 'jobs n') ORDER BY 1;
SELECT lfsync_drop_job('jobs m'), lfsync_drop_job('jobs n');
RESET client_min_messages;
-- given: what has no key, and what has no row versions
\t on
\pset format unaligned
SELECT stored('nokey', 'incremental');
SELECT stored('v', 'merge');
SELECT stored('mother', 'merge');
SELECT stored('v', 'incremental', '{id}');
SELECT stored('unlogged', 'incremental');
SELECT stored('mixed', 'incremental');
SELECT stored('mixed', 'incremental', cursor => '{id}');
SELECT stored('mother', 'incremental', '{id}');
SELECT lfsync_add_query_job('jobs m', 'SELECT 1 AS a', 'jobs_m.db', 'x', 'incremental', '{a}');
-- a given key of a table is proved
SELECT stored('t', 'merge', '{a}');
SELECT stored('nokey', 'merge', '{n}');
SELECT stored('m', 'incremental', '{id}');
SELECT stored('t', 'full', '{a}');
CREATE UNIQUE INDEX nokey_part ON nokey (n) WHERE n > 0;
CREATE UNIQUE INDEX nokey_expression ON nokey ((n + 1));
CREATE UNIQUE INDEX nokey_both ON nokey (n, a);
SELECT stored('nokey', 'merge', '{n}');
SELECT stored('nokey', 'merge', '{n,a}');
CREATE UNIQUE INDEX nokey_n ON nokey (n) INCLUDE (a);
CREATE UNIQUE INDEX m_id ON m (id);
SELECT stored('nokey', 'merge', '{n}');
SELECT stored('t', 'merge', '{id}');
SELECT stored('m', 'incremental', '{id}');
\t off
\pset format aligned

-- They go on where the last run has stopped.
SET client_min_messages = warning;
SELECT lfsync_add_job('jobs go', 't', 'jobs_go.db') > 0 AS id, lfsync_add_job('jobs on', 'v', 'jobs_on.db', key_columns => '{id}') > 0 AS id,
	lfsync_add_job('jobs up', 't', 'jobs_up.db', cursor_columns => '{id}') > 0 AS id;
RESET client_min_messages;
SELECT job, mode FROM (VALUES ('jobs go'), ('jobs on'), ('jobs up')) j (name), lfsync_export(j.name);
INSERT INTO t VALUES (101, 'a101', 'b101');
UPDATE t SET a = 'A50' WHERE id = 50;
DELETE FROM t WHERE id = 1;
SELECT job, mode FROM (VALUES ('jobs go'), ('jobs on'), ('jobs up')) j (name), lfsync_export(j.name);
\! for t in go:t on:v; do sqlite3 "$LFSYNC_EXPORT_DIR/jobs_${t%:*}.db" "SELECT count(*), min(id), max(id), (SELECT a FROM ${t#*:} WHERE id = 50) FROM ${t#*:}"; done
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_up.db" "SELECT count(*), max(id) FROM t"
SELECT count(lfsync_drop_job(name, true)) FROM lfsync_jobs WHERE name IN ('jobs go', 'jobs on', 'jobs up');
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep -E 'jobs_(go|on|up)\.'
DELETE FROM t WHERE id = 101;
UPDATE t SET a = 'a50' WHERE id = 50;
INSERT INTO t VALUES (1, 'a1', 'b1');

-- changed: NULL leaves it as it is
CREATE TEMP VIEW job AS SELECT source, file, mode, table_name AS "table", key_columns AS key, cursor_columns AS cursor, filter, schedule,
	enabled, options, reset FROM lfsync_jobs WHERE name = 'jobs one';
SELECT lfsync_alter_job('jobs one');
TABLE job;
SELECT lfsync_alter_job('jobs one', file => 'jobs_two.db', table_name => 'two', filter => 'id <= 10', schedule => '1 hour', enabled => false,
	options => '{"uuid": "blob"}');
TABLE job;
SELECT updated_at > created_at AS updated FROM lfsync_jobs WHERE name = 'jobs one';
SELECT lfsync_alter_job('jobs one', 'v', key_columns => '{id}');
TABLE job;
SELECT rows_read FROM lfsync_export('jobs one');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_two.db" "SELECT count(*) FROM two"
-- and back to the defaults
SELECT lfsync_alter_job('jobs one', 't', unset => '{table_name,key_columns,filter,schedule,enabled,options}');
TABLE job;
SELECT lfsync_alter_job('jobs one', unset => '{mode}');
SELECT lfsync_alter_job('jobs one', cursor_columns => '{id}');
TABLE job;
SELECT lfsync_alter_job('jobs one', mode => 'full');
SELECT lfsync_alter_job('jobs one', mode => 'full', unset => '{cursor_columns}');
TABLE job;
SELECT lfsync_alter_job('jobs one', unset => '{file}');
\echo :SQLSTATE
SELECT lfsync_alter_job('jobs one', unset => '{nothing}');
SELECT lfsync_alter_job('jobs one', filter => 'true', unset => '{filter}');
\echo :SQLSTATE
SELECT lfsync_alter_job('jobs one', unset => '{NULL}');
SELECT lfsync_alter_job('jobs one', mapping => '{}');
SELECT lfsync_alter_job('jobs one', filter => 'nothing');
SELECT lfsync_alter_job('jobs one', source => 'nokey', mode => 'merge');
TABLE job;
-- queries
SELECT lfsync_alter_job('jobs query', query => 'SELECT 1 AS a', unset => '{key_columns}');
SELECT query, table_name, key_columns, mode FROM lfsync_jobs WHERE name = 'jobs query';
SELECT rows_read FROM lfsync_export('jobs query');
SELECT lfsync_alter_job('jobs query', source => 't');
\echo :SQLSTATE
SELECT lfsync_alter_job('jobs query', filter => 'a > 1');
SELECT lfsync_alter_job('jobs one', query => 'SELECT 1');
SELECT lfsync_alter_job('jobs query', unset => '{table_name}');

-- A table that is dropped and made again is the same source.
SELECT lfsync_add_job('jobs again', 'parts', 'jobs_again.db', 'full') > 0 AS id;
ALTER TABLE parts RENAME TO parts_old;
SELECT lfsync_export('jobs again');
\echo :SQLSTATE
SELECT lfsync_start_job('jobs again');
SELECT lfsync_alter_job('jobs again', file => 'jobs_x.db');
-- it can be disabled all the same
SELECT lfsync_alter_job('jobs again', enabled => false);
SELECT lfsync_alter_job('jobs again', enabled => true);
CREATE TABLE parts AS SELECT 1 AS one, 2 AS two;
SELECT rows_read FROM lfsync_export('jobs again');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_again.db" "SELECT * FROM parts"
SELECT lfsync_drop_job('jobs again');

-- reset: until a run has done it
SELECT lfsync_reset_job('jobs one');
SELECT name FROM lfsync_jobs WHERE reset;
SELECT lfsync_alter_job('jobs one', enabled => true);
SELECT name FROM lfsync_jobs WHERE reset;
ALTER TABLE t RENAME TO t_away;
SELECT lfsync_export('jobs one');
ALTER TABLE t_away RENAME TO t;
SELECT name FROM lfsync_jobs WHERE reset;
SELECT rows_read FROM lfsync_export('jobs one');
SELECT name FROM lfsync_jobs WHERE reset;
-- a run that is done does not wait for who changes the job
SELECT lfsync_reset_job('jobs one');
BEGIN;
SELECT lfsync_alter_job('jobs one', enabled => true);
SELECT rows_read FROM lfsync_export('jobs one');
COMMIT;
SELECT name FROM lfsync_jobs WHERE reset;
SELECT rows_read FROM lfsync_export('jobs one');
SELECT name FROM lfsync_jobs WHERE reset;

-- dropped: its runs stay
SELECT lfsync_drop_job('jobs all');
SELECT count(*) FROM lfsync_jobs WHERE name = 'jobs all';
SELECT job, status FROM lfsync_runs WHERE job = 'jobs all';
\! LC_ALL=C ls "$LFSYNC_EXPORT_DIR" | grep jobs_all

-- The file goes with it only if that is asked for, and only if it holds nothing else.
CREATE FUNCTION drop_with_file(name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM lfsync_drop_job(name, drop_file => true);
	RETURN 'dropped';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN replace(concat_ws(' ', SQLSTATE, SQLERRM, NULLIF(detail, ''), hint), current_setting('lfsync.export_directory'), '...');
END
$$;
CREATE FUNCTION store(name text, table_name text DEFAULT NULL) RETURNS void LANGUAGE sql
	AS $$SELECT lfsync_add_job(name, 't', 'jobs_drop.db', 'full', table_name)$$;
\t on
SELECT store('jobs d'), store('jobs e', 'u');
-- before it has run
SELECT drop_with_file('jobs d');
SELECT store('jobs d');
SELECT rows_read FROM lfsync_export('jobs d');
SELECT drop_with_file('jobs e');
SELECT drop_with_file('jobs d');
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep jobs_drop
-- with tables of another job, or of none
SELECT store('jobs d');
SELECT rows_read FROM lfsync_export('jobs d');
SELECT rows_read FROM lfsync_export('jobs e');
SELECT drop_with_file('jobs d');
SELECT drop_with_file('jobs e');
SELECT lfsync_drop_job('jobs e');
\! rm "$LFSYNC_EXPORT_DIR/jobs_drop.db"
SELECT rows_read FROM lfsync_export('jobs d');
SELECT rows_read FROM lfsync_export('v', 'jobs_drop.db');
SELECT drop_with_file('jobs d');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_drop.db" "DELETE FROM _lfsync_state WHERE job IS NULL"
SELECT drop_with_file('jobs d');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_drop.db" "DROP TABLE v; CREATE VIEW x AS SELECT 1"
SELECT drop_with_file('jobs d');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_drop.db" "DROP VIEW x; CREATE TRIGGER x AFTER DELETE ON t BEGIN SELECT 1; END"
SELECT drop_with_file('jobs d');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_drop.db" "DROP TRIGGER x; UPDATE _lfsync_state SET owner = 'somebody'"
SELECT drop_with_file('jobs d');
\! echo "no database" >"$LFSYNC_EXPORT_DIR/jobs_drop.db"
SELECT drop_with_file('jobs d');
\! rm "$LFSYNC_EXPORT_DIR/jobs_drop.db"; ln -s jobs_one.db "$LFSYNC_EXPORT_DIR/jobs_drop.db"
SELECT drop_with_file('jobs d');
\! rm "$LFSYNC_EXPORT_DIR/jobs_drop.db"
SELECT count(*) FROM lfsync_jobs WHERE name = 'jobs d';
-- what is gone is gone, whatever the transaction does
SELECT rows_read FROM lfsync_export('jobs d');
BEGIN;
SELECT drop_with_file('jobs d');
ROLLBACK;
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep jobs_drop
SELECT rows_read FROM lfsync_export('jobs d');
-- in WAL mode
SELECT lfsync_alter_job('jobs d', options => '{"journal_mode": "wal"}');
\! rm "$LFSYNC_EXPORT_DIR/jobs_drop.db"
SELECT rows_read FROM lfsync_export('jobs d');
SELECT drop_with_file('jobs d');
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep jobs_drop
\t off

-- All of them, in the order of their names.  One that fails stops no other.
SELECT lfsync_add_job('jobs Zebra', 'v', 'jobs_zebra.db') > 0 AS id;
SELECT lfsync_add_job('jobs off', 'v', 'jobs_off.db', enabled => false) > 0 AS id;
SELECT job, rows_read FROM lfsync_export();
ALTER VIEW v RENAME TO w;
CREATE TABLE zero (n int);
INSERT INTO zero VALUES (0);
SELECT lfsync_add_query_job('jobs division', 'SELECT 1 / n AS n FROM zero', 'jobs_division.db', 'x') > 0 AS id;
SELECT max(run_id) AS last FROM lfsync_runs \gset
SELECT job, rows_read FROM lfsync_export();
\echo :SQLSTATE
SELECT job, status, rows_read FROM lfsync_runs WHERE run_id > :last ORDER BY run_id;
ALTER VIEW w RENAME TO v;
SELECT lfsync_drop_job('jobs division');
-- once more when all is well, and when there is none
SELECT job, rows_read FROM lfsync_export();
SELECT count(lfsync_drop_job(name)) FROM lfsync_jobs;
SELECT count(*) FROM lfsync_export();

-- Rights: who was granted the functions stores jobs; they are their own.
CREATE ROLE regress_lfsync_app LOGIN;
CREATE ROLE regress_lfsync_member LOGIN IN ROLE regress_lfsync_app;
CREATE ROLE regress_lfsync_other LOGIN;
GRANT USAGE ON SCHEMA regress_lfsync TO regress_lfsync_app, regress_lfsync_other;
GRANT EXECUTE ON FUNCTION lfsync_export(text), lfsync_export(), lfsync_start_job(text), lfsync_reset_job(text), lfsync_drop_job(text, boolean),
	lfsync_add_job(text, regclass, text, text, text, text[], text[], text, json, interval, boolean, jsonb),
	lfsync_add_query_job(text, text, text, text, text, text[], text[], json, interval, boolean, jsonb),
	lfsync_alter_job(text, regclass, text, text, text, text[], text[], text, json, interval, boolean, jsonb, text[], text)
	TO regress_lfsync_app, regress_lfsync_other;
SET ROLE regress_lfsync_app;
SELECT lfsync_add_job('jobs app', 't', 'jobs_app.db', 'full');
\echo :SQLSTATE
SELECT lfsync_add_query_job('jobs app', 'TABLE t', 'jobs_app.db', 't');
\echo :SQLSTATE
SELECT lfsync_add_job('jobs app', 't', '/tmp/jobs_app.db', 'full');
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT ON t TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
SELECT lfsync_add_job('jobs app', 't', 'jobs_app.db', 'full') > 0 AS id;
SELECT name, owner FROM lfsync_jobs;
SELECT job, rows_read FROM lfsync_export('jobs app');
SET ROLE regress_lfsync_member;
SELECT name, owner FROM lfsync_jobs;
SELECT job, rows_read FROM lfsync_export('jobs app');
SELECT job, rows_read FROM lfsync_export();
SELECT owner, status FROM lfsync_runs ORDER BY run_id DESC LIMIT 2;
SELECT lfsync_alter_job('jobs app', filter => 'id < 10');
SELECT lfsync_reset_job('jobs app');
SET ROLE regress_lfsync_other;
SELECT name, owner FROM lfsync_jobs;
SELECT lfsync_export('jobs app');
\echo :SQLSTATE
SELECT lfsync_start_job('jobs app');
SELECT lfsync_alter_job('jobs app', enabled => false);
SELECT lfsync_reset_job('jobs app');
SELECT lfsync_drop_job('jobs app');
SELECT count(*) FROM lfsync_export();
SELECT lfsync_add_job('jobs app', 'pg_class', 'jobs_other.db', 'full');
UPDATE lfsync_jobs SET owner = 'regress_lfsync_other';
DELETE FROM lfsync_jobs;
RESET ROLE;
-- row security hides rows, then and at each run
CREATE POLICY below_5 ON t USING (id < 5);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
SELECT rows_read FROM lfsync_export('jobs app');
\echo :SQLSTATE
SELECT lfsync_alter_job('jobs app', unset => '{filter}');
SELECT lfsync_alter_job('jobs app', options => '{"row_security": true}', unset => '{filter}');
SELECT rows_read FROM lfsync_export('jobs app');
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
-- rights that went
REVOKE SELECT ON t FROM regress_lfsync_app;
SELECT lfsync_export('jobs app');
\echo :SQLSTATE
SELECT lfsync_alter_job('jobs app', file => 'jobs_x.db');
\echo :SQLSTATE
GRANT SELECT ON t TO regress_lfsync_app;
-- what planning calls, it calls as the owner, whoever asks
GRANT CREATE ON SCHEMA regress_lfsync TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
CREATE FUNCTION who() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'planned as %', current_user;
	PERFORM set_config('role', 'somebody', true);
	RETURN 'x';
END
$$;
SELECT lfsync_add_query_job('jobs who', 'SELECT who() AS u', 'jobs_who.db', 'x', 'full');
RESET ROLE;
CREATE OR REPLACE FUNCTION who() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'planned as %', current_user;
	RETURN 'x';
END
$$;
SET ROLE regress_lfsync_app;
SELECT lfsync_add_query_job('jobs who', 'SELECT who() AS u', 'jobs_who.db', 'x', 'full') > 0 AS id;
RESET ROLE;
SELECT lfsync_alter_job('jobs who', file => 'jobs_who.db');
SELECT lfsync_drop_job('jobs who');
SET ROLE regress_lfsync_app;
SELECT lfsync_add_query_job('jobs who', 'SELECT current_user::text AS u', 'jobs_who.db', 'x') > 0 AS id;
RESET ROLE;
SELECT rows_read FROM lfsync_export('jobs who');
\! sqlite3 "$LFSYNC_EXPORT_DIR/jobs_who.db" "SELECT u FROM x; SELECT owner FROM _lfsync_state"
-- a renamed owner, and one that is another by now
ALTER ROLE regress_lfsync_app RENAME TO regress_lfsync_new;
SELECT lfsync_export('jobs app');
\echo :SQLSTATE
SELECT lfsync_alter_job('jobs app', file => 'jobs_x.db');
SET ROLE regress_lfsync_new;
SELECT name, owner FROM lfsync_jobs ORDER BY 1;
SELECT lfsync_alter_job('jobs app', file => 'jobs_new.db', enabled => true);
SELECT name, owner FROM lfsync_jobs ORDER BY 1;
SELECT rows_read FROM lfsync_export('jobs app');
RESET ROLE;
ALTER ROLE regress_lfsync_new RENAME TO regress_lfsync_app;
SELECT count(lfsync_alter_job(name, enabled => true)) FROM lfsync_jobs;
SELECT name, owner FROM lfsync_jobs ORDER BY 1;
SET client_min_messages = warning;
DROP OWNED BY regress_lfsync_app;
RESET client_min_messages;
DROP ROLE regress_lfsync_app;
SELECT lfsync_export('jobs app');
\echo :SQLSTATE
SELECT lfsync_alter_job('jobs app', enabled => true);
\echo :SQLSTATE
CREATE ROLE regress_lfsync_app LOGIN;
SELECT lfsync_export('jobs app');
SELECT lfsync_alter_job('jobs app', enabled => true);
\echo :SQLSTATE
-- not the new role's until a superuser says so
GRANT SELECT ON t TO regress_lfsync_app;
GRANT USAGE ON SCHEMA regress_lfsync TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
SELECT count(*) FROM lfsync_jobs;
RESET ROLE;
SELECT lfsync_alter_job('jobs app', file => 'jobs_newer.db', enabled => true);
SELECT rows_read FROM lfsync_export('jobs app');
SELECT lfsync_drop_job('jobs who');

-- A job of another cluster does nothing until it is adopted.
UPDATE lfsync_jobs SET system_identifier = '1';
SELECT lfsync_export('jobs app');
\echo :SQLSTATE
SELECT lfsync_start_job('jobs app');
SELECT count(*) FROM lfsync_export();
SELECT lfsync_alter_job('jobs app', file => 'jobs_x.db');
SELECT lfsync_alter_job(name, enabled => true) FROM lfsync_jobs;
SELECT job, rows_read FROM lfsync_export();

SET client_min_messages = warning;
SELECT lfsync_drop_job('jobs app');
DROP SCHEMA regress_lfsync CASCADE;
DROP OWNED BY regress_lfsync_app, regress_lfsync_member, regress_lfsync_other;
DROP ROLE regress_lfsync_app, regress_lfsync_member, regress_lfsync_other;

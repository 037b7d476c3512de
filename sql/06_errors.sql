--
-- What is refused, in what words.  Every error has an SQLSTATE; where it is
-- lfsync's own it says what to do.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/errors*
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL);

-- an error in parts, without the directory
CREATE FUNCTION refusal(query text) RETURNS TABLE (part text, text text) LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
	dir text := current_setting('lfsync.export_directory');
BEGIN
	EXECUTE query;
	RETURN QUERY VALUES ('accepted', '');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN QUERY SELECT c.part, replace(regexp_replace(c.text, 'install -d .* -m', 'install -d ... -m'), dir, '...')
		FROM (VALUES ('sqlstate', SQLSTATE), ('message', message), ('detail', detail), ('hint', hint)) c (part, text);
END
$$;

-- NULL where a value is needed
SELECT lfsync_export(NULL, 'errors.db');
\echo :SQLSTATE
SELECT lfsync_export('t', NULL);
\echo :SQLSTATE
SELECT lfsync_export_query(NULL, 'errors.db', 't');
SELECT lfsync_export_query('SELECT 1 AS x', NULL, 't');
SELECT lfsync_export_query('SELECT 1 AS x', 'errors.db', NULL);
SELECT lfsync_export_tables(NULL, 'errors.db');
SELECT lfsync_export_tables('{t}', NULL);
SELECT lfsync_export('t', 'errors.db', key_columns => '{id,NULL}');
\echo :SQLSTATE
SELECT lfsync_export_query('TABLE t', 'errors.db', 't', '{NULL}');
SELECT lfsync_preview(NULL);
SELECT lfsync_cancel(NULL) IS NULL AS nothing_cancelled;
SELECT lfsync_cancel(-1), lfsync_cancel(9223372036854775807);

-- mode, and what does not go with it
SELECT lfsync_export('t', 'errors.db', mode => 'all');
\echo :SQLSTATE
SELECT lfsync_export('t', 'errors.db', mode => '');
SELECT lfsync_export('t', 'errors.db', cursor_columns => '{id}');
\echo :SQLSTATE
SELECT lfsync_export('t', 'errors.db', mapping => '{}');
SELECT lfsync_preview('t', '{}');

-- what is no source
SELECT lfsync_export('no_such_table', 'errors.db');
\echo :SQLSTATE
SELECT lfsync_export(1, 'errors.db');
\echo :SQLSTATE
SELECT lfsync_preview(1);
\echo :SQLSTATE
CREATE INDEX t_a ON t (a);
CREATE SEQUENCE s;
CREATE TYPE pair AS (a int, b int);
SELECT lfsync_export('t_a', 'errors.db');
\echo :SQLSTATE
SELECT lfsync_export('s', 'errors.db');
SELECT lfsync_export('pair', 'errors.db');
SELECT lfsync_export_tables('{t,s}', 'errors.db');
SELECT lfsync_preview('s');
SELECT oid::regclass AS toast FROM pg_class WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE oid = 't'::regclass) \gset
SELECT * FROM refusal(format($$SELECT lfsync_export(%L, 'errors.db')$$, :'toast')) WHERE part <> 'message';
-- a run is another process: it sees no temporary table
CREATE TEMP TABLE temporary AS SELECT 1 AS id;
SELECT lfsync_export('temporary', 'errors.db');
\echo :SQLSTATE
SELECT lfsync_export_tables('{t,temporary}', 'errors.db');
CREATE TEMP VIEW temporary_view AS SELECT 1 AS id;
SELECT lfsync_export('temporary_view', 'errors.db');
SELECT lfsync_export_query('TABLE temporary', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('TABLE pg_temp.temporary', 'errors.db', 't');

-- queries that are none, or more than reading
SELECT lfsync_export_query('', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('  ; -- nothing', 'errors.db', 't');
SELECT lfsync_export_query('SELEC 1', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT 1 AS x; SELECT 2 AS x', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT 1 AS x; DROP TABLE t', 'errors.db', 't');
SELECT lfsync_export_query('INSERT INTO t VALUES (7) RETURNING id', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('WITH w AS (DELETE FROM t RETURNING id) SELECT * FROM w', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT id FROM t FOR UPDATE', 'errors.db', 't');
\echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT lfsync_export_query('SELECT * FROM (SELECT id FROM t FOR SHARE) s', 'errors.db', 't');
\set VERBOSITY default
SELECT lfsync_export_query('SHOW server_version', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('EXPLAIN SELECT 1', 'errors.db', 't');
SELECT lfsync_export_query('COPY t TO STDOUT', 'errors.db', 't');
SELECT lfsync_export_query('VACUUM', 'errors.db', 't');
SELECT lfsync_export_query('SELECT 1 AS x INTO made FROM t', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('CREATE TABLE made AS SELECT 1 AS x', 'errors.db', 't');
SELECT lfsync_export_query('BEGIN', 'errors.db', 't');
SELECT lfsync_export_query('SELECT $1 AS x', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT nextval(''s'') AS x', 'errors.db', 't');
\echo :SQLSTATE
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO t VALUES (8); RETURN 8; END$$;
SELECT lfsync_export_query('SELECT writes() AS x', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT no_such_column FROM t', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT * FROM no_such_table', 'errors.db', 't');
\echo :SQLSTATE
-- nothing of that has happened
TABLE t ORDER BY id;
SELECT to_regclass('made'), last_value, is_called FROM s;

-- columns of queries
SELECT lfsync_export_query('SELECT FROM t', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT 1 AS x, 2 AS x', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT 1 AS x, 2 AS "X"', 'errors.db', 't');
SELECT lfsync_export_query('SELECT 1, 2', 'errors.db', 't');
SELECT lfsync_export_query('SELECT ''x''::cstring AS x', 'errors.db', 't');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT pg_advisory_unlock_all() AS x', 'errors.db', 't');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export_query('SELECT ROW(1, ''x'') AS x', 'errors.db', 't');
\! sqlite3 "$LFSYNC_EXPORT_DIR/errors.db" "SELECT x FROM t"
\! rm "$LFSYNC_EXPORT_DIR/errors.db"

-- keys
SELECT lfsync_export('t', 'errors.db', key_columns => '{nope}');
\echo :SQLSTATE
SELECT lfsync_export('t', 'errors.db', key_columns => '{ID}');
SELECT lfsync_export('t', 'errors.db', key_columns => '{id,a,id}');
\echo :SQLSTATE
SELECT lfsync_export_query('TABLE t', 'errors.db', 't', '{id,b}');
SELECT lfsync_export('t', 'errors.db', key_columns => '{a}');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT 1 AS id, NULL::int AS b', 'errors.db', 't', '{b}');
\echo :SQLSTATE
CREATE VIEW twice AS SELECT i % 50 AS id, i AS n, 'v' || i % 60 AS v FROM generate_series(1, 99) i;
SELECT lfsync_export('twice', 'errors.db', key_columns => '{id}');
\echo :SQLSTATE
SELECT lfsync_export('twice', 'errors.db', key_columns => '{v}');
\echo :SQLSTATE
SELECT lfsync_export_query('SELECT 1 AS a, ''x'' AS b FROM t', 'errors.db', 't', '{b,a}');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('twice', 'errors_twice.db', key_columns => '{n}');
-- the same in a file that holds others, where the first table must survive
SELECT rows_read FROM lfsync_export('t', 'errors_twice.db');
SELECT lfsync_export('twice', 'errors_twice.db', key_columns => '{id}');
\echo :SQLSTATE
SELECT lfsync_export('twice', 'errors_twice.db', key_columns => '{v}');
\echo :SQLSTATE
SELECT lfsync_export('twice', 'errors_twice.db', key_columns => '{id}', options => '{"batch_rows": 1}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/errors_twice.db" "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1; SELECT count(*) FROM twice; SELECT count(*) FROM t; PRAGMA integrity_check"

-- an error in a late row, named by column, row and key; what was there stays
CREATE VIEW late AS SELECT id, 100 / (2000 - id) AS x FROM generate_series(1, 3000) id;
SELECT rows_read FROM lfsync_export('t', 'errors_late.db', table_name => 'late');
\set SHOW_CONTEXT never
SELECT lfsync_export('late', 'errors_late.db', key_columns => '{id}');
\set SHOW_CONTEXT errors
\echo :SQLSTATE
\! sqlite3 "$LFSYNC_EXPORT_DIR/errors_late.db" "SELECT count(*) FROM late"
SELECT lfsync_export('late', 'errors_late.db');
SELECT lfsync_export('late', 'errors_late.db', filter => 'id > 1999');
CREATE VIEW late_value AS SELECT id, 'k' || id AS k, CASE WHEN id = 2500 THEN 'infinity'::timestamptz ELSE '2024-01-01' END AS at FROM generate_series(1, 3000) id;
SELECT lfsync_export('late_value', 'errors_late.db', 'late', key_columns => '{id,k}', options => '{"timestamps": "unix"}');
\echo :SQLSTATE
SELECT lfsync_export('late_value', 'errors_late.db', 'late', key_columns => '{k}', options => '{"timestamps": "unix"}');
SELECT source, status, sqlstate, sqlite_code, message, detail, hint, rows_inserted, bytes_written, finished_at IS NOT NULL AS finished, notes
FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
SELECT lfsync_export('twice', 'errors_late.db', 'late', key_columns => '{v}');
SELECT status, sqlstate, sqlite_code, message, detail, hint FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;

-- files
\set VERBOSITY terse
SELECT lfsync_export('t', '');
\echo :SQLSTATE
SELECT lfsync_export('t', '/');
SELECT lfsync_export('t', 'a/');
SELECT lfsync_export('t', 'a//b.db');
SELECT lfsync_export('t', '../errors.db');
\echo :SQLSTATE
SELECT lfsync_export('t', 'a/./b.db');
SELECT lfsync_export('t', '.');
SELECT lfsync_export('t', ':memory:');
SELECT lfsync_export('t', 'file:errors.db');
SELECT lfsync_export('t', 'errors.db-journal');
SELECT lfsync_export('t', 'errors.db-WAL');
SELECT lfsync_export('t', E'errors\n.db');
\echo :SQLSTATE
SELECT lfsync_export('t', repeat('x', 256));
\echo :SQLSTATE
SELECT lfsync_export('t', repeat('x/', 250) || 'y');
\set VERBOSITY default
-- with the directory cut off
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_none/x.db')$$);
\! mkdir -p "$LFSYNC_EXPORT_DIR/errors_directory.db"
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_directory.db')$$);
\! mkdir -p -m 777 "$LFSYNC_EXPORT_DIR/errors_open" && chmod 777 "$LFSYNC_EXPORT_DIR/errors_open"
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_open/x.db')$$);
\! ln -sfn errors_directory.db "$LFSYNC_EXPORT_DIR/errors_link"
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_link/x.db')$$);
\! ln -sf nowhere "$LFSYNC_EXPORT_DIR/errors_link.db"
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_link.db')$$);
\! mkfifo "$LFSYNC_EXPORT_DIR/errors_pipe.db"
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_pipe.db')$$);
\! echo 'this is a text' > "$LFSYNC_EXPORT_DIR/errors_text.db"
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_text.db')$$);
\! cat "$LFSYNC_EXPORT_DIR/errors_text.db"
\! rm -rf "$LFSYNC_EXPORT_DIR"/errors_directory.db "$LFSYNC_EXPORT_DIR"/errors_open "$LFSYNC_EXPORT_DIR"/errors_link "$LFSYNC_EXPORT_DIR"/errors_link.db "$LFSYNC_EXPORT_DIR"/errors_pipe.db
SET lfsync.export_directory = '';
SELECT part, text FROM refusal($$SELECT lfsync_export('t', 'errors.db')$$);
RESET lfsync.export_directory;
SELECT * FROM refusal(format($$SELECT lfsync_export('t', %L)$$, current_setting('data_directory') || '/errors.db')) WHERE part = 'sqlstate';

-- tables that lfsync did not make
\! sqlite3 "$LFSYNC_EXPORT_DIR/errors_theirs.db" "CREATE TABLE t (theirs int); INSERT INTO t VALUES (7); CREATE VIEW v AS SELECT 1; CREATE TABLE u (x int); CREATE INDEX i ON u (x)"
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_theirs.db')$$);
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_theirs.db', 'T')$$) WHERE part = 'sqlstate';
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_theirs.db', 'v')$$);
SELECT * FROM refusal($$SELECT lfsync_export('t', 'errors_theirs.db', 'i')$$);
SELECT rows_read FROM lfsync_export('t', 'errors_theirs.db', 'ours');
SELECT rows_read FROM lfsync_export('t', 'errors_theirs.db', 'ours');
\! sqlite3 "$LFSYNC_EXPORT_DIR/errors_theirs.db" "SELECT * FROM t; SELECT * FROM v; SELECT count(*) FROM ours; SELECT table_name FROM _lfsync_state; PRAGMA integrity_check"

-- no refused run has left a file
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep errors
SELECT count(*) FROM lfsync_progress;

SET client_min_messages = warning;
DROP SCHEMA regress_lfsync CASCADE;

--
-- Options: every one, its values, its effect.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/options*
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;
CREATE TABLE t (id int PRIMARY KEY, a text UNIQUE, parent int REFERENCES t);
CREATE INDEX t_parent ON t (parent);
INSERT INTO t SELECT i, 'a' || i, i - 1 + (i = 1)::int FROM generate_series(1, 100) i;

-- what is no object, no option, no value
SELECT rows_read FROM lfsync_export('t', 'options.db', options => '[]');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('t', 'options.db', options => '"strict"');
SELECT rows_read FROM lfsync_export('t', 'options.db', options => 'null');
SELECT rows_read FROM lfsync_export('t', 'options.db', options => '{"strickt": true}');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('t', 'options.db', options => '{"strict": true, "": 1}');
SELECT rows_read FROM lfsync_export('t', 'options.db', options => '{"Strict": true}');
-- each option lists its values
CREATE FUNCTION wrong_value(name text, value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
BEGIN
	PERFORM lfsync_export('t', 'options.db', options => jsonb_build_object(name, value::jsonb));
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || message || ' ' || hint;
END
$$;
SELECT wrong_value(name, value) FROM (VALUES
	('batch_rows', '-1'), ('batch_rows', '1.5'), ('batch_rows', '"10"'), ('batch_rows', '2147483648'), ('batch_rows', 'null'),
	('check', '"some"'), ('check', 'true'),
	('file_mode', '"0400"'), ('file_mode', '"1640"'), ('file_mode', '"rw"'), ('file_mode', '""'), ('file_mode', '640'), ('file_mode', '"0648"'),
	('foreign_keys', '1'), ('foreign_keys', '"on"'),
	('indexes', 'null'), ('indexes', '"true"'),
	('journal_mode', '"memory"'), ('journal_mode', '"WAL"'),
	('nan', '"NULL"'), ('nan', 'null'),
	('numeric', '"double"'),
	('page_size', '0'), ('page_size', '256'), ('page_size', '5000'), ('page_size', '131072'), ('page_size', '"4096"'),
	('row_security', '"off"'),
	('run_timeout', '-1'), ('run_timeout', '"1 month"'), ('run_timeout', '2147484'), ('run_timeout', 'true'), ('run_timeout', '"-1 s"'), ('run_timeout', '1.5'), ('run_timeout', '"soon"'),
	('strict', '{}'), ('strict', '[true]'),
	('synchronous', '"off"'),
	('timestamps', '"iso"'),
	('uuid', '"bytes"')) v (name, value);
-- two that contradict each other
SELECT rows_read FROM lfsync_export('t', 'options.db', options => '{"strict": true, "nan": "text"}');
\echo :SQLSTATE
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep options

-- the same options everywhere
SELECT rows_read FROM lfsync_export_query('TABLE t', 'options.db', 't', options => '{"srict": true}');
SELECT rows_read FROM lfsync_export_tables('{t}', 'options.db', options => '{"srict": true}');
SELECT count(*) FROM lfsync_preview('t', options => '{"srict": true}');
SELECT rows_read FROM lfsync_export_tables('{t}', 'options.db', options => NULL);
SELECT rows_read FROM lfsync_export_query('TABLE t', 'options.db', 't', options => NULL);

-- all at their defaults
SELECT rows_read FROM lfsync_export('t', 'options.db', options => '{"batch_rows": 0, "check": "count", "file_mode": "0640",
	"foreign_keys": true, "indexes": true, "journal_mode": "delete", "nan": "null", "numeric": "text", "page_size": 4096,
	"row_security": false, "run_timeout": 0, "strict": false, "synchronous": "extra", "timestamps": "text", "uuid": "text"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/options.db" "PRAGMA page_size; PRAGMA journal_mode; PRAGMA encoding; PRAGMA auto_vacuum; PRAGMA user_version; PRAGMA application_id; SELECT sql FROM sqlite_schema WHERE tbl_name = 't' AND sql IS NOT NULL"
\! stat -c %a "$LFSYNC_EXPORT_DIR/options.db"

-- page_size, each of them, and the file of another size
SELECT s, r.rows_read, r.bytes_written % s AS rest
FROM unnest(ARRAY[512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]) s,
	lfsync_export('t', 'options_' || s || '.db', options => jsonb_build_object('page_size', s, 'check', 'full')) r;
\! for s in 512 1024 2048 4096 8192 16384 32768 65536; do sqlite3 "$LFSYNC_EXPORT_DIR/options_$s.db" "PRAGMA page_size; PRAGMA integrity_check; SELECT count(*), sum(id) FROM t" | paste -sd' '; done
SELECT rows_read FROM lfsync_export('t', 'options_512.db', options => '{"page_size": 8192}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_512.db" "PRAGMA page_size"
-- a table added to a file has the file's page size, whatever the option says
SELECT rows_read FROM lfsync_export('t', 'options_1024.db', table_name => 't2', options => '{"page_size": 8192, "check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_1024.db" "PRAGMA page_size; SELECT count(*), sum(id) FROM t2"

-- strict
SELECT rows_read FROM lfsync_export('t', 'options_strict.db', options => '{"strict": true}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_strict.db" "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite%' ORDER BY 1"
-- indexes and foreign_keys
SELECT rows_read FROM lfsync_export('t', 'options_indexes.db', options => '{"indexes": false}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_indexes.db" "SELECT sql FROM sqlite_schema WHERE tbl_name = 't'"
SELECT rows_read FROM lfsync_export('t', 'options_foreign.db', options => '{"foreign_keys": false}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_foreign.db" "SELECT sql FROM sqlite_schema WHERE tbl_name = 't'"
CREATE TABLE u (id int PRIMARY KEY, a text REFERENCES t (a));
SELECT rows_read FROM lfsync_export_tables('{t,u}', 'options_unique.db', options => '{"indexes": false, "check": "full"}');
SELECT notes FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_unique.db" "SELECT sql FROM sqlite_schema WHERE name = 'u'"

-- check
SELECT c, r.rows_read
FROM unnest('{count,quick,full,none}'::text[]) c,
	lfsync_export('t', 'options_check_' || c || '.db', options => jsonb_build_object('check', c)) r;
-- a source that breaks its own foreign key passes unless it is asked
CREATE TABLE broken (id int PRIMARY KEY, parent int);
INSERT INTO broken VALUES (1, 7);
ALTER TABLE broken ADD FOREIGN KEY (parent) REFERENCES broken NOT VALID;
UPDATE pg_catalog.pg_constraint SET convalidated = true WHERE conrelid = 'broken'::regclass AND contype = 'f';
SELECT rows_read FROM lfsync_export('broken', 'options_broken.db');
SELECT rows_read FROM lfsync_export('broken', 'options_broken2.db', options => '{"check": "full"}');
\echo :SQLSTATE
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep broken

-- journal_mode: the file says it to whoever opens it
SELECT rows_read FROM lfsync_export('t', 'options_wal.db', options => '{"journal_mode": "wal"}');
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep wal
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_wal.db" "PRAGMA journal_mode; SELECT count(*) FROM t"
SELECT rows_read FROM lfsync_export('t', 'options_wal.db', table_name => 't2', options => '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_wal.db" "PRAGMA journal_mode; SELECT count(*) FROM t; SELECT count(*) FROM t2"
SELECT rows_read FROM lfsync_export('t', 'options_wal2.db', options => '{"journal_mode": "wal"}');
SELECT rows_read FROM lfsync_export('t', 'options_wal2.db', options => '{"journal_mode": "delete"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_wal2.db" "PRAGMA journal_mode; SELECT count(*) FROM t"
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep wal

-- synchronous: how a file that others have open is written
SELECT s, r.rows_read
FROM unnest('{extra,full,normal}'::text[]) s,
	lfsync_export('t', 'options_sync.db', table_name => 't_' || s, options => jsonb_build_object('synchronous', s)) r;
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_sync.db" "SELECT (SELECT count(*) FROM t_extra), (SELECT count(*) FROM t_full), (SELECT count(*) FROM t_normal)"

-- file_mode, and the setting that is its default
SELECT rows_read FROM lfsync_export('t', 'options_mode.db', options => '{"file_mode": "0600"}');
\! stat -c %a "$LFSYNC_EXPORT_DIR/options_mode.db"
SELECT rows_read FROM lfsync_export('t', 'options_mode.db', options => '{"file_mode": "664"}');
\! stat -c %a "$LFSYNC_EXPORT_DIR/options_mode.db"
SET lfsync.file_mode = '0644';
SELECT rows_read FROM lfsync_export('t', 'options_mode.db');
RESET lfsync.file_mode;
\! stat -c %a "$LFSYNC_EXPORT_DIR/options_mode.db"

-- batch_rows, in a file that holds others
SELECT rows_read FROM lfsync_export('t', 'options_batch.db');
SELECT rows_read FROM lfsync_export('t', 'options_batch.db', table_name => 't2', options => '{"batch_rows": 30}');
SELECT rows_read, batches FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
SELECT rows_read FROM lfsync_export('t', 'options_batch.db', table_name => 't2', options => '{"batch_rows": 1}');
SELECT rows_read, batches FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_batch.db" "SELECT count(*), sum(id) FROM t2; PRAGMA integrity_check"

-- run_timeout, and the setting that is its default
SELECT rows_read FROM lfsync_export_query('SELECT pg_sleep(60)::text AS x', 'options_timeout.db', 't', options => '{"run_timeout": "200 ms"}');
\echo :SQLSTATE
SELECT status, sqlstate, message FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
SET lfsync.run_timeout = '200ms';
SELECT rows_read FROM lfsync_export_query('SELECT pg_sleep(60)::text AS x', 'options_timeout.db', 't');
SELECT rows_read FROM lfsync_export_query('SELECT pg_sleep(0.3)::text AS x', 'options_timeout.db', 't', options => '{"run_timeout": 60}');
SELECT rows_read FROM lfsync_export_query('SELECT pg_sleep(0.3)::text AS x', 'options_timeout.db', 't', options => '{"run_timeout": "1 hour 2 min"}');
RESET lfsync.run_timeout;

-- a session's own settings go with its runs
\! mkdir -p "$LFSYNC_EXPORT_DIR/options_directory"
SELECT set_config('lfsync.export_directory', :'dir' || '/options_directory', false) IS NULL AS failed;
SELECT replace(file, :'dir', '...') AS file FROM lfsync_export('t', 'elsewhere.db');
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR/options_directory"; rm -r "$LFSYNC_EXPORT_DIR/options_directory"
RESET lfsync.export_directory;
SELECT rows_read FROM lfsync_export_query('SELECT i AS id, repeat(''x'', 1000) AS x FROM generate_series(1, 5000) i', 'options_batches.db', 't');
SELECT rows_read FROM lfsync_export_query('SELECT i AS id, repeat(''x'', 1000) AS x FROM generate_series(1, 5000) i', 'options_batches.db', 't2');
SELECT batches > 1 AS several FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
SET lfsync.batch_bytes = '1MB';
SELECT rows_read FROM lfsync_export_query('SELECT i AS id, repeat(''x'', 1000) AS x FROM generate_series(1, 5000) i', 'options_batches.db', 't2');
SELECT batches > 1 AS several FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
RESET lfsync.batch_bytes;
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_batches.db" "SELECT count(*), sum(id) FROM t2; PRAGMA integrity_check"

-- types: timestamps, uuid, numeric, nan
CREATE TABLE typed (id int PRIMARY KEY, ts timestamp, tz timestamptz, u uuid, n numeric, f float8);
INSERT INTO typed VALUES (1, '2024-02-29 12:34:56.75', '2024-02-29 12:34:56.75+01', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 1.50, 'NaN'),
	(2, NULL, NULL, NULL, NULL, NULL), (3, '1969-12-31 23:59:59.5', '1969-12-31 23:59:59.5+00', NULL, -2, '-0');
SELECT rows_read FROM lfsync_export('typed', 'options_types.db');
SELECT notes FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_types.db" "SELECT id, ts, tz, u, n, typeof(n), typeof(f) FROM typed"
SELECT rows_read FROM lfsync_export('typed', 'options_types.db', options => '{"timestamps": "unix", "uuid": "blob", "numeric": "real", "nan": "text"}');
SELECT notes FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_types.db" "SELECT id, ts, tz, hex(u), n, typeof(n), typeof(f) FROM typed"
SELECT rows_read FROM lfsync_export('typed', 'options_types.db', options => '{"timestamps": "unix_us"}');
SELECT notes FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/options_types.db" "SELECT id, ts, tz FROM typed"
SELECT rows_read FROM lfsync_export('typed', 'options_types2.db', options => '{"nan": "error"}');
\echo :SQLSTATE
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep types2

SET client_min_messages = warning;
DROP SCHEMA regress_lfsync CASCADE;

--
-- lfsync_export(): one source, one file; the row it returns, the row it leaves
-- in lfsync_runs, and what is in the file.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/export*
\set counts 'rows_read, rows_inserted, rows_updated, rows_deleted'
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;

CREATE TABLE plays (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	artist text NOT NULL,
	track text NOT NULL,
	seconds integer,
	played_at timestamptz NOT NULL
);
INSERT INTO plays (artist, track, seconds, played_at)
VALUES ('Björk', 'Jóga', 305, '2024-02-29 12:34:56+01'),
	('東京事変', '群青日和', NULL, '2024-03-01 00:00:00.5+00'),
	('it''s "x"', '', 0, '2024-03-01 00:00:01+00');

-- the row it returns
SELECT run_id, coalesce(job, 'none') AS job, mode, file, bytes_written, :counts, duration, tables
FROM lfsync_export('plays', 'export_plays.db') \gset r_
SELECT :'r_mode' AS mode, :'r_job' AS job, :'r_file' = :'dir' || '/export_plays.db' AS file,
	:r_rows_read AS rows_read, :r_rows_inserted AS rows_inserted,
	:r_rows_updated AS rows_updated, :r_rows_deleted AS rows_deleted,
	:r_bytes_written = (pg_stat_file(:'r_file')).size AS bytes_written,
	:'r_duration'::interval BETWEEN interval '0.1 ms' AND interval '1 min' AS duration,
	:'r_tables' AS tables;

-- the row it leaves
SELECT job, owner = current_user AS owner, owner_oid = current_user::regrole AS owner_oid, mode, source,
	file = :'r_file' AS file, status, attempt
FROM lfsync_runs WHERE run_id = :r_run_id;
SELECT rows_read, rows_inserted, rows_updated, rows_deleted, rows_rejected,
	bytes_written = :r_bytes_written AS bytes_written, batches
FROM lfsync_runs WHERE run_id = :r_run_id;
SELECT started_at BETWEEN now() - interval '1 min' AND now() AS started_at,
	finished_at - started_at BETWEEN interval '0.1 ms' AND interval '1 min' AS finished_at,
	scan_time >= '0' AND scan_time < finished_at - started_at AS scan_time,
	write_time > '0' AND write_time < finished_at - started_at AS write_time,
	wait_time >= '0' AND wait_time < finished_at - started_at AS wait_time
FROM lfsync_runs WHERE run_id = :r_run_id;
SELECT sqlstate, sqlite_code, message, detail, hint, position_from, position_to, notes
FROM lfsync_runs WHERE run_id = :r_run_id;

-- the file
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT * FROM plays ORDER BY id"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT sql FROM sqlite_schema WHERE name = 'plays'"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT type, name FROM sqlite_schema ORDER BY type, name"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "PRAGMA integrity_check"
\! stat -c %a "$LFSYNC_EXPORT_DIR/export_plays.db"

-- and what lfsync notes in it
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT table_name, job, mode, source, timeline, position, generation, rows, lfsync_version FROM _lfsync_state"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT group_concat(name, ', ') FROM pragma_table_info('_lfsync_state')"
SELECT system_identifier FROM pg_control_system() \gset
\setenv EXPECTED :system_identifier
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT system_identifier = '$EXPECTED', typeof(system_identifier) FROM _lfsync_state"
SELECT current_user || '|' || current_database() AS expected \gset
\setenv EXPECTED :expected
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT owner || '|' || database = '$EXPECTED' FROM _lfsync_state"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT updated_at BETWEEN datetime('now', '-1 minute') AND datetime('now', '+1 minute'), length(source_fingerprint) FROM _lfsync_state"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT * FROM _lfsync_columns ORDER BY table_name, ordinal"

-- again: the file is replaced, as a whole
DELETE FROM plays WHERE id = 1;
ALTER TABLE plays DROP COLUMN seconds;
SELECT :counts FROM lfsync_export('plays', 'export_plays.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT * FROM plays ORDER BY id"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT table_name, rows FROM _lfsync_state"

-- another table into the same file: the first stays
CREATE TABLE artists (name text PRIMARY KEY, since int);
INSERT INTO artists VALUES ('Björk', 1977), ('東京事変', 2003);
SELECT :counts, tables FROM lfsync_export('artists', 'export_plays.db');
SELECT :counts, tables FROM lfsync_export('artists', 'export_plays.db', table_name => 'artists again');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT table_name, source, rows, generation FROM _lfsync_state ORDER BY 1"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT * FROM artists ORDER BY since; SELECT count(*) FROM \"artists again\"; SELECT count(*) FROM plays"
-- and is replaced alone
INSERT INTO artists VALUES ('Sigur Rós', 1994);
SELECT :counts FROM lfsync_export('artists', 'export_plays.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT table_name, rows, generation FROM _lfsync_state ORDER BY 1"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT * FROM artists ORDER BY since; SELECT count(*) FROM plays; PRAGMA integrity_check"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_plays.db" "SELECT table_name, count(*), max(ordinal) FROM _lfsync_columns GROUP BY 1 ORDER BY 1"

-- table_name
SELECT tables FROM lfsync_export('artists', 'export_name.db', table_name => 'it''s "a" [name]');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_name.db" "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '!_lfsync%' ESCAPE '!'"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_name.db" "SELECT count(*) FROM \"it's \"\"a\"\" [name]\""
SELECT tables FROM lfsync_export('artists', 'export_name.db', table_name => 'SELECT');
SELECT tables FROM lfsync_export('artists', 'export_name.db', table_name => repeat('n', 255));

-- key_columns
CREATE TABLE entries (a int, b text, c int);
INSERT INTO entries VALUES (2, 'y', 1), (1, 'x', 3), (1, 'y', 2);
SELECT :counts FROM lfsync_export('entries', 'export_key.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_key.db" "SELECT rowid, * FROM entries; SELECT sql FROM sqlite_schema WHERE name = 'entries'"
SELECT :counts FROM lfsync_export('entries', 'export_key.db', key_columns => '{c}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_key.db" "SELECT rowid, * FROM entries; SELECT sql FROM sqlite_schema WHERE name = 'entries'"
SELECT :counts FROM lfsync_export('entries', 'export_key.db', key_columns => '{b,a}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_key.db" "SELECT * FROM entries ORDER BY b, a; SELECT sql FROM sqlite_schema WHERE name = 'entries'"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_key.db" "SELECT name FROM pragma_index_info('sqlite_autoindex_entries_1'); PRAGMA integrity_check"
SELECT :counts FROM lfsync_export('entries', 'export_key.db', key_columns => '{}');
-- instead of the primary key, which becomes what it is else: a unique index
SELECT :counts FROM lfsync_export('artists', 'export_other.db', key_columns => '{since}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_other.db" "SELECT sql FROM sqlite_schema WHERE tbl_name = 'artists' AND sql IS NOT NULL"
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_other.db" "SELECT * FROM artists"

-- filter
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'a = 1');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_filter.db" "SELECT * FROM entries"
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'a = 3');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_filter.db" "SELECT count(*) FROM entries"
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'a = 1 OR b = ''y'' -- and all else');
SELECT :counts FROM lfsync_export('entries', 'export_filter.db',
	filter => 'EXISTS (SELECT FROM artists WHERE since = 1976 + entries.a)');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_filter.db" "SELECT * FROM entries"
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => '');
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'a = 1, b = ''x''');
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'true FROM artists');
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'a = 1) OR (a = 2');
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'a');
\echo :SQLSTATE
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'true; DROP TABLE entries');
\echo :SQLSTATE
SELECT :counts FROM lfsync_export('entries', 'export_filter.db', filter => 'a = 1 UNION SELECT 1, ''x'', 1');

-- a name with a path
SELECT regexp_replace(file, '.*/', '') AS file, rows_read
FROM lfsync_export('entries', :'dir' || '/export absolute "x".db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export absolute \"x\".db" "SELECT count(*) FROM entries"

-- NULL is the default of every optional argument
SELECT mode, :counts FROM lfsync_export('entries', 'export_null.db', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
-- as text, by OID, by a variable of another type
SELECT :counts FROM lfsync_export('regress_lfsync.entries'::regclass, 'export_null.db');
SELECT :counts FROM lfsync_export('entries'::regclass::oid, 'export_null.db');
-- many calls in one query
SELECT c, r.file LIKE '%export_null_' || c || '.db' AS file, r.rows_read
FROM generate_series(1, 3) c, lfsync_export('entries', 'export_null_' || c || '.db', filter => 'c = ' || c) r;

-- more rows than a batch, a page, a buffer or a fetch holds
CREATE TABLE many (id int PRIMARY KEY, filler text);
INSERT INTO many SELECT i * 7, repeat(md5(i::text), i % 60) FROM generate_series(1, 30000) i;
SELECT :counts, bytes_written > 30000000 AS bytes_written
FROM lfsync_export('many', 'export_many.db', options => '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_many.db" "SELECT count(*), sum(id), sum(length(filler)), min(id), max(id) FROM many"
SELECT count(*), sum(id), sum(length(filler)), min(id), max(id) FROM many;
SELECT batches > 10 AS batches, rows_read FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
-- and in place
SELECT :counts FROM lfsync_export('entries', 'export_many.db');
SELECT :counts FROM lfsync_export('many', 'export_many.db', options => '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_many.db" "SELECT count(*), sum(id), sum(length(filler)), min(id), max(id) FROM many; SELECT count(*) FROM entries"
-- values wider than a buffer, both ways
CREATE TABLE wide (id int PRIMARY KEY, t text, b bytea);
ALTER TABLE wide ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
INSERT INTO wide SELECT i, repeat('x', 10000000 * i), decode(repeat('00ff', 6000000 * i), 'hex') FROM generate_series(1, 2) i;
SELECT :counts FROM lfsync_export('wide', 'export_wide.db', options => '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_wide.db" "SELECT id, length(t), length(b), hex(substr(b, -2)), replace(t, 'x', '') = '' FROM wide"
SELECT :counts FROM lfsync_export('entries', 'export_wide.db');
SELECT :counts FROM lfsync_export('wide', 'export_wide.db', options => '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/export_wide.db" "SELECT id, length(t), length(b), hex(substr(b, -2)), replace(t, 'x', '') = '' FROM wide"
\! rm "$LFSYNC_EXPORT_DIR"/export_wide.db "$LFSYNC_EXPORT_DIR"/export_many.db

-- no run left anything beside its file
SELECT name FROM pg_ls_dir(:'dir') AS name WHERE name LIKE '.%export%' OR name LIKE 'export%-%';
SELECT count(*) FROM lfsync_progress;

SET client_min_messages = warning;
DROP SCHEMA regress_lfsync CASCADE;
